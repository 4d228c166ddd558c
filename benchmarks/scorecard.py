"""The arithmetic of the project's scorecard: means by voice, their tables, and what got worse."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from parallels import PARALLEL
from tables import markdown_table

# figure: (heading, decimals, factor, whether more is better, change that counts: None where none does)
Heading = tuple[str, int, float, bool, float | None]
TABLES: dict[str, dict[str, Heading]] = {
    "Whose voice: Resemblyzer, and ERes2Net (2)": {
        "similarity_of_ceiling": ("of ceiling", 3, 1, True, 0.01),
        "leak_margin": ("leak margin", 3, 1, True, 0.01),
        "nearer_target": ("nearer target %", 0, 100, True, 0.05),
        "similarity_of_ceiling_eres2net": ("of ceiling (2)", 3, 1, True, 0.02),
        "leak_margin_eres2net": ("leak margin (2)", 3, 1, True, 0.02),
        "nearer_target_eres2net": ("nearer target % (2)", 0, 100, True, 0.05),
    },
    "Melody and words": {
        "coverage": ("coverage", 3, 1, True, 0.01),
        "f0_rmse_cents": ("f0 RMSE c", 1, 1, False, None),
        "f0_fine_rmse_cents": ("f0 RMSE c, without gross", 1, 1, False, 1.0),
        "f0_median_cents": ("f0 median c", 1, 1, False, 0.5),
        "f0_correlation": ("f0 correlation", 4, 1, True, 0.005),
        "gross_share": ("gross %", 2, 100, False, 0.005),
        "octave_share": ("octave %", 2, 100, False, 0.005),
        "voicing_error": ("voicing %", 1, 100, False, 0.01),
        "output_cer": ("CER", 2, 1, False, 0.02),
        "output_cer_vosk": ("CER, Vosk", 2, 1, False, 0.1),
        "units_distance": ("units' distance", 3, 1, False, 0.01),
        "phone_distance": ("phones' distance", 3, 1, False, 0.01),
    },
    "Sound": {
        "hnr_db": ("HNR dB", 1, 1, True, None),
        "hnr_db_change": ("HNR change dB", 1, 1, True, 0.5),
        "hnr_high_db_change": ("HNR > 2 kHz, change dB", 1, 1, True, 0.5),
        "cpp_db": ("CPP dB", 1, 1, True, None),
        "cpp_db_change": ("CPP ratio", 2, 1, True, 0.03),
        "worst_band_db": ("worst band dB", 1, 1, True, 1.0),
        "loudness_change_lu": ("loudness change LU", 1, 1, True, None),
        "true_peak_dbtp": ("true peak dBTP", 1, 1, False, None),
        "faults": ("faults", 0, 1, False, None),
    },
    "Damage: readings, and the share of the clips on which a detector is beyond its limit": {
        "output_floor_db": ("pauses dB", 1, 1, False, 3.0),
        "lag_ms": ("late ms", 1, 1, False, None),
        "drift_ms_per_minute": ("drift ms/min", 1, 1, False, None),
        "missing_seconds": ("silent s", 2, 1, False, 0.1),
        "clicks_ratio": ("clicks", 2, 1, False, 0.5),
        "dips_db": ("dips dB", 1, 1, False, 1.0),
        "damaged_noise": ("noise %", 0, 100, False, 0.1),
        "damaged_missing": ("missing %", 0, 100, False, 0.1),
        "damaged_octave": ("octaves %", 0, 100, False, 0.1),
        "damaged_click": ("clicks %", 0, 100, False, 0.1),
        "damaged_dip": ("dips %", 0, 100, False, 0.1),
        "damaged_step": ("steps %", 0, 100, False, 0.1),
        "damaged_jump": ("jumps %", 0, 100, False, 0.1),
        "damaged_timing": ("timing %", 0, 100, False, 0.1),
    },
    "Phrases that the voice sang itself: distance of the voice's colour, frame by frame": {
        "colour_to_own_db": ("to its recording dB", 2, 1, False, 0.2),
        "colour_to_others_db": ("to others' dB", 2, 1, False, None),
        "source_colour_to_own_db": ("source to its recording dB", 2, 1, False, None),
        "source_colour_to_others_db": ("source to others' dB", 2, 1, False, None),
    },
    "Opinion scores of 30 s, less the source's (no judgement: they misrank converted singing)": {
        "dnsmos_change": ("DNSMOS", 2, 1, True, None),
        "plcmos_change": ("PLCMOS", 2, 1, True, None),
        "distillmos_change": ("Distill-MOS", 2, 1, True, None),
    },
}
FIGURES = {key: heading for columns in TABLES.values() for key, heading in columns.items()}
FAULTS = ("not_finite", "clipped_runs", "over_full_scale", "length_difference")
HURT = "damaged_"
SAME_SEX = "same sex"
SEPARATED = "real singer, separated from a song"
SOURCES, RECORDINGS = ": the sources themselves", ": its own recordings"
SEX = {
    "karissa_hobbs": "female",
    "kumi": "female",
    "pjs_singer": "male",
    "scottpoid": "male",
    "vignesh": "male",
    "vocadito_1": "male",
}
"""Of singers whose names do not tell; vocadito_1 by its range, a median of 147 Hz."""
Row = dict[str, Any]
Summary = dict[str, dict[str, Any]]


def sex(singer: str) -> str:
    """Sex of the voice heard under a manifest's speaker, "unstated" where that is not known."""
    if singer[1:3] in ("f_", "m_"):  # Kokoro's names: language, sex
        return "female" if singer[1] == "f" else "male"
    return SEX.get(singer, SEX.get(singer.split("_")[0], "unstated"))


def headings(row: Row) -> Iterable[str]:
    """Under which names a row counts; sung by the voice itself, or separated, it has one of its own only."""
    voice = row["voice"]
    if row["pair"] in (PARALLEL, SEPARATED):
        return (f"{voice}, {row['pair']}",)
    same = row.get("sex") == sex(Path(str(row.get("source", ""))).parent.name)
    return (voice, f"{voice}, {row['pair']}", *([f"{voice}, {SAME_SEX}"] if same else []))


def summarise(judged: dict[str, Any]) -> Summary:
    """Means by voice, and by voice and kind of source; a singer's own clips count for no likeness.

    Beside each voice stand the sources as they are and the voice's own recordings, by the same figures: f0
    there is the agreement of two trackers.

    Args:
        judged: what benchmarks/conversion.py wrote: "rows", "targets" and perhaps "opinions".
    """
    groups: dict[str, list[Row]] = {}
    for row in judged["rows"]:
        for name in headings(row):
            groups.setdefault(name, []).append(row)
    summary: Summary = {}
    for row in judged["rows"]:
        if "damaged" in row:
            row |= {key: float(key.removeprefix(HURT) in row["damaged"]) for key in FIGURES if HURT in key}
    for name, rows in groups.items():
        whole = [row for row in rows if "only" not in row]
        faults = sum(bool(row[key]) for row in whole for key in FAULTS)
        summary[name] = means(rows, "") | {"clips": len(whole), "faults": faults}
        if name == rows[0]["voice"]:
            summary[name] |= judged.get("opinions", {}).get(name, {})
            summary[name + SOURCES] = means(rows, "source_") | {"clips": len(whole)}
            if target := judged.get("targets", {}).get(rows[0].get("target")):
                summary[name + RECORDINGS] = own_figures(target)
    return dict(sorted(summary.items()))


def means(rows: list[Row], prefix: str) -> Row:
    """Mean of every figure over the rows that have it; with the prefix source_ those of the sources."""
    found: Row = {}
    for key in FIGURES:
        name = prefix + (key.removeprefix("output_") if prefix else key)
        known = [row[name] for row in rows if row.get(name) is not None]
        found[key] = round(float(np.mean(known)), 5) if known else None
    return found


def own_figures(target: Row) -> Row:
    """The figures of a voice's own recordings; their likeness is the ceiling itself."""
    likeness = {
        key: 1.0 for key in FIGURES if key.startswith("similarity_of_ceiling") and _ceiling(key) in target
    }
    known = {key: round(target[key], 5) for key in FIGURES if target.get(key) is not None}
    return dict.fromkeys(FIGURES) | known | likeness | {"clips": target.get("clips", 0)}


def _ceiling(key: str) -> str:
    return "ceiling" + key.removeprefix("similarity_of_ceiling")


def table(summary: Summary) -> str:
    """The summary in Markdown; columns and rows that have no figure at all are left out."""
    parts = []
    for title, columns in TABLES.items():
        shown = [key for key in columns if any(means.get(key) is not None for means in summary.values())]
        lines = []
        for name, found in summary.items():
            cells = [_cell(key, found.get(key)) for key in shown]
            if any(cell != "-" for key, cell in zip(shown, cells, strict=True) if key != "faults"):
                lines.append([name, str(found["clips"]), *cells])
        if lines:
            names = ["voice", "clips", *(columns[key][0] for key in shown)]
            parts.append(f"## {title}\n\n{markdown_table(names, lines)}")
    return "\n\n".join(parts)


def worse(before: Summary, after: Summary) -> list[str]:
    """What got worse by more than counts, in lines; a voice or figure that is gone is worse too."""
    lines = []
    for name, old in before.items():
        if name not in after:
            lines.append(f"{name}: no longer there")
            continue
        new = after[name]
        faults = [means.get("faults") or 0 for means in (old, new)]
        if faults[1] > faults[0]:
            lines.append(f"{name}: {faults[1]} faults, {faults[0]} before")
        for key, (heading, _, _, more, counts) in FIGURES.items():
            first, second = old.get(key), new.get(key)
            if first is None or counts is None:
                continue
            if second is None or (first - second if more else second - first) > counts:
                lines.append(f"{name}: {heading} {_cell(key, second)}, {_cell(key, first)} before")
    return lines


def _cell(key: str, value: float | None) -> str:
    _, digits, factor, _, _ = FIGURES[key]
    return "-" if value is None else f"{value * factor:.{digits}f}"
