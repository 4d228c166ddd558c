"""Which key a voice sings in, and what becomes of notes it cannot reach: pure functions on f0.

Pitch here is in semitones, MIDI numbers: 69 is A4, 440 Hz.
"""

import itertools
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
NEAR_COST = 0.25
"""What a note costs that the voice hardly knows: it is sung nearly as well as any (docs/log.md). One outside
its range, which has to be moved, costs 1."""
MARGIN_SEMITONES = 0.5
WELL_KNOWN_SECONDS, WELL_KNOWN_SHARE = 10.0, 0.02
"""A note is well known that the voice was heard on, within a semitone, for so many seconds or such a share of
its recordings, whichever is less."""
VIBRATO_SECONDS = 0.18
NOTE_CHANGE_SEMITONES = 0.7
SHORTEST_NOTE_SECONDS = 0.06
REST_SECONDS = 0.25
"""Silence between two notes in which an octave may be changed."""
LEAP_COST, REST_COST, BENT_COST = 3.0, 0.3, 10.0
"""What a change of octave costs within a phrase and at a rest, and a second sung a semitone beside what is
written: so many seconds sung an octave away from it."""

Policy = Literal["keep", "fold", "clamp"]
"""What becomes of notes outside a voice's range."""


@dataclass(frozen=True)
class Note:
    """A stretch of one pitch: frames start..stop and their median in semitones."""

    start: int
    stop: int
    pitch: float


@dataclass(frozen=True)
class VoiceRange:
    """What a voice can sing, in semitones.

    Attributes:
        low, high, median: lowest, highest and middle pitch.
        heard: seconds within a semitone of each MIDI number, (128,); None where nothing is known.
    """

    low: float
    high: float
    median: float
    heard: np.ndarray | None = None

    def inside(self, pitch: np.ndarray) -> np.ndarray:
        """Where a pitch lies in the range or up to a quarter tone beyond, bool (n,)."""
        return (pitch >= self.low - MARGIN_SEMITONES) & (pitch <= self.high + MARGIN_SEMITONES)

    def well_known(self, pitch: np.ndarray) -> np.ndarray:
        """Where it lies in the range on notes that the voice was heard on long enough, bool (n,)."""
        if self.heard is None:
            return self.inside(pitch)
        wanted = min(WELL_KNOWN_SECONDS, WELL_KNOWN_SHARE * float(self.heard.sum()) / 3)
        nearest = np.clip(np.round(pitch).astype(int), 0, len(self.heard) - 1)
        return self.inside(pitch) & (self.heard[nearest] >= wanted)


@dataclass(frozen=True)
class Moved:
    """A note outside the voice's range: when, which, and the note that is sung for it (the same: kept).

    Not `outside` is one that is only moved along with its phrase.
    """

    start_seconds: float
    end_seconds: float
    note: str
    sung: str
    outside: bool = True


@dataclass(frozen=True)
class RangeReport:
    """Shares of singing time before notes were moved, and the notes outside.

    Attributes:
        below, inside, above: the range; together 1.
        near: inside the range, but on notes that the voice was heard on for seconds only; part of `inside`.
        moved: the notes below and above, and those that are moved along with them.
    """

    below: float
    inside: float
    above: float
    moved: tuple[Moved, ...]
    near: float = 0.0


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
    seconds = np.zeros(130)
    for note, minutes in notes:
        seconds[note + 1] = 60.0 * minutes
    heard = seconds[:-2] + seconds[1:-1] + seconds[2:]
    return VoiceRange(float(low), float(high), float(middle), heard)


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


@dataclass(frozen=True)
class Shares:
    """Shares of singing time: `below`, `inside` and `above` the range are 1, `near` is part of `inside`."""

    below: float
    inside: float
    above: float
    near: float


def shares(notes: Sequence[Note], transpose: float, limits: VoiceRange) -> Shares:
    """How a song lies in a voice's range after a transposition by semitones; see `RangeReport`."""
    pitch = np.array([note.pitch for note in notes]) + transpose
    frames = np.array([note.stop - note.start for note in notes], dtype=np.float64)
    if not frames.sum():
        return Shares(0.0, 1.0, 0.0, 0.0)
    inside, known = limits.inside(pitch), limits.well_known(pitch)

    def share(where: np.ndarray) -> float:
        return float(frames[where].sum() / frames.sum())

    low, high = share(~inside & (pitch < limits.low)), share(~inside & (pitch > limits.high))
    return Shares(low, max(0.0, 1.0 - low - high), high, share(inside & ~known))


def auto_transpose(notes: Sequence[Note], limits: VoiceRange, octaves_only: bool = False) -> int:
    """The key for a voice, in semitones from -24 to 24.

    1. Whole octaves, since they keep the song in its key, unless another key puts more singing time inside
       the voice's range by over 3 %: then all keys.
    2. Of these, those that put as much time inside as any, where notes that the voice hardly knows count
       three quarters (within 3 % of the best).
    3. Of these, the least sum of: semitones between the middle of the song and the middle of what the voice
       sings, and a quarter of the shift itself; so a singer of about the voice's height is not moved.

    Args:
        notes: of the song; without any the key is 0.
        limits: of the voice.
        octaves_only: other keys would not fit what is played.
    """
    if not notes:
        return 0
    found = {key: shares(notes, key, limits) for key in AUTO_KEYS}
    octaves = [key for key in found if key % 12 == 0]
    most = max(lies.inside for lies in found.values())
    fitting = octaves_only or any(found[key].inside >= most - NEARLY_EQUAL_SHARE for key in octaves)
    known = {key: found[key].inside - NEAR_COST * found[key].near for key in (octaves if fitting else found)}
    good = [key for key, share in known.items() if share >= max(known.values()) - NEARLY_EQUAL_SHARE]
    middle = _middle(notes)

    def cost(key: int) -> tuple[float, int]:
        return abs(middle + key - limits.median) + SHIFT_COST * abs(key), abs(key)

    return min(good, key=cost)


def _middle(notes: Sequence[Note]) -> float:
    """Median pitch over singing time."""
    ordered = sorted((note.pitch, note.stop - note.start) for note in notes)
    passed = np.cumsum([frames for _, frames in ordered])
    return ordered[int(np.searchsorted(passed, passed[-1] / 2))][0]


def check_transpose(transpose: float | Literal["auto", "octaves"]) -> None:
    """Refuse a transposition that is no number of semitones within four octaves.

    Raises:
        ConfigError: it is infinite, not a number, or too large.
    """
    if not isinstance(transpose, str) and not (
        math.isfinite(transpose) and abs(transpose) <= LARGEST_TRANSPOSE
    ):
        raise ConfigError(
            f"transpose: got {transpose}, expected auto or semitones from -{LARGEST_TRANSPOSE} to "
            f"{LARGEST_TRANSPOSE}; choose for example --transpose -12"
        )


def sing_in_range(
    f0: np.ndarray,
    notes: Sequence[Note],
    transpose: float,
    limits: VoiceRange,
    policy: Policy,
    frame_rate: float,
    start_seconds: float = 0.0,
) -> tuple[np.ndarray, RangeReport]:
    """The melody in its new key with notes outside the range moved into it, and a report of them.

    `fold` moves notes by whole octaves, and their phrase with them where that is better than a leap in the
    middle of it; `clamp` moves a note to the nearest limit, as `fold` does where no octave fits or the note
    is but a touch of the next semitone; `keep` sings it as it is. Vibrato and slides within a note are kept;
    no note is dropped.

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
    pitches = np.array([note.pitch for note in notes]) + transpose
    octaves = _octaves(notes, pitches, limits, frame_rate) if policy == "fold" else [0] * len(notes)
    moved = []
    for note, pitch, octave in zip(notes, pitches.tolist(), octaves, strict=True):
        outside, aim = not limits.inside(np.array(pitch)), pitch + 12.0 * octave
        if policy != "keep" and not limits.inside(np.array(aim)):
            aim = limits.low if aim < limits.low else limits.high
        if not outside and not octave:
            continue
        shift[note.start : note.stop] += aim - pitch
        begin, end = (round(start_seconds + edge / frame_rate, 3) for edge in (note.start, note.stop))
        moved.append(Moved(begin, end, note_name(pitch), note_name(aim), outside))
    sung = (f0 * 2.0 ** (shift / 12.0)).astype(np.float32)
    lies = shares(notes, transpose, limits)
    below, inside, above, near = (round(x, 4) for x in (lies.below, lies.inside, lies.above, lies.near))
    return sung, RangeReport(below, inside, above, tuple(moved), near)


def _octaves(notes: Sequence[Note], pitches: np.ndarray, limits: VoiceRange, frame_rate: float) -> list[int]:
    """By how many octaves each note is moved: the cheapest way through the song (Viterbi).

    Args:
        notes: of the song.
        pitches: theirs in its new key, in semitones.
        limits: of the voice.
        frame_rate: frames per second.
    """
    nearest = np.clip(pitches, limits.low, limits.high)
    needed = np.sign(nearest - pitches) * np.ceil((abs(pitches - nearest) - MARGIN_SEMITONES) / 12.0)
    choices = np.unique(np.append(needed, 0.0))  # (C,)
    if len(choices) == 1:
        return [0] * len(notes)
    seconds = np.array([note.stop - note.start for note in notes]) / frame_rate
    rests = np.array([b.start - a.stop for a, b in itertools.pairwise(notes)]) / frame_rate
    moved = pitches[:, None] + 12.0 * choices  # (notes, C)
    bent = np.where(limits.inside(moved), 0.0, abs(moved - np.clip(moved, limits.low, limits.high)))
    costs = seconds[:, None] * (abs(choices) + BENT_COST * bent)
    total, came = costs[0], []
    for cost, rest in zip(costs[1:], rests, strict=True):
        leap = (REST_COST if rest >= REST_SECONDS else LEAP_COST) * (choices[:, None] != choices)
        came.append((total[:, None] + leap).argmin(0))
        total = (total[:, None] + leap).min(0) + cost
    path = [int(total.argmin())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return [int(choices[c]) for c in reversed(path)]
