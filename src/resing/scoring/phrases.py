"""The phrases of a song: stretches between its pauses."""

import numpy as np

from resing.scoring import metrics
from resing.scoring.clip import Clip
from resing.scoring.metrics import LEVEL_SECONDS

PAUSE_SECONDS = 0.3
SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 8.0
"""A longer stretch without a pause is parted where it is quietest."""
SMOOTH_FRAMES = 7
ROOM_DB = 10.0
"""What is no louder than this above the quietest moments is the room's noise."""
HARDLY_DB = -25.0
"""Nobody sings this far under the song's level for a whole phrase."""

Edges = tuple[float, float]


def find_phrases(clip: Clip) -> list[Edges]:
    """Start and end in seconds of each phrase of a clip, in order of time."""
    return phrases_of(clip.levels, clip.seconds)


def phrases_of(levels: np.ndarray, seconds: float) -> list[Edges]:
    """Start and end in seconds of each phrase, in order of time.

    A pause is what lies 40 dB under the singing, or near the room's own noise where that is louder.

    Args:
        levels: in dB, every LEVEL_SECONDS, (L,).
        seconds: duration.
    """
    loud = metrics.active_level(levels)
    power = np.convolve(10.0 ** (levels / 10.0), np.ones(SMOOTH_FRAMES) / SMOOTH_FRAMES, mode="same")
    smooth = metrics.decibels(power)
    room = float(np.percentile(smooth, 10)) + ROOM_DB
    sounding = smooth >= min(max(loud + metrics.SILENT_DB, room), loud + HARDLY_DB)
    for first, last in metrics.runs(~sounding):
        if (last - first) * LEVEL_SECONDS < PAUSE_SECONDS and first > 0 and last < len(sounding):
            sounding[first:last] = True
    found = []
    for first, last in metrics.runs(sounding):
        heard = np.count_nonzero(levels[first:last] >= loud + HARDLY_DB)
        if heard * LEVEL_SECONDS >= SHORTEST_SECONDS:
            found += _parted(int(first), int(last), smooth)
    return [
        (round(first * LEVEL_SECONDS, 2), round(min(last * LEVEL_SECONDS, seconds), 2))
        for first, last in found
    ]


def _parted(first: int, last: int, smooth: np.ndarray) -> list[tuple[int, int]]:
    """A stretch of level frames cut at its quietest frames, none too near an end, until no part is long."""
    if (last - first) * LEVEL_SECONDS <= LONGEST_SECONDS:
        return [(first, last)]
    margin = (last - first) // 4
    cut = first + margin + int(np.argmin(smooth[first + margin : last - margin]))
    return _parted(first, cut, smooth) + _parted(cut, last, smooth)
