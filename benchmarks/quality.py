"""The project's scorecard: test clips that no model heard, sung by every voice that ships.

    python benchmarks/quality.py --judge JUDGE --data ../shared/data --out RESULTS [--mos] [--keep]

JUDGE is the folder that scripts/judge-env made. Prints the tables and what got worse than the run that is
kept in benchmarks/quality.json; --keep makes this one the run to beat and writes quality.md beside it.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scorecard import summarise, table, worse

HERE = Path(__file__).parent
KEPT, TABLE = HERE / "quality.json", HERE / "quality.md"
CLIPS = (
    "pjs/pjs_singer/pjs010_song", "pjs/pjs_singer/pjs073_song", "pjs/pjs_singer/pjs087_song",
    "vocadito/vocadito_1/vocadito_1", "sms_tools/vignesh/vignesh",
    "kokoro_sung/af_sarah/par000_en", "kokoro_sung/af_sarah/par012_en", "kokoro_sung/am_puck/par015_en",
    "kokoro_sung/am_puck/par021_es", "kokoro_sung/bf_emma/par008_en", "kokoro_sung/bm_george/par007_en",
    "kokoro_sung/ff_siwis/par034_it", "kokoro_sung/zf_xiaoyi/par005_en",
    "scottpoid_utau/scottpoid_C4/ぱぱぴぱぷぺぱ",
)  # fmt: skip
WORD_CLIPS = (
    "kokoro_sung/bf_emma/par014_en", "kokoro_sung/am_echo/par007_en", "kokoro_sung/am_eric/solo005_en",
    "kokoro_sung/af_aoede/solo017_en",
)  # fmt: skip
"""With af_sarah/par012_en the English dev-test clips that Vosk understands."""
MOVED = (
    "Notes that a voice does not have are sung an octave away; they count as wrong here, in RMSE, "
    "correlation, gross and octave errors."
)
PARALLELS = 4
"""Phrases that a voice sang itself, at most."""


def render_and_judge(options: argparse.Namespace) -> dict[str, Any]:
    """Convert the clips to every voice here, judge them in the judge's environment; its rows and targets.

    The work is parted among as many processes as there are cores, each of one thread, but four at most.
    """
    out, parts = options.out, min(4, os.cpu_count() or 1)
    out.mkdir(parents=True, exist_ok=True)
    only, words = out / "only.txt", out / "words.txt"
    only.write_text("\n".join(CLIPS), encoding="utf-8")
    words.write_text("\n".join(WORD_CLIPS), encoding="utf-8")
    render = [sys.executable, HERE / "render.py", "--data", options.data, "--out", out, "--only", only]
    render += ["--words", words, "--parallels", PARALLELS, "--song"]
    together([*render, "--part", f"{part}/{parts}"] for part in range(parts))
    together(judging(options, part) for part in range(parts))
    found = [
        json.loads((out / f"judged-{part}" / "conversion.json").read_text(encoding="utf-8"))
        for part in range(parts)
    ]
    return found[0] | {
        "rows": [row for part in found for row in part["rows"]],
        "targets": {name: target for part in found for name, target in part["targets"].items()},
    }


def judging(options: argparse.Namespace, part: int) -> list[Any]:
    """The command that judges a part of the clips; the first part is long enough for all opinions."""
    judge, out = options.judge.absolute(), options.out
    command = [judge / "bin" / "python", HERE / "conversion.py", "judge", out / f"clips-{part}.json"]
    command += ["--whisper", judge / "whisper-base", "--data", options.data, "--out", out / f"judged-{part}"]
    vosk = judge / "vosk-model-small-en-us-0.15"
    command += ["--vosk", vosk] if vosk.is_dir() else []
    return command + (["--mos"] if options.mos and part == 0 else [])


def together(commands: Iterable[list[Any]]) -> None:
    """Run commands side by side, each on one thread; fails if one does."""
    env = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "OMP_NUM_THREADS": "1"}
    lines = [[str(part) for part in command] for command in commands]
    running = [subprocess.Popen(line, stdout=subprocess.DEVNULL, env=env) for line in lines]
    for process, line in zip(running, lines, strict=True):
        if process.wait():
            raise SystemExit(f"{line[1]} failed with exit status {process.returncode}: its words are above")


def judged_table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The scorecard's table of rows that another benchmark rendered into `options.work`, judged there."""
    (options.work / "clips-0.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    options.out, options.mos = options.work, False
    together([judging(options, 0)])
    found = (options.work / "judged-0" / "conversion.json").read_text(encoding="utf-8")
    return table(summarise(json.loads(found)))


def page(summary: dict[str, dict[str, Any]]) -> str:
    """What quality.md says."""
    return f"# Scorecard\n\nMade by `benchmarks/quality.py`. {MOVED}\n\n{table(summary)}\n"


def main() -> None:
    """Render, judge, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mos", action="store_true", help="opinion scores too (slow)")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    summary = summarise(render_and_judge(options))
    print(table(summary))
    if KEPT.exists():
        found = worse(json.loads(KEPT.read_text(encoding="utf-8")), summary)
        print("\n".join(["", "Worse than the kept run:", *found] if found else ["", "Nothing got worse."]))
    if options.keep:
        KEPT.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        TABLE.write_text(page(summary), encoding="utf-8")


if __name__ == "__main__":
    main()
