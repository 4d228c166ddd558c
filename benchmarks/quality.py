"""The project's scorecard: test clips that no model heard, sung by every voice that ships.

    python benchmarks/quality.py --judge JUDGE --data ../shared/data --out RESULTS [--keep]

JUDGE is the folder that scripts/judge-env made. Prints the table and what got worse than the run that is kept
in benchmarks/quality.json; --keep makes this one the run to beat and writes quality.md beside it.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tables import markdown_table

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
# figure: (heading, decimals, factor, whether more is better, change that counts)
FIGURES: dict[str, tuple[str, int, float, bool, float]] = {
    "similarity_of_ceiling": ("of ceiling", 3, 1, True, 0.01),
    "leak_margin": ("leak margin", 3, 1, True, 0.01),
    "nearer_target": ("nearer target %", 0, 100, True, 0.05),
    "coverage": ("coverage", 3, 1, True, 0.01),
    "f0_fine_rmse_cents": ("f0 RMSE c, without gross", 1, 1, False, 1.0),
    "gross_share": ("gross %", 2, 100, False, 0.005),
    "voicing_error": ("voicing %", 1, 100, False, 0.01),
    "output_cer": ("CER", 2, 1, False, 0.02),
    "hnr_db_change": ("HNR change dB", 1, 1, True, 0.5),
    "hnr_high_db_change": ("HNR > 2 kHz, change dB", 1, 1, True, 0.5),
    "cpp_db_change": ("CPP ratio", 2, 1, True, 0.03),
    "worst_band_db": ("worst band dB", 1, 1, True, 1.0),
}
FAULTS = ("not_finite", "clipped_runs", "over_full_scale", "length_difference")
Summary = dict[str, dict[str, Any]]


def render_and_judge(judge: Path, data: Path, out: Path) -> list[dict[str, Any]]:
    """Convert CLIPS to every voice here, judge them in the judge's environment; its rows."""
    out.mkdir(parents=True, exist_ok=True)
    only = out / "only.txt"
    only.write_text("\n".join(CLIPS), encoding="utf-8")
    render = [sys.executable, HERE / "render.py", "--data", data, "--out", out, "--only", only]
    judging = [judge / "bin" / "python", HERE / "conversion.py", "judge", out / "clips-0.json"]
    judging += ["--whisper", judge / "whisper-base", "--data", data, "--out", out]
    source = {"PYTHONPATH": str(HERE.parent / "src"), "OMP_NUM_THREADS": "1"}
    for command in (render, judging):
        shown = {"stdout": subprocess.DEVNULL, "env": os.environ | source}
        subprocess.run([str(part) for part in command], check=True, **shown)
    found: list[dict[str, Any]] = json.loads((out / "conversion.json").read_text(encoding="utf-8"))["rows"]
    return found


def summarise(rows: list[dict[str, Any]]) -> Summary:
    """Means by voice, and by voice and kind of source; a singer's own clips count for no likeness."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for name in (row["voice"], f"{row['voice']}, {row['pair']}"):
            groups.setdefault(name, []).append(row)
    summary: Summary = {}
    for name, own in sorted(groups.items()):
        means = {key: [row[key] for row in own if row.get(key) is not None] for key in FIGURES}
        summary[name] = {key: round(float(np.mean(v)), 5) if v else None for key, v in means.items()}
        summary[name] |= {"clips": len(own), "faults": sum(bool(row[key]) for row in own for key in FAULTS)}
    return summary


def table(summary: Summary) -> str:
    """The summary in Markdown."""
    lines = []
    for name, means in summary.items():
        cells = [
            "-" if means[key] is None else f"{means[key] * factor:.{digits}f}"
            for key, (_, digits, factor, _, _) in FIGURES.items()
        ]
        lines.append([name, str(means["clips"]), *cells, str(means["faults"])])
    return markdown_table(["voice", "clips", *(f[0] for f in FIGURES.values()), "faults"], lines)


def worse(before: Summary, after: Summary) -> list[str]:
    """What got worse by more than counts, in lines; a voice or figure that is gone is worse too."""
    lines = []
    for name, means in before.items():
        if name not in after:
            lines.append(f"{name}: no longer there")
            continue
        if after[name]["faults"] > means["faults"]:
            lines.append(f"{name}: {after[name]['faults']} faults, {means['faults']} before")
        for key, (heading, digits, factor, more, counts) in FIGURES.items():
            old, new = means.get(key), after[name].get(key)
            if old is None:
                continue
            if new is None or (old - new if more else new - old) > counts:
                now = "-" if new is None else f"{new * factor:.{digits}f}"
                lines.append(f"{name}: {heading} {now}, {old * factor:.{digits}f} before")
    return lines


def main() -> None:
    """Render, judge, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    summary = summarise(render_and_judge(options.judge.absolute(), options.data, options.out))
    print(table(summary))
    if KEPT.exists():
        found = worse(json.loads(KEPT.read_text(encoding="utf-8")), summary)
        print("\n".join(["", "Worse than the kept run:", *found] if found else ["", "Nothing got worse."]))
    if options.keep:
        KEPT.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        TABLE.write_text(
            f"# Scorecard\n\nMade by `benchmarks/quality.py`.\n\n{table(summary)}\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
