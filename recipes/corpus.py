"""The shared recordings, decoded once into flat arrays that every recipe trains from.

    python recipes/corpus.py --data ../shared/data --out CORPUS [--workers 2]

Each recording is brought to the reference loudness and stored as int16 at 44.1 kHz and 16 kHz, with its
f0 and level on the house frame grid. Voices and recordings marked `dev-test` and the held-out speaker are
never read.
"""

import argparse
import csv
import json
import random
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from resing.config import AudioConfig, FeaturesConfig
from resing.features.f0 import SWIFT_RATE, track
from resing.features.loudness import REFERENCE_DB, a_weighted_level, song_level

HELD_OUT_SOURCES = {"nathalie_rhasspy"}
ARRAYS = {"audio": np.int16, "audio_16k": np.int16, "f0": np.float32, "level": np.float32}


def rows(data: Path) -> list[dict[str, str]]:
    """Manifest rows that may be trained on, in a fixed order."""
    with open(data / "manifest.csv", newline="") as file:
        table = [r for r in csv.DictReader(file) if r["use"] in ("train", "train-content")]
    return sorted(
        (r for r in table if r["source"] not in HELD_OUT_SOURCES), key=lambda r: (r["use"], r["file"])
    )


def extract(job: tuple[str, dict[str, str]]) -> dict[str, np.ndarray]:
    """Audio at both rates, f0 and level of one recording."""
    torch.set_num_threads(1)
    folder, row = job
    config = AudioConfig()
    audio, rate = soundfile.read(Path(folder) / row["file"], dtype="float32", always_2d=True)
    mono = audio.mean(1)
    full = soxr.resample(mono, rate, config.sample_rate)
    full = full[: len(full) // config.hop_length * config.hop_length]
    level = a_weighted_level(torch.from_numpy(full)[None], config)[0].numpy()
    gain_db = REFERENCE_DB - song_level(level)
    gain_db = min(gain_db, -20 * np.log10(np.abs(full).max() + 1e-6) - 0.1)
    gain = 10 ** (gain_db / 20)
    narrow = soxr.resample(full * gain, config.sample_rate, SWIFT_RATE)
    f0, _ = track(narrow, len(level), config, FeaturesConfig(), threads=1)
    return {
        "audio": np.round(full * gain * 32767).astype(np.int16),
        "audio_16k": np.clip(np.round(narrow * 32767), -32767, 32767).astype(np.int16),
        "f0": f0,
        "level": (level + gain_db).astype(np.float32),
    }


def build(data: Path, out: Path, workers: int) -> None:
    """Write the corpus folder: one .npy per array, index.json with the rows and offsets."""
    out.mkdir(parents=True, exist_ok=True)
    table = rows(data)
    offsets = dict.fromkeys(ARRAYS, 0)
    index = []
    with ExitStack() as stack, ProcessPoolExecutor(workers) as pool:
        files = {name: stack.enter_context((out / f"{name}.raw").open("wb")) for name in ARRAYS}
        jobs = [(str(data), r) for r in table]
        for row, arrays in zip(table, pool.map(extract, jobs, chunksize=8), strict=True):
            entry = {k: row[k] for k in ("file", "source", "speaker", "kind", "use")}
            entry["bandwidth_hz"] = float(row["bandwidth_hz"])
            for name, values in arrays.items():
                files[name].write(values.tobytes())
                entry[name] = [offsets[name], len(values)]
                offsets[name] += len(values)
            index.append(entry)
    (out / "index.json").write_text(json.dumps(index))


class Corpus:
    """The decoded corpus, memory-mapped.

    Attributes:
        folder: where it lies.
        clips: index entries; `clip[name]` is [offset, length] into `arrays[name]`.
        arrays: flat arrays by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[dict] = json.loads((folder / "index.json").read_text())
        self.arrays = {n: np.memmap(folder / f"{n}.raw", dtype=t, mode="r") for n, t in ARRAYS.items()}

    def get(self, clip: dict, name: str, start: int = 0, length: int | None = None) -> np.ndarray:
        """Part of one clip's array."""
        offset, size = clip[name]
        stop = size if length is None else min(start + length, size)
        return self.arrays[name][offset + start : offset + stop]

    def split(self, clips: list[dict], every: int = 40, seed: int = 0) -> tuple[list[dict], list[dict]]:
        """Training and validation clips: one in `every` is held out, at random by seed."""
        order = list(range(len(clips)))
        random.Random(seed).shuffle(order)
        held = set(order[: max(1, len(clips) // every)])
        return [c for i, c in enumerate(clips) if i not in held], [
            c for i, c in enumerate(clips) if i in held
        ]


class Twins:
    """Recordings of the corpus made anew, as int16; none before their recipe has run.

    Args:
        corpus: whose recordings they are.
        name: "copies", in other voices at 16 kHz (recipes/copies.py); "bent", at other pitches at 44.1 kHz
            (recipes/bent.py); "sung", speech as singing at 16 kHz (recipes/sung.py).
    """

    def __init__(self, corpus: Corpus, name: str) -> None:
        about, self.where = corpus.folder / f"{name}.json", {}
        if about.exists():
            offsets = json.loads(about.read_text())["offsets"]
            self.where = {c["file"]: o for c, o in zip(corpus.clips, offsets, strict=True) if o}
            self.rows = np.memmap(corpus.folder / f"{name}.raw", np.int16, "r")

    def __contains__(self, clip: dict) -> bool:
        return clip["file"] in self.where

    def get(self, clip: dict, start: int = 0, length: int | None = None) -> np.ndarray:
        """Part of a clip's twin; KeyError where it has none."""
        offset, size, *_ = self.where[clip["file"]]
        stop = size if length is None else min(start + length, size)
        return self.rows[offset + start : offset + stop]


class Sung(Twins):
    """Speech of the corpus as singing, and where each part of it was said.

    Args:
        corpus: whose recordings are sung.
    """

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "sung")
        if self.where:
            self.places = np.memmap(corpus.folder / "sung_at.raw", np.float32, "r")

    def at(self, clip: dict) -> np.ndarray:
        """For each 20 ms of the singing the place in the original, in units."""
        _, _, offset, size = self.where[clip["file"]]
        return self.places[offset : offset + size]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    build(options.data, options.out, options.workers)
