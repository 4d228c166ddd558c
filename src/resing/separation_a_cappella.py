"""Whether a file holds a voice alone, found without separating all of it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resing.audio import files
from resing.audio.slicing import frame_level_db
from resing.separation import Separator, windows
from resing.separation_unet import embedded

WINDOWS = 3
QUIET_DB = -30.0  # a window this far below the loudest says nothing
LEVEL_SECONDS = 0.05
RESIDUE_DB = -14.5  # of a voice alone, the accompaniment gets no more than this, relative to the vocals
EDGE_DB = -50.0  # before and after the first and the last moment this loud, a window is empty
PAUSE_PERCENTILE = 5.0
PAUSE_DB = -42.0  # or a twentieth of the time it is so far below the mix: it rests with the voice
MOST_RESIDUE_DB = 3.0  # but not where most of the sound goes to it


def is_a_cappella(path: str | os.PathLike[str], separator: Separator | None = None) -> bool:
    """Whether a file is a voice alone, so that there is nothing to separate; see `a_cappella_margin_db`."""
    return a_cappella_margin_db(path, separator) > 0


def a_cappella_margin_db(path: str | os.PathLike[str], separator: Separator | None = None) -> float:
    """How clearly a file is a voice alone, in dB: above 0 if it is, -inf for a silent file.

    Separates the loudest window of each third of the file, leaving out those near silence. A voice alone
    leaves very little in the accompaniment of each, or an accompaniment that rests when the voice rests: a
    separator may take a held, straight tone for an instrument, but instruments seldom stop with the voice.

    Args:
        path: an audio file, mono or stereo.
        separator: by default the one that ships, which the limits are measured with.

    Raises:
        AudioError: the file cannot be read.
    """
    separator = separator or embedded()
    chosen = _loudest(_blocks(Path(path), separator))
    heard = windows(_blocks(Path(path), separator), separator.window_samples)
    found = [_hear(audio, size, separator) for i, (audio, size) in enumerate(heard) if i in chosen]
    if not found:
        return -math.inf
    residue_db = max(residue for residue, _ in found)
    pauses_db = float(np.percentile(np.concatenate([levels for _, levels in found]), PAUSE_PERCENTILE))
    return max(RESIDUE_DB - residue_db, min(PAUSE_DB - pauses_db, MOST_RESIDUE_DB - residue_db))


def _blocks(path: Path, separator: Separator) -> Iterator[np.ndarray]:
    return files.read_blocks(path, separator.sample_rate, False, block_seconds=float(separator.hop_seconds))


def _loudest(blocks: Iterator[np.ndarray]) -> set[int]:
    """Index of the loudest block of each third of a file, without those near silence."""
    energies = np.array([np.sum(block.astype(np.float64) ** 2) for block in blocks])
    thirds = np.array_split(np.arange(len(energies)), min(WINDOWS, len(energies)))
    chosen = (int(third[np.argmax(energies[third])]) for third in thirds)
    return {i for i in chosen if energies[i] > energies.max() * 10 ** (QUIET_DB / 10)}


def _hear(audio: np.ndarray, size: int, separator: Separator) -> tuple[float, np.ndarray]:
    """Level of a window's accompaniment over its vocals, in dB, and over the mix from moment to moment."""
    vocals, mix = separator(audio)[:, :size], audio[:, :size]
    hop = round(LEVEL_SECONDS * separator.sample_rate)
    rest_db, vocals_db, mix_db = (
        frame_level_db(np.sqrt(np.mean(x.astype(np.float64) ** 2, axis=0)), hop)
        for x in (mix - vocals, vocals, mix)
    )
    level_db = _mean_db(mix_db)
    sounding = np.flatnonzero(mix_db > level_db + EDGE_DB)
    inside = slice(sounding[0], sounding[-1] + 1)
    return _mean_db(rest_db) - _mean_db(vocals_db), rest_db[inside] - level_db


def _mean_db(levels_db: np.ndarray) -> float:
    """Mean power of levels, in dB."""
    return float(10.0 * np.log10(np.mean(10 ** (levels_db / 10))))
