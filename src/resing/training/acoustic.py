"""The acoustic model's loss: masked decoder error and diffusion error, for the base and for voices alike."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resing.audio.mel import mel_centres
from resing.config import AudioConfig, ModelConfig
from resing.nets.acoustic import AcousticNet
from resing.synthesis import diffusion
from resing.synthesis.acoustic import normalise
from resing.training.loop import Randomness


@dataclass
class AcousticBatch:
    """One training batch.

    Attributes:
        mel: natural-log mel to be sung, (B, M, T).
        units: (B, C, T).
        f0: Hz > 0 everywhere, (B, T).
        voiced: (B, T).
        loudness: dB relative to the song, (B, T).
        bandwidth: real bandwidth of the recording in Hz, (B,).
        valid: 1 where a frame lies within the recording, (B, T).
    """

    mel: Tensor
    units: Tensor
    f0: Tensor
    voiced: Tensor
    loudness: Tensor
    bandwidth: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "AcousticBatch":
        """The batch on another device."""
        return AcousticBatch(**{name: value.to(device) for name, value in vars(self).items()})


def mel_mask(bandwidth: Tensor, audio: AudioConfig) -> Tensor:
    """1 for mel bands below each recording's bandwidth (B,), as (B, M, 1)."""
    centres = torch.from_numpy(mel_centres(audio.n_mels, audio.f_min, audio.f_max)).float().to(bandwidth)
    return (centres[None] <= 0.95 * bandwidth[:, None]).float().unsqueeze(-1)


def acoustic_loss(
    net: AcousticNet,
    batch: AcousticBatch,
    speaker: Tensor,
    config: ModelConfig,
    audio: AudioConfig,
    random: Randomness,
) -> tuple[Tensor, dict[str, float]]:
    """Masked L1 of the decoder plus masked mean square of the denoiser.

    Bands that the recording never had are filled with the decoder's own mel and not judged.

    Args:
        net: decoder and denoiser.
        batch: what to sing.
        speaker: voice of each row, (B, S).
        config: what the denoiser predicts.
        audio: the mel's definition.
        random: of noise and diffusion times.
    """
    mask = mel_mask(batch.bandwidth, audio) * batch.valid.unsqueeze(1)  # (B, M, T)
    target = normalise(batch.mel)
    score = net.score(batch.units, batch.f0, batch.voiced, batch.loudness)
    voice = net.voice(speaker)
    first = net.decode(score, voice)
    decoder = ((first - target).abs() * mask).sum() / mask.sum()
    fixed = first.detach()
    data = torch.where(mask > 0, target, fixed)
    noise = torch.randn(data.shape, generator=random.torch).to(data)
    t = torch.rand(len(data), generator=random.torch).to(data)
    if config.target == "flow":
        pair = diffusion.flow_pair(data, fixed, config.prior_sigma, t, noise)
        said, wanted = net.denoise(pair.x_t, t, fixed, score, voice), pair.target
    else:
        schedule = diffusion.linear_schedule()
        prediction = config.target.removeprefix("ddpm-")
        sample = diffusion.ddpm_pair(data, t * schedule.last_step, noise, schedule, prediction)  # type: ignore[arg-type]
        said, wanted = net.denoise(sample.x_k, t, fixed, score, voice), sample.target
    error = ((said - wanted).square() * mask).sum() / mask.sum()
    return decoder + error, {"decoder": float(decoder.detach()), "denoiser": float(error.detach())}
