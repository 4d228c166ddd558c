"""Sample rates changed in one pass over blocks of any size: no seams, and every length exact."""

import numpy as np
import soxr


def resampled_length(samples: int, rate_in: int, rate_out: int) -> int:
    """Number of samples that `samples` become at `rate_out` Hz, 1 at least; computed here only."""
    return max(min(samples, 1), round(samples * rate_out / rate_in))


class Resampler:
    """Streaming resampler (soxr, HQ) whose whole output has `resampled_length` samples and no seams.

    Args:
        rate_in: Hz of what goes in.
        rate_out: Hz of what comes out.
        channels: channels of both.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self.rate_in, self.rate_out, self.channels = rate_in, rate_out, channels
        self._taken = self._given = 0
        self._stream = (
            None if rate_in == rate_out else soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32")
        )

    def push(self, audio: np.ndarray) -> np.ndarray:
        """What is ready, (channels, m), after `audio`, (channels, n) float32."""
        self._taken += audio.shape[1]
        ready = audio if self._stream is None else self._run(audio, last=False)
        self._given += ready.shape[1]
        return ready

    def finish(self) -> np.ndarray:
        """The rest, (channels, m), up to the exact length."""
        missing = resampled_length(self._taken, self.rate_in, self.rate_out) - self._given
        if self._stream is None or missing <= 0:
            return np.zeros((self.channels, 0), np.float32)
        rest = self._run(np.zeros((self.channels, 0), np.float32), last=True)[:, :missing]
        return np.pad(rest, ((0, 0), (0, missing - rest.shape[1])))

    def _run(self, audio: np.ndarray, last: bool) -> np.ndarray:
        assert self._stream is not None
        out: np.ndarray = self._stream.resample_chunk(np.ascontiguousarray(audio.T, np.float32), last=last)
        return out.reshape(-1, self.channels).T


def resample(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """`audio`, (channels, N) float32, at `rate_out` Hz: (channels, resampled_length(N, ...))."""
    resampler = Resampler(rate_in, rate_out, audio.shape[0])
    return np.concatenate([resampler.push(audio), resampler.finish()], axis=1)
