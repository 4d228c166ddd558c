"""Peaks held under a ceiling; samples where nothing is held back stay as they are, bit for bit."""

import numpy as np

from resing.audio.resampling import Resampler
from resing.song.levels import OVERSAMPLING

CEILING_DBTP = -1.0
MARGIN_DB = 0.02  # for what a moving gain does to the waveform between samples
LOOK_AHEAD_SECONDS = 0.005
RELEASE_DB_PER_SECOND = 40.0


class Limiter:
    """Streaming true-peak limiter with look-ahead, of no delay and exact length.

    The reduction in dB that each sample needs is found at 4 times the rate (ITU-R BS.1770-4, annex 2), let
    go in a straight line, taken early by the look-ahead (a sliding maximum), and smoothed by a raised
    cosine as long as the look-ahead: a mean of values that are all enough is enough.

    Args:
        sample_rate: Hz.
        channels: all get the same gain.
        ceiling_dbtp: the highest peak that is let through.

    Attributes:
        deepest_db: the largest reduction so far.
    """

    def __init__(self, sample_rate: int, channels: int, ceiling_dbtp: float = CEILING_DBTP) -> None:
        self.deepest_db = 0.0
        self._ceiling_db = ceiling_dbtp - MARGIN_DB
        self._reach = max(1, round(LOOK_AHEAD_SECONDS * sample_rate))
        self._fall = RELEASE_DB_PER_SECOND / sample_rate
        self._window = np.hanning(self._reach + 3)[1:-1] / np.hanning(self._reach + 3).sum()
        self._fine = Resampler(sample_rate, OVERSAMPLING * sample_rate, channels)
        self._held = np.zeros((channels, 0), np.float32)
        self._peaks = np.zeros((channels, 0), np.float32)
        self._release = 0.0
        self._needed = np.zeros(self._reach)  # reductions from `_reach` samples before the first that waits

    def push(self, audio: np.ndarray) -> np.ndarray:
        """What is ready, (channels, m) float32, after `audio`, (channels, n) float32."""
        self._held = np.concatenate([self._held, audio], axis=1)
        self._need(self._fine.push(audio))
        return self._give(len(self._needed) - 2 * self._reach)

    def finish(self) -> np.ndarray:
        """The rest, (channels, m)."""
        self._need(self._fine.finish())
        self._needed = np.pad(self._needed, (0, self._reach))
        return self._give(self._held.shape[1])

    def _need(self, fine: np.ndarray) -> None:
        """Append the reduction that each sample needs, let go slowly."""
        self._peaks = np.concatenate([self._peaks, np.abs(fine)], axis=1)
        count = self._peaks.shape[1] // OVERSAMPLING
        if not count:
            return
        groups = self._peaks[:, : count * OVERSAMPLING].reshape(-1, count, OVERSAMPLING)
        self._peaks = self._peaks[:, count * OVERSAMPLING :]
        start = len(self._needed) - self._reach
        samples = np.abs(self._held[:, start : start + count])
        peak = np.maximum(groups.max(axis=(0, 2)), samples.max(axis=0))
        needed = np.maximum(20.0 * np.log10(np.maximum(peak, 1e-9)) - self._ceiling_db, 0.0)
        self._needed = np.concatenate([self._needed, self._let_go(needed)])

    def _let_go(self, needed: np.ndarray) -> np.ndarray:
        """The least curve over `needed` that falls no faster than the release, (n,)."""
        if not self._release and not needed.any():
            return needed
        slope = self._fall * np.arange(1, len(needed) + 1)
        before = np.maximum.accumulate(np.append(self._release, needed + slope))[1:]
        kept = np.maximum(needed, before - slope)
        self._release = float(kept[-1])
        return np.asarray(kept)

    def _give(self, count: int) -> np.ndarray:
        """The first `count` samples that wait, with their gain."""
        if count <= 0:
            return self._held[:, :0]
        ready, self._held = self._held[:, :count], self._held[:, count:]
        reduction = self._needed[: count + 2 * self._reach]
        self._needed = self._needed[count:]
        if reduction.any():
            early = _sliding_maximum(reduction, self._reach + 1)
            smooth = np.convolve(early, self._window, mode="valid")
            self.deepest_db = max(self.deepest_db, float(smooth.max()))
            acts = smooth > 0
            gain = (10.0 ** (-smooth / 20.0)).astype(np.float32)
            ready = np.where(acts, ready * gain, ready)
        return ready


def _sliding_maximum(values: np.ndarray, width: int) -> np.ndarray:
    """Maximum of each `width` neighbours, (n - width + 1,), by doubling."""
    done, count = 1, len(values) - width + 1
    while done < width:
        step = min(done, width - done)
        values = np.maximum(values[:-step], values[step:])
        done += step
    assert len(values) == count
    return values
