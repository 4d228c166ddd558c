"""What is in a lead besides its one note: a second voice, or a long reverb.

A voice that sings one note in a dry room is periodic, and falls silent fast. So the note is taken out of
each frame (the signal minus itself one period earlier, a comb filter), and if what is left has a period of
its own, another note sounds too. And where no level ever falls steeply, a room is ringing.
"""

import numpy as np

from resing.features.f0 import SWIFT_HOP, SWIFT_RATE
from resing.features.melody_tracking import (
    WINDOW,
    Doubt,
    normalised_autocorrelation,
    smoothed,
    spans,
)

LONGEST_PERIOD = 320
"""Samples: 50 Hz at 16 kHz."""
SHORTEST_PERIOD = 16
OWN_PERIOD = 0.12
"""Periods this near a multiple of the note's own are not another note."""
LEFT_SHARE, LEFT_STRENGTH = 0.03, 0.8
STEADY_SEMITONES = 0.6
"""A note that moves further within 64 ms is not taken out well enough to hear what is left."""
STEADY_FRAMES = 250
"""Steady frames (4 s) over which frames with another note are counted, and the share that is too many."""
TOO_MANY = 0.07
SEVERAL = "several notes at once"
FALL_FRAMES = 4
LOUD_DB = 40.0
STEEPEST_PERCENT = 2.0
LONG_REVERB_DB = -9.5
"""In a dry recording the steepest falls within 64 ms are deeper than this."""


def left_over(audio: np.ndarray, hz: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """What is left of each of the tracker's frames without its note.

    Args:
        audio: mono samples at 16 kHz, (N,); frame i is centred on sample 256 i.
        hz: the note, (F,).
        voiced: frames that are sung, bool (F,).

    Returns:
        (3, F) float32: share of the energy that is left, strength of its own period (`second_opinion`), both
        0 where not sung, and level of the frame in dB.
    """
    left = np.zeros((3, len(hz)), np.float32)
    left[0, voiced], left[1, voiced] = _without_note(smoothed(audio), np.flatnonzero(voiced), hz[voiced])
    near = np.pad(audio, (SWIFT_HOP, SWIFT_HOP * len(hz) + SWIFT_HOP))
    short = np.lib.stride_tricks.sliding_window_view(near, 2 * SWIFT_HOP)[::SWIFT_HOP][: len(hz)]
    left[2] = 10 * np.log10(np.square(short, dtype=np.float64).mean(axis=1) + 1e-10)
    return left


def _without_note(audio: np.ndarray, frames: np.ndarray, hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share and strength, see `left_over`, of the given frames and their notes, (V,) each."""
    padded = np.pad(audio, (WINDOW, 2 * WINDOW))
    place = frames[:, None] * SWIFT_HOP + WINDOW // 2 + np.arange(WINDOW)[None]
    period = np.clip(SWIFT_RATE / np.maximum(hz, 1.0), 2, LONGEST_PERIOD)[:, None]
    earlier = place - np.ceil(period).astype(int)
    weight = (np.ceil(period) - period).astype(np.float32)
    sound = padded[place]
    left = sound - (1 - weight) * padded[earlier] - weight * padded[earlier + 1]
    energy = np.square(sound, dtype=np.float64).sum(axis=1)
    share = np.square(left, dtype=np.float64).sum(axis=1) / (energy + 1e-9)
    correlation = normalised_autocorrelation(left, LONGEST_PERIOD + 1)
    lag = np.arange(LONGEST_PERIOD + 1)[None]
    periods = lag / period
    other = (np.abs(periods - np.round(periods)) > OWN_PERIOD) & (lag >= SHORTEST_PERIOD)
    other &= np.minimum.accumulate(correlation, axis=1) < 0
    return share, np.where(other, correlation, 0.0).max(axis=1)


def several_notes(left: np.ndarray, hz: np.ndarray, voiced: np.ndarray) -> tuple[Doubt, ...]:
    """Stretches with another note than the lead's, as doubts.

    Args:
        left: `left_over`, (3, F).
        hz: the note, (F,).
        voiced: frames that are sung, bool (F,).
    """
    frames = np.flatnonzero(voiced & _steady(hz))
    if not len(frames):
        return ()
    other = ((left[0] > LEFT_SHARE) & (left[1] > LEFT_STRENGTH))[frames]
    width = min(STEADY_FRAMES, len(frames))
    passed = np.concatenate([[0.0], np.cumsum(other)])
    crowded = (passed[width:] - passed[:-width]) / width > TOO_MANY
    covered = np.convolve(crowded, np.ones(width))[: len(frames)] > 0
    where = np.zeros(len(voiced), bool)
    where[frames[other & covered]] = True
    return tuple(spans(where, SEVERAL))


def _steady(hz: np.ndarray) -> np.ndarray:
    """Frames whose note hardly moves within two frames to each side, bool (F,)."""
    pitch = np.pad(12 * np.log2(np.maximum(hz, 1.0)), 2, mode="edge")
    far, near = pitch[4:] - pitch[:-4], pitch[3:-1] - pitch[1:-3]
    return np.maximum(np.abs(far), 1.5 * np.abs(near)) < STEADY_SEMITONES


def steepest_fall(left: np.ndarray) -> float:
    """How fast the level falls where it falls fastest, in dB within 64 ms; nearer to 0, a room rings on.

    The figure is the lowest 2 % of all changes that start within 40 dB of the loudest frame.

    Args:
        left: `left_over`, (3, F).
    """
    level = left[2]
    if len(level) <= FALL_FRAMES:
        return float("-inf")
    change = (level[FALL_FRAMES:] - level[:-FALL_FRAMES])[level[:-FALL_FRAMES] > level.max() - LOUD_DB]
    return float(np.percentile(change, STEEPEST_PERCENT))
