"""Damage that is heard as such, and where: each detector gives a figure and places.

Pure functions over mono audio (N,), source and output each at its own rate, and over what a tracker heard.
Every detector is tried on injected damage and on harmless changes: benchmarks/damage.py and alarms.py.
"""

import math
from dataclasses import dataclass

import numpy as np

from resing.scoring import metrics, seams
from resing.scoring.melody import FRAME_SECONDS, octave_places, voicing_places
from resing.scoring.places import Place, around, longest, places, runs
from resing.scoring.seams import clicks, dips, held_notes, jumps, steps
from resing.scoring.timing import timing_places

__all__ = [
    "LIMITS",
    "Place",
    "Reference",
    "clicks",
    "clipped_places",
    "dips",
    "dull_places",
    "held_notes",
    "jumps",
    "missing_places",
    "noise_places",
    "octave_places",
    "steps",
    "timing_places",
    "tone_places",
    "voicing_places",
]

LEVEL_SECONDS = metrics.LEVEL_SECONDS
ROOM_DB = -12.0  # what a light room leaves of a sound once it ends
ROOM_DB_PER_SECOND = 180.0  # and how fast that dies away: a third of a second to -60 dB
QUIETEST_LIMIT_DB = -45.0
PAUSE_DB = -50.0
DULL_DB = -12.0
PHRASE_SECONDS = 1.5
MOMENT_SECONDS = 0.3  # over which the tone of a place is averaged

LIMITS: dict[str, tuple[float, float]] = {  # lowest and highest reading that needs no look
    "hnr_db_change": (-2.5, math.inf),
    "hnr_high_db_change": (-2.5, math.inf),
    "cpp_ratio": (0.8, 1.5),
    "worst_band_db": (DULL_DB, math.inf),
    "clipped_runs": (-math.inf, 0.0),
    "length_difference_samples": (0.0, 0.0),
    "lag_ms": (-10.0, 10.0),
    "part_lag_ms": (-20.0, 20.0),
    "clicks_ratio": (-math.inf, 1.5),
    "dips_db": (-math.inf, 3.0),
    "steps_db": (-math.inf, seams.STEP_DB),
    "jumps_share": (-math.inf, seams.JUMP_SHARE),
    "missing_seconds": (-math.inf, 0.1),
}


@dataclass(frozen=True)
class Reference:
    """What the target's own recordings sound like; without them the source stands in.

    Attributes:
        spectrum: frequencies in Hz and power density, as `long_term_spectrum` gives.
        bandwidth_hz: their real band.
    """

    spectrum: tuple[np.ndarray, np.ndarray]
    bandwidth_hz: float


def room_tail(levels: np.ndarray) -> np.ndarray:
    """Level in dB that a light room may leave of `levels`, both every 10 ms, (T,)."""
    fall = ROOM_DB_PER_SECOND * LEVEL_SECONDS * np.arange(len(levels))
    tail: np.ndarray = np.maximum.accumulate(levels + fall) - fall + ROOM_DB
    return tail


def pauses(relative_db: np.ndarray) -> np.ndarray:
    """The inside of real pauses: 150 ms or more without 50 ms at both ends, bool (T,).

    A pause is 50 dB under the singing, or within 10 dB of what is softest where there is hiss, but 40 dB
    under it at least: a note that dies away is none.

    Args:
        relative_db: level of each 10 ms of the source over its active level, (T,).
    """
    softest = float(np.percentile(relative_db, 5)) + 10.0
    silent = relative_db < min(metrics.SILENT_DB, max(softest, PAUSE_DB))
    inner, edge = np.zeros(len(relative_db), bool), round(0.05 / LEVEL_SECONDS)
    for start, end in runs(silent):
        if end - start >= round(metrics.SILENCE_SECONDS / LEVEL_SECONDS):
            inner[start + edge : end - edge] = True
    return inner


def noise_places(
    source: np.ndarray, output: np.ndarray, rates: tuple[int, int]
) -> tuple[float | None, list[Place]]:
    """By how many dB the output's pauses are louder than they may be, and where they are; strength: dB.

    They may be 45 dB under the singing, or 6 dB over the source's own pauses. What a light room leaves there
    of the last note is no noise. The figure is of the mean power of all but the loudest fifth, in which
    another voice may breathe; None where the source has no pause.
    """
    levels = [metrics.frame_levels(audio, rate) for audio, rate in zip((source, output), rates, strict=True)]
    n = min(len(levels[0]), len(levels[1]))
    relative = [level[:n] - metrics.active_level(level) for level in levels]
    inner = pauses(relative[0]) if n else np.zeros(0, bool)
    if not inner.any():
        return None, []
    own = float(metrics.decibels(float(np.mean(10.0 ** (relative[0][inner] / 10.0)))))
    allowed = max(QUIETEST_LIMIT_DB, own + 6.0)
    counted = inner & (room_tail(relative[0]) < relative[1])
    power = np.sort(np.where(counted, 10.0 ** (relative[1] / 10.0), 0.0)[inner])
    figure = float(metrics.decibels(float(power[: max(1, math.ceil(0.8 * len(power)))].mean()))) - allowed
    over = np.where(counted, relative[1] - allowed, 0.0)
    return figure, longest(places(over > 0.0, over, LEVEL_SECONDS, 0.05), 0.05)


def missing_places(
    source: np.ndarray, output: np.ndarray, rates: tuple[int, int], shortest_seconds: float = 0.1
) -> tuple[float, list[Place]]:
    """Seconds that the source sings and the output does not, and where; strength: how long in seconds.

    There the source is within 25 dB of its active level, 20 ms around too, and the output 40 dB under its
    own.
    """
    levels = [metrics.frame_levels(audio, rate) for audio, rate in zip((source, output), rates, strict=True)]
    n = len(levels[0])
    output_levels = np.pad(levels[1], (0, max(0, n - len(levels[1]))), constant_values=metrics.EMPTY_DB)[:n]
    sung = levels[0] > metrics.active_level(levels[0]) - 25.0
    steady = ~around(~sung, round(0.02 / LEVEL_SECONDS))
    gone = steady & (output_levels < metrics.active_level(levels[1]) + metrics.SILENT_DB)
    found = longest(places(gone, gone, LEVEL_SECONDS, 0.05), shortest_seconds)
    lengths = [end - start for start, end, _ in found]
    return float(sum(lengths)), [(start, end, end - start) for start, end, _ in found]


def clipped_places(
    audio: np.ndarray, sample_rate: int, source: np.ndarray, shortest: int = 3
) -> tuple[int, list[Place]]:
    """Flat tops more than the source has (see `clipped_runs`), and where they are; strength: samples."""
    more = metrics.clipped_runs(audio, shortest) - metrics.clipped_runs(source, shortest)
    if more <= 0:
        return 0, []
    peak = float(np.max(np.abs(audio)))
    top = np.abs(audio) >= peak * (1.0 - 2e-5)
    flat = np.zeros(len(audio))
    for start, end in runs(top):
        if end - start >= shortest:
            flat[start:end] = end - start
    return more, places(flat > 0, flat, 1.0 / sample_rate, 0.1)


def dull_places(
    source: np.ndarray,
    output: np.ndarray,
    rates: tuple[int, int],
    reference: Reference | None = None,
) -> tuple[float, list[Place]]:
    """The worst third octave from 4 to 16 kHz in dB against the reference (see `worst_deficit`), and where.

    A place of 1.5 s is dull if it lacks 12 dB against the reference and against the source at that time: a
    dark vowel is none. Strength: what it lacks in dB.
    """
    whole = metrics.long_term_spectrum(source, rates[0])
    wanted = reference or Reference(whole, metrics.bandwidth(*whole))
    figure = metrics.worst_deficit(
        metrics.long_term_spectrum(output, rates[1]), wanted.spectrum, wanted.bandwidth_hz
    )[0]
    step = PHRASE_SECONDS / 3.0
    moments = max(1, math.ceil(len(output) / rates[1] / step) - 2)
    active = metrics.active_samples(source, rates[0])
    lacks = np.zeros(moments + 2)
    own_band = metrics.bandwidth(*whole)
    for moment in range(moments):
        parts = [
            audio[round(moment * step * rate) : round((moment * step + PHRASE_SECONDS) * rate)]
            for audio, rate in ((source, rates[0]), (output, rates[1]), (active, rates[0]))
        ]
        if not len(parts[0]) or not len(parts[1]) or parts[2].mean() < 0.5:
            continue
        spectra = [metrics.long_term_spectrum(p, rate) for p, rate in zip(parts[:2], rates, strict=True)]
        here = max(
            metrics.worst_deficit(spectra[1], spectra[0], min(own_band, wanted.bandwidth_hz))[0],
            metrics.worst_deficit(spectra[1], wanted.spectrum, wanted.bandwidth_hz)[0],
        )
        lacks[moment : moment + 3] = np.maximum(lacks[moment : moment + 3], -here)
    return figure, places(lacks >= -DULL_DB, lacks, step, step)


def tone_places(change_db: np.ndarray, limit_db: float, step_seconds: float = FRAME_SECONDS) -> list[Place]:
    """Where a change of tone stays beyond a limit over 0.3 s; strength: the mean change's size in dB.

    Args:
        change_db: output minus what is expected at the tracker's frames, NaN where nothing is known, (T,): of
            `hnr` for breath and noise, of `cpp` for a rough or (limit above 0) a buzzing tone.
        limit_db: below 0: at least so far down; above 0: so far up.
    """
    known = ~np.isnan(change_db)
    size = round(MOMENT_SECONDS / step_seconds)
    if len(change_db) < size:
        return []
    sums, counts = (
        np.convolve(x, np.ones(size), mode="same") for x in (np.where(known, change_db, 0.0), known * 1.0)
    )
    mean = np.where(counts >= size / 2, sums / np.maximum(counts, 1.0), 0.0)
    beyond = mean <= limit_db if limit_db < 0 else mean >= limit_db
    return longest(places(beyond & known, np.abs(mean), step_seconds, 0.15), 0.1)
