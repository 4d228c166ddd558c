"""How loud: A-weighted level per house frame, in dB relative to the song."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from resing.audio.mel import hann_window
from resing.config import AudioConfig

FLOOR_DB = -80.0
SMOOTH_FRAMES = 9
FURTHEST_DB = 12.0
REFERENCE_DB = -23.0
"""Every song and recording is heard at this level, so that a quiet file is like a loud one."""


@lru_cache(maxsize=4)
def a_weighting(sample_rate: int, n_fft: int) -> torch.Tensor:
    """A-weighting as power gain per FFT bin, (n_fft // 2 + 1,) (IEC 61672-1, annex E)."""
    f2 = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1) ** 2
    gain = (12194.0**2 * f2**2) / (
        (f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194.0**2)
    )
    return torch.from_numpy(((gain * 10 ** (2.0 / 20)) ** 2).astype(np.float32))


def a_weighted_level(audio: torch.Tensor, config: AudioConfig) -> torch.Tensor:
    """A-weighted level of each house frame.

    Args:
        audio: samples in [-1, 1], (B, N).
        config: the frame grid.

    Returns:
        dB relative to a full-scale square wave, (B, T).
    """
    missing = config.frame_count(audio.shape[-1]) * config.hop_length - audio.shape[-1]
    pad = (config.n_fft - config.hop_length) // 2
    audio = F.pad(audio, (pad, pad + missing))
    window = hann_window(config.win_length).to(audio)
    spectrum = torch.stft(
        audio, config.n_fft, config.hop_length, config.win_length, window, center=False, return_complex=True
    )
    weights = a_weighting(config.sample_rate, config.n_fft).to(audio)
    power = (spectrum.abs().square() * weights[:, None]).sum(1) * 2 / (config.n_fft * window.square().sum())
    return 10 * torch.log10(power + 1e-10)  # (B, T)


def song_level(level_db: np.ndarray) -> float:
    """The level in dB that loudness is relative to: the 95th percentile of all frames.

    Args:
        level_db: A-weighted level per frame, (T,).
    """
    return float(np.percentile(level_db, 95)) if len(level_db) else FLOOR_DB


def relative_loudness(level_db: np.ndarray, song_level_db: float) -> np.ndarray:
    """Loudness in dB relative to the song, floored at FLOOR_DB, (T,) float32."""
    return np.maximum(level_db - song_level_db, FLOOR_DB).astype(np.float32)


def follow(
    level_db: np.ndarray, wanted_db: np.ndarray, heard: np.ndarray, middle_db: float | None = None
) -> np.ndarray:
    """Gain per frame by which a level rises and falls as another does, in dB, (T,).

    Both are smoothed over SMOOTH_FRAMES, so that the gain follows syllables and not single periods; it stays
    within FURTHEST_DB of its middle.

    Args:
        level_db: what is there, (T,).
        wanted_db: what it should be like; only its changes count, (T,).
        heard: frames that matter, bool (T,); over the others the gain is drawn in a straight line.
        middle_db: the difference that is no gain; by default `middle_difference`.
    """
    if not heard.any():
        return np.zeros(len(level_db))
    middle = middle_difference(level_db, wanted_db, heard) if middle_db is None else middle_db
    gain = np.clip(_difference(level_db, wanted_db) - middle, -FURTHEST_DB, FURTHEST_DB)
    frames = np.arange(len(gain))
    return np.interp(frames, frames[heard], gain[heard])


def middle_difference(level_db: np.ndarray, wanted_db: np.ndarray, heard: np.ndarray) -> float:
    """The median over the frames heard of how far `wanted_db` lies above `level_db`, both smoothed, in dB."""
    return float(np.median(_difference(level_db, wanted_db)[heard])) if heard.any() else 0.0


def _difference(level_db: np.ndarray, wanted_db: np.ndarray) -> np.ndarray:
    window = np.hanning(SMOOTH_FRAMES + 2)[1:-1]

    def smooth(db: np.ndarray) -> np.ndarray:
        power = np.convolve(np.pad(10 ** (db / 10), SMOOTH_FRAMES // 2, mode="edge"), window, "valid")
        return np.asarray(10 * np.log10(power / window.sum() + 1e-12))

    return smooth(wanted_db.astype(np.float64)) - smooth(level_db.astype(np.float64))
