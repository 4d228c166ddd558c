"""Which key a voice sings in, and what becomes of notes it cannot reach: pure functions on f0.

Pitch here is in semitones, MIDI numbers: 69 is A4, 440 Hz.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from resing.errors import ConfigError

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
LARGEST_TRANSPOSE = 48
AUTO_KEYS = range(-24, 25)
NEARLY_EQUAL_SHARE = 0.03
SHIFT_COST = 0.25
MARGIN_SEMITONES = 0.5
VIBRATO_SECONDS = 0.18
NOTE_CHANGE_SEMITONES = 0.7
SHORTEST_NOTE_SECONDS = 0.06


@dataclass(frozen=True)
class Note:
    """A stretch of one pitch: frames start..stop and their median in semitones."""

    start: int
    stop: int
    pitch: float


@dataclass(frozen=True)
class VoiceRange:
    """What a voice can sing: lowest, highest and middle pitch in semitones."""

    low: float
    high: float
    median: float


@dataclass(frozen=True)
class Moved:
    """A note outside the voice's range: when, which, and the note that is sung instead."""

    start_seconds: float
    end_seconds: float
    note: str
    sung: str


@dataclass(frozen=True)
class RangeReport:
    """Shares of singing time below, inside and above the range before notes were moved, and those notes."""

    below: float
    inside: float
    above: float
    moved: tuple[Moved, ...]


def hz_to_semitones(hz: np.ndarray | float) -> np.ndarray:
    """MIDI numbers, with decimals, of `hz` > 0."""
    return 69.0 + 12.0 * np.log2(np.asarray(hz, dtype=np.float64) / 440.0)


def note_name(semitones: float) -> str:
    """Name of the nearest note: 69 is A4."""
    number = round(semitones)
    return f"{NAMES[number % 12]}{number // 12 - 1}"


def voice_range(range_hz: Sequence[float], histogram: Mapping[str, float]) -> VoiceRange:
    """A voice's range from its card.

    Args:
        range_hz: lowest and highest note.
        histogram: minutes sung at each MIDI number; may be empty.
    """
    low, high = hz_to_semitones(min(range_hz)), hz_to_semitones(max(range_hz))
    notes = sorted((int(note), minutes) for note, minutes in histogram.items() if minutes > 0)
    if not notes:
        return VoiceRange(float(low), float(high), float(low + high) / 2)
    passed = np.cumsum([minutes for _, minutes in notes])
    middle = notes[int(np.searchsorted(passed, passed[-1] / 2))][0]
    return VoiceRange(float(low), float(high), float(middle))


def find_notes(f0: np.ndarray, frame_rate: float) -> list[Note]:
    """The notes of a melody: every voiced frame belongs to exactly one.

    A stretch of voiced frames is cut where its pitch, averaged over a turn of vibrato, moves more than
    0.7 semitones from where the note began to be held; pieces under 60 ms join the note before them.

    Args:
        f0: Hz, 0 where unvoiced, (T,).
        frame_rate: frames per second.
    """
    voiced = np.concatenate([[False], f0 > 0, [False]])
    edges = np.flatnonzero(voiced[1:] != voiced[:-1])
    notes = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        pitch = hz_to_semitones(f0[start:stop])
        cuts = _cuts(
            _moving_mean(pitch, round(VIBRATO_SECONDS * frame_rate)), SHORTEST_NOTE_SECONDS * frame_rate
        )
        for first, last in zip(cuts, [*cuts[1:], len(pitch)], strict=True):
            notes.append(Note(int(start) + first, int(start) + last, float(np.median(pitch[first:last]))))
    return notes


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of the `width` values around each; near the ends of the `width` that are nearest."""
    width = min(max(width, 1), len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.clip(np.arange(len(values)) - width // 2, 0, len(values) - width)
    return (sums[first + width] - sums[first]) / width


def _cuts(smooth: np.ndarray, shortest: float) -> list[int]:
    """First frames of the notes in one voiced stretch."""
    cuts, held = [0], float(smooth[0])
    for frame, pitch in enumerate(smooth.tolist()):
        if abs(pitch - held) <= NOTE_CHANGE_SEMITONES:
            continue
        held = pitch
        if frame - cuts[-1] >= shortest and len(smooth) - frame >= shortest:
            cuts.append(frame)
    return cuts


def share_inside(notes: Sequence[Note], transpose: float, limits: VoiceRange) -> tuple[float, float, float]:
    """Shares of singing time below, inside and above the range after a transposition by semitones.

    A note counts as inside up to a quarter tone beyond the limits.
    """
    pitch = np.array([note.pitch for note in notes]) + transpose
    frames = np.array([note.stop - note.start for note in notes], dtype=np.float64)
    total = frames.sum()
    if not total:
        return 0.0, 1.0, 0.0
    below = float(frames[pitch < limits.low - MARGIN_SEMITONES].sum() / total)
    above = float(frames[pitch > limits.high + MARGIN_SEMITONES].sum() / total)
    return below, max(0.0, 1.0 - below - above), above


def auto_transpose(notes: Sequence[Note], limits: VoiceRange) -> int:
    """The key for a voice, in semitones from -24 to 24.

    1. Of all keys, those that put as much singing time inside the voice's range as any (within 3 % of it).
    2. Of these, whole octaves if there are any, since they keep the song in its key.
    3. Of these, the least sum of: semitones between the middle of the song and the middle of what the voice
       sings, and a quarter of the shift itself; so a singer of about the voice's height is not moved.

    Args:
        notes: of the song; without any the key is 0.
        limits: of the voice.
    """
    if not notes:
        return 0
    shares = {key: share_inside(notes, key, limits)[1] for key in AUTO_KEYS}
    good = [key for key, share in shares.items() if share >= max(shares.values()) - NEARLY_EQUAL_SHARE]
    octaves = [key for key in good if key % 12 == 0]
    middle = _middle(notes)

    def cost(key: int) -> tuple[float, int]:
        return abs(middle + key - limits.median) + SHIFT_COST * abs(key), abs(key)

    return min(octaves or good, key=cost)


def _middle(notes: Sequence[Note]) -> float:
    """Median pitch over singing time."""
    ordered = sorted((note.pitch, note.stop - note.start) for note in notes)
    passed = np.cumsum([frames for _, frames in ordered])
    return ordered[int(np.searchsorted(passed, passed[-1] / 2))][0]


def check_transpose(transpose: float | Literal["auto"]) -> None:
    """Refuse a transposition that is no number of semitones within four octaves.

    Raises:
        ConfigError: it is infinite, not a number, or too large.
    """
    if transpose != "auto" and not (math.isfinite(transpose) and abs(transpose) <= LARGEST_TRANSPOSE):
        raise ConfigError(
            f"transpose: got {transpose}, expected auto or semitones from -{LARGEST_TRANSPOSE} to "
            f"{LARGEST_TRANSPOSE}; choose for example --transpose -12"
        )


def sing_in_range(
    f0: np.ndarray,
    notes: Sequence[Note],
    transpose: float,
    limits: VoiceRange,
    policy: Literal["fold", "clamp"],
    frame_rate: float,
    start_seconds: float = 0.0,
) -> tuple[np.ndarray, RangeReport]:
    """The melody in its new key with notes outside the range moved into it, and a report of them.

    `fold` moves a whole note by the fewest octaves that bring it inside, if it then fits; `clamp`, and a
    note that no octave fits, moves it to the nearest limit. Vibrato and slides within a note are kept; no
    note is dropped.

    Args:
        f0: Hz, 0 where unvoiced, (T,).
        notes: `find_notes` of it.
        transpose: semitones, decimals allowed.
        limits: of the voice.
        policy: what happens to notes outside.
        frame_rate: frames per second.
        start_seconds: time of the first frame in the song, for the report.
    """
    shift = np.full(len(f0), float(transpose))
    moved = []
    for note in notes:
        pitch = note.pitch + transpose
        aim = _inside(pitch, limits, policy)
        if aim == pitch:
            continue
        shift[note.start : note.stop] += aim - pitch
        begin, end = (round(start_seconds + edge / frame_rate, 3) for edge in (note.start, note.stop))
        moved.append(Moved(begin, end, note_name(pitch), note_name(aim)))
    sung = (f0 * 2.0 ** (shift / 12.0)).astype(np.float32)
    below, inside, above = share_inside(notes, transpose, limits)
    return sung, RangeReport(round(below, 4), round(inside, 4), round(above, 4), tuple(moved))


def _inside(pitch: float, limits: VoiceRange, policy: Literal["fold", "clamp"]) -> float:
    """Where a note of this pitch is sung; `pitch` itself if it is inside."""
    if limits.low - MARGIN_SEMITONES <= pitch <= limits.high + MARGIN_SEMITONES:
        return pitch
    nearest = limits.low if pitch < limits.low else limits.high
    if policy == "fold":
        octaves = math.ceil((abs(pitch - nearest) - MARGIN_SEMITONES) / 12.0)
        folded = pitch + math.copysign(12.0 * octaves, nearest - pitch)
        if limits.low - MARGIN_SEMITONES <= folded <= limits.high + MARGIN_SEMITONES:
            return folded
    return nearest
