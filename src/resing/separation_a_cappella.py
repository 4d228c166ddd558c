"""Whether a file holds a voice alone, found without separating all of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resing.audio import files
from resing.audio.slicing import frame_level_db
from resing.separation import ENERGY_FLOOR, Separator, windows
from resing.separation_unet import embedded

WINDOWS = 3
QUIET_DB = -30.0  # a window this far below the loudest says nothing
LEVEL_SECONDS = 0.05
RESIDUE_DB = -14.0  # of a voice alone, less than this share goes to the accompaniment
PAUSE_PERCENTILE = 10.0
PAUSE_DB = -34.0  # or it falls silent where the voice rests: so far below the mix, a tenth of the time


def is_a_cappella(path: str | os.PathLike[str], separator: Separator | None = None) -> bool:
    """Whether a file is a voice alone, so that there is nothing to separate; see `a_cappella_margin_db`."""
    return a_cappella_margin_db(path, separator) > 0


def a_cappella_margin_db(path: str | os.PathLike[str], separator: Separator | None = None) -> float:
    """How clearly a file is a voice alone, in dB: above 0 if it is, -inf for a silent file.

    Separates the loudest window of each third of the file. In every one of them (but those near silence) a
    voice alone leaves either very little in the accompaniment, or an accompaniment that rests when the voice
    rests: a separator may take a held, straight tone for an instrument, but an instrument that plays along
    seldom stops with the voice.

    Args:
        path: an audio file, mono or stereo.
        separator: by default the one that ships, which the limits are measured with.

    Raises:
        AudioError: the file cannot be read.
    """
    separator = separator or embedded()
    levels = [float(np.sum(block.astype(np.float64) ** 2)) for block in _blocks(Path(path), separator)]
    thirds = np.array_split(np.arange(len(levels)), min(WINDOWS, len(levels)))
    chosen = [int(third[np.argmax([levels[i] for i in third])]) for third in thirds]
    loudest = max(levels)
    chosen = [i for i in chosen if levels[i] > loudest * 10 ** (QUIET_DB / 10)]
    heard = windows(_blocks(Path(path), separator), separator.window_samples)
    return min(
        (_margin_db(audio, size, separator) for i, (audio, size) in enumerate(heard) if i in chosen),
        default=-np.inf,
    )


def _blocks(path: Path, separator: Separator) -> Iterator[np.ndarray]:
    return files.read_blocks(path, separator.sample_rate, False, block_seconds=float(separator.hop_seconds))


def _margin_db(audio: np.ndarray, size: int, separator: Separator) -> float:
    """By how much one window, of which `size` samples are its own, is a voice alone."""
    vocals, mix = separator(audio)[:, :size], audio[:, :size]
    rest = mix - vocals
    residue_db = _level_db(rest) - _level_db(vocals)
    frames_db = frame_level_db(
        np.sqrt(np.mean(rest**2, axis=0)), round(LEVEL_SECONDS * separator.sample_rate)
    )
    pauses_db = float(np.percentile(frames_db, PAUSE_PERCENTILE)) - _level_db(mix)
    return max(RESIDUE_DB - residue_db, PAUSE_DB - pauses_db)


def _level_db(audio: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(audio.astype(np.float64) ** 2) + ENERGY_FLOOR))
