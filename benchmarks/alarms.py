"""How often a score cries wolf: harmless changes of every sung dev-test clip, as `resing score` judges them.

    python benchmarks/alarms.py --data ../shared/data --out RESULTS [--seconds 5] [--clips 30]

Counts, for every figure that has a limit and every kind of finding, the clips on which it is beyond or found:
for each harmless change of a clip held against the clip itself, and for another voice singing the same phrase
(kokoro_sung's par clips), whose other recordings stand for the target's. The table so far is in
RESULTS/alarms.md while it runs.
"""

import argparse
import csv
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faults
import numpy as np
import torch
from damage import DROPPED_SECONDS, PARTNERS, SUNG, dropped_seconds
from tables import markdown_table

from resing.scoring import figures, metrics, timeline
from resing.scoring.card import KINDS
from resing.scoring.clip import HEARING_RATE, Clip, Part
from resing.scoring.damage import find_damage
from resing.scoring.figures import Voices
from resing.scoring.pair import Pair
from resing.scoring.phrase_figures import phrase_figures
from resing.scoring.target import Recordings

OTHER = "other voice"
LEAST_SECONDS = 0.5
Rows = list[dict[str, str]]


@dataclass
class Tally:
    """How many clips had a figure or could have had a finding, and on how many it was an alarm, by change."""

    heard: Counter[tuple[str, str]] = field(default_factory=Counter)
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, change: str, pair: Pair, recordings: Recordings | None = None) -> None:
        """Judge one pair."""
        flags, kinds = judged(pair, recordings)
        found = flags | {kind: kind in kinds for kind in KINDS}
        for name, alarm in found.items():
            self.heard[name, change] += 1
            self.alarms[name, change] += alarm

    def table(self) -> str:
        """Markdown: a row per figure and kind of finding, a column per change."""
        changes = list(dict.fromkeys(change for _, change in self.heard))
        lines = []
        for name in dict.fromkeys(name for name, _ in self.heard):
            counts = [(self.alarms[name, change], self.heard[name, change]) for change in changes]
            alarms, heard = (sum(column) for column in zip(*counts, strict=True))
            shown = [f"{some}/{of}" if of else "-" for some, of in counts]
            kind = "finding" if name in KINDS else "figure"
            lines.append([name, kind, *shown, f"{100 * alarms / max(1, heard):.1f}"])
        return markdown_table(["", "what", *changes, "% of all"], lines)


def judged(pair: Pair, recordings: Recordings | None) -> tuple[dict[str, bool], set[str]]:
    """Which figures that have a limit are beyond it, and the kinds of finding."""
    target: Any = SimpleNamespace(recordings=recordings) if recordings else None
    damage = find_damage(pair, target)
    found = [*figures.whole(pair, target, Voices()), *damage.figures]
    parts = [phrase_figures(pair, None, edges) for edges in pair.edges]
    told = timeline.find_all(pair, None, Voices(), damage.places, parts)
    flags = {f.name: f.flagged for f in found if f.value is not None and f.limit}
    return flags, {finding.kind for finding in told}


def sung_clips(rows: Rows) -> Rows:
    """The sung dev-test clips, every source in turn, so that a part of them is like all."""
    known = [r for r in rows if r["use"] == "dev-test" and r["source"] in (*SUNG, "kokoro_sung")]
    sources = [[r for r in known if r["source"] == name] for name in (*SUNG, "kokoro_sung")]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*sources))
    return [row for row in turns if row and float(row["seconds"]) >= LEAST_SECONDS]


def harmless(path: Path, part: Part, seed: int) -> Iterator[tuple[str, Pair]]:
    """Each harmless change of a clip by its name, held against the clip."""
    source, rng = Clip.read(path, part), np.random.default_rng(seed)
    for name, change in faults.HARMLESS.items():
        if change is not faults.nothing:
            audio = change(source.audio.astype(np.float64), source.sample_rate, rng, np.zeros(1))
            yield name, Pair(source, Clip(name, audio.astype(np.float32), source.sample_rate), 0.0)


def other_pairs(data: Path, rows: Rows, part: Part) -> Iterator[tuple[Pair, Recordings]]:
    """Dev-test phrases that another voice sang in sync, neither without a note of the other's."""
    lines = (data / "kokoro_sung" / "alignment.jsonl").read_text(encoding="utf-8").splitlines()
    base = {f"kokoro_sung/{row['file']}.opus": row["base_hz"] for row in map(json.loads, lines)}
    phrases, voices = defaultdict(list), defaultdict(list)
    for row in (row for row in rows if row["source"] == "kokoro_sung"):
        voices[row["speaker"]].append(row["file"])
        phrases[Path(row["file"]).name].append(row)
    for number, row in enumerate(r for r in sung_clips(rows) if "/par" in r["file"]):
        output = Clip.read(data / row["file"], part)
        partners = [r["file"] for r in phrases[Path(row["file"]).name] if r["file"] != row["file"]]
        first = number % max(1, len(partners))
        for file in (partners[first:] + partners[:first])[:PARTNERS]:
            source = Clip.read(data / file, part)
            if max(dropped_seconds(source, output), dropped_seconds(output, source)) <= DROPPED_SECONDS:
                others = [file for file in voices[row["speaker"]] if file != row["file"]][:4]
                semitones = 12.0 * math.log2(base[row["file"]] / base[file])
                yield Pair(source, output, semitones), recordings_of([data / other for other in others])
                break


def recordings_of(paths: list[Path]) -> Recordings:
    """What a voice's recordings sound like, but for whose voice it is."""
    clips = [Clip.read(path) for path in paths]
    joined = Clip("recordings", np.concatenate([clip.audio for clip in clips]), clips[0].sample_rate)
    tone = [
        metrics.median_at(measure, joined.audio_16k, HEARING_RATE, joined.pitch)
        for measure in (metrics.hnr, metrics.hnr_high, metrics.cpp)
    ]
    band = metrics.bandwidth(*joined.spectrum)
    return Recordings(joined.seconds, np.zeros(1), 1.0, joined.spectrum, band, *tone)


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each clip that are judged")
    parser.add_argument("--clips", type=int, help="so many clips and pairs at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    options.out.mkdir(parents=True, exist_ok=True)
    part, tally, counts = Part(0.0, options.seconds), Tally(), Counter[str]()

    def keep(kind: str) -> None:
        counts[kind] += 1
        heading = ", ".join(f"{count} {name}" for name, count in counts.items())
        (options.out / "alarms.md").write_text(f"{heading}.\n\n{tally.table()}\n", encoding="utf-8")

    clips, others = sung_clips(rows), other_pairs(options.data, rows, part)
    both = itertools.zip_longest(enumerate(clips), others)
    for own, other in itertools.islice(both, options.clips):
        if own is not None:
            for name, pair in harmless(options.data / own[1]["file"], part, own[0]):
                tally.add(name, pair)
            keep("clips")
        if other is not None:
            tally.add(OTHER, *other)
            keep("pairs of voices")
    print((options.out / "alarms.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
