"""Sung clips for benchmarks/damage.py and alarms.py: for themselves, and phrases that two voices sang."""

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faults
import numpy as np

from resing.scoring import artefacts, damage, figures, metrics
from resing.scoring.card import Figure
from resing.scoring.clip import HEARING_RATE, Clip, Part
from resing.scoring.figures import Voices
from resing.scoring.metrics import CONFIDENT, FRAME_SECONDS
from resing.scoring.pair import Pair
from resing.scoring.target import Recordings

SOURCES = ("kumi_utau", "pjs", "scottpoid_utau", "sms_tools", "vocadito", "kokoro_sung")
VOWELS = frozenset("AIOWYQaɑɒæəɐɜɪʊʌɛeiouɔyøœɯᵊᵻ")  # noqa: RUF001
"""First signs of the syllables' nuclei in kokoro_sung's alignment."""
TOLD_SECONDS = 0.025
"""A frame of that alignment, good to one."""
DROPPED_SECONDS = 0.15
"""A note that SwiftF0 is not sure of for longer than this is not sung."""
SHORTEST_SECONDS, PART_SECONDS = 2.5, 5.0
LEVEL_DB = -26.0
"""Pairs are brought to one level: whoever made the files set theirs by chance."""
RECORDINGS = 4
"""Clips that stand for a voice's recordings."""
Rows = list[dict[str, str]]
Change = Callable[[np.ndarray, int, np.random.Generator, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A source, what stands for its conversion, semitones between them, and the converted voice elsewhere."""

    source: Clip
    output: Clip
    semitones: float = 0.0
    recordings: Recordings | None = None

    @cached_property
    def moments(self) -> np.ndarray:
        """Seconds in the middle of held notes that both sing, where a fault of a moment is put."""
        pitches = self.source.pitch, self.output.pitch
        held = artefacts.held_notes(*pitches)
        return np.flatnonzero(held & (pitches[1].confidence[: len(held)] >= CONFIDENT)) * FRAME_SECONDS

    def changed(self, change: Change, seed: int) -> Pair:
        """The pair with its output changed."""
        output = self.output
        if change is not faults.nothing:
            rng, rate = np.random.default_rng(seed), output.sample_rate
            audio = change(output.audio.astype(np.float64), rate, rng, self.moments)
            output = Clip(output.name, audio.astype(np.float32), rate)
        return Pair(self.source, output, self.semitones)

    @property
    def target(self) -> Any:
        """What scoring asks of a voice, but for whose it is; None without recordings."""
        return SimpleNamespace(recordings=self.recordings) if self.recordings else None


def figures_of(pair: Pair, target: Any = None, names: Iterable[str] = ()) -> dict[str, Figure]:
    """The figures of a score by name; with `names` only as far as it takes to have those."""
    every = itertools.chain(
        figures.whole(pair, target, Voices()), (figure for _, figure, _ in damage.detected(pair))
    )
    found: dict[str, Figure] = {}
    for figure in every:
        found[figure.name] = figure
        if names and set(names) <= set(found):
            break
    return found


def own_cases(data: Path, rows: Rows, every: int = 1) -> Iterator[Case]:
    """Dev-test clips that stand for their own conversion and for recordings of the voice.

    Every source in turn, so that some are like all.
    """
    known = [row for row in rows if row["use"] == "dev-test" and float(row["seconds"]) >= 0.5]
    by_source = [[row for row in known if row["source"] == name] for name in SOURCES]
    turns = (row for turn in itertools.zip_longest(*by_source) for row in turn if row)
    for row in itertools.islice(turns, 0, None, every):
        clip = Clip.read(data / row["file"], Part(0.0, PART_SECONDS))
        yield Case(clip, clip, 0.0, recordings_of([clip]))


def other_cases(data: Path, rows: Rows, use: str = "dev-test") -> Iterator[Case]:
    """Phrases of kokoro_sung by voices of a use, and another voice that was told to sing the same notes.

    These voices are speech made to sing, and many of their long notes turn to breath: of each phrase the
    longest stretch counts in which both sing every note (see `dropped`), with the voice of all that has the
    longest. With the use "train" both voices have it; else the other may be any.
    """
    lines = (data / "kokoro_sung" / "alignment.jsonl").read_text(encoding="utf-8").splitlines()
    told = {f"kokoro_sung/{row['file']}.opus": row for row in map(json.loads, lines)}
    uses = {row["file"]: row["use"] for row in rows if row["source"] == "kokoro_sung"}
    phrases: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for file in (file for file in sorted(uses) if "/par" in file):
        phrases[told[file]["phrase"], *told[file]["syllable_semitones"]].append(file)
    for files in phrases.values():
        clips = {file: Clip.read(data / file) for file in files}
        lost = {file: dropped(clip, told[file]) for file, clip in clips.items()}
        for file in (file for file in files if uses[file] == use):
            partners = [p for p in files if p != file and (use != "train" or uses[p] == use)]
            parts = {partner: longest_without(lost[file], lost[partner]) for partner in partners}
            best = max(partners, key=lambda partner: parts[partner][1] - parts[partner][0], default=None)
            if best is None or parts[best][1] - parts[best][0] < SHORTEST_SECONDS:
                continue
            others = [other for other in uses if other.split("/")[1] == file.split("/")[1] and other != file]
            yield Case(
                excerpt(clips[best], *parts[best]),
                excerpt(clips[file], *parts[best]),
                12.0 * math.log2(told[file]["base_hz"] / told[best]["base_hz"]),
                recordings_of([Clip.read(data / other) for other in others[:RECORDINGS]]),
            )


def dropped(clip: Clip, told: dict[str, Any]) -> np.ndarray:
    """Where a vowel is not sung as told, bool (T,): its note is not sure for longer than DROPPED_SECONDS."""
    heard = clip.pitch
    wanted = np.zeros(len(heard.f0))
    vowels = [segment for segment in told["segments"] if segment[0][:1] in VOWELS]
    for (_, first, frames), semitones in zip(vowels, told["syllable_semitones"], strict=False):
        edges = (TOLD_SECONDS / FRAME_SECONDS * at for at in (first + 1, first + frames - 1))
        start, end = (round(edge) for edge in edges)
        wanted[start : max(start, end)] = told["base_hz"] * 2.0 ** (semitones / 12.0)
    apart = np.abs(np.log2(np.maximum(heard.f0, 1.0) / np.maximum(wanted, 1.0)))
    lost: np.ndarray = (wanted > 0) & ((heard.confidence < CONFIDENT) | (apart > math.log2(1.2)))
    for first, last in metrics.runs(lost):
        if (last - first) * FRAME_SECONDS <= DROPPED_SECONDS:
            lost[first:last] = False
    return lost


def longest_without(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The longest stretch in seconds, up to PART_SECONDS, where neither of two masks at the frames is set."""
    n = min(len(first), len(second))
    stretches = metrics.runs(~(first[:n] | second[:n]))
    if not len(stretches):
        return 0.0, 0.0
    start, end = stretches[np.argmax(stretches[:, 1] - stretches[:, 0])] * FRAME_SECONDS
    return float(start), float(min(end, start + PART_SECONDS))


def excerpt(clip: Clip, start_seconds: float, end_seconds: float) -> Clip:
    """A stretch of a clip at LEVEL_DB."""
    first, last = (round(at * clip.sample_rate) for at in (start_seconds, end_seconds))
    audio = clip.audio[first:last]
    level = metrics.active_level(metrics.frame_levels(audio, clip.sample_rate))
    return Clip(clip.name, audio * np.float32(10 ** ((LEVEL_DB - level) / 20)), clip.sample_rate)


def recordings_of(clips: list[Clip]) -> Recordings:
    """What a voice's recordings sound like, but for whose voice it is."""
    joined = Clip("recordings", np.concatenate([clip.audio for clip in clips]), clips[0].sample_rate)
    tone = [
        metrics.median_at(measure, joined.audio_16k, HEARING_RATE, joined.pitch)
        for measure in (metrics.hnr, metrics.hnr_high, metrics.cpp)
    ]
    band = metrics.bandwidth(*joined.spectrum)
    return Recordings(joined.seconds, np.zeros(1), 1.0, joined.spectrum, band, *tone)
