"""Convert every sung dev-test clip to every voice, as `resing convert` does, for benchmarks/conversion.py.

    python benchmarks/render.py --data ../shared/data --out CLIPS [--voices kumi] [--every 1] [--part 0/2]
        [--only LIST] [--words LIST] [--parallels N] [--song] [--copies]

Writes CLIPS/clips-0.json (rows for the judge), and with `--copies` CLIPS/copies-0.json: the sources through
our own vocoder, the first row to beat. `--song` adds a part of a real song, its lead separated first. `--part
I/N` takes every N-th clip, so that N processes can share the work.
"""

import argparse
import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import soxr
import torch
from parallels import PARALLEL, Parallel, find_parallels
from scorecard import SEPARATED

from resing.audio.files import read, write
from resing.audio.mel import log_mel
from resing.config import AudioConfig, ConvertOptions, FeaturesConfig
from resing.conversion import Converter
from resing.features.f0 import fill_unvoiced, track
from resing.separation_unet import embedded
from resing.song.stems import stems_of
from resing.synthesis.vocoder import Vocoder, phase_at_frames
from resing.voice import Voice

SUNG = {"kokoro_sung", "kumi_utau", "pjs", "scottpoid_utau", "sms_tools", "vocadito"}
SONG, SONG_PART = "cc_songs/karissa_hobbs/lets_go_fishin.opus", (40.0, 60.0)


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
    return (
        "real singer"
        if row["source"] in ("cc_songs", "pjs", "vocadito", "sms_tools")
        else "synthetic or syllables"
    )


def separated(data: Path, out: Path) -> str:
    """Name in OUT/leads of a part of a real song's lead, separated by the separator that ships."""
    lead = stems_of(data / SONG, embedded(), SONG_PART).lead
    place = (out / "leads" / SONG).with_suffix(lead.suffix)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lead, place)
    return str(place.relative_to(out / "leads"))


def convert(
    converter: Converter, data: Path, file: str, out: Path, options: ConvertOptions | None = None
) -> dict:
    """A judge's row of a manifest's file sung by a voice, by default in the automatic key."""
    name, options = converter.voice.card.name, options or ConvertOptions()
    source, output = data / file, out / name / (file.replace("/", "_").rsplit(".", 1)[0] + ".flac")
    if options.transpose != "auto":
        output = output.with_name(f"as_{name}_{output.name}")
    output.parent.mkdir(parents=True, exist_ok=True)
    record = converter.convert(source, output, options)
    return {
        "source": str(source.resolve()),
        "voice": name,
        "output": str(output.resolve()),
        "transpose": record.transpose,
        "system": "Resing",
        "sex": converter.voice.card.sex,
        "folded": record.range["moved"],
    }


def parallel_row(converter: Converter, data: Path, found: Parallel, out: Path) -> dict:
    """Row of a phrase that the voice itself sang, in the key in which it did; see parallels.py."""
    row = convert(converter, data, found.source, out, ConvertOptions(transpose=found.transpose))
    return row | {"pair": PARALLEL, "own": found.own, "others": found.others}


def copies(rows: list[dict], clips: list[dict[str, str]], data: Path, out: Path) -> list[dict]:
    """Rows of the sources through our own vocoder."""
    made, vocoder = [], Vocoder.load()
    for clip in clips:
        output = out / "copies" / (clip["file"].replace("/", "_").rsplit(".", 1)[0] + ".flac")
        output.parent.mkdir(parents=True, exist_ok=True)
        copy(vocoder, data / clip["file"], output)
        source = str((data / clip["file"]).resolve())
        made += [
            r | {"output": str(output.resolve()), "transpose": 0.0, "system": "source through our vocoder"}
            for r in rows
            if r["source"] == source and "own" not in r
        ]
    return made


def options_given() -> argparse.Namespace:
    """What the command line says; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--voices", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", type=Path, help="text file with a manifest file, less its ending, a line")
    parser.add_argument("--words", type=Path, help="the same of clips of which only the words are judged")
    parser.add_argument("--parallels", type=int, default=0, help="so many phrases that the voice sang itself")
    parser.add_argument("--song", action="store_true", help="a part of a real song's separated lead too")
    parser.add_argument("--part", default="0/1")
    parser.add_argument(
        "--targets", nargs="*", default=[], help="NAME=MANIFEST_SPEAKER for voices of other names"
    )
    parser.add_argument("--copies", action="store_true")
    return parser.parse_args()


def listed(clips: list[dict[str, str]], path: Path | None) -> list[dict[str, str]]:
    """The clips that a text file names; none where there is no file."""
    names = set(path.read_text(encoding="utf-8").split("\n")) if path else set()
    return [clip for clip in clips if clip["file"].rsplit(".", 1)[0] in names]


def main() -> None:
    """Convert, and write the judge's rows."""
    options = options_given()
    torch.set_num_threads(1)
    part, parts = (int(x) for x in options.part.split("/"))
    targets = dict(t.split("=") for t in options.targets)
    known = sung_clips(options.data)
    clips = (listed(known, options.only) if options.only else known)[:: options.every][part::parts]
    spoken = listed(known, options.words)[part::parts]
    rows: list[dict] = []
    began = time.monotonic()
    for name in options.voices or [card.name for card in Voice.list()]:
        converter = Converter(Voice.load(name))
        made = [convert(converter, options.data, c["file"], options.out) | {"pair": pair(c)} for c in clips]
        made += [
            convert(converter, options.data, c["file"], options.out) | {"pair": pair(c), "only": "words"}
            for c in spoken
        ]
        sung = find_parallels(options.data, name, options.parallels)[part::parts]
        made += [parallel_row(converter, options.data, found, options.out) for found in sung]
        if options.song and part == 0:
            lead = separated(options.data, options.out)
            made.append(convert(converter, options.out / "leads", lead, options.out) | {"pair": SEPARATED})
        rows += [row | {"target": targets.get(name, name)} for row in made]
    (options.out / f"clips-{part}.json").write_text(json.dumps(rows, indent=1))
    print(f"{len(rows)} conversions in {time.monotonic() - began:.1f} s on one thread")
    if options.copies:
        found = copies(rows, clips, options.data, options.out)
        (options.out / f"copies-{part}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
