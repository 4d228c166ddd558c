"""Keep a training run's log beside its weights, and check that its command still gives the same first losses.

    python recipes/reproduce.py keep RUN recipes/logs/vocoder.json --command "recipes/vocoder.py --steps 9000"
    python recipes/reproduce.py check recipes/logs/vocoder.json --corpus CORPUS

The same machine, threads and library versions give equal losses; elsewhere float rounding grows, so the
check allows a relative difference of 2 %.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST = 50
TOLERANCE = 0.02


def losses(run: Path) -> list[dict]:
    """The lines of a run's loss log."""
    return [json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines()]


def keep(run: Path, log: Path, command: str, note: str, first: Path | None) -> None:
    """Write the first losses, a thinned curve and every validation of a run.

    `first` is a run of the command as it is now, where the training itself began with an earlier form of it.
    """
    lines = losses(run)
    validation = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    curve = [[x["step"], round(x["loss"], 4)] for x in lines if x["step"] % 100 == 0]
    begun = [x["loss"] for x in losses(first or run)[:FIRST]]
    record = {
        "command": command,
        "note": note,
        "first_losses": begun,
        "curve": curve,
        "validation": validation,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(json.dumps(record, indent=1) + "\n")


def check(log: Path, corpus: Path) -> None:
    """Run the logged command for FIRST steps and compare; exit 1 on a difference."""
    record = json.loads(log.read_text())
    script, *rest = shlex.split(record["command"])
    with tempfile.TemporaryDirectory() as run:
        where = ["--corpus", str(corpus), "--run", run, "--until", str(FIRST)]
        subprocess.run([sys.executable, script, *rest, *where], check=True)
        again = [x["loss"] for x in losses(Path(run))]
    worst = max(abs(a - b) / abs(b) for a, b in zip(again, record["first_losses"], strict=True))
    print(f"largest relative difference of the first {FIRST} losses: {worst:.2e}")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    keeping = actions.add_parser("keep")
    keeping.add_argument("run", type=Path)
    keeping.add_argument("log", type=Path)
    keeping.add_argument("--command", required=True)
    keeping.add_argument("--note", default="")
    keeping.add_argument("--first", type=Path)
    checking = actions.add_parser("check")
    checking.add_argument("log", type=Path)
    checking.add_argument("--corpus", type=Path, required=True)
    options = parser.parse_args()
    if options.action == "keep":
        keep(options.run, options.log, options.command, options.note, options.first)
    else:
        check(options.log, options.corpus)
