"""The one mel definition: natural-log magnitude mel on the house frame grid.

Frame `t` is centred on sample `t * hop_length + hop_length / 2`: the signal is padded by
(n_fft - hop_length) / 2 on both sides and not centred, as the community's NSF-HiFiGAN does.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from resing.config import AudioConfig


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Hz of Slaney-scale mel values (Slaney, Auditory Toolbox, 1998: linear below 1 kHz, log above)."""
    mel = np.asarray(mel, dtype=np.float64)
    log_step = np.log(6.4) / 27.0
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(log_step * (mel - 15.0)))


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Slaney-scale mel values of `hz`; the inverse of `mel_to_hz`."""
    hz = np.asarray(hz, dtype=np.float64)
    log_step = np.log(6.4) / 27.0
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + np.log(np.maximum(hz, 1.0) / 1000.0) / log_step)


def mel_centres(n_mels: int, f_min: float, f_max: float) -> np.ndarray:
    """Centre frequency in Hz of each mel band, (M,)."""
    return mel_to_hz(np.linspace(hz_to_mel(f_min), hz_to_mel(f_max), n_mels + 2))[1:-1]


@lru_cache(maxsize=64)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float) -> torch.Tensor:
    """Triangular area-normalised (Slaney) filters, (M, n_fft // 2 + 1)."""
    return triangles(
        mel_to_hz(np.linspace(hz_to_mel(f_min), hz_to_mel(f_max), n_mels + 2)), sample_rate, n_fft
    )


def triangles(edges: np.ndarray, sample_rate: int, n_fft: int) -> torch.Tensor:
    """Filters of equal area that rise from each edge to the next and fall to the one after it.

    Args:
        edges: Hz, (M + 2,).
        sample_rate: Hz.
        n_fft: of the spectrum they weigh.

    Returns:
        (M, n_fft // 2 + 1).
    """
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    rise = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(weights.astype(np.float32))


@lru_cache(maxsize=16)
def hann_window(length: int) -> torch.Tensor:
    """Periodic Hann window, (length,) float64: torch's own float32 one is off by 2e-7."""
    return torch.hann_window(length, dtype=torch.float64)


def log_mel(audio: torch.Tensor, config: AudioConfig) -> torch.Tensor:
    """Natural-log mel of mono audio.

    Args:
        audio: samples in [-1, 1], (B, N); N is padded with zeros to a whole number of hops.
        config: the signal's definition.

    Returns:
        (B, M, T) with T = config.frame_count(N).
    """
    samples = audio.shape[-1]
    missing = config.frame_count(samples) * config.hop_length - samples
    pad = (config.n_fft - config.hop_length) // 2
    audio = F.pad(audio, (0, missing))
    mode = "reflect" if audio.shape[-1] > pad else "constant"
    audio = F.pad(audio.unsqueeze(1), (pad, pad), mode=mode).squeeze(1)
    window = hann_window(config.win_length).to(audio)
    spectrum = torch.stft(
        audio, config.n_fft, config.hop_length, config.win_length, window, center=False, return_complex=True
    )
    filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.f_min, config.f_max)
    return torch.log(torch.clamp(filters.to(audio) @ spectrum.abs(), min=config.mel_floor))  # (B, M, T)
