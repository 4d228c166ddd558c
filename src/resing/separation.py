"""A song taken apart: vocals and accompaniment, which sum to the mix sample by sample.

A separator hears one window at a time. Windows lie on a fixed grid of whole seconds from the song's start and
are cross-faded where they overlap, so the result does not depend on blocks or on the part asked for, and
memory does not grow with the song. The accompaniment is the mix less the vocals, at the song's own rate and
in its channels: nothing of the song is lost or filtered, whatever the separator hears.
"""

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from resing.audio import decoding, files
from resing.audio.resampling import Resampler
from resing.errors import AudioError
from resing.separation_unet import embedded

STEPS = 2**23  # of 24-bit audio in the unit: both parts are whole numbers of them, so that their sum is exact
LEAD_SECONDS = 0.1  # more than a resampler's reach
FADE_MARGIN = 0.25  # share of an overlap at each side that only the other window decides
ENERGY_FLOOR = 1e-12


class Separator(Protocol):
    """What finds the vocals in a window of stereo audio.

    Attributes:
        separator_id: short name and hash.
        sample_rate: Hz of what it hears.
        window_samples: length of a window.
        hop_seconds: whole seconds from one window to the next; more than half of a window, so that at most
            two overlap.
    """

    separator_id: str
    sample_rate: int
    window_samples: int
    hop_seconds: int

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """The vocals of `audio`, both (2, window_samples) float32."""
        ...


@dataclass(frozen=True)
class Separation:
    """What was taken apart, and into what.

    Attributes:
        vocals: file of the vocals.
        accompaniment: file of everything else; with the vocals it sums to the mix.
        separator_id: what separated them.
        sample_rate: Hz, the song's own.
        channels: the song's own.
        seconds: length of each file.
        accompaniment_db: level of the accompaniment over that of the vocals.
    """

    vocals: Path
    accompaniment: Path
    separator_id: str
    sample_rate: int
    channels: int
    seconds: float
    accompaniment_db: float


def separate(
    source: str | os.PathLike[str],
    vocals: str | os.PathLike[str],
    accompaniment: str | os.PathLike[str],
    separator: Separator | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    progress: Callable[[str, float, float], object] | None = None,
) -> Separation:
    """Write the vocals and the accompaniment of a song, at its own rate and in its channels.

    In wav and flac both have 24 bits and sum to the mix (rounded to 24 bits if it has more) exactly.

    Args:
        source: an audio file, mono or stereo, or a video with sound.
        vocals: the file to write the vocals to.
        accompaniment: the file to write everything else to.
        separator: by default the one that ships.
        start_seconds: where to begin; a part is the same as that part of the whole.
        end_seconds: where to end; None or past the end means the song's end.
        progress: told the stage, the seconds done and how many there are.

    Raises:
        AudioError: the source cannot be read or has more than two channels, or a file cannot be written.
    """
    separator, path = separator or embedded(), Path(source)
    out = [files.check_output(path, name) for name in (vocals, accompaniment)]
    if out[0].absolute() == out[1].absolute():
        raise AudioError(f"{out[0]}: is to hold both the vocals and the accompaniment; give them two names")
    rate, channels = _rate_and_channels(path)
    total = _seconds(path, start_seconds, end_seconds)
    energies, samples = np.zeros(2), 0
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(files.AudioWriter(name, rate, channels)) for name in out]
        for parts in separated(path, separator, start_seconds, end_seconds):
            for index, (writer, audio) in enumerate(zip(writers, parts, strict=True)):
                writer.write(audio)
                energies[index] += np.sum(audio.astype(np.float64) ** 2)
            samples += parts[0].shape[1]
            if progress:
                progress("separate", samples / rate, max(total, samples / rate))
    below = float(_db(energies[1]) - _db(energies[0]))
    return Separation(out[0], out[1], separator.separator_id, rate, channels, samples / rate, below)


def separated(
    source: str | os.PathLike[str],
    separator: Separator | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vocals and accompaniment block by block, each (channels, n) float32, at the song's own rate.

    Both are whole numbers of 2^-23 in [-1, 1), and their sum is the mix, rounded to such a number, exactly.

    Raises:
        AudioError: see `separate`.
    """
    separator, path = separator or embedded(), Path(source)
    rate, channels = _rate_and_channels(path)
    vocals = _vocals_at(path, separator, (start_seconds, end_seconds), rate, channels)
    held = np.zeros((channels, 0), np.float32)
    hop = float(separator.hop_seconds)
    with contextlib.closing(vocals):
        for mix in files.read_blocks(path, rate, False, start_seconds, end_seconds, hop):
            size = mix.shape[1]
            while held.shape[1] < size and (more := next(vocals, None)) is not None:
                held = np.concatenate([held, more], axis=1)
            # Two changes of the rate may lose a sample at the song's end.
            held = np.pad(held, ((0, 0), (0, max(0, size - held.shape[1]))))
            yield _exact(mix, held[:, :size])
            held = held[:, size:]


def _exact(mix: np.ndarray, vocals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vocals and accompaniment on the grid of 24-bit audio and within its range, summing to the mix."""
    highest = np.float32(1.0 - 1.0 / STEPS)
    mix, vocals = (np.round(audio * np.float32(STEPS)) / np.float32(STEPS) for audio in (mix, vocals))
    lowest_there, highest_there = np.maximum(-1, mix - highest), np.minimum(highest, mix + 1)
    vocals = np.minimum(np.maximum(vocals, lowest_there), highest_there).astype(np.float32)
    return vocals, (mix - vocals).astype(np.float32)


def _vocals_at(
    path: Path, separator: Separator, part: tuple[float, float | None], rate: int, channels: int
) -> Generator[np.ndarray, None, None]:
    """The part's vocals at `rate` Hz, (channels, n).

    Begins to listen at the window that is heard in the part's first sample, which is at a whole second: there
    a change of the rate has the phase that it has when it begins at the song's start.
    """
    (start, end), hop = part, separator.hop_seconds
    overlap = separator.window_samples / separator.sample_rate - hop
    first = max(0, math.floor((start - overlap - LEAD_SECONDS) / hop)) * hop
    last = None if end is None else (math.ceil((end + LEAD_SECONDS) / hop) + 1) * hop
    mix = files.read_blocks(path, separator.sample_rate, False, first, last, hop)
    skipped = round(start * rate) - first * rate
    for audio in _resampled(_joined(mix, separator), separator.sample_rate, rate, channels):
        yield audio[:, min(skipped, audio.shape[1]) :]
        skipped -= min(skipped, audio.shape[1])


def _resampled(
    blocks: Iterator[np.ndarray], rate_in: int, rate_out: int, channels: int
) -> Iterator[np.ndarray]:
    """Stereo blocks at another rate, as mono if there is one channel."""
    resampler = Resampler(rate_in, rate_out, channels)
    for block in blocks:
        yield resampler.push(block.mean(axis=0, keepdims=True) if channels == 1 else block)
    yield resampler.finish()


def _joined(blocks: Iterator[np.ndarray], separator: Separator) -> Iterator[np.ndarray]:
    """Vocals of a song in blocks of `hop_seconds`, cross-faded, block for block, (2, n)."""
    hop = separator.hop_seconds * separator.sample_rate
    overlap = separator.window_samples - hop
    rise = _rise(overlap)
    tail: np.ndarray | None = None
    for audio, size in windows(blocks, separator.window_samples):
        vocals = separator(audio) if audio.any() else np.zeros_like(audio)
        if tail is not None:
            vocals[:, :overlap] = tail + rise * (vocals[:, :overlap] - tail)
        tail = vocals[:, hop:].copy()
        yield vocals[:, :size]


def windows(blocks: Iterator[np.ndarray], window: int) -> Iterator[tuple[np.ndarray, int]]:
    """Each block as stereo, with the next one and silence filling it up to `window`, and its own length."""
    ahead = itertools.chain(blocks, [None])
    block = next(ahead)
    while block is not None:
        following = next(ahead)
        audio = block if following is None else np.concatenate([block, following], axis=1)
        audio = audio[:, :window]
        padded = np.pad(audio, ((0, 0), (0, window - audio.shape[1])))
        yield np.repeat(padded, 2 // len(padded), axis=0), block.shape[1]
        block = following


def _rise(overlap: int) -> np.ndarray:
    """Weight of the later window in an overlap, (overlap,): 0, a straight line, 1."""
    position = (np.arange(overlap) + 0.5) / max(overlap, 1)
    return np.clip((position - FADE_MARGIN) / (1 - 2 * FADE_MARGIN), 0, 1).astype(np.float32)


def _rate_and_channels(path: Path) -> tuple[int, int]:
    """What the file decodes to, which its header may not say."""
    with contextlib.closing(decoding.chunks(path)) as chunks:
        rate, chunk = next(chunks)
    if len(chunk) > 2:
        raise AudioError(
            f"{path}: has {len(chunk)} channels, expected mono or stereo; export a stereo mix of it first"
        )
    return rate, len(chunk)


def _seconds(path: Path, start: float, end: float | None) -> float:
    """How much there is to do, as far as the header knows."""
    last = min(math.inf if end is None else end, files.probe(path).seconds or math.inf)
    return max(0.0, last - start) if math.isfinite(last) else 0.0


def _db(energy: np.ndarray | float) -> np.ndarray:
    return np.asarray(10.0 * np.log10(np.asarray(energy) + ENERGY_FLOOR))
