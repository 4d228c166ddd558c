"""Diff-SVC voices: a checkpoint and its config.yaml become a Resing voice.

What is taken over is checked whole: a setting this reader does not know how to follow is refused rather than
sung wrongly. The checkpoint is opened by `checkpoint_foreign`, nothing in it is run.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue, ValidationError
from torch import Tensor

from resing import checkpoint, checkpoint_foreign
from resing.config import AudioConfig, DiffSvcConfig, FeaturesConfig, ModelConfig, explain
from resing.errors import VoiceError
from resing.importers import flat_yaml
from resing.importers.flat_yaml import Value
from resing.synthesis import diff_svc
from resing.voice import Voice, VoiceCard, check_name, user_folder
from resing.voice_file import NAME

PREFIX = "model."
MAKER = "Diff-SVC"
UNKNOWN = "whose recordings it learnt from, how many minutes they had, and which notes it sings well"
NEEDED = {"audio_sample_rate": "sample_rate", "hop_size": "hop_length", "win_size": "win_length"} | {
    "fft_size": "n_fft",
    "audio_num_mel_bins": "n_mels",
    "fmin": "f_min",
    "fmax": "f_max",
}
OWN = {
    "f0_min": "f0_min",
    "f0_max": "f0_max",
    "f0_bin": "f0_bins",
    "hidden_size": "hidden",
    "residual_channels": "channels",
    "residual_layers": "layers",
    "dilation_cycle_length": "dilation_cycle",
    "timesteps": "steps",
    "K_step": "start_step",
    "pndm_speedup": "speed_up",
}
MUST_BE = {
    "no_fs2": (True, "an encoder of its own"),
    "use_pitch_embed": (True, "no pitch"),
    "use_energy_embed": (False, "an energy embedding"),
    "use_spk_id": (False, "several speakers"),
    "use_spk_embed": (False, "speaker vectors"),
    "use_midi": (False, "MIDI"),
}
"""Settings that change the arithmetic in ways this reader does not follow, and what they would mean."""
FAMILIES = ((44100, 512, 2048, 128), (24000, 128, 512, 80))
FOREIGN_BUFFERS = re.compile(r"(fs2\.|alphas_|sqrt_|log_one_|posterior_)")
"""Tensors that follow from the betas, or that are never used to sing."""


@dataclass(frozen=True)
class Facts:
    """What only the user can say about a voice from elsewhere; see `VoiceCard` for each."""

    consent: str
    licence: str
    name: str = ""
    whose: str = ""
    source: str = ""
    credit: str = ""


def read(path: Path | str, config: Path | str, facts: Facts) -> Voice:
    """A voice from Diff-SVC, ready to sing and to be saved.

    Args:
        path: `model_ckpt_steps_N.ckpt`.
        config: the `config.yaml` beside it.
        facts: for the card; without a name, the config's speaker gives it.

    Raises:
        VoiceError: a file is not what it should be, or asks for what this reader does not follow.
    """
    path, config = Path(path), Path(config)
    for key in ("consent", "licence"):
        if not getattr(facts, key).strip():
            raise VoiceError(f'a voice needs its {key}, got nothing; add --{key} "..." in a few words')
    settings = flat_yaml.read(config)
    name = check_name(facts.name or _speaker(path, config, settings))
    stored = checkpoint_foreign.read(path, ("state_dict",))
    own = {n.removeprefix(PREFIX): t for n, t in stored.items() if n.startswith(PREFIX)}
    if "fs2.pitch_embed.weight" not in own:
        raise VoiceError(
            f"{path}: holds no {PREFIX}fs2.pitch_embed.weight, expected the model_ckpt_steps_N.ckpt of a "
            f"{MAKER} voice; check that it is not its vocoder or encoder"
        )
    shape = _shape(config, settings, own["fs2.pitch_embed.weight"])
    weights = _weights(path, own, settings, shape)
    card = _card(path, config, name, facts, shape)
    features = FeaturesConfig(content_encoder=shape.encoder)
    model = ModelConfig()
    speaker = torch.zeros(model.speaker_dim)
    return Voice(card, model, AudioConfig(), speaker, merged=weights, features=features, diff_svc=shape)


def install(voice: Voice, replace: bool = False) -> Path:
    """Put a voice among the user's own; returns its file.

    Raises:
        VoiceError: the name is taken.
    """
    path = user_folder() / f"{voice.card.name}.safetensors"
    if path.exists() and not replace:
        raise VoiceError(f"a voice named {voice.card.name} is already here; to replace it, add --replace")
    voice.save(path)
    return path


def _speaker(path: Path, config: Path, settings: dict[str, Value]) -> str:
    for found in (settings.get("speaker_id"), path.resolve().parent.name):
        if isinstance(found, str) and NAME.fullmatch(found):
            return found
    raise VoiceError(f"{config}: names no speaker whose name could be the voice's; add --name NAME")


def _shape(config: Path, settings: dict[str, Value], pitches: Tensor) -> DiffSvcConfig:
    for key, (wanted, what) in MUST_BE.items():
        if (found := settings.get(key, wanted)) != wanted:
            raise VoiceError(f"{config}: {key} is {found!r:.20}, that is {what}, which cannot be taken over")
    for key in (*NEEDED, *OWN):
        if key != "pndm_speedup" and not _is_number(settings.get(key)):
            raise VoiceError(
                f"{config}: {key} is {settings.get(key)!r:.40}, expected a number; get the file again"
            )
    audio = {ours: settings[key] for key, ours in NEEDED.items()}
    signal = tuple(audio[k] for k in ("sample_rate", "hop_length", "n_fft", "n_mels"))
    if signal not in FAMILIES or audio["win_length"] != audio["n_fft"]:
        known = " or ".join("{} Hz, hop {}, fft {}, {} mels".format(*family) for family in FAMILIES)
        raise VoiceError(f"{config}: the signal is {signal}, expected {known}; no vocoder is known for it")
    values: dict[str, Any] = {ours: settings[key] for key, ours in OWN.items() if key in settings}
    values["encoder"] = "contentvec-256" if settings.get("use_vec") is True else "hubert-soft"
    values["pitches"] = pitches.shape[0] if pitches.dim() == 2 else 0
    try:
        return DiffSvcConfig(audio=AudioConfig(**audio), **values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise VoiceError(f"{config}: {explain(error, DiffSvcConfig)}; get the file again") from error


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _weights(
    path: Path, own: dict[str, Tensor], settings: dict[str, Value], shape: DiffSvcConfig
) -> dict[str, Tensor]:
    """The tensors of a `DiffSvcNet`, all there and of the right shape, by its names."""
    found = {n: t.float() for n, t in own.items() if n.startswith("denoise_fn.")}
    found["pitch_embed.weight"] = own["fs2.pitch_embed.weight"].float()
    found["betas"] = own["betas"].float() if "betas" in own else _betas(path, settings, shape)
    for key in ("spec_min", "spec_max"):
        bounds = own[key] if key in own else torch.as_tensor(_numbers(path, key, settings.get(key)))
        flat = bounds.float().reshape(-1)
        found[key] = flat.expand(shape.audio.n_mels).clone() if len(flat) == 1 else flat
    with torch.device("meta"):
        expected = {n: tuple(t.shape) for n, t in diff_svc.build(shape).state_dict().items()}
    strange = [n for n in own if n not in expected and not FOREIGN_BUFFERS.match(n)]
    if strange:
        raise VoiceError(f"{path}: holds {strange[0]!r:.80}, which no {MAKER} voice has; check the file")
    for name, wanted in expected.items():
        got = tuple(found[name].shape) if name in found else None
        if got != wanted:
            what = f"is {list(got)}" if got else "is missing"
            raise VoiceError(
                f"{path}: {name} {what}, config.yaml says {list(wanted)}; give the one of this voice"
            )
    _check_values(path, found)
    return found


def _check_values(path: Path, found: dict[str, Tensor]) -> None:
    betas = found["betas"].double()
    if not bool(((betas > 0) & (betas < 1)).all()) or float((1 - betas).cumprod(0)[-1]) < 1e-30:
        raise VoiceError(f"{path}: its betas are no noise schedule; get the file again")
    if not bool((found["spec_min"] < found["spec_max"]).all()):
        raise VoiceError(f"{path}: spec_min is not below spec_max; get the file again")


def _numbers(path: Path, key: str, value: Value) -> list[float]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise VoiceError(f"{path}: neither it nor its config.yaml holds {key}; get the files again")
    return [float(n) for n in numbers if isinstance(n, int | float)]


def _betas(path: Path, settings: dict[str, Value], shape: DiffSvcConfig) -> Tensor:
    """The schedule that the config describes, where the checkpoint does not keep it."""
    kind = settings.get("schedule_type", "linear")
    if kind == "linear":
        (last,) = _numbers(path, "max_beta", settings.get("max_beta"))[:1]
        return torch.from_numpy(np.linspace(1e-4, last, shape.steps)).float()
    if kind == "cosine":
        count = shape.steps + 1
        x = np.linspace(0, count, count) / count
        bars = np.cos((x + 0.008) / 1.008 * np.pi / 2) ** 2
        return torch.from_numpy(np.clip(1 - bars[1:] / bars[:-1], 0, 0.999)).float()
    raise VoiceError(f"{path}: schedule_type is {kind!r:.40}, expected linear or cosine; check config.yaml")


def _card(path: Path, config: Path, name: str, facts: Facts, shape: DiffSvcConfig) -> VoiceCard:
    steps = re.search(r"steps_([0-9]{1,9})\.ckpt$", path.name)
    origin: dict[str, JsonValue] = {
        "system": MAKER,
        "family": f"{shape.audio.sample_rate / 1000:g} kHz",
        "file": path.name,
        "sha256": checkpoint.file_hash(path),
        "config_sha256": checkpoint.file_hash(config),
        "steps": int(steps[1]) if steps else None,
        "unknown": UNKNOWN,
        "summary": f"Imported from {MAKER}. Notes above {shape.f0_max:g} Hz sound as at that note.",
    }
    try:
        return VoiceCard(
            name=name,
            whose=facts.whose,
            licence=facts.licence,
            consent=facts.consent,
            source=facts.source or f"{MAKER} voice {path.name}"[:200],
            credit=facts.credit,
            range_hz=(shape.f0_min, shape.f0_max),
            bandwidth_hz=shape.audio.f_max,
            created=datetime.now(UTC).date().isoformat(),
            encoder_id=shape.encoder,
            base_hash="",
            vocoder_id="nsf-hifigan",
            training=origin,
            imported=True,
        )
    except ValidationError as error:
        raise VoiceError(f"the voice's {explain(error, VoiceCard)}") from error
