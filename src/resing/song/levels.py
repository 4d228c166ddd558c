"""How loud audio is that comes in blocks: LUFS and true peak."""

import numpy as np

from resing.audio.resampling import Resampler
from resing.scoring.metrics import EMPTY_DB, decibels, gated_loudness, k_weighted
from resing.song.filtering import Filter

K_SECONDS = 0.25  # K-weighting's response has died away by 200 dB
OVERSAMPLING = 4


class LoudnessMeter:
    """Integrated loudness of all channels, each with weight 1 (ITU-R BS.1770-4, annex 1).

    Args:
        sample_rate: Hz.
        channels: channels of what is measured.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        impulse = np.zeros(round(K_SECONDS * sample_rate))
        impulse[0] = 1.0
        self._filter = Filter(np.tile(k_weighted(impulse, sample_rate), (channels, 1)))
        self._step = round(0.1 * sample_rate)
        self._held = np.zeros((channels, 0), np.float32)
        self._energies: list[np.ndarray] = []

    def push(self, audio: np.ndarray) -> None:
        """Hear `audio`, (channels, n)."""
        self._measure(self._filter.push(audio))

    def finish(self) -> float:
        """Loudness in LUFS of all that was heard; nothing above -70 LUFS: EMPTY_DB."""
        self._measure(self._filter.finish())
        steps = np.concatenate([np.zeros(0), *self._energies])
        if len(steps) < 4:
            rest = float(np.sum(self._held.astype(np.float64) ** 2))
            steps = np.pad(np.append(steps, rest), (0, 3 - len(steps)))
        return gated_loudness(np.convolve(steps, np.ones(4), mode="valid") / (4 * self._step))

    def _measure(self, weighted: np.ndarray) -> None:
        self._held = np.concatenate([self._held, weighted], axis=1)
        count = self._held.shape[1] // self._step
        whole = (
            self._held[:, : count * self._step].astype(np.float64).reshape(len(self._held), count, self._step)
        )
        self._energies.append(np.sum(whole**2, axis=(0, 2)))
        self._held = self._held[:, count * self._step :]


class PeakMeter:
    """Highest peak between the samples (ITU-R BS.1770-4, annex 2: at 4 times the rate).

    Args:
        sample_rate: Hz.
        channels: channels of what is measured.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._fine = Resampler(sample_rate, OVERSAMPLING * sample_rate, channels)
        self._peak = 0.0

    def push(self, audio: np.ndarray) -> None:
        """Hear `audio`, (channels, n) float32."""
        self._take(self._fine.push(audio), audio)

    def finish(self) -> float:
        """The peak in dBTP; silence: EMPTY_DB."""
        self._take(self._fine.finish())
        return float(decibels(self._peak**2)) if self._peak else EMPTY_DB

    def _take(self, *parts: np.ndarray) -> None:
        self._peak = max(self._peak, *(float(np.abs(part).max(initial=0.0)) for part in parts))
