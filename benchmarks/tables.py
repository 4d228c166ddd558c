"""Markdown tables and flags of judged clips."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# key of a row: (heading, decimals, factor); means over rows that have the figure
TABLES: dict[str, dict[str, tuple[str, int, float]]] = {
    "Similarity (other speakers only)": {
        "similarity": ("similarity", 3, 1),
        "similarity_of_ceiling": ("of ceiling", 3, 1),
        "similarity_to_source": ("to source", 3, 1),
        "leak_margin": ("leak margin", 3, 1),
        "nearer_target": ("nearer target %", 0, 100),
        "source_similarity": ("source itself", 3, 1),
    },
    "Pitch": {
        "coverage": ("coverage", 3, 1),
        "f0_rmse_cents": ("f0 RMSE c", 1, 1),
        "f0_fine_rmse_cents": ("without gross", 1, 1),
        "f0_median_cents": ("median c", 1, 1),
        "f0_correlation": ("correlation", 4, 1),
        "gross_share": ("gross %", 2, 100),
        "octave_share": ("octave %", 2, 100),
        "voicing_error": ("voicing %", 1, 100),
    },
    "Sound": {
        "hnr_db": ("HNR dB", 1, 1),
        "hnr_db_change": ("HNR change", 1, 1),
        "hnr_high_db": ("HNR > 2 kHz", 1, 1),
        "hnr_high_db_change": ("high change", 1, 1),
        "cpp_db_change": ("CPP ratio", 2, 1),
        "worst_band_db": ("worst band dB", 1, 1),
        "bandwidth_hz": ("band kHz", 1, 1e-3),
        "output_floor_db": ("silence dB", 1, 1),
        "source_floor_db": ("source's", 1, 1),
    },
    "Similarity by ERes2Net": {
        "similarity_of_ceiling_eres2net": ("of ceiling", 3, 1),
        "leak_margin_eres2net": ("leak margin", 3, 1),
        "nearer_target_eres2net": ("nearer target %", 0, 100),
        "source_similarity_of_ceiling_eres2net": ("source itself, of ceiling", 3, 1),
    },
    "Words (source rate <= .3)": {
        "source_cer": ("source CER", 3, 1),
        "output_cer": ("output CER", 3, 1),
        "source_cer_vosk": ("source CER, Vosk", 3, 1),
        "output_cer_vosk": ("output CER, Vosk", 3, 1),
        "units_distance": ("units' distance", 3, 1),
        "phone_distance": ("phones' distance", 3, 1),
    },
}


def flags(row: dict[str, Any]) -> list[str]:
    """What is wrong with a judged row, in words; the limits are those of the project's scorecard."""
    floor = max(-45.0, row["source_floor_db"] + 6.0) if row.get("source_floor_db") is not None else math.inf
    checks = {
        "coverage": ("coverage", lambda v: v < 0.9),
        "f0_rmse_cents": ("f0 RMSE", lambda v: v > 15.0),
        "octave_share": ("octaves", lambda v: v > 0.005),
        "nearer_target": ("nearer source", lambda v: v < 0.5),
        "hnr_db_change": ("HNR", lambda v: v < -2.5),
        "cpp_db_change": ("CPP", lambda v: not 0.8 <= v <= 1.5),
        "worst_band_db": ("band", lambda v: v <= -12.0),
        "output_floor_db": ("silence", lambda v: v > floor),
        "clipped_runs": ("clipping", lambda v: v > 0),
        "over_full_scale": ("over full scale", lambda v: v > 0),
        "not_finite": ("NaN", lambda v: v > 0),
        "length_difference": ("length", lambda v: v != 0),
    }
    return [name for key, (name, wrong) in checks.items() if row.get(key) is not None and wrong(row[key])]


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, ["---"] * len(headings), *rows))


def _groups(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows by system and voice, by pair where one is named, and all of a system."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for system in sorted({row["system"] for row in rows}):
        own = [row for row in rows if row["system"] == system]
        for key in ("voice", "pair"):
            for name in sorted({row[key] for row in own if row[key]}):
                groups[system, name] = [row for row in own if row[key] == name]
        groups[system, "all"] = own
    return groups


def markdown_report(rows: list[dict[str, Any]], targets: dict[str, dict[str, Any]]) -> str:
    """Tables of means by system and voice, the targets' own figures, and the number of clips under each
    flag."""
    parts = []
    groups = _groups(rows)
    for title, columns in TABLES.items():
        lines = []
        for (system, name), own in groups.items():
            values = [[row[key] for row in own if row.get(key) is not None] for key in columns]
            cells = [
                f"{np.mean(value) * factor:.{digits}f}" if value else "-"
                for value, (_, digits, factor) in zip(values, columns.values(), strict=True)
            ]
            lines.append([system, name, str(max(map(len, values))), *cells])
        parts.append(
            f"## {title}\n\n"
            + markdown_table(["system", "voice", "clips", *(c[0] for c in columns.values())], lines)
        )
    keys = (
        "seconds",
        "ceiling",
        "ceiling_eres2net",
        "bandwidth_hz",
        "median_f0_hz",
        "hnr_db",
        "hnr_high_db",
        "cpp_db",
    )
    lines = [
        [name, *(f"{t[key]:.4g}" if t.get(key) is not None else "-" for key in keys)]
        for name, t in targets.items()
    ]
    parts.append("## Target recordings\n\n" + markdown_table(["target", *keys], lines))
    flagged = [(row["system"], flag) for row in rows for flag in flags(row)]
    lines = [[system, flag, str(flagged.count((system, flag)))] for system, flag in sorted(set(flagged))]
    parts.append(
        f"## Flagged clips (of {len(rows)})\n\n" + markdown_table(["system", "flag", "clips"], lines)
    )
    return "\n\n".join(parts) + "\n"
