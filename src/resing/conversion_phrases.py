"""The phrases of a song and how well a take sings each: where the voice loses its tone.

A take is weak where its harmonics sink in noise, or its cepstral peak falls, further below the source's than
most other voices' would, and so is worth another take. The vocoder obeys the melody, so a note that is lost
shows here as well, at the pitch that was asked for.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resing.audio.resampling import resample
from resing.conversion_melody import Score
from resing.features.extract import Features, Recording
from resing.scoring import artefacts, metrics
from resing.scoring.clip import HEARING_RATE
from resing.scoring.damage import CLEAR_DB
from resing.scoring.metrics import CONFIDENT, FRAME_SECONDS, LEVEL_SECONDS
from resing.scoring.phrases import phrases_of

WEAK_DB = -8.0
"""Change of HNR, of CPP, against the source from which on a moment is weak."""
MEASURES = {"breathy": "hnr", "rough": "cpp"}
"""Faults and what they are measured by."""


@dataclass(frozen=True, eq=False)
class Tone:
    """HNR and CPP in dB at the tracker's frames of a phrase, NaN where nothing is sung, (T,) each."""

    hnr: np.ndarray
    cpp: np.ndarray

    @classmethod
    def of(cls, audio: np.ndarray, hz: np.ndarray, sure: np.ndarray) -> "Tone":
        """The tone of a phrase.

        Args:
            audio: at HEARING_RATE, (N,).
            hz: its pitch, (T,).
            sure: where it is sung, bool (T,).
        """
        at, found = np.flatnonzero(sure), np.full((2, len(hz)), np.nan)
        if len(at):
            found[0, at] = metrics.hnr(audio, HEARING_RATE, hz[at], at)
            found[1, at] = metrics.cpp(audio, HEARING_RATE, hz[at], at)
        return cls(*found)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was heard in a take of a phrase: its tone, and where it is weak, bool (T,) by fault."""

    tone: Tone
    weak: dict[str, np.ndarray]

    @property
    def weak_seconds(self) -> float:
        """How long it is weak."""
        return float((self.weak["breathy"] | self.weak["rough"]).sum() * FRAME_SECONDS)

    @property
    def fault(self) -> str:
        """What to call it: noise in the tone makes it rough too."""
        return "breathy" if self.weak["breathy"].any() else "rough"

    def figure_db(self, fault: str, where: np.ndarray) -> float:
        """Mean of what a fault is measured by over some of the sung frames, bool (T,)."""
        return float(np.nanmean(getattr(self.tone, MEASURES[fault])[where]))


@dataclass(frozen=True, eq=False)
class Phrase:
    """A phrase and what is to be heard in it.

    Attributes:
        start, stop: frames.
        source: tone of the source.
        hz: pitch that is to be sung, at the tracker's frames, (T,).
        sure: where the source surely sings and the voice is to, bool (T,).
    """

    start: int
    stop: int
    source: Tone
    hz: np.ndarray
    sure: np.ndarray

    def judge(self, samples: np.ndarray, sample_rate: int) -> Judgement:
        """What is heard in a take, (N,)."""
        audio = resample(samples[None].astype(np.float32), sample_rate, HEARING_RATE)[0]
        tone = Tone.of(audio, self.hz, self.sure)
        changes = {
            "breathy": tone.hnr - np.minimum(self.source.hnr, CLEAR_DB),
            "rough": tone.cpp - self.source.cpp,
        }
        weak = {fault: np.zeros(len(self.hz), bool) for fault in changes}
        for fault, change in changes.items():
            for start, end, _ in artefacts.tone_places(change, WEAK_DB):
                weak[fault][round(start / FRAME_SECONDS) : round(end / FRAME_SECONDS)] = True
            weak[fault] &= self.sure
        return Judgement(tone, weak)


def phrases_in(score: Score, heard: Features, source: Recording) -> Iterator[Phrase]:
    """The phrases of a song in order; where they begin and end does not depend on the melody that is sung.

    Args:
        score: what is sung.
        heard: the source, with its own melody.
        source: its sound, read once, block by block.
    """
    rate, frames = heard.audio.frame_rate, len(heard.loudness)
    centres = (np.arange(frames) + 0.5) / rate
    levels = np.interp(np.arange(0.0, frames / rate, LEVEL_SECONDS), centres, heard.loudness)
    edges = [
        (round(start * rate), min(frames, round(end * rate)))
        for start, end in phrases_of(levels, frames / rate)
    ]
    spans = [(round(start / rate * HEARING_RATE), round(stop / rate * HEARING_RATE)) for start, stop in edges]
    known = heard.voiced & (heard.confidence >= CONFIDENT) & score.features.voiced
    for (start, stop), audio in zip(edges, pieces(source.mono(HEARING_RATE), spans), strict=True):
        count = round(len(audio) / HEARING_RATE / FRAME_SECONDS)
        times = start / rate + FRAME_SECONDS * np.arange(count)
        nearest = np.clip(np.round(times * rate - 0.5).astype(int), 0, frames - 1)
        sure = known[nearest]
        yield Phrase(start, stop, Tone.of(audio, heard.f0[nearest], sure), score.f0[nearest], sure)


def pieces(blocks: Iterable[np.ndarray], spans: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """The samples from first to last of each span of a stream, (n,), zeros after its end.

    Args:
        blocks: the stream, (n,) each.
        spans: in order, none beginning before the one ahead of it ends.
    """
    stream, held, first = iter(blocks), np.zeros(0, np.float32), 0
    for start, stop in spans:
        while True:
            passed = min(max(0, start - first), len(held))
            held, first = held[passed:], first + passed
            block = None if first + len(held) >= stop else next(stream, None)
            if block is None:
                break
            held = np.concatenate([held, block])
        here = held[: max(0, stop - first)] if first >= start else held[:0]
        yield np.pad(here, (0, stop - start - len(here)))
