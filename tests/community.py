"""Stand-ins for the community's files: random weights under the published names and shapes."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resing import checkpoint as house_checkpoint
from resing import hub
from resing.nets.hubert import Hubert
from resing.nets.nsf_hifigan import NSFHiFiGAN
from resing.nets.rmvpe import Rmvpe

FAMILIES: dict[str, dict[str, Any]] = {
    "44.1 kHz": {
        "audio_sample_rate": 44100,
        "hop_size": 512,
        "win_size": 2048,
        "fft_size": 2048,
        "audio_num_mel_bins": 128,
        "fmin": 40,
        "fmax": 16000,
        "residual_channels": 384,
        "spec_min": [-5.0],
        "spec_max": [0.0],
    },
    "24 kHz": {
        "audio_sample_rate": 24000,
        "hop_size": 128,
        "win_size": 512,
        "fft_size": 512,
        "audio_num_mel_bins": 80,
        "fmin": 30,
        "fmax": 12000,
        "residual_channels": 256,
        "spec_min": [-6.0 + 0.01 * i for i in range(80)],
        "spec_max": [1.5 - 0.01 * i for i in range(80)],
    },
}
SHARED = {
    "f0_bin": 256,
    "f0_max": 1100.0,
    "f0_min": 40.0,
    "hidden_size": 256,
    "residual_layers": 20,
    "dilation_cycle_length": 4,
    "timesteps": 1000,
    "K_step": 1000,
    "schedule_type": "linear",
    "max_beta": 0.02,
    "diff_loss_type": "l2",
    "no_fs2": True,
    "use_pitch_embed": True,
    "use_energy_embed": False,
    "use_spk_id": False,
    "use_vec": False,
    "use_nsf": True,
    "pndm_speedup": 10,
    "speaker_id": "nyaru",
}
SMALL = {"residual_channels": 8, "residual_layers": 3, "dilation_cycle_length": 2}


def settings(family: str, **changes: Any) -> dict[str, Any]:
    """A config.yaml's content; `SMALL` makes its network small."""
    return SHARED | FAMILIES[family] | changes


def yaml(content: dict[str, Any]) -> str:
    """It as text, as PyYAML writes it, with what else such a file holds."""
    lines = ["binarization_args:", "  shuffle: false", "task_cls: training.task.SVC_task.SVCTask"]
    for key, value in content.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"- {item}" for item in value)]
        else:
            lines.append(f"{key}: {str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def betas(config: dict[str, Any]) -> Tensor:
    """The noise schedule a config describes."""
    steps = config["timesteps"]
    if config["schedule_type"] == "linear":
        return torch.linspace(1e-4, config["max_beta"], steps, dtype=torch.float64)
    x = torch.linspace(0, steps + 1, steps + 1, dtype=torch.float64) / (steps + 1)
    bars = torch.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - bars[1:] / bars[:-1]).clamp(0, 0.999)


def checkpoint(config: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """A Diff-SVC checkpoint with random weights, and with what else trainers leave in one."""
    random = torch.Generator().manual_seed(seed)
    c, m, h = config["residual_channels"], config["audio_num_mel_bins"], config["hidden_size"]
    weights: dict[str, Tensor] = {}

    def layer(name: str, out: int, *rest: int) -> None:
        spread = 1 / math.sqrt(math.prod(rest))
        weights[f"{name}.weight"] = spread * torch.randn(out, *rest, generator=random)
        weights[f"{name}.bias"] = 0.1 * torch.randn(out, generator=random)

    layer("denoise_fn.input_projection", c, m, 1)
    layer("denoise_fn.mlp.0", 4 * c, c)
    layer("denoise_fn.mlp.2", c, 4 * c)
    for i in range(config["residual_layers"]):
        stem = f"denoise_fn.residual_layers.{i}"
        layer(f"{stem}.dilated_conv", 2 * c, c, 3)
        layer(f"{stem}.diffusion_projection", c, c)
        layer(f"{stem}.conditioner_projection", 2 * c, h, 1)
        layer(f"{stem}.output_projection", 2 * c, c, 1)
    layer("denoise_fn.skip_projection", c, c, 1)
    layer("denoise_fn.output_projection", m, c, 1)
    weights["fs2.pitch_embed.weight"] = torch.randn(300, h, generator=random)
    weights["fs2.mel_out.weight"] = torch.randn(m, h, generator=random)
    weights["betas"] = betas(config).float()
    weights["alphas_cumprod"] = (1 - betas(config)).cumprod(0).float()
    for key in ("spec_min", "spec_max"):
        weights[key] = torch.tensor(config[key])[None, None]
    state = {f"model.{name}": tensor for name, tensor in weights.items()}
    return {"state_dict": state | {"other.x": torch.ones(1)}, "epoch": 3, "global_step": 88000}


def write_voice(folder: Path, config: dict[str, Any], seed: int = 0) -> tuple[Path, Path]:
    """A checkpoint and its config.yaml on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "model_ckpt_steps_88000.ckpt", folder / "config.yaml"
    torch.save(checkpoint(config, seed), path)
    text.write_text(yaml(config))
    return path, text


def bring(name: str, tensors: dict[str, Tensor], digest: str = "ab" * 32) -> None:
    """Put a model among those that are here, as `resing models download` does."""
    header = {
        "source_sha256": digest,
        "verified": False,
        "content_hash": house_checkpoint.tensors_hash(tensors),
    }
    house_checkpoint.save(hub.folder() / f"{name}.safetensors", tensors, header)


def contentvec(layers: int = 12, hidden: int = 128, projected: int = 256) -> dict[str, Tensor]:
    """A small ContentVec under the published names, in half precision, weight norm in two parts."""
    torch.manual_seed(1)
    net = Hubert(16, hidden, 32, layers, projected)
    stored = {n: t.detach().clone() for n, t in net.state_dict().items()}
    place = stored.pop("encoder.pos_conv_embed.conv.weight")
    stem = "encoder.pos_conv_embed.conv.parametrizations.weight"
    stored[f"{stem}.original0"] = place.pow(2).sum((0, 1), keepdim=True).sqrt()
    stored[f"{stem}.original1"] = 3.0 * place
    stored["masked_spec_embed"] = torch.rand(hidden)
    return {n: t.half() for n, t in stored.items()}


def nsf(channels: int = 32, seed: int = 2) -> dict[str, Tensor]:
    """An NSF-HiFiGAN generator under the published names, weight norm in two parts, with random weights."""
    torch.manual_seed(seed)
    stored: dict[str, Tensor] = {}
    for name, tensor in NSFHiFiGAN(128, channels).state_dict().items():
        stem, _, part = name.rpartition(".")
        if part == "weight" and not stem.startswith(("noise_convs", "m_source")):
            stored[f"{stem}.weight_g"] = tensor.pow(2).sum((1, 2), keepdim=True).sqrt()
            stored[f"{stem}.weight_v"] = 2.0 * tensor
        else:
            stored[name] = tensor.clone()
    return stored


def rmvpe(seed: int = 3) -> dict[str, Tensor]:
    """A small RMVPE under the published names, in half precision, that hears one of two notes."""
    torch.manual_seed(seed)
    net = Rmvpe(2, 1, 1, 8)
    with torch.no_grad():
        net.fc[1].bias.fill_(-12.0)
        net.fc[1].bias[[140, 160]] = 2.0
    return {n: t.half() if t.is_floating_point() else t for n, t in net.state_dict().items()}
