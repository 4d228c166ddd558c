"""Long filters over audio that comes in blocks: no delay, no seam, the same samples whatever the blocks."""

from collections.abc import Iterable, Iterator

import numpy as np

SMALLEST_FFT = 32768
SILENT = 1e-10  # rounding of the transform; a silent stretch stays exactly 0


class Filter:
    """Streaming convolution by overlap-save in blocks of its own size (Oppenheim and Schafer 1975, 3.8).

    Args:
        response: taps, (channels, taps); one channel of audio is spread to all channels of the response, or
            audio of as many channels is filtered channel by channel.
        early: taps before time 0; the output has no delay.
    """

    def __init__(self, response: np.ndarray, early: int = 0) -> None:
        if response.ndim != 2 or not 0 <= early < response.shape[1]:
            raise ValueError(f"expected taps (channels, n > {early}), got {response.shape}")
        self._taps = response.shape[1]
        self._size = max(SMALLEST_FFT, 1 << (2 * self._taps - 1).bit_length())
        self._spectrum = np.fft.rfft(response.astype(np.float64), self._size)
        self._step = self._size - self._taps + 1
        self._early = self._drop = early
        self._missing = 0
        self._held: np.ndarray | None = None

    def push(self, audio: np.ndarray) -> np.ndarray:
        """What is ready, (channels, m) float32, after `audio`, (1 or channels, n)."""
        if self._held is None:
            self._held = np.zeros((audio.shape[0], self._taps - 1))
        self._held = np.concatenate([self._held, audio], axis=1)
        self._missing += audio.shape[1]
        ready = [np.zeros((self._spectrum.shape[0], 0), np.float32)]
        while self._held.shape[1] >= self._size:
            ready.append(self._run(self._held[:, : self._size]))
            self._held = self._held[:, self._step :]
        out = np.concatenate(ready, axis=1)
        dropped = min(self._drop, out.shape[1])
        self._drop -= dropped
        self._missing -= out.shape[1] - dropped
        return out[:, dropped:]

    def finish(self) -> np.ndarray:
        """The rest, (channels, m): all in all as many samples as went in."""
        missing = self._missing
        channels = 1 if self._held is None else self._held.shape[0]
        return self.push(np.zeros((channels, self._step + self._early)))[:, :missing]

    def _run(self, block: np.ndarray) -> np.ndarray:
        """`_step` filtered samples from `_size` samples that begin with the ones before them."""
        out = np.fft.irfft(np.fft.rfft(block) * self._spectrum, self._size)[:, self._taps - 1 :]
        out[np.abs(out) < SILENT] = 0.0
        return out.astype(np.float32)


def filtered(blocks: Iterable[np.ndarray], by: Filter) -> Iterator[np.ndarray]:
    """Blocks through a filter, (channels, m) each."""
    for block in blocks:
        yield by.push(block)
    yield by.finish()


def regrouped(blocks: Iterable[np.ndarray], sizes: Iterable[int], channels: int) -> Iterator[np.ndarray]:
    """The samples of blocks in blocks of other sizes, (channels, size); zeros after their end.

    Args:
        blocks: audio, (channels, n) each.
        sizes: samples of each block that is wanted.
        channels: channels of the audio.
    """
    source, held = iter(blocks), np.zeros((channels, 0), np.float32)
    for size in sizes:
        parts, count = [held], held.shape[1]
        while count < size and (block := next(source, None)) is not None:
            parts.append(block)
            count += block.shape[1]
        joined = np.concatenate(parts, axis=1)
        yield np.pad(joined[:, :size], ((0, 0), (0, max(0, size - count))))
        held = joined[:, size:]


def linear_phase(gain: np.ndarray) -> np.ndarray:
    """Taps, (2 * (F - 1),), symmetric about the middle one, of a gain per frequency (window method).

    Args:
        gain: amplitude at F equally spaced frequencies from 0 to half the sample rate.
    """
    taps = 2 * (len(gain) - 1)
    return np.asarray(np.roll(np.fft.irfft(gain), taps // 2) * np.hanning(taps + 1)[:-1])
