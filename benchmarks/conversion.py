"""Judge converted clips (similarity, pitch, words, voice quality, silence, length); make the WORLD baseline.

Runs in the environment that scripts/judge-env makes, with the package's source on the path (PYTHONPATH=src):

    python benchmarks/conversion.py world clips.json WORLD_FOLDER --data ../shared/data
    python benchmarks/conversion.py judge clips.json WORLD_FOLDER/clips.json --whisper WHISPER --out RESULTS

A clips file is a JSON list of {"source": path, "voice": name, "output": path, "transpose": semitones} and,
optionally, "system" (heading; default: the file's name), "target" (the manifest's speaker whose dev-test
recordings count; default: the voice) and "pair" (a heading, such as "same sex", for rows of its own).
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import tables

from resing.scoring import metrics
from resing.scoring.metrics import FRAME_SECONDS, Pitch

HEARING_RATE = 16000  # the pitch tracker's, the embedder's and the recogniser's
FULL_RATE = 44100  # long-term spectra
WORDS_LIMIT = 0.3  # source error rate up to which a clip's words are judged
Json = dict[str, Any]
Measure = Callable[..., np.ndarray]


def read(path: Path) -> tuple[np.ndarray, int]:
    """Mono float32 audio (N,), non-finite samples kept, and its rate."""
    audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return audio.mean(axis=1), sample_rate


def write_text(path: Path, text: str) -> None:
    """Write beside the target, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


class Ears:
    """The models that listen, each loaded when first needed, one thread each."""

    def __init__(self, whisper: Path | None) -> None:
        self.whisper = whisper

    @cached_property
    def _tracker(self) -> Any:
        from swift_f0 import SwiftF0

        return SwiftF0(threads=1, spin=False)

    @cached_property
    def _embedder(self) -> Any:
        import torch
        from resemblyzer import VoiceEncoder

        torch.set_num_threads(1)
        return VoiceEncoder("cpu", verbose=False)

    @cached_property
    def _recogniser(self) -> Any:
        from faster_whisper import WhisperModel

        return WhisperModel(str(self.whisper), device="cpu", compute_type="float32", cpu_threads=1)

    def pitch(self, audio: np.ndarray) -> Pitch:
        """Pitch of audio at 16 kHz, (N,)."""
        heard = self._tracker.detect(audio, HEARING_RATE)
        return Pitch(heard.pitch_hz, heard.confidence)

    def embed(self, audio: np.ndarray, edges: Iterable[tuple[int, int]]) -> np.ndarray:
        """Speaker embedding of each window at 16 kHz, brought to -30 dB first, (W, 256)."""
        windows = [audio[a:b] for a, b in edges]
        gains = [10**-1.5 / max(float(np.sqrt(np.mean(w**2))), 1e-9) for w in windows]
        return np.stack([self._embedder.embed_utterance(w * g) for w, g in zip(windows, gains, strict=True)])

    def words(self, audio: np.ndarray, language: str) -> str:
        """What the recogniser hears at 16 kHz; deterministic."""
        settings = {
            "beam_size": 5,
            "temperature": 0.0,
            "condition_on_previous_text": False,
            "without_timestamps": True,
        }
        segments, _ = self._recogniser.transcribe(audio, language=language, **settings)
        return " ".join(segment.text for segment in segments)


class Clip:
    """A file and what is heard in it, worked out when asked for."""

    def __init__(self, path: Path, ears: Ears) -> None:
        self.path, self.ears = path, ears
        self.raw, self.sample_rate = read(path)
        if not len(self.raw):
            raise SystemExit(f"{path} holds no samples: convert it again or drop its row")
        self.audio = np.nan_to_num(self.raw, posinf=0.0, neginf=0.0)

    @cached_property
    def audio_16k(self) -> np.ndarray:
        return soxr.resample(self.audio, self.sample_rate, HEARING_RATE)

    @cached_property
    def pitch(self) -> Pitch:
        return self.ears.pitch(self.audio_16k)

    @cached_property
    def active(self) -> np.ndarray:
        """Where it sounds at 16 kHz, bool (N,)."""
        return metrics.active_samples(self.audio_16k, HEARING_RATE)

    @cached_property
    def active_frames(self) -> np.ndarray:
        """Where it sounds at the tracker's frames, bool (T,)."""
        return self.active[:: round(FRAME_SECONDS * HEARING_RATE)]

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        full = soxr.resample(self.audio, self.sample_rate, FULL_RATE)
        frequencies, density = metrics.long_term_spectrum(full, FULL_RATE)
        return frequencies, np.where(frequencies <= self.sample_rate / 2, density, 0.0)

    @cached_property
    def own_quality(self) -> dict[str, float | None]:
        return self.quality(self.pitch)

    def quality(self, pitch: Pitch) -> dict[str, float | None]:
        """Medians of HNR, HNR above 2 kHz and CPP, in dB, at the pitch's confident frames."""
        kinds: dict[str, Measure] = {
            "hnr_db": metrics.hnr, "hnr_high_db": metrics.hnr_high, "cpp_db": metrics.cpp
        }  # fmt: skip
        return {
            name: metrics.median_at(kind, self.audio_16k, HEARING_RATE, pitch) for name, kind in kinds.items()
        }


@dataclass(frozen=True)
class Target:
    """What a voice's own recordings, never trained on, sound like."""

    seconds: float
    centroid: np.ndarray
    ceiling: float
    spectrum: tuple[np.ndarray, np.ndarray]
    bandwidth_hz: float
    median_f0_hz: float
    quality: dict[str, float | None]

    def summary(self) -> Json:
        """Its figures as JSON."""
        keys = ("seconds", "ceiling", "bandwidth_hz", "median_f0_hz")
        return {key: getattr(self, key) for key in keys} | self.quality


def recordings(data: Path, speaker: str, excluded: frozenset[str]) -> list[dict[str, str]]:
    """Manifest rows of a target's dev-test recordings; a bank's name means all its voices (kumi: every
    kumi_*)."""
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["use"] == "dev-test" and row["file"] not in excluded
        ]
    found = [row for row in rows if speaker in (row["speaker"], row["source"].removesuffix("_utau"))]
    if not found:
        raise SystemExit(
            f'no dev-test recording of {speaker!r} in {data}/manifest.csv: name one with "target"'
        )
    return found


def listen_to_target(rows: list[dict[str, str]], data: Path, ears: Ears) -> Target:
    """The target of its recordings; short clips are joined before they are cut into windows."""
    clips = [Clip(data / row["file"], ears) for row in rows]
    joined = np.concatenate([clip.audio_16k[clip.active] for clip in clips])
    embeddings = metrics.unit(ears.embed(joined, metrics.window_edges(len(joined), HEARING_RATE)))
    weights = np.array([clip.active.sum() for clip in clips], dtype=np.float64)
    density = np.average([clip.spectrum[1] for clip in clips], axis=0, weights=weights)
    sung = [clip.pitch.f0[clip.pitch.confidence >= metrics.CONFIDENT] for clip in clips]
    qualities = [clip.own_quality for clip in clips]
    counts = np.array([len(f0) for f0 in sung])
    quality = {
        key: metrics.weighted_median([q[key] for q in qualities], counts)
        for key in ("hnr_db", "hnr_high_db", "cpp_db")
    }
    return Target(
        seconds=len(joined) / HEARING_RATE,
        centroid=metrics.unit(embeddings.mean(axis=0)),
        ceiling=metrics.leave_one_out(embeddings),
        spectrum=(clips[0].spectrum[0], density),
        bandwidth_hz=float(np.median([float(row["bandwidth_hz"]) for row in rows])),
        median_f0_hz=float(np.median(np.concatenate(sung))),
        quality=quality,
    )


def similarity(source: Clip, output: Clip, target: Target) -> Json:
    """Speaker similarity on the same windows, the source's sounding parts cut out of both."""
    n = min(len(source.audio_16k), len(output.audio_16k))
    active = source.active[:n]
    if active.sum() < HEARING_RATE // 2:  # too little to know a voice by
        return {}
    edges = metrics.window_edges(int(active.sum()), HEARING_RATE)
    before, after = (source.ears.embed(clip.audio_16k[:n][active], edges) for clip in (source, output))
    to_target, to_source = (
        float(np.mean(after @ target.centroid)),
        float(np.mean(np.sum(after * before, axis=1))),
    )
    return {
        "similarity": to_target,
        "similarity_of_ceiling": to_target / target.ceiling,
        "similarity_to_source": to_source,
        "leak_margin": to_target - to_source,
        "source_similarity": float(np.mean(before @ target.centroid)),
        "nearer_target": float(to_target > to_source),
    }


def judge_sound(source: Clip, output: Clip, transpose: float, target: Target) -> Json:
    """Everything but words and similarity, of one converted clip."""
    rates = (source.sample_rate, output.sample_rate)
    quality = output.quality(metrics.expected_pitch(source.pitch, output.pitch, transpose))
    own = source.own_quality
    result: Json = dict(metrics.pitch_agreement(source.pitch, output.pitch, transpose, source.active_frames))
    for key, value in quality.items():
        known = [float(q[key] or 0.0) for q in (own, target.quality) if q[key] is not None]
        result |= {key: value, f"source_{key}": own[key]}
        if value is not None and known:
            reference = min(known)
            result[f"{key}_change"] = value - reference if "hnr" in key else value / reference
    deficit, centre = metrics.worst_deficit(output.spectrum, target.spectrum, target.bandwidth_hz)
    levels = [metrics.active_level(metrics.frame_levels(c.audio, c.sample_rate)) for c in (source, output)]
    return result | {
        **metrics.silence_floor(source.audio, output.audio, rates),
        "worst_band_db": deficit,
        "worst_band_hz": centre,
        "bandwidth_hz": metrics.bandwidth(*output.spectrum),
        "loudness_change_db": levels[1] - levels[0],
        "clipped_runs": metrics.clipped_runs(output.audio),
        "over_full_scale": int(np.count_nonzero(np.abs(output.audio) > 1.0)),
        "not_finite": int(np.count_nonzero(~np.isfinite(output.raw))),
        "length_difference": metrics.length_difference(len(source.raw), len(output.raw), rates),
    }


class Words:
    """Character error rates where the text is known; what is heard in sources is kept in a JSON file."""

    def __init__(self, data: Path, ears: Ears, cache: Path) -> None:
        self.data, self.ears, self.cache = data, ears, cache
        with open(data / "kokoro_sung" / "alignment.jsonl", encoding="utf-8") as file:
            self.texts = {row["file"]: row for row in map(json.loads, file)}
        self.heard: dict[str, str] = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}

    def judge(self, source: Clip, output: Clip) -> Json:
        """source_cer and output_cer, or nothing where the text is unknown or the source itself is not
        understood."""
        name = "/".join(source.path.with_suffix("").parts[-2:])
        known = self.texts.get(name)
        limit = WORDS_LIMIT if self.ears.whisper else -1.0
        if known is None or known["source_cer"] is None or known["source_cer"] > limit:
            return {}
        language = name.rsplit("_", 1)[1]
        if name not in self.heard:
            self.heard[name] = self.ears.words(source.audio_16k, language)
            write_text(self.cache, json.dumps(self.heard, ensure_ascii=False, indent=1))
        heard = self.ears.words(output.audio_16k, language)
        rates = [self.error_rate(known["text"], text) for text in (self.heard[name], heard)]
        return {"source_cer": rates[0], "output_cer": rates[1], "text": known["text"], "heard": heard}

    @staticmethod
    def error_rate(reference: str, heard: str) -> float:
        """Character error rate on letters alone."""
        import jiwer

        return float(jiwer.cer(metrics.letters(reference), metrics.letters(heard)))


def find(path: str, data: Path) -> Path:
    """A path as given, or below the data folder."""
    return Path(path) if Path(path).exists() else data / path


def load_rows(files: list[Path]) -> list[Json]:
    """All rows of the clips files, each with its system and target, rows of one source together."""
    read_rows = ((file.stem, row) for file in files for row in json.loads(file.read_text(encoding="utf-8")))
    rows = [{"system": name, "target": row["voice"], "pair": ""} | row for name, row in read_rows]
    return sorted(rows, key=lambda row: str(row["source"]))


def judge(rows: list[Json], data: Path, ears: Ears, out: Path, excluded: frozenset[str]) -> Json:
    """Judge every row; one source and one output in memory at a time."""
    targets: dict[str, Target] = {}
    speakers: dict[str, set[str]] = {}
    for name in sorted({str(row["target"]) for row in rows}):
        found = recordings(data, name, excluded)
        speakers[name] = {row["speaker"] for row in found}
        targets[name] = listen_to_target(found, data, ears)
    words = Words(data, ears, out / "source_words.json")
    results, source = [], None
    for number, row in enumerate(rows, 1):
        path, name = find(str(row["source"]), data), str(row["target"])
        source = source if source is not None and source.path == path else Clip(path, ears)
        output = Clip(find(str(row["output"]), data), ears)
        same = path.parent.name in speakers[name]
        figures = judge_sound(source, output, float(row["transpose"]), targets[name])
        figures |= words.judge(source, output)
        figures |= {} if same else similarity(source, output, targets[name])
        results.append(
            row | {"same_speaker": same, "seconds": len(source.raw) / source.sample_rate} | figures
        )
        print(f"{number}/{len(rows)} {row['system']} {path.name} -> {row['voice']}", file=sys.stderr)
    return {"targets": {name: target.summary() for name, target in targets.items()}, "rows": results}


def world_shift(source: Path, output: Path, transpose: float, target_f0_hz: float, ears: Ears) -> None:
    """Write the WORLD baseline: f0 shifted, formants moved by the cube root of the ratio of median f0.

    Morise et al., WORLD: a vocoder-based high-quality speech synthesis system, IEICE 2016 (harvest,
    cheaptrick, d4c).
    """
    import pyworld

    clip = Clip(source, ears)
    audio, rate = clip.audio.astype(np.float64), clip.sample_rate
    f0, times = pyworld.harvest(audio, rate, f0_floor=50.0, f0_ceil=1100.0)
    envelope = pyworld.cheaptrick(audio, f0, times, rate)  # (T, bins)
    aperiodicity = pyworld.d4c(audio, f0, times, rate)
    sung = clip.pitch.f0[clip.pitch.confidence >= metrics.CONFIDENT]
    ratio = (target_f0_hz / float(np.median(sung))) ** (1.0 / 3.0) if len(sung) else 1.0
    bins = np.arange(envelope.shape[1])
    warped = np.stack([np.exp(np.interp(bins / ratio, bins, frame)) for frame in np.log(envelope)])
    noise = np.stack([np.interp(bins / ratio, bins, frame) for frame in aperiodicity])
    shifted = pyworld.synthesize(f0 * 2.0 ** (transpose / 12.0), warped, noise, rate)
    shifted = np.pad(shifted, (0, max(0, len(audio) - len(shifted))))[: len(audio)]
    shifted /= max(1.0, float(np.max(np.abs(shifted))) / 0.99)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.part")
    soundfile.write(temporary, shifted, rate, format="FLAC", subtype="PCM_24")
    os.replace(temporary, output)


def world(rows: list[Json], data: Path, ears: Ears, out: Path, excluded: frozenset[str]) -> None:
    """Write the WORLD baseline of every row and the clips file that judges it."""
    medians: dict[str, float] = {}
    made = []
    for row in rows:
        name, source = str(row["target"]), find(str(row["source"]), data)
        if name not in medians:
            medians[name] = listen_to_target(recordings(data, name, excluded), data, ears).median_f0_hz
        output = out / f"{source.parent.name}_{source.stem}_{row['voice']}.flac"
        world_shift(source, output, float(row["transpose"]), medians[name], ears)
        made.append(row | {"system": "WORLD shift", "output": str(output)})
    write_text(out / "clips.json", json.dumps(made, indent=1))


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("judge", "world"))
    parser.add_argument(
        "paths", nargs="+", type=Path, help="clips files; for world: one clips file and the folder to write"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with manifest.csv")
    parser.add_argument("--whisper", type=Path, help="Whisper-base folder; without it no words are judged")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="where judge writes conversion.json and .md"
    )
    parser.add_argument(
        "--exclude", type=Path, help="JSON list of manifest files that no target may use (trained on)"
    )
    options = parser.parse_args()
    ears = Ears(options.whisper)
    excluded = frozenset(json.loads(options.exclude.read_text(encoding="utf-8")) if options.exclude else ())
    if options.command == "world":
        world(load_rows(options.paths[:1]), options.data, ears, options.paths[1], excluded)
        return
    result = judge(load_rows(options.paths), options.data, ears, options.out, excluded)
    write_text(options.out / "conversion.json", json.dumps(result, ensure_ascii=False, indent=1))
    markdown = tables.markdown_report(result["rows"], result["targets"])
    write_text(options.out / "conversion.md", markdown)
    print(markdown)


if __name__ == "__main__":
    main()
