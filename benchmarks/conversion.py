"""Judge converted clips (similarity, pitch, words, voice quality, silence, length); make the WORLD baseline.

Runs in the environment that scripts/judge-env makes, with the package's source on the path (PYTHONPATH=src):

    python benchmarks/conversion.py world clips.json WORLD_FOLDER --data ../shared/data
    python benchmarks/conversion.py judge clips.json WORLD_FOLDER/clips.json --out RESULTS [--mos]
        --whisper JUDGE/whisper-base --vosk JUDGE/vosk-model-small-en-us-0.15

A clips file is a JSON list of {"source": path, "voice": name, "output": path, "transpose": semitones} and,
optionally, "system" (heading; default: the file's name), "target" (the manifest's speaker whose dev-test
recordings count; default: the voice), "pair" (a heading, such as "real singer", for rows of its own), "own"
and "others" (recordings of the same phrase in sync by the target and by other voices) and "only" ("words":
nothing but its words by Vosk is judged).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import mos
import numpy as np
import tables
from ears import Ears, Heard
from parallels import envelope_distance
from targets import Target, recordings, remembered_target
from words import Words, write_text
from world import write_baseline

from resing.scoring import metrics
from resing.scoring.clip import HEARING_RATE
from resing.scoring.damage import detected
from resing.scoring.figures import second_opinion
from resing.scoring.pair import Pair

DAMAGE = (
    "missing_seconds",
    "lag_ms",
    "drift_ms_per_minute",
    "clicks_ratio",
    "dips_db",
    "steps_db",
    "jumps_share",
)
Row = dict[str, Any]


def similarity(source: Heard, output: Heard, target: Target) -> Row:
    """Speaker similarity by each embedder on the same windows, where the source sounds."""
    active = source.active[: min(len(source.audio_16k), len(output.audio_16k))]
    if active.sum() < HEARING_RATE // 2:  # too little to know a voice by
        return {}
    figures: Row = {}
    for suffix, centroid in target.centroids.items():
        before, after = (clip.speakers(suffix, active) for clip in (source, output))
        to_target, to_source = (
            float(np.mean(after @ centroid)),
            float(np.mean(np.sum(after * before, axis=1))),
        )
        own, ceiling = float(np.mean(before @ centroid)), target.ceilings[suffix]
        found = {
            "similarity": to_target,
            "similarity_of_ceiling": to_target / ceiling,
            "similarity_to_source": to_source,
            "leak_margin": to_target - to_source,
            "source_similarity": own,
            "source_similarity_of_ceiling": own / ceiling,
            "nearer_target": float(to_target > to_source),
        }
        figures |= {name + suffix: value for name, value in found.items()}
    return figures


def judge_tone(source: Heard, output: Heard, transpose: float, target: Target) -> Row:
    """HNR and CPP of output and source, and their change against min(source, target's recordings)."""
    heard = {
        "": output.quality(metrics.expected_pitch(source.pitch, output.pitch, transpose)),
        "source_": source.own_quality,
    }
    figures: Row = {}
    for prefix, quality in heard.items():
        for key, value in quality.items():
            known = [float(x) for x in (source.own_quality[key], target.quality[key]) if x is not None]
            figures[f"{prefix}{key}"] = value
            if value is not None and known:
                change = value - min(known) if "hnr" in key else value / min(known)
                figures[f"{prefix}{key}_change"] = change
    return figures


def judge_sound(source: Heard, output: Heard, transpose: float, target: Target) -> Row:
    """Everything but words and similarity, of one converted clip; the source's begin with source_."""
    rates = (source.sample_rate, output.sample_rate)
    deficit, centre = metrics.worst_deficit(output.spectrum, target.spectrum, target.bandwidth_hz)
    own, _ = metrics.worst_deficit(source.spectrum, target.spectrum, target.bandwidth_hz)
    levels = [metrics.active_level(metrics.frame_levels(c.audio, c.sample_rate)) for c in (source, output)]
    melody = metrics.pitch_agreement(source.pitch, output.pitch, transpose, source.active_frames)
    return {
        **melody,
        **second_opinion(Pair(source, output, transpose)),
        **{f"source_{key}": value for key, value in source.own_melody.items()},
        **judge_tone(source, output, transpose, target),
        **metrics.silence_floor(source.audio, output.audio, rates),
        "worst_band_db": deficit,
        "worst_band_hz": centre,
        "source_worst_band_db": own,
        "bandwidth_hz": metrics.bandwidth(*output.spectrum),
        "loudness_change_db": levels[1] - levels[0],
        "loudness_change_lu": float(output.loudness[0] - source.loudness[0]),
        "true_peak_dbtp": float(output.loudness[1]),
        "source_true_peak_dbtp": float(source.loudness[1]),
        "clipped_runs": metrics.clipped_runs(output.audio),
        "over_full_scale": int(np.count_nonzero(np.abs(output.audio) > 1.0)),
        "not_finite": metrics.not_finite(output.raw),
        "length_difference": metrics.length_difference(len(source.raw), len(output.raw), rates),
    }


def judge_units(pair: Pair) -> Row:
    """How far the words' sounds moved by the content encoder: cosine distance and a phone probe's."""
    measures = {"units_distance": pair.unit_distances, "phone_distance": pair.phone_distances}
    known = {name: values[~np.isnan(values)] for name, values in measures.items()}
    return {name: float(values.mean()) if len(values) else None for name, values in known.items()}


def judge_damage(pair: Pair) -> Row:
    """Readings of the detectors of damage, and the kinds of damage of which one is beyond its limit."""
    found = [(kind, figure) for kind, figure, _ in detected(pair)]
    readings = {figure.name: figure.value for _, figure in found if figure.name in DAMAGE}
    return readings | {"damaged": sorted({kind for kind, figure in found if figure.flagged})}


def judge_colour(row: Row, source: Heard, output: Heard, data: Path) -> Row:
    """Distance in dB to what the target really sang, and to what others sang, of output and source."""
    if "own" not in row:
        return {}
    own, *others = (Heard(find(name, data), output.ears).audio_house for name in (row["own"], *row["others"]))
    figures: Row = {}
    for prefix, clip in (("", output), ("source_", source)):
        apart = [envelope_distance(clip.audio_house, other) for other in others]
        known = [distance for distance in apart if distance is not None]
        figures[f"{prefix}colour_to_own_db"] = envelope_distance(clip.audio_house, own)
        figures[f"{prefix}colour_to_others_db"] = float(np.mean(known)) if known else None
    return figures


def judge_opinions(rows: list[Row], data: Path, ears: Ears) -> dict[str, Row]:
    """Opinion scores by voice, of 30 s of its outputs less those of their sources."""
    changes: dict[str, Row] = {}
    for name in sorted({str(row["voice"]) for row in rows}):
        pieces: dict[str, list[np.ndarray]] = {"source": [], "output": []}
        for row in (row for row in rows if row["voice"] == name and "only" not in row):
            if sum(map(len, pieces["source"])) < mos.SECONDS * HEARING_RATE:
                for side, heard in pieces.items():
                    heard.append(Heard(find(str(row[side]), data), ears).audio_16k)
        joined = {side: np.concatenate(p)[: int(mos.SECONDS * HEARING_RATE)] for side, p in pieces.items()}
        changes[name] = {
            f"{measure.__name__}_change": measure(joined["output"]) - measure(joined["source"])
            for measure in mos.MEASURES
        }
    return changes


def find(path: str, data: Path) -> Path:
    """A path as given, or below the data folder."""
    return Path(path) if Path(path).exists() else data / path


def load_rows(files: list[Path]) -> list[Row]:
    """All rows of the clips files, each with its system and target, rows of one source together."""
    read_rows = ((file.stem, row) for file in files for row in json.loads(file.read_text(encoding="utf-8")))
    rows = [{"system": name, "target": row["voice"], "pair": ""} | row for name, row in read_rows]
    return sorted(rows, key=lambda row: str(row["source"]))


def judge_row(row: Row, source: Heard, target: Target, words: Words) -> Row:
    """A row with everything that is judged of it."""
    output = Heard(find(str(row["output"]), words.data), source.ears)
    same = source.path.parent.name in target.speakers
    row = row | {"same_speaker": same, "seconds": len(source.raw) / source.sample_rate}
    if row.get("only") == "words":  # by the recogniser that understands too few of the others
        return row | words.judge(source, output, "_vosk")
    row |= judge_sound(source, output, float(row["transpose"]), target)
    if "own" in row:
        return row | judge_colour(row, source, output, words.data)
    row |= {} if same else similarity(source, output, target)
    pair = Pair(source, output, float(row["transpose"]), tuple(row.get("folded", ())))
    return row | judge_damage(pair) | judge_units(pair) | words.judge(source, output)


def judge(rows: list[Row], data: Path, ears: Ears, excluded: frozenset[str]) -> Row:
    """Judge every row; one source and one output in memory at a time."""
    names = sorted({str(row["target"]) for row in rows})
    targets = {name: remembered_target(recordings(data, name, excluded), data, ears) for name in names}
    words = Words(data, ears)
    results, source = [], None
    for number, row in enumerate(rows, 1):
        path = find(str(row["source"]), data)
        source = source if source is not None and source.path == path else Heard(path, ears)
        results.append(judge_row(row, source, targets[str(row["target"])], words))
        print(f"{number}/{len(rows)} {row['system']} {path.name} -> {row['voice']}", file=sys.stderr)
    summaries = {name: target.summary() | words.rates_of(target.clips) for name, target in targets.items()}
    return {"targets": summaries, "rows": results}


def options_given() -> argparse.Namespace:
    """What the command line says; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("judge", "world"))
    parser.add_argument(
        "paths", nargs="+", type=Path, help="clips files; for world: one clips file and the folder to write"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with manifest.csv")
    parser.add_argument(
        "--whisper", type=Path, help="Whisper-base folder; without it its words are not judged"
    )
    parser.add_argument("--vosk", type=Path, help="vosk-model-small-en-us folder; likewise")
    parser.add_argument("--mos", action="store_true", help="opinion scores of 30 s of each voice too (slow)")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="where judge writes conversion.json and .md"
    )
    parser.add_argument(
        "--exclude", type=Path, help="JSON list of manifest files that no target may use (trained on)"
    )
    return parser.parse_args()


def main() -> None:
    """Judge, or write the baseline."""
    options = options_given()
    ears = Ears(options.whisper, options.vosk)
    excluded = frozenset(json.loads(options.exclude.read_text(encoding="utf-8")) if options.exclude else ())
    if options.command == "world":
        rows = [
            row | {"source": str(find(row["source"], options.data))} for row in load_rows(options.paths[:1])
        ]
        write_baseline(rows, options.data, ears, options.paths[1], excluded)
        return
    rows = load_rows(options.paths)
    result = judge(rows, options.data, ears, excluded)
    if options.mos:
        result["opinions"] = judge_opinions(rows, options.data, ears)
    write_text(options.out / "conversion.json", json.dumps(result, ensure_ascii=False, indent=1))
    markdown = tables.markdown_report(result["rows"], result["targets"])
    write_text(options.out / "conversion.md", markdown)
    print(markdown)


if __name__ == "__main__":
    main()
