"""Copy-synthesis by the vocoder and by WORLD, judged against the recordings.

    python benchmarks/vocoder.py render --data ../shared/data --out COPIES [--weights FILE]
    python benchmarks/vocoder.py judge COPIES --data ../shared/data

The first runs in the package's environment, the second in the judge's (scripts/judge-env), with the package's
source on the path (PYTHONPATH=src).

Clips are `dev-test` only: two of each voice kind, voices heard in training and voices never heard.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 44100
CLIPS = (
    ("kumi_utau", 3), ("scottpoid_utau", 3), ("kathleen_rhasspy", 3), ("pjs", 3), ("kokoro_sung", 4),
    ("nathalie_rhasspy", 2), ("vocadito", 1),
)  # fmt: skip
NEVER_HEARD = {"nathalie_rhasspy", "vocadito", "kokoro_sung"}
FIGURES = (
    "pesq",
    "mel_l1",
    "hnr_change_db",
    "cpp_ratio",
    "worst_band_db",
    "coverage",
    "f0_median_cents",
    "silence_db",
)


def clips(data: Path) -> list[dict[str, str]]:
    """The dev-test rows to copy, the longest of each source first."""
    import csv

    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["use"] == "dev-test" and float(r["seconds"]) < 40]
    chosen = []
    for source, count in CLIPS:
        mine = sorted(
            (r for r in rows if r["source"] == source), key=lambda r: (-float(r["seconds"]), r["file"])
        )
        unheard = [r for r in mine if r["speaker"] in ("bm_george", "af_sarah", "am_puck", "bf_emma")]
        chosen += (unheard or mine)[:count]
    return chosen


def render(data: Path, out: Path, weights: Path | None) -> None:
    """Write the recording at 44.1 kHz and its copy for each clip, and the real-time factor."""
    import torch

    from resing.audio.mel import log_mel
    from resing.config import AudioConfig, FeaturesConfig
    from resing.features.f0 import fill_unvoiced, track
    from resing.synthesis.vocoder import EMBEDDED, Vocoder, phase_at_frames

    torch.set_num_threads(2)
    vocoder, config = Vocoder.load(weights or EMBEDDED), AudioConfig()
    out.mkdir(parents=True, exist_ok=True)
    rows, spent, heard = [], 0.0, 0.0
    for row in clips(data):
        audio, rate = soundfile.read(data / row["file"], dtype="float32", always_2d=True)
        audio = soxr.resample(audio.mean(1), rate, RATE)
        audio = audio[: len(audio) // 512 * 512] * min(1.0, 0.9 / np.abs(audio).max())
        f0, _ = track(soxr.resample(audio, RATE, 16000), len(audio) // 512, config, FeaturesConfig())
        filled = fill_unvoiced(f0)
        mel = log_mel(torch.from_numpy(audio)[None], config)
        arrays = [
            torch.from_numpy(a.astype(np.float32))[None]
            for a in (filled, f0 > 0, phase_at_frames(filled, config)[:-1])
        ]
        began = time.perf_counter()
        copy = vocoder(mel, arrays[0], arrays[1], phase=arrays[2])[0].numpy()
        spent, heard = spent + time.perf_counter() - began, heard + len(audio) / RATE
        name = row["file"].replace("/", "_").rsplit(".", 1)[0]
        soundfile.write(out / f"{name}.source.wav", audio, RATE, subtype="FLOAT")
        soundfile.write(out / f"{name}.copy.wav", copy, RATE, subtype="FLOAT")
        rows.append({"name": name, "source": row["source"], "bandwidth_hz": float(row["bandwidth_hz"])})
    about = {"vocoder": vocoder.vocoder_id, "real_time_factor": spent / heard, "clips": rows}
    (out / "clips.json").write_text(json.dumps(about, indent=1))
    print(f"{len(rows)} clips, {heard:.0f} s, real-time factor {spent / heard:.4f} on 2 threads")


def world(audio: np.ndarray) -> np.ndarray:
    """Copy-synthesis by WORLD (harvest, cheaptrick, d4c) from the waveform itself."""
    import pyworld

    signal = audio.astype(np.float64)
    f0, at = pyworld.harvest(signal, RATE)
    envelope, noise = pyworld.cheaptrick(signal, f0, at, RATE), pyworld.d4c(signal, f0, at, RATE)
    return np.resize(pyworld.synthesize(f0, envelope, noise, RATE), len(audio)).astype(np.float32)


def figures(source: Path, copy: Path, bandwidth: float, ears: object) -> dict[str, float | None]:
    """Every figure of one copy against its recording."""
    from ears import Heard
    from pesq import pesq

    from resing.scoring.metrics import pitch_agreement, silence_floor, worst_deficit

    a, b = Heard(source, ears), Heard(copy, ears)  # type: ignore[arg-type]
    quality, own = b.quality(a.pitch), a.own_quality
    pitch = pitch_agreement(a.pitch, b.pitch, 0.0, a.active_frames)
    cpp = (quality["cpp_db"] or 0.0) / (own["cpp_db"] or 1.0)
    return {
        "pesq": float(pesq(16000, a.audio_16k, b.audio_16k, "wb")),
        "mel_l1": mel_l1(a.audio, b.audio, bandwidth),
        "hnr_change_db": (quality["hnr_db"] or 0.0) - (own["hnr_db"] or 0.0),
        "cpp_ratio": cpp,
        "worst_band_db": worst_deficit(b.spectrum, a.spectrum, bandwidth)[0],
        "coverage": pitch["coverage"],
        "f0_median_cents": pitch["f0_median_cents"],
        "silence_db": silence_floor(a.audio, b.audio, (RATE, RATE))["output_floor_db"],
    }


def mel_l1(a: np.ndarray, b: np.ndarray, bandwidth: float) -> float:
    """Mean absolute difference of house mels below the bandwidth, where the recording sounds."""
    import torch

    from resing.audio.mel import log_mel, mel_centres
    from resing.config import AudioConfig

    config = AudioConfig()
    mels = [log_mel(torch.from_numpy(x.astype(np.float32))[None], config)[0].numpy() for x in (a, b)]
    bands = mel_centres(config.n_mels, config.f_min, config.f_max) < 0.95 * bandwidth
    loud = mels[0].mean(0) > mels[0].mean(0).max() - 6.0
    return float(np.abs(mels[0] - mels[1])[bands][:, loud].mean())


def judge(folder: Path) -> None:
    """Print and write the table."""
    from ears import Ears

    about = json.loads((folder / "clips.json").read_text())
    ears, results = Ears(), []
    for row in about["clips"]:
        source = folder / f"{row['name']}.source.wav"
        other = folder / f"{row['name']}.world.wav"
        if not other.exists():
            soundfile.write(other, world(soundfile.read(source, dtype="float32")[0]), RATE, subtype="FLOAT")
        for system, path in (("vocoder", folder / f"{row['name']}.copy.wav"), ("WORLD", other)):
            results.append({"system": system, **row, **figures(source, path, row["bandwidth_hz"], ears)})
    (folder / "figures.json").write_text(json.dumps(results, indent=1))
    lines = ["| | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 1) + "|"]
    for system in ("WORLD", "vocoder"):
        mine = [r for r in results if r["system"] == system]
        for name in ["all", *dict.fromkeys(r["source"] for r in mine)]:
            group = [r for r in mine if name in ("all", r["source"])]
            means = [[r[f] for r in group if r[f] is not None] for f in FIGURES]
            lines.append(
                f"| {system}, {name} | " + " | ".join(f"{np.mean(m):.2f}" if m else "-" for m in means) + " |"
            )
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("render", "judge"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    if options.action == "render":
        render(options.data, options.out, options.weights)
    else:
        judge(options.folder)
