"""How well songs with exact stems are taken apart, how fast, in how much memory; what counts as a cappella.

    python benchmarks/separation.py --data ../shared/data [--threads 2] [--minutes 4 20] [--a-cappella]

Prints Markdown tables. SI-SDR: J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019; changes are
over the mix taken as the estimate. "Above 11 kHz": energy of what is wrong in the vocals there, over that of
the true vocals, if they have any; a separator that leaves all of it to the accompaniment gets 0 dB.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tables import markdown_table

from resing.audio.files import read
from resing.separation import separate
from resing.separation_a_cappella import a_cappella_margin_db

RATE = 48000
HIGH_HZ = 11000
DULL_DB = -50.0  # vocals with less than this above it have nothing there
BAND = "everythingisfree/2.Lithium/2.Lithium_accompaniment.opus"
LEAD = "everythingisfree/2.Lithium/2.Lithium_vox_lead.opus"
SUNG = {"pjs010": 90.0, "pjs076": 160.0, "pjs087": 230.0}
"""PJS songs, and where in the accompaniment they begin, in seconds."""
SPOKEN = "kathleen_rhasspy"
PEAK = """
import resource, sys, time, torch
torch.set_num_threads({threads})
from resing.separation import separate
from resing.separation_unet import embedded
embedded()
began = time.perf_counter()
separate({source!r}, {out!r} + "/v.flac", {out!r} + "/a.flac")
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@dataclass(frozen=True, eq=False)
class Song:
    """Stems, (2, N) each, which are summed to the mix."""

    name: str
    vocals: np.ndarray
    accompaniment: np.ndarray
    rate: int


def stereo(path: Path, start: float = 0.0, end: float | None = None, rate: int = RATE) -> np.ndarray:
    audio = read(path, rate, False, start, end)[0].astype(np.float64)
    return np.repeat(audio, 2 // len(audio), axis=0)


def over_band(data: Path, name: str, vocals: np.ndarray, start: float, below_db: float = 0.0) -> Song:
    """Vocals over a stretch of the CC0 accompaniment, which is as loud or `below_db` quieter."""
    band = stereo(data / BAND, start, start + vocals.shape[1] / RATE)[:, : vocals.shape[1]]
    band *= np.sqrt(np.mean(vocals**2) / np.mean(band**2)) * 10 ** (-below_db / 20)
    gain = 0.7 / np.abs(vocals + band).max()
    return Song(name, vocals * gain, band * gain, RATE)


def songs(data: Path) -> Iterator[Song]:
    demo = [stereo(data.parent / "demo" / f"{n}.flac", rate=44100) for n in ("vocals", "accompaniment")]
    yield Song("demo", *demo, 44100)
    yield Song("everythingisfree", stereo(data / LEAD), stereo(data / BAND), RATE)
    for name, start in SUNG.items():
        yield over_band(data, name, stereo(data / f"pjs/pjs_singer/{name}_song.opus"), start)
    spoken = [row["file"] for row in dev_test(data) if row["source"] == SPOKEN][:8]
    yield over_band(
        data, "kathleen (speech)", np.concatenate([stereo(data / f) for f in spoken], axis=1), 200
    )


def dev_test(data: Path) -> list[dict[str, str]]:
    with open(data / "manifest.csv", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["use"] == "dev-test"]


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB over all channels and samples."""
    target = np.vdot(estimate, reference) / np.vdot(reference, reference) * reference
    return float(10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2)))


def above(audio: np.ndarray, rate: int, hz: float = HIGH_HZ) -> float:
    """Energy above a frequency."""
    spectrum = np.fft.rfft(audio, axis=1)[:, round(hz * audio.shape[1] / rate) :]
    return float(np.sum(np.abs(spectrum) ** 2))


def judge(song: Song, folder: Path) -> list[str]:
    """A row: both stems' SI-SDR and its change, what is wrong above 11 kHz, seconds per second."""
    mix = song.vocals + song.accompaniment
    soundfile.write(folder / "song.wav", mix.T, song.rate, "FLOAT")
    began = time.perf_counter()
    told = separate(folder / "song.wav", folder / "v.wav", folder / "a.wav")
    taken = (time.perf_counter() - began) / told.seconds
    vocals, accompaniment = (soundfile.read(p)[0].T for p in (told.vocals, told.accompaniment))
    figures = []
    for reference, estimate in ((song.vocals, vocals), (song.accompaniment, accompaniment)):
        reached = si_sdr(reference, estimate)
        figures += [f"{reached:.2f}", f"{reached - si_sdr(reference, mix):+.2f}"]
    there = above(song.vocals, song.rate)
    high = 10 * np.log10(above(song.vocals - vocals, song.rate) / there)
    dull = there < above(song.vocals, song.rate, 0) * 10 ** (DULL_DB / 10)
    return [song.name, f"{told.seconds:.0f}", *figures, "-" if dull else f"{high:.1f}", f"{taken:.2f}"]


def memory(minutes: float, threads: int, demo: Path, folder: Path) -> list[str]:
    """A row: seconds per second and peak memory of a process that separates a long song."""
    audio, rate = soundfile.read(demo, dtype="float32")
    with soundfile.SoundFile(folder / "long.flac", "w", rate, 2) as file:
        for _ in range(round(minutes * 60 * rate / len(audio))):
            file.write(audio)
    seconds = soundfile.info(folder / "long.flac").duration
    code = PEAK.format(threads=threads, source=str(folder / "long.flac"), out=str(folder))
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    taken, peak = shown.stdout.split()
    return [f"{seconds / 60:.1f}", f"{float(taken) / seconds:.3f}", peak]


def alone(data: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Files that must be a cappella (the kind is their source) and some that must not (mix ...)."""
    for name in ("vocals", "vocals_dry"):
        yield f"demo {name}", data.parent / "demo" / f"{name}.flac"
    for row in dev_test(data):
        if row["kind"] == "sing":
            yield row["source"], data / row["file"]
        elif row["kind"] == "mix":
            yield f"mix {row['source']}", data / row["file"]
    yield "mix demo", data.parent / "demo" / "song.flac"
    sung = [row["file"] for row in dev_test(data) if row["source"] == "pjs"]
    for index, file in enumerate(sung):
        for below_db in (0.0, 10.0):
            song = over_band(data, "mix", stereo(data / file), 30.0 + 33.0 * index, below_db)
            soundfile.write(folder / "mix.wav", (song.vocals + song.accompaniment).T, RATE, "FLOAT")
            yield f"mix pjs, band {-below_db:.0f} dB", folder / "mix.wav"


def margins(data: Path, folder: Path) -> list[list[str]]:
    """Rows: kind, files, least and greatest margin."""
    found: dict[str, list[float]] = {}
    for kind, path in alone(data, folder):
        found.setdefault(kind, []).append(a_cappella_margin_db(path))
    return [[kind, str(len(x)), f"{min(x):.1f}", f"{max(x):.1f}"] for kind, x in found.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, nargs="*", default=[4.0, 20.0])
    parser.add_argument("--a-cappella", action="store_true", help="margins of every sung clip too")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        demo = options.data.parent / "demo" / "song.flac"
        # First, because a child's peak begins at what its parent holds.
        rows = [memory(minutes, options.threads, demo, place) for minutes in options.minutes]
        print(markdown_table(["minutes", "s per s", "peak MB"], rows), end="\n\n")
        headings = ["song", "s", "vocals", "change", "accompaniment", "change", "above 11 kHz", "s per s"]
        print(markdown_table(headings, [judge(song, place) for song in songs(options.data)]), end="\n\n")
        if options.a_cappella:
            rows = margins(options.data, place)
            print(markdown_table(["a cappella margin", "files", "least dB", "greatest dB"], rows))


if __name__ == "__main__":
    main()
