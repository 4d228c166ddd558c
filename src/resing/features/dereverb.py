"""A lead without the late part of its reverb, so that notes end where they end and words are clear.

Weighted prediction error (Nakatani et al., Speech dereverberation based on variance-normalized delayed linear
prediction, IEEE TASLP 18, 2010): in each bin of a short-time spectrum x, what a room adds late is predicted
from what was heard some frames before,

    y(t) = x(t) - sum over k of g_k x(t - DELAY - k),

where g minimises the sum of |y|^2 / variance(y), the filter and the variance found in turns. What prediction
leaves of the late part is then held back by a gain like Wiener's. All channels share one filter.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from resing import cache
from resing.audio import files
from resing.features.extract import open_recording

VERSION = 1
"""Counts up when the same recording comes out differently."""
WINDOW_SECONDS, OVERLAP = 0.046, 4
TAPS, DELAY, ROUNDS = 16, 3, 2
LEAST_VARIANCE = 1e-4
"""Of the mean variance: what is fainter weighs no more."""
LEFT_SHARE, LEAST_GAIN = 0.3, 0.1
"""How much of the predicted part is taken to be left after prediction, and the least kept of a bin."""
LOAD = 0.1
"""Of the mean power of a bin, added to it: a held note predicts itself, and would be taken for the room's."""
BINS = 64
"""Bins that are worked on at a time: all of them would need too much memory."""
SEGMENT_SECONDS, CONTEXT_SECONDS, FADE_SECONDS = 30.0, 1.0, 0.1


def dry_copy(
    source: Path | str,
    source_hash: str,
    part: tuple[float, float | None],
    progress: Callable[[float], object] | None = None,
) -> Path:
    """A copy of a file, or of its part between two times in seconds, without late reverb; kept in the cache.

    Args:
        source: the file.
        source_hash: SHA-256 of its bytes.
        part: first and last second; None: to its end.
        progress: told the share that is done, where the length is known.

    Raises:
        AudioError: the file cannot be read, or the copy not written.
    """
    path = cache.entry("dry", f"{cache.key(VERSION, source_hash, part)}.flac")
    if not path.exists():
        recording = open_recording(source, *part)
        last = files.probe(source).seconds or 0.0
        total = max(1.0, (min(last, part[1] or last) - max(0.0, part[0])) * recording.sample_rate)
        done = 0
        with files.AudioWriter(path, recording.sample_rate, len(recording.weights)) as writer:
            for block in dried(recording.blocks(), recording.weights, recording.sample_rate):
                writer.write(block)
                done += block.shape[1]
                if progress is not None:
                    progress(min(1.0, done / total))
        cache.trim()
    cache.used(path)
    return path


def dried(blocks: Iterable[np.ndarray], weights: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """Audio without late reverb, (channels, n) each, all in all as many samples as went in.

    Filters are found anew every half a minute and the joins faded, so memory does not grow.

    Args:
        blocks: (channels, n) float32 each.
        weights: of each channel in mono, (channels,).
        sample_rate: Hz.
    """
    lengths = (SEGMENT_SECONDS, CONTEXT_SECONDS, FADE_SECONDS)
    size, context, fade = (round(seconds * sample_rate) for seconds in lengths)
    held, skip = np.zeros((len(weights), 0), np.float32), 0
    tail = np.zeros((len(weights), 0), np.float32)
    for block in blocks:
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= skip + 2 * size:  # so that the last segment is not a short one
            dry = without_reverb(held[:, : skip + size + fade], weights, sample_rate)[:, skip:]
            yield _faded(tail, dry[:, :size])
            tail, first = dry[:, size:], max(0, skip + size - context)
            held, skip = held[:, first:], skip + size - first
    if held.shape[1] > skip:
        yield _faded(tail, without_reverb(held, weights, sample_rate)[:, skip:])


def without_reverb(audio: np.ndarray, weights: np.ndarray, sample_rate: int) -> np.ndarray:
    """Audio without late reverb, (channels, N) float32.

    Args:
        audio: (channels, N).
        weights: of each channel in mono, (channels,).
        sample_rate: Hz.
    """
    size = int(2 ** round(np.log2(WINDOW_SECONDS * sample_rate)))
    heard = np.stack([_spectrum(channel, size) for channel in audio])  # (channels, F, T)
    mono = np.tensordot(weights.astype(np.float32), heard, 1)
    for first in range(0, len(mono), BINS):
        bins = slice(first, first + BINS)
        filters = prediction(mono[bins])
        late = _predicted(mono[bins], filters)
        power, left = _smooth(mono[bins] - late), _smooth(late)
        gain = np.maximum(power / (power + LEFT_SHARE * left + 1e-20), LEAST_GAIN)
        for channel in heard:
            channel[bins] = gain * (channel[bins] - _predicted(channel[bins], filters))
    return np.stack([_sound(channel, size, audio.shape[1]) for channel in heard])


def prediction(heard: np.ndarray) -> np.ndarray:
    """Filters that predict the late part of each bin, (F, TAPS), from its frames, (F, T)."""
    dry, past = heard, _past(heard)
    for _ in range(ROUNDS):
        variance = _smooth(dry)
        weighted = past.conj() / np.maximum(variance, LEAST_VARIANCE * variance.mean() + 1e-20)[:, None]
        matrix = weighted @ past.transpose(0, 2, 1)
        load = LOAD * np.trace(matrix, axis1=1, axis2=2).real / TAPS + 1e-12
        matrix += load[:, None, None] * np.eye(TAPS, dtype=np.float32)
        filters: np.ndarray = np.linalg.solve(matrix, weighted @ heard[..., None])[..., 0]
        dry = heard - _predicted(heard, filters)
    return filters


def _past(heard: np.ndarray) -> np.ndarray:
    """What was heard DELAY frames ago and before, (F, T) -> (F, TAPS, T), without copying."""
    frames = heard.shape[1]
    early = np.pad(heard, ((0, 0), (DELAY + TAPS - 1, 0)))
    return np.lib.stride_tricks.sliding_window_view(early, frames, axis=1)[:, TAPS - 1 :: -1]


def _predicted(heard: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """The late part of each frame, (F, T)."""
    return (filters[:, None] @ _past(heard))[:, 0]


def _smooth(spectrum: np.ndarray) -> np.ndarray:
    """Power of three frames around each, (F, T)."""
    power = np.abs(np.pad(spectrum, ((0, 0), (1, 1)), mode="edge")) ** 2
    return (power[:, :-2] + power[:, 1:-1] + power[:, 2:]) / 3.0


def _window(size: int) -> np.ndarray:
    return np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32)


def _spectrum(audio: np.ndarray, size: int) -> np.ndarray:
    """Short-time spectrum of (N,), (F, T) complex64."""
    hop = size // OVERLAP
    wide = np.pad(audio.astype(np.float32), (size - hop, size))
    frames = np.lib.stride_tricks.sliding_window_view(wide, size)[::hop]
    return np.fft.rfft(frames * _window(size), axis=1).astype(np.complex64).T


def _sound(spectrum: np.ndarray, size: int, samples: int) -> np.ndarray:
    """The audio of a short-time spectrum, (samples,) float32, by overlap-add."""
    hop, frames = size // OVERLAP, spectrum.shape[1]
    pieces = np.fft.irfft(spectrum.T, size, axis=1).astype(np.float32) * _window(size)
    audio = np.zeros((frames + OVERLAP - 1) * hop, np.float32)
    for part in range(OVERLAP):
        audio[part * hop : (part + frames) * hop] += pieces[:, part * hop : (part + 1) * hop].ravel()
    return audio[size - hop : size - hop + samples] * (2.0 / OVERLAP)


def _faded(tail: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Audio into which the end of what was before it fades, (channels, n)."""
    n = min(tail.shape[1], audio.shape[1])
    rise = (np.arange(n, dtype=np.float32) + 0.5) / max(n, 1)
    return np.concatenate([rise * audio[:, :n] + (1 - rise) * tail[:, :n], audio[:, n:]], axis=1)
