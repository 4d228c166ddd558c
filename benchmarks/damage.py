"""What the detectors of a score say to injected faults, on sung dev-test clips.

    python benchmarks/damage.py --data ../shared/data [--clips 20] [--out RESULTS]

Runs in the package's environment. The converted clip is the source itself, or another voice singing the same
notes (benchmarks/sung.py), damaged. Each fault is held against its own detectors, at least one of which must
fire. What they say to harmless changes: benchmarks/alarms.py.
"""

import argparse
import csv
import itertools
from pathlib import Path

import faults
import numpy as np
import sung
import torch
from tables import markdown_table

from resing.scoring.card import Figure

Readings = dict[str, Figure]
VARYING = {
    "silence_floor_db": "<= max(-45, source's + 6)",
    "drift_ms_per_minute": "18 ms from end to end",
    "clipped_runs": "<= source's",
    "worst_band_db": ">= -12, or source's - 6",
}
"""Limits that are another for every clip."""


def faults_table(cases: dict[str, list[sung.Case]]) -> str:
    """Markdown: a row per fault and detector."""
    lines = []
    controls = {kind: [readings(case, faults.nothing, 0) for case in own] for kind, own in cases.items()}
    for heading, (fault, detectors) in faults.FAULTS.items():
        found = {
            kind: [readings(case, fault, seed, detectors) for seed, case in enumerate(own)]
            for kind, own in cases.items()
        }
        for name in detectors:
            cells, limits = [], {VARYING[name]} if name in VARYING else set()
            for kind, those in found.items():
                known = [r[name] for r in those if r[name].value is not None]
                limits |= {figure.limit for figure in known} if name not in VARYING else set()
                hits = sum(figure.flagged for figure in known)
                cells += [f"{hits}/{len(known)}", middle(those, name), middle(controls[kind], name)]
            lines.append([heading, name, "; ".join(sorted(limits)), *cells])
        if len(detectors) > 1:
            hits = {kind: sum(any(r[n].flagged for n in detectors) for r in found[kind]) for kind in cases}
            shares = [(f"{hits[kind]}/{len(found[kind])}", "", "") for kind in cases]
            lines.append([heading, "any of them", "", *itertools.chain.from_iterable(shares)])
    columns = [f"{kind}: {what}" for kind in cases for what in ("fires", "reading", "control")]
    return markdown_table(["fault", "detector", "limit", *columns], lines)


def readings(case: sung.Case, change: sung.Change, seed: int, names: tuple[str, ...] = ()) -> Readings:
    """What detectors say of a case whose output is changed."""
    return sung.figures_of(case.changed(change, seed), case.target, names)


def middle(those: list[Readings], name: str) -> str:
    """Median of a detector's readings."""
    values = [r[name].value for r in those if r[name].value is not None]
    return f"{np.median(np.array(values, dtype=float)):.3g}" if values else "-"


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with manifest.csv")
    parser.add_argument("--clips", type=int, default=20, help="clips, and pairs of voices, at most")
    parser.add_argument("--out", type=Path, help="folder for damage.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    both = {"itself": sung.own_cases(options.data, rows), "other voice": sung.other_cases(options.data, rows)}
    cases = {
        kind: list(itertools.islice((case for case in some if len(case.moments)), options.clips))
        for kind, some in both.items()
    }
    counts = ", ".join(f"{kind}: {len(own)}" for kind, own in cases.items())
    text = f"Clips: {counts}.\n\n{faults_table(cases)}\n"
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "damage.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
