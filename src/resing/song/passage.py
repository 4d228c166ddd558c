"""Which seconds of a song show best what a conversion will sound like."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from resing.audio import files
from resing.separation import Separator
from resing.song.stems import stems_of

PREVIEW_SECONDS = 15.0
CANDIDATES = 3
"""Passages that are separated to hear in which of them the voice is loudest."""
RATE = 16000
VOICE_BAND_HZ = 200.0, 4000.0


def loudest_sung(
    source: Path,
    separator: Separator | None,
    seconds: float = PREVIEW_SECONDS,
    progress: Callable[[float], object] | None = None,
) -> tuple[float, float]:
    """Start and end, in seconds, of the passage where the singing is loudest; only a few are separated.

    Where the mono mix is loud between 200 and 4,000 Hz somebody probably sings: the loudest such passages are
    separated, and the loudest vocals win. What was separated is kept for the singing.

    Args:
        source: the song.
        separator: tells the singing from the rest; None: nothing else is in the source.
        seconds: length of the passage; a shorter song is one passage.
        progress: told the share that is done.

    Raises:
        AudioError: the song cannot be read.
    """
    power = np.concatenate([_band_power(block) for block in files.read_blocks(source, RATE, True)])
    length = round(seconds)
    if len(power) <= length:
        return 0.0, float(len(power))
    starts = _apart(np.convolve(power, np.ones(length), "valid"), length)
    parts = [(float(start), float(start + length)) for start in starts]
    if separator is None:
        return parts[0]
    loudness = []
    for number, part in enumerate(parts, 1):
        vocals = stems_of(source, separator, part).lead
        loudness.append(sum(float(np.square(block).sum()) for block in files.read_blocks(vocals, RATE)))
        if progress is not None:
            progress(number / len(parts))
    return parts[int(np.argmax(loudness))]


def _band_power(block: np.ndarray) -> np.ndarray:
    """Power between the edges of VOICE_BAND_HZ in each second of mono samples (1, n) at RATE."""
    whole = -(-block.shape[1] // RATE) * RATE
    seconds = np.pad(block[0], (0, whole - block.shape[1])).reshape(-1, RATE)
    spectrum = np.abs(np.fft.rfft(seconds, axis=1)) ** 2  # one bin a hertz
    low, high = (round(edge) for edge in VOICE_BAND_HZ)
    return np.asarray(spectrum[:, low:high].sum(1))


def _apart(power: np.ndarray, length: int) -> list[int]:
    """Places of the largest values, none nearer than `length` to a larger one."""
    chosen: list[int] = []
    for place in np.argsort(-power, kind="stable").tolist():
        if all(abs(place - other) >= length for other in chosen):
            chosen.append(place)
        if len(chosen) == CANDIDATES:
            break
    return chosen
