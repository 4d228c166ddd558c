"""Recordings of the corpus at other pitches, by WORLD: what the vocoder is not to take the pitch from.

    python recipes/bent.py --corpus CORPUS [--workers 2] [--minutes 90]

Each chosen recording is moved as a whole by 3 to 12 semitones up or down, its formants and timing kept. The
vocoder (recipes/vocoder.py) hears the mel of it, is told the true f0, and has to sing the recording itself:
so it learns that the pitch is f0's alone. Writes bent.raw (int16 at 44.1 kHz, in sync with `audio`) and
bent.json (offsets, null where there is none). Source: Morise et al., WORLD, IEICE Trans. E99-D (7), 2016.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyworld
from corpus import Corpus

from resing.config import AudioConfig
from resing.features.f0 import frame_times

SHARES = {
    "kumi_utau": 0.25,
    "scottpoid_utau": 0.15,
    "kathleen_rhasspy": 0.2,
    "kokoro_sung": 0.25,
    "pjs": 0.15,
}
"""Of the minutes."""
LEAST, MOST = 3.0, 12.0
LOWEST_HZ, HIGHEST_HZ = 60.0, 1200.0


def chosen(corpus: Corpus, minutes: float) -> list[int]:
    """Numbers of the recordings to move, at random by seed, in the order of the corpus."""
    rng, picked = np.random.default_rng(0), []
    for source, share in SHARES.items():
        mine = [i for i, c in enumerate(corpus.clips) if c["source"] == source and c["use"] == "train"]
        left = share * minutes * 60 * AudioConfig().sample_rate
        for number in rng.permutation(mine):
            if left <= 0:
                break
            picked.append(int(number))
            left -= corpus.clips[number]["audio"][1]
    return sorted(picked)


@lru_cache(maxsize=1)
def opened(folder: Path) -> Corpus:
    """The corpus of a process."""
    return Corpus(folder)


def bend(job: tuple[Path, int]) -> np.ndarray | None:
    """One recording at another pitch, (N,) int16; None where there is hardly a voice."""
    folder, number = job
    corpus, config, rng = opened(folder), AudioConfig(), np.random.default_rng([9, number])
    clip = corpus.clips[number]
    f0 = corpus.get(clip, "f0").astype(np.float64)
    if (f0 > 0).sum() < 20:
        return None
    usual = float(np.median(f0[f0 > 0]))
    steps = rng.choice([-1.0, 1.0]) * rng.uniform(LEAST, MOST)
    if not LOWEST_HZ <= usual * 2 ** (steps / 12) <= HIGHEST_HZ:
        steps = -steps
    audio = corpus.get(clip, "audio").astype(np.float64) / 32768
    at, rate, hop = frame_times(len(f0), config).astype(np.float64), config.sample_rate, config.hop_length
    envelope = pyworld.cheaptrick(audio, f0, at, rate)
    rough = pyworld.d4c(audio, f0, at, rate, threshold=0.0)
    sound = pyworld.synthesize(f0 * 2 ** (steps / 12), envelope, rough, rate, 1000 * hop / rate)
    sound = np.pad(sound, (hop // 2, len(audio)))[: len(audio)]  # WORLD's first frame is at 0
    sound = sound * min(1.0, 0.98 / (np.abs(sound).max() + 1e-9))
    return np.round(sound * 32767).astype(np.int16)


def main() -> None:
    """Write what is moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=90.0)
    options = parser.parse_args()
    corpus, began = Corpus(options.corpus), time.monotonic()
    jobs = [(options.corpus, number) for number in chosen(corpus, options.minutes)]
    offsets: list[list[int] | None] = [None] * len(corpus.clips)
    samples = 0
    with open(options.corpus / "bent.raw", "wb") as file, ProcessPoolExecutor(options.workers) as pool:
        for (_, number), sound in zip(jobs, pool.map(bend, jobs, chunksize=4), strict=True):
            if sound is None:
                continue
            file.write(sound.tobytes())
            offsets[number] = [samples, len(sound)]
            samples += len(sound)
    (options.corpus / "bent.json").write_text(json.dumps({"offsets": offsets}))
    minutes = samples / AudioConfig().sample_rate / 60
    print(json.dumps({"minutes": round(minutes, 1), "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
