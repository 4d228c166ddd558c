"""A source and its output side by side, frame by frame: the melody that was asked for and what came of it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from resing import pitch
from resing.scoring import metrics, phones
from resing.scoring.clip import HEARING_RATE, Clip, Part
from resing.scoring.metrics import CONFIDENT, FRAME_SECONDS, Pitch
from resing.scoring.phrases import Edges, find_phrases

UNIT_SECONDS = 0.02
GROSS_CENTS = 1200.0 * math.log2(1.2)
EDGE_FRAMES = 2
"""Frames at both ends of a moved note that count as neither here nor there."""

Moved = tuple[dict[str, float | str], ...]


@dataclass(frozen=True)
class Made:
    """What OUT.json tells of how an output was made.

    Attributes:
        transpose: semitones.
        part: of the source that was sung.
        moved: notes outside the voice's range, their times counted from the output's start.
        voice: name of the voice.
        source_sha256: of the source.
        mix: whether the singer was put back into a song.
    """

    transpose: float
    part: Part
    moved: Moved
    voice: str
    source_sha256: str
    mix: bool

    @classmethod
    def beside(cls, output: Path | str) -> "Made | None":
        """The record that lies beside an output; None without one that can be read."""
        try:
            record = json.loads(Path(f"{output}.json").read_text(encoding="utf-8"))
            options, moved = record["options"], record["range"]["moved"]
            part = Part(float(options["start_seconds"]), options["end_seconds"])
            notes = [_from_start(note, part.start_seconds) for note in moved]
            voice, digest = str(record["voice"]), str(record["source_sha256"])
            mix = not (record.get("song") or {}).get("a_cappella", True)
            return cls(float(record["transpose"]), part, tuple(notes), voice, digest, mix)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _from_start(note: Mapping[str, Any], start_seconds: float) -> dict[str, float | str]:
    times = {key: round(float(note[key]) - start_seconds, 3) for key in ("start_seconds", "end_seconds")}
    names = {key: str(note[key]) for key in ("note", "sung")}
    for name in names.values():
        semitones(name)
    return {**times, **names}


class Pair:
    """Source and output with the key between them; arrays have one value per tracker frame, (T,).

    Args:
        source: what was sung.
        output: what came of it.
        transpose: semitones asked for; None: the nearest whole number is read off the two melodies.
        moved: notes sung elsewhere than the key says.
    """

    def __init__(self, source: Clip, output: Clip, transpose: float | None, moved: Moved = ()) -> None:
        self.source, self.output, self.moved = source, output, moved
        self.guessed = transpose is None
        self.transpose = float(guess_transpose(source, output) if transpose is None else transpose)

    @property
    def rates(self) -> tuple[int, int]:
        """Hz of source and output."""
        return self.source.sample_rate, self.output.sample_rate

    @property
    def frames(self) -> int:
        """T: the tracker's frames of the source."""
        return min(len(self.source.swift[0]), len(self.source.active_frames))

    @cached_property
    def edges(self) -> list[Edges]:
        """The phrases, start and end in seconds."""
        return find_phrases(self.source)

    @cached_property
    def singing(self) -> np.ndarray:
        """Where the source sounds within a phrase, at HEARING_RATE, bool (N16,)."""
        inside = np.zeros(len(self.source.active), bool)
        for edge in self.edges:
            inside[frames_between(*edge, 1.0 / HEARING_RATE, len(inside))] = True
        return inside & self.source.active

    @property
    def active(self) -> np.ndarray:
        """The same at the tracker's frames, bool (T,)."""
        return self.singing[:: round(FRAME_SECONDS * HEARING_RATE)][: self.frames]

    @cached_property
    def _shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Semitones asked for, (T,), and whether that is known exactly, bool (T,)."""
        shift, known = np.full(self.frames, self.transpose), np.ones(self.frames, bool)
        for note in self.moved:
            first, last = (round(float(note[k]) / FRAME_SECONDS) for k in ("start_seconds", "end_seconds"))
            by = semitones(str(note["sung"])) - semitones(str(note["note"]))
            shift[max(0, first) : max(0, last)] += by
            inside = slice(max(0, first - EDGE_FRAMES), max(0, last + EDGE_FRAMES))
            if by % 12:  # moved to the voice's last note: by how much names do not tell
                known[inside] = False
            for edge in (first, last):
                known[max(0, edge - EDGE_FRAMES) : max(0, edge + EDGE_FRAMES)] = False
        return shift, known

    @property
    def known(self) -> np.ndarray:
        """Where it is known exactly which note was asked for, bool (T,)."""
        return self._shift[1]

    def asked(self, heard: Pitch) -> Pitch:
        """A pitch of the source moved to what the output should sing, at frames where that is known, (T,)."""
        shift, known = self._shift
        f0 = heard.f0[: self.frames] * 2.0 ** (shift / 12.0)
        return Pitch(f0.astype(np.float32), np.where(known, heard.confidence[: self.frames], 0.0))

    @cached_property
    def wanted(self) -> Pitch:
        """What the output should sing, by SwiftF0."""
        return self.asked(self.source.pitch)

    @cached_property
    def sung(self) -> Pitch:
        """What the output sings, by SwiftF0, (T,).

        Frames that it lacks count as silent, and a lone frame more than 20 % off as unsure: nobody sings a
        note of 16 ms, but the tracker slips by an octave for as long.
        """
        heard = self._fitted(self.output.pitch)
        off = self.sure & (heard.confidence >= CONFIDENT)
        ratio = np.where(off, heard.f0, 1.0) / np.where(off, self.wanted.f0, 1.0)
        off &= 1200.0 * np.abs(np.log2(ratio)) > GROSS_CENTS
        lone = off & ~np.append(off[1:], False) & ~np.append(False, off[:-1])
        return Pitch(heard.f0, np.where(lone, 0.0, heard.confidence))

    @cached_property
    def sung_second(self) -> Pitch:
        """The same by the second tracker."""
        return self._fitted(self.output.second_pitch)

    def _fitted(self, heard: Pitch) -> Pitch:
        missing = max(0, self.frames - len(heard.f0))
        return Pitch(*(np.pad(x, (0, missing))[: self.frames] for x in (heard.f0, heard.confidence)))

    @cached_property
    def sure(self) -> np.ndarray:
        """Frames at which the source's pitch counts, bool (T,)."""
        return self.wanted.confidence >= CONFIDENT

    @cached_property
    def wanted_second(self) -> Pitch:
        """What the output should sing by the second tracker; sure where both trackers heard the same note."""
        heard = self.asked(self.source.second_pitch)
        with np.errstate(divide="ignore"):
            apart = 1200.0 * np.abs(np.log2(heard.f0 / np.maximum(self.wanted.f0, 1e-6)))
        return Pitch(heard.f0, np.where(self.sure & (apart < 100.0), heard.confidence, 0.0))

    @cached_property
    def cents(self) -> np.ndarray:
        """How far the output is from the note asked for, NaN where either is unsure, (T,)."""
        both = self.sure & (self.sung.confidence >= CONFIDENT)
        ratio = np.where(both, self.sung.f0, 1.0) / np.where(both, self.wanted.f0, 1.0)
        return np.where(both, 1200.0 * np.log2(ratio), np.nan)

    @cached_property
    def expected(self) -> Pitch:
        """The pitch at which the output's tone is measured, (T,)."""
        return metrics.expected_pitch(self.wanted, self.sung, 0.0)

    @cached_property
    def tone(self) -> dict[str, np.ndarray]:
        """HNR (whole, above 2 kHz) and CPP of output and source in dB, NaN where that is unsure, (T,)."""
        at = np.flatnonzero(self.sure)
        own = self.source.pitch.f0[at]
        places = {
            "hnr": (metrics.hnr, self.output, self.expected.f0[at]),
            "source_hnr": (metrics.hnr, self.source, own),
            "hnr_high": (metrics.hnr_high, self.output, self.expected.f0[at]),
            "source_hnr_high": (metrics.hnr_high, self.source, own),
            "cpp": (metrics.cpp, self.output, self.expected.f0[at]),
            "source_cpp": (metrics.cpp, self.source, own),
        }
        heard = {name: np.full(self.frames, np.nan) for name in places}
        if len(at):
            for name, (measure, clip, f0) in places.items():
                heard[name][at] = measure(clip.audio_16k, HEARING_RATE, f0, at)
        return heard

    @cached_property
    def unit_distances(self) -> np.ndarray:
        """1 - cosine of the content units of both where the source sounds, else NaN, (U,)."""
        n = min(self.source.units.shape[1], self.output.units.shape[1])
        before, after = (clip.units[:, :n].T.astype(np.float32) for clip in (self.source, self.output))
        return self._sounding(1.0 - np.sum(metrics.unit(before) * metrics.unit(after), axis=1))

    @cached_property
    def phone_distances(self) -> np.ndarray:
        """How far the phones heard in both are apart, 0 to 1, where the source sounds, else NaN, (U,)."""
        probe = phones.embedded()
        if probe is None:
            return np.full(len(self.unit_distances), np.nan)
        return self._sounding(probe.distances(self.source.units, self.output.units))

    def _sounding(self, by_unit: np.ndarray) -> np.ndarray:
        """Values at content units with NaN where the source is silent, (U,)."""
        at = np.round(np.arange(len(by_unit)) * UNIT_SECONDS / FRAME_SECONDS).astype(int)
        return np.where(self.active[np.minimum(at, self.frames - 1)], by_unit, np.nan)


def guess_transpose(source: Clip, output: Clip) -> int:
    """Whole semitones between the melodies of two clips; 0 where nothing is sure."""
    n = min(len(source.swift[0]), len(output.swift[0]))
    both = (source.pitch.confidence[:n] >= CONFIDENT) & (output.pitch.confidence[:n] >= CONFIDENT)
    if not both.any():
        return 0
    return round(float(np.median(12.0 * np.log2(output.pitch.f0[:n][both] / source.pitch.f0[:n][both]))))


def semitones(note: str) -> int:
    """MIDI number of a note's name: A4 is 69.

    Raises:
        ValueError: it is no such name.
    """
    name = note.rstrip("-0123456789")
    if name not in pitch.NAMES:
        raise ValueError(f"got {note!r}, expected the name of a note, such as A4 or C#3")
    return pitch.NAMES.index(name) + 12 * (int(note[len(name) :]) + 1)


def frames_between(start_seconds: float, end_seconds: float, period: float, total: int) -> slice:
    """Frames `period` seconds apart of a stretch of time."""
    first, last = (min(total, max(0, round(at / period))) for at in (start_seconds, end_seconds))
    return slice(first, last)


def median(values: np.ndarray | Sequence[float]) -> float | None:
    """Median of the values that are numbers; None without one."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
