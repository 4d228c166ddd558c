"""Convert every sung dev-test clip to every voice, as `resing convert` does, for benchmarks/conversion.py.

    python benchmarks/render.py --data ../shared/data --out CLIPS [--voices kumi] [--every 1] [--part 0/2]
        [--only LIST]

Writes CLIPS/clips.json (rows for the judge), and CLIPS/copies.json: the sources through our own vocoder, the
first row to beat. `--part I/N` takes every N-th clip, so that N processes can share the work; `--voice-dir`
adds voices that are not installed.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import soxr
import torch

from resing.audio.files import read, write
from resing.audio.mel import log_mel
from resing.config import AudioConfig, ConvertOptions, FeaturesConfig
from resing.conversion import Converter
from resing.features.f0 import fill_unvoiced, track
from resing.synthesis.vocoder import Vocoder, phase_at_frames
from resing.voice import Voice

SUNG = {"kokoro_sung", "kumi_utau", "pjs", "scottpoid_utau", "sms_tools", "vocadito"}


def sung_clips(data: Path) -> list[dict[str, str]]:
    """The manifest's sung dev-test rows (the rapped lead of everythingisfree is not singing)."""
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["use"] == "dev-test" and r["source"] in SUNG]
    return sorted((r for r in rows if float(r["seconds"]) >= 0.5), key=lambda r: r["file"])


def copy(vocoder: Vocoder, source: Path, out: Path) -> None:
    """The source's own mel and f0 through the vocoder."""
    config = AudioConfig()
    audio = read(source, config.sample_rate, mono=True)[0][0]
    f0, _ = track(
        soxr.resample(audio, config.sample_rate, 16000),
        config.frame_count(len(audio)),
        config,
        FeaturesConfig(),
    )
    filled = fill_unvoiced(f0)
    mel = log_mel(torch.from_numpy(audio)[None], config)
    arrays = [
        torch.from_numpy(a.astype(np.float32))[None]
        for a in (filled, f0 > 0, phase_at_frames(filled, config)[:-1])
    ]
    made = vocoder(mel, arrays[0], arrays[1], phase=arrays[2])[0].numpy()[: len(audio)]
    write(out, np.clip(made, -1, 1)[None], config.sample_rate)


def pair(row: dict[str, str]) -> str:
    """Heading under which a source is listed: real singers apart from the others."""
    return "real singer" if row["source"] in ("pjs", "vocadito", "sms_tools") else "synthetic or syllables"


def main() -> None:
    """Convert, and write the judge's rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--voices", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", type=Path, help="text file with a manifest file, less its ending, a line")
    parser.add_argument("--part", default="0/1")
    parser.add_argument(
        "--targets", nargs="*", default=[], help="NAME=MANIFEST_SPEAKER for voices of other names"
    )
    parser.add_argument("--copies", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = (int(x) for x in options.part.split("/"))
    targets = dict(t.split("=") for t in options.targets)
    clips = sung_clips(options.data)
    if options.only:
        names = set(options.only.read_text(encoding="utf-8").split("\n"))
        clips = [clip for clip in clips if clip["file"].rsplit(".", 1)[0] in names]
    clips = clips[:: options.every][part::parts]
    rows: list[dict] = []
    began, heard = time.monotonic(), 0.0
    for name in options.voices or [card.name for card in Voice.list()]:
        voice = Voice.load(name)
        converter = Converter(voice)
        for clip in clips:
            source = options.data / clip["file"]
            out = options.out / name / (clip["file"].replace("/", "_").rsplit(".", 1)[0] + ".flac")
            out.parent.mkdir(parents=True, exist_ok=True)
            record = converter.convert(source, out, ConvertOptions())
            heard += float(clip["seconds"])
            rows.append(
                {"source": str(source.resolve()), "voice": name, "output": str(out.resolve())}
                | {"transpose": record.transpose, "target": targets.get(name, name), "system": "Resing"}
                | {"pair": pair(clip), "folded": record.range["moved"]}
            )
    (options.out / f"clips-{part}.json").write_text(json.dumps(rows, indent=1))
    print(
        f"{len(rows)} conversions, real-time factor "
        f"{(time.monotonic() - began) / max(heard, 1e-9):.3f} on one thread"
    )
    if options.copies:
        copied = []
        for clip in clips:
            out = options.out / "copies" / (clip["file"].replace("/", "_").rsplit(".", 1)[0] + ".flac")
            out.parent.mkdir(parents=True, exist_ok=True)
            copy(Vocoder.load(), options.data / clip["file"], out)
            source = str((options.data / clip["file"]).resolve())
            copied += [
                r | {"output": str(out.resolve()), "transpose": 0.0, "system": "source through our vocoder"}
                for r in rows
                if r["source"] == source
            ]
        (options.out / f"copies-{part}.json").write_text(json.dumps(copied, indent=1))


if __name__ == "__main__":
    main()
