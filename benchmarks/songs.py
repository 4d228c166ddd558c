"""Whole songs: the lead sung from the clean stem and from the separated one, side by side, by the scorecard.

    python benchmarks/songs.py --data ../shared/data --out RESULTS --judge JUDGE [--voices kumi am_eric]
        [--only demo pjs010]

JUDGE is the folder that scripts/judge-env made. Songs: the demo; a minute each of the song with exact stems
and of the full mix in the data; three sung PJS songs and three phrases with known words over the CC0
accompaniment. Both leads are sung in whole octaves and held against the clean stem (that of the full mix
against the separated one, for lack of a stem). Prints Markdown tables: what became of each song, and the
scorecard of its leads.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from separation import BAND, LEAD, RATE, SUNG, over_band, si_sdr, stereo
from tables import markdown_table

from resing.audio import files
from resing.config import ConvertOptions, SongOptions
from resing.conversion import Converter
from resing.song.arrange import Arranger
from resing.voice import Voice

FULL = "cc_songs/karissa_hobbs/lets_go_fishin.opus"
PHRASES = {"af_sarah/par012_en": 60.0, "bf_emma/par014_en": 120.0, "am_echo/par007_en": 200.0}
"""Sung English whose words both recognisers understand, and where in the accompaniment they begin."""
PART = (40.0, 100.0)
"""Of the long songs, in seconds."""
LAG_SECONDS = 0.05
FIGURES = {
    "similarity_of_ceiling": ("of ceiling", 2, 1),
    "leak_margin": ("margin", 2, 1),
    "similarity_of_ceiling_eres2net": ("ERes2Net", 2, 1),
    "coverage": ("coverage", 2, 1),
    "f0_fine_rmse_cents": ("f0 c", 1, 1),
    "gross_share": ("gross %", 1, 100),
    "voicing_error": ("voicing %", 1, 100),
    "units_distance": ("units", 3, 1),
    "output_cer": ("CER", 2, 1),
    "output_cer_vosk": ("Vosk", 2, 1),
    "hnr_db_change": ("HNR dB", 1, 1),
    "cpp_db_change": ("CPP", 2, 1),
    "worst_band_db": ("worst band dB", 0, 1),
    "damaged": ("damage", 0, 1),
}


@dataclass(frozen=True)
class Song:
    """A mix; its clean lead, None where there is none; and its accompaniment."""

    name: str
    mix: Path
    lead: Path | None
    accompaniment: Path | None = None


def songs(data: Path, out: Path) -> Iterator[Song]:
    """All songs, those that must be made written into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    demo = data.parent / "demo"
    yield Song("demo", demo / "song.flac", demo / "vocals.flac", demo / "accompaniment.flac")
    lead, band = (stereo(data / name, *PART) for name in (LEAD, BAND))
    yield written(out, "everythingisfree", lead, band)
    full = out / "full-mix.wav"
    soundfile.write(full, stereo(data / FULL, *PART, rate=44100).T, 44100, "FLOAT")
    yield Song("full mix", full, None)
    sung = {name: (f"pjs/pjs_singer/{name}_song.opus", at) for name, at in SUNG.items()}
    spoken = {name: (f"kokoro_sung/{name}.opus", at) for name, at in PHRASES.items()}
    for name, (file, start) in (sung | spoken).items():
        made = over_band(data, name, stereo(data / file), start)
        song = written(out, name.replace("/", "_"), made.vocals, made.accompaniment)
        yield Song(name, song.mix, data / file, song.accompaniment)


def written(out: Path, name: str, lead: np.ndarray, band: np.ndarray) -> Song:
    """A song of two stems, (2, N) each."""
    paths = [out / f"{name}-{part}.wav" for part in ("lead", "band", "mix")]
    for path, audio in zip(paths, (lead, band, lead + band), strict=True):
        soundfile.write(path, audio.T, RATE, "FLOAT")
    return Song(name, paths[2], paths[0], paths[1])


def lag(a: np.ndarray, b: np.ndarray, rate: int) -> int:
    """Samples by which `b` is late, where the two correlate most; mono of the same length."""
    size = 2 ** (len(a) - 1).bit_length() * 2
    found = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size))
    near = np.arange(-round(LAG_SECONDS * rate), round(LAG_SECONDS * rate) + 1)
    return int(near[np.argmax(np.abs(found[near]))])


def sung(song: Song, converter: Converter, out: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The judge's rows of a song's leads, and what became of the song."""
    voice, options = converter.voice.card.name, ConvertOptions(transpose="octaves")
    folder = out / voice / song.name.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    arranger = Arranger(converter, SongOptions(a_cappella=False))
    record = arranger.convert(song.mix, folder / "song.flac", options, stems=folder)
    stems = {n: files.read(folder / f"{n}.flac")[0] for n in ("lead", "accompaniment", "converted", "mix")}
    mix, rate = files.read(song.mix)
    base = {"voice": voice, "pair": song.name, "target": voice, "transpose": record.transpose}
    base |= {"folded": record.range["moved"]}
    held = song.lead or folder / "lead.flac"
    rows = [base | {"system": "separated", "source": held, "output": folder / "converted.flac"}]
    if song.lead:
        clean = folder / "clean.flac"
        alone = ConvertOptions(transpose=record.transpose)
        sung_clean = converter.convert(song.lead, clean, alone)
        rows.append(base | {"system": "clean", "source": held, "output": clean})
        rows[-1] |= {"folded": sung_clean.range["moved"]}
    quality = "-"
    if song.lead:
        lead = files.read(song.lead, rate)[0]
        lead = np.repeat(lead, 2 // len(lead), axis=0)[:, : mix.shape[1]]
        quality = f"{si_sdr(lead, stems['lead'][:, : lead.shape[1]]):.1f}"
    band = (mix[0] - mix[-1]) if song.accompaniment is None else files.read(song.accompaniment, rate)[0][0]
    rest = stems["mix"][0] - (stems["mix"][-1] if song.accompaniment is None else stems["converted"][0])
    about, lies = record.song["mix"], record.range
    row = [song.name, voice, f"{record.seconds:.0f}", quality, f"{record.transpose:+g}"]
    row += [f"{100 * lies[k]:.0f}" for k in ("below", "inside", "near", "above")]
    row += [str(stems["mix"].shape[1] - mix.shape[1]), str(lag(band, rest[: len(band)], rate))]
    row += [f"{about['mix_lufs']:.1f}", f"{about['true_peak_dbtp']:.1f}", f"{about['limited_db']:.1f}"]
    return [{k: str(v) if isinstance(v, Path) else v for k, v in r.items()} for r in rows], row


def judged(out: Path, judge: Path, data: Path) -> list[dict[str, Any]]:
    """The rows with their figures, from the judge's environment."""
    command = [judge.absolute() / "bin" / "python", Path(__file__).parent / "conversion.py", "judge"]
    command += [out / "clips.json", "--data", data, "--out", out / "judged"]
    command += ["--whisper", judge / "whisper-base", "--vosk", judge / "vosk-model-small-en-us-0.15"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent / "src")}
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=env)
    found: list[dict[str, Any]] = json.loads((out / "judged" / "conversion.json").read_text())["rows"]
    return sorted(found, key=lambda row: (row["pair"], row["voice"], row["system"]))


def cell(key: str, row: dict[str, Any]) -> str:
    """A figure as the table shows it."""
    value, (_, digits, factor) = row.get(key), FIGURES[key]
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "-" if value is None else f"{value * factor:.{digits}f}"


def main() -> None:
    """Sing, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--judge", type=Path, help="without it the leads are not judged")
    parser.add_argument("--voices", nargs="+", default=["kumi", "am_eric"])
    parser.add_argument("--only", nargs="*", help="names of songs")
    options = parser.parse_args()
    converters = [Converter(Voice.load(name)) for name in options.voices]
    rows, became = [], []
    for song in songs(options.data, options.out / "songs"):
        if options.only and song.name not in options.only:
            continue
        for converter in converters:
            found, row = sung(song, converter, options.out)
            rows += found
            became.append(row)
            print(row, file=sys.stderr)
    (options.out / "clips.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    headings = [
        "song",
        "voice",
        "s",
        "lead SI-SDR dB",
        "key",
        "below %",
        "inside %",
        "of it near %",
        "above %",
    ]
    headings += ["samples more", "accompaniment late", "LUFS", "dBTP", "held back dB"]
    print(markdown_table(headings, became), end="\n\n")
    if options.judge:
        headings = ["song", "voice", "lead", *(heading for heading, _, _ in FIGURES.values())]
        lines = [
            [row["pair"], row["voice"], row["system"], *(cell(key, row) for key in FIGURES)]
            for row in judged(options.out, options.judge, options.data)
        ]
        print(markdown_table(headings, lines))


if __name__ == "__main__":
    main()
