"""How often a score cries wolf: harmless changes of sung dev-test clips, as `resing score` judges them.

    python benchmarks/alarms.py --data ../shared/data --out RESULTS [--every 3] [--pairs 40] [--use dev-test]

Counts, for every figure that has a limit and every kind of finding, the clips on which it is beyond or found:
for each harmless change of a clip held against the clip itself, and for another voice singing the same notes
(benchmarks/sung.py), once with other clips of it as the target's recordings and once without. Limits were
chosen on pairs of training voices (--use train --every 0). The table so far is in RESULTS/alarms.md while it
runs.
"""

import argparse
import csv
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faults
import sung
import torch
from tables import markdown_table

from resing.scoring import figures, timeline
from resing.scoring.card import KINDS
from resing.scoring.damage import find_damage
from resing.scoring.figures import Voices
from resing.scoring.pair import Pair
from resing.scoring.phrase_figures import phrase_figures

OTHER, UNKNOWN = "other voice", "other voice, no recordings"


@dataclass
class Tally:
    """How many clips had a figure or could have had a finding, and on how many it was an alarm, by change."""

    heard: Counter[tuple[str, str]] = field(default_factory=Counter)
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, change: str, pair: Pair, target: Any) -> None:
        """Judge one pair."""
        damage = find_damage(pair, target)
        found = [*figures.whole(pair, target, Voices()), *damage.figures]
        parts = [phrase_figures(pair, None, edges) for edges in pair.edges]
        told = {f.kind for f in timeline.find_all(pair, None, Voices(), damage.places, parts)}
        flags = {f.name: f.flagged for f in found if f.value is not None and f.limit}
        for name, alarm in (flags | {kind: kind in told for kind in KINDS}).items():
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


def harmless(cases: Iterator[sung.Case]) -> Iterator[tuple[sung.Case, dict[str, Pair]]]:
    """Each clip with its harmless changes by name."""
    changes = {name: change for name, change in faults.HARMLESS.items() if change is not faults.nothing}
    for seed, case in enumerate(cases):
        yield case, {name: case.changed(change, seed) for name, change in changes.items()}


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--every", type=int, default=3, help="take every third clip, or so; 0: none")
    parser.add_argument("--pairs", type=int, default=40, help="of voices, at most")
    parser.add_argument("--use", default="dev-test", help="of the pairs in the manifest: train or dev-test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    options.out.mkdir(parents=True, exist_ok=True)
    tally, counts = Tally(), Counter[str]()
    clips = sung.own_cases(options.data, rows, options.every) if options.every else iter(())
    others = itertools.islice(sung.other_cases(options.data, rows, options.use), options.pairs)
    pairs = ((case, {OTHER: case.changed(faults.nothing, 0)}) for case in others)
    for kind, judged in (("pairs of voices", pairs), ("clips", harmless(clips))):
        for case, changed in judged:
            for name, pair in changed.items():
                tally.add(name, pair, case.target)
            if pair := changed.get(OTHER):
                tally.add(UNKNOWN, pair, None)
            counts[kind] += 1
            heading = ", ".join(f"{count} {name}" for name, count in counts.items())
            (options.out / "alarms.md").write_text(f"{heading}.\n\n{tally.table()}\n", encoding="utf-8")
    print((options.out / "alarms.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
