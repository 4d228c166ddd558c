"""What every detector of damage says to injected faults and to harmless changes, on sung dev-test clips.

    python benchmarks/damage.py --data ../shared/data [--clips 20] [--out RESULTS]

Runs in the package's environment. The converted clip is the source itself, or another voice singing the same
phrase (kokoro_sung's par clips): as it is, changed harmlessly, or damaged. Each fault is held against its own
detectors, each harmless change against all of them.
"""

import argparse
import csv
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import faults
import numpy as np
import pyworld
import soxr
from tables import markdown_table

from resing.audio.files import read
from resing.config import FeaturesConfig
from resing.features.f0 import swift_frames
from resing.scoring import artefacts, metrics, timing
from resing.scoring.artefacts import LIMITS, Reference
from resing.scoring.melody import CONFIDENT, FRAME_SECONDS, VOICED, Pitch, expected_pitch, shifted
from resing.scoring.places import runs

HEARING_RATE = 16000  # Hz at which pitch and tone are heard
LONGEST_SECONDS = 8.0
DROPPED_SECONDS = 0.1  # a note that one of two voices lacks for so long makes them no natural pair
PARTNERS = 4  # voices tried for a phrase
SUNG = ("kumi_utau", "pjs", "scottpoid_utau", "sms_tools", "vocadito")
TONE = {
    "hnr_db": metrics.hnr,
    "hnr_high_db": metrics.hnr_high,
    "cpp_db": metrics.cpp,
}
Readings = dict[str, float | None]


class Sung(Protocol):
    """Anything with a pitch by SwiftF0."""

    @property
    def pitch(self) -> Pitch:
        """(T,)."""
        ...


@dataclass(frozen=True)
class Sound:
    """Mono audio (N,) with its rate in Hz, and what is heard in it, each worked out once."""

    audio: np.ndarray
    sample_rate: int

    @cached_property
    def hearing(self) -> np.ndarray:
        """At HEARING_RATE, (N16,)."""
        return soxr.resample(self.audio.astype(np.float32), self.sample_rate, HEARING_RATE)

    @cached_property
    def pitch(self) -> Pitch:
        """By SwiftF0."""
        return Pitch(*swift_frames(self.hearing, FeaturesConfig(), threads=1))

    @cached_property
    def second(self) -> Pitch:
        """By WORLD's DIO, at the same frames."""
        signal, config = self.hearing.astype(np.float64), FeaturesConfig()
        rough, at = pyworld.dio(
            signal, HEARING_RATE, config.f0_min, config.f0_max, frame_period=1000 * FRAME_SECONDS
        )
        f0 = pyworld.stonemask(signal, rough, at, HEARING_RATE)
        return Pitch(f0, (f0 > 0) * 1.0)

    def tone(self, pitch: Pitch) -> dict[str, float | None]:
        """Medians of HNR, HNR above 2 kHz and CPP in dB at a pitch's confident frames."""
        return {
            name: metrics.median_at(measure, self.hearing, HEARING_RATE, pitch)
            for name, measure in TONE.items()
        }

    @cached_property
    def own_tone(self) -> dict[str, float | None]:
        """The same at its own pitch."""
        return self.tone(self.pitch)

    @cached_property
    def reference(self) -> Reference:
        """What it says of its singer."""
        spectrum = metrics.long_term_spectrum(self.audio, self.sample_rate)
        return Reference(spectrum, metrics.bandwidth(*spectrum))


@dataclass(frozen=True)
class Case:
    """A source, what stands for its conversion, semitones between them, and the converted voice elsewhere."""

    name: str
    source: Sound
    output: Sound
    transpose: float = 0.0
    target: Sound | None = None


def detect(
    source: Sound,
    output: Sound,
    transpose: float = 0.0,
    target: Sound | None = None,
    names: Iterable[str] = LIMITS,
) -> Readings:
    """What detectors say of an output, by their names in LIMITS; None where one cannot say anything."""
    rates, both = (source.sample_rate, output.sample_rate), (source.audio, output.audio)

    @cache
    def time() -> timing.Timing:
        return timing.measure_timing(*both, rates)

    @cache
    def tone() -> Readings:
        return tone_changes(source, output, transpose, target)

    def moment(detector: Callable[..., tuple[float, Any]]) -> float:
        held = artefacts.held_notes(source.pitch, output.pitch)
        if detector is artefacts.jumps:
            return detector(*((s.hearing, HEARING_RATE, s.pitch) for s in (output, source)), held)[0]
        return detector(output.audio, output.sample_rate, source.audio, source.sample_rate, held)[0]

    def octaves() -> float:
        asked = (shifted(source.pitch, transpose), output.pitch, shifted(source.second, transpose))
        return artefacts.octave_places(*asked, output.second)[0]

    readings: dict[str, Callable[[], float | None]] = {
        "hnr_db_change": lambda: tone()["hnr_db_change"],
        "hnr_high_db_change": lambda: tone()["hnr_high_db_change"],
        "cpp_ratio": lambda: tone()["cpp_ratio"],
        "octave_share": octaves,
        "worst_band_db": lambda: artefacts.dull_places(*both, rates, target.reference if target else None)[0],
        "noise_excess_db": lambda: artefacts.noise_places(*both, rates)[0],
        "clipped_runs": lambda: artefacts.clipped_places(both[1], rates[1], both[0])[0],
        "length_difference_samples": lambda: metrics.length_difference(len(both[0]), len(both[1]), rates),
        "lag_ms": lambda: time().lag_ms,
        "part_lag_ms": lambda: time().part_lag_ms,
        "drift_share": lambda: time().drift_ms_per_minute / timing.drift_limit(len(both[0]) / rates[0]),
        "clicks_ratio": lambda: moment(artefacts.clicks),
        "dips_db": lambda: moment(artefacts.dips),
        "steps_db": lambda: moment(artefacts.steps),
        "jumps_share": lambda: moment(artefacts.jumps),
        "missing_seconds": lambda: artefacts.missing_places(*both, rates)[0],
    }
    return {name: readings[name]() for name in names}


def tone_changes(source: Sound, output: Sound, transpose: float, target: Sound | None) -> Readings:
    """HNR, HNR above 2 kHz and CPP of the output against the lower of source and target."""
    heard = output.tone(expected_pitch(source.pitch, output.pitch, transpose))
    known = [source.own_tone, *([target.own_tone] if target else [])]
    changes: Readings = {}
    for name, value in heard.items():
        limits = [tone[name] for tone in known if tone[name] is not None]
        lowest = min((limit for limit in limits if limit is not None), default=None)
        there = value is not None and lowest is not None
        if name == "cpp_db":
            changes["cpp_ratio"] = value / lowest if there else None
        else:
            changes[f"{name}_change"] = value - lowest if there else None
    return changes


def fired(readings: Readings) -> set[str]:
    """Names of the detectors whose reading is beyond its limits."""
    return {
        name
        for name, value in readings.items()
        if value is not None and not LIMITS[name][0] <= value <= LIMITS[name][1]
    }


def load(path: Path) -> Sound:
    """The first LONGEST_SECONDS of a file."""
    audio, rate = read(path, mono=True, end_seconds=LONGEST_SECONDS)
    return Sound(audio[0].astype(np.float64), rate)


def own_cases(data: Path, rows: list[dict[str, str]], count: int) -> list[Case]:
    """Clips that stand for their own conversion, in turn from every source of singing."""
    by_source = defaultdict(list)
    for row in rows:
        if (
            row["use"] == "dev-test"
            and row["source"] in (*SUNG, "kokoro_sung")
            and float(row["seconds"]) > 3.0
        ):
            by_source[row["source"]].append(row["file"])
    spread = {name: files[:: max(1, len(files) // count)] for name, files in by_source.items()}
    turns = [files[turn] for turn in range(count) for files in spread.values() if turn < len(files)]
    sounds = ((file, load(data / file)) for file in turns[:count])
    return [Case(file, sound, sound) for file, sound in sounds]


def other_cases(data: Path, rows: list[dict[str, str]], count: int) -> tuple[list[Case], int]:
    """Another kokoro voice for the conversion, and how many pairs were left out because a note is missing.

    TTS voices made to sing drop notes: a pair counts as natural only if neither lacks a tone of the other for
    longer than DROPPED_SECONDS. The converted voice's other clips stand for the target's recordings.
    """
    lines = (data / "kokoro_sung" / "alignment.jsonl").read_text(encoding="utf-8").splitlines()
    base = {f"kokoro_sung/{row['file']}.opus": row["base_hz"] for row in map(json.loads, lines)}
    phrases, voices = defaultdict(list), defaultdict(list)
    for row in rows:
        if row["source"] == "kokoro_sung":
            voices[row["speaker"]].append(row["file"])
            if "/par" in row["file"]:
                phrases[Path(row["file"]).name].append(row)
    found: list[Case] = []
    left_out = 0
    for group in phrases.values():
        dev = [row["file"] for row in group if row["use"] == "dev-test"]
        if not dev or len(found) == count:
            continue
        output, speaker = load(data / dev[0]), dev[0].split("/")[1]
        partners = [row["file"] for row in group if row["file"] != dev[0]]
        for file in partners[len(found) % 3 :][:PARTNERS]:
            source = load(data / file)
            if max(dropped_seconds(source, output), dropped_seconds(output, source)) > DROPPED_SECONDS:
                left_out += 1
                continue
            others = [load(data / other) for other in voices[speaker] if other != dev[0]][:4]
            target = Sound(np.concatenate([s.audio for s in others]), output.sample_rate)
            semitones = 12.0 * math.log2(base[dev[0]] / base[file])
            found.append(Case(f"{file} by {speaker}", source, output, semitones, target))
            break
    return found, left_out


def dropped_seconds(source: Sung, output: Sung) -> float:
    """The longest time that the source has a clear pitch and the output none."""
    n = min(len(source.pitch.f0), len(output.pitch.f0))
    lost = (source.pitch.confidence[:n] >= CONFIDENT) & (output.pitch.confidence[:n] < VOICED)
    return FRAME_SECONDS * max((int(end - start) for start, end in runs(lost)), default=0)


def moments(case: Case) -> np.ndarray:
    """Seconds in the middle of held notes, where a fault of a moment is put."""
    held = artefacts.held_notes(case.source.pitch, case.output.pitch) & (
        case.output.pitch.confidence >= CONFIDENT
    )
    return np.flatnonzero(held) * FRAME_SECONDS


def changed(case: Case, change: Any, seed: int, names: Iterable[str] = LIMITS) -> Readings:
    """What detectors say of a case whose output is changed."""
    rate = case.output.sample_rate
    rng = np.random.default_rng(seed)
    audio = change(case.output.audio, rate, rng, moments(case))
    return detect(case.source, Sound(audio, rate), case.transpose, case.target, names)


def faults_table(cases: dict[str, list[Case]], controls: dict[str, list[Readings]]) -> str:
    """Markdown: a row per fault and detector."""
    lines = []
    for heading, (fault, detectors) in faults.FAULTS.items():
        found = {
            kind: [changed(case, fault, seed, detectors) for seed, case in enumerate(own)]
            for kind, own in cases.items()
        }
        for name in detectors:
            cells = []
            for kind, readings in found.items():
                known = [r for r in readings if r.get(name) is not None]
                hits = sum(name in fired(r) for r in known)
                cells += [f"{hits}/{len(known)}", middle(readings, name), middle(controls[kind], name)]
            lines.append([heading, name, limit(name), *cells])
        if len(detectors) > 1:
            shares = [
                (f"{sum(bool(fired(r) & set(detectors)) for r in readings)}/{len(readings)}", "", "")
                for readings in found.values()
            ]
            lines.append([heading, "any of them", "", *(cell for share in shares for cell in share)])
    columns = [f"{kind}: {what}" for kind in cases for what in ("fires", "reading", "control")]
    return markdown_table(["fault", "detector", "limit", *columns], lines)


def middle(readings: list[Readings], name: str) -> str:
    """Median of a detector's readings."""
    values = [r[name] for r in readings if r.get(name) is not None]
    return f"{np.median(np.array(values, dtype=float)):.3g}" if values else "-"


def limit(name: str) -> str:
    """The range that needs no look, in figures."""
    low, high = LIMITS[name]
    return (
        f"<= {high:g}" if low == -math.inf else f">= {low:g}" if high == math.inf else f"{low:g} to {high:g}"
    )


def alarms_table(harmless: dict[str, list[Readings]]) -> str:
    """Markdown: how many clips each detector fires on, a column per harmless change."""
    lines = []
    for name in LIMITS:
        known = {
            kind: [r for r in readings if r.get(name) is not None] for kind, readings in harmless.items()
        }
        counts = {kind: sum(name in fired(r) for r in readings) for kind, readings in known.items()}
        total, clips = sum(counts.values()), sum(map(len, known.values()))
        cells = [f"{counts[kind]}/{len(known[kind])}" for kind in harmless]
        lines.append([name, *cells, f"{100 * total / max(1, clips):.1f}"])
    return markdown_table(["detector", *harmless, "% of all"], lines)


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with manifest.csv")
    parser.add_argument("--clips", type=int, default=20, help="clips, and pairs of voices, at most")
    parser.add_argument("--out", type=Path, help="folder for damage.md")
    options = parser.parse_args()
    with open(options.data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    others, left_out = other_cases(options.data, rows, options.clips)
    cases = {"itself": own_cases(options.data, rows, options.clips), "other voice": others}
    harmless = {
        kind: [changed(case, change, seed) for seed, case in enumerate(cases["itself"])]
        for kind, change in faults.HARMLESS.items()
    }
    harmless["other voice"] = [changed(case, faults.nothing, 0) for case in others]
    controls = {"itself": harmless["as it is"], "other voice": harmless["other voice"]}
    text = (
        f"{len(cases['itself'])} clips for themselves, {len(others)} for another voice's ({left_out} pairs "
        "left out: one of the two does not sing every note).\n\n"
        f"## Injected faults\n\n{faults_table(cases, controls)}\n\n"
        f"## False alarms on harmless changes\n\n{alarms_table(harmless)}\n"
    )
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "damage.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
