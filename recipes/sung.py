"""Speech of the corpus as singing, by WORLD: vowels held, notes, vibrato, other formants; the words known.

    python recipes/sung.py --corpus CORPUS [--workers 2]

There are only a few dozen sung English sentences, and an encoder learns them by heart; there are thousands
of spoken ones. What is sung here is for the content encoder's ear alone (recipes/content.py): it says the
same of a note held for a second as its teachers say of the short vowel it was. Writes sung.raw (int16 at
16 kHz), sung_at.raw (float32, for every 20 ms the place in the original, in units) and sung.json (offsets,
null where there is none). Source: Morise et al., WORLD, IEICE Transactions E99-D (7), 2016.
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
    "kathleen_rhasspy": 1.0, "librispeech_resemblyzer": 1.0, "asterisk_prompts": 0.8, "speechocean762": 0.6,
}  # fmt: skip
"""Share of each source's recordings that are sung."""
RATE = 16000
PERIOD = 0.01
UNIT = 0.02
VOWELS = set("AIOWYaeiouyæøœɐɑɔəɛɜɪɯʊʌᵊᵻ")  # noqa: RUF001
SHORTEST_VOWEL = 4
"""Frames of 10 ms under which a vowel is not held."""
ONSET, CODA = 0.25, 0.45
"""Shares of a vowel that keep their pace; what is between them is held."""
LONGEST = 8.0


@lru_cache(maxsize=1)
def opened(folder: Path) -> tuple[Corpus, np.ndarray, list[list[int]], np.ndarray]:
    """The corpus, its phones with their offsets, and which of them are vowels, (P,)."""
    about = json.loads((folder / "phones.json").read_text())
    vowels = np.array([name in VOWELS for name in about["names"]] + [False])
    return Corpus(folder), np.memmap(folder / "phones.raw", np.int8, "r"), about["offsets"], vowels


def runs(marked: np.ndarray) -> list[tuple[int, int]]:
    """First and behind-last index of each stretch of True, (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def places(vowels: list[tuple[int, int]], frames: int, rng: np.random.Generator) -> np.ndarray:
    """For each frame of the singing the place in the speech, in frames, (T,).

    Args:
        vowels: first and behind-last frame of each.
        frames: of the speech.
        rng: of how long each note is.
    """
    said, sung, pace = [0.0], [0.0], rng.uniform(0.8, 1.25)
    for first, behind in vowels:
        sung.append(sung[-1] + (first - said[-1]) * pace)
        said.append(float(first))
        length = behind - first
        held = length * pace
        if length >= SHORTEST_VOWEL and rng.random() < 0.8:
            held = np.clip(100 * np.exp(rng.uniform(np.log(0.12), np.log(1.2))), held, LONGEST * length)
        middle = held - (ONSET + CODA) * length * pace
        for share, lasts in ((ONSET, ONSET * length * pace), (1 - CODA - ONSET, middle)):
            said.append(said[-1] + share * length)
            sung.append(sung[-1] + lasts)
        said.append(float(behind))
        sung.append(sung[-1] + CODA * length * pace)
    sung.append(sung[-1] + (frames - said[-1]) * pace)
    said.append(float(frames))
    return np.interp(np.arange(int(sung[-1])), sung, said)


def melody(
    at: np.ndarray, vowels: list[tuple[int, int]], usual: float, rng: np.random.Generator
) -> np.ndarray:
    """A note in Hz at each frame of the singing, with glides and vibrato, (T,)."""
    steps = np.array([-5, -4, -3, -2, -2, -1, 0, 0, 1, 2, 2, 3, 4, 5])
    base, where, height = rng.uniform(-4, 14), 0.0, np.zeros(len(at))
    notes = np.searchsorted([first for first, _ in vowels], at, side="right")
    for number in range(len(vowels) + 1):
        height[notes == number] = where
        where = float(np.clip(where + rng.choice(steps), -9, 9))
    width = int(rng.uniform(5, 14))
    height = np.convolve(np.pad(height, width, mode="edge"), np.hanning(2 * width + 1), "same")
    height = height[width:-width] / np.hanning(2 * width + 1).sum()
    depth, speed = rng.uniform(0, 0.8), rng.uniform(4.8, 6.8)
    swing = np.convolve(np.abs(np.diff(height, prepend=height[:1])) < 0.02, np.ones(25) / 25, "same") ** 2
    height = height + depth * swing * np.sin(
        2 * np.pi * speed * PERIOD * np.arange(len(at)) + rng.uniform(0, 6)
    )
    height = height + 0.08 * np.convolve(rng.standard_normal(len(at)), np.ones(8) / 3, "same")
    return usual * 2 ** ((base + height) / 12)


def warped(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Spectral envelopes (T, B) whose formants are moved by a factor."""
    bins = np.minimum(np.arange(envelope.shape[1]) / factor, envelope.shape[1] - 1)
    low = bins.astype(int)
    high, share = np.minimum(low + 1, envelope.shape[1] - 1), bins - low
    return np.ascontiguousarray(envelope[:, low] * (1 - share) + envelope[:, high] * share)


def sing(job: tuple[Path, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """One recording sung, int16 (N,), and where each 20 ms of it was said, in units; None where it is not."""
    corpus, phones, offsets, is_vowel = opened(job[0])
    clip, rng = corpus.clips[job[1]], np.random.default_rng([5, job[1]])
    f0 = corpus.get(clip, "f0")
    if rng.random() >= SHARES.get(clip["source"], 0.0) or (f0 > 0).sum() < 20:
        return None
    audio = corpus.get(clip, "audio_16k").astype(np.float64) / 32768
    times = np.arange(0, len(audio) / RATE, PERIOD)
    near = np.clip(np.searchsorted(frame_times(len(f0), AudioConfig()), times), 0, len(f0) - 1)
    note = np.where(f0[near] > 60, f0[near], 0.0).astype(np.float64)
    offset, size = offsets[job[1]]
    said = phones[offset : offset + size][np.minimum((times / UNIT).astype(int), size - 1)]
    if (said >= 0).any():
        held = is_vowel[said] & (note > 0)
        cuts = np.flatnonzero(np.diff(said.astype(int))) + 1
    else:
        level = corpus.get(clip, "level")[near]
        held, cuts = (note > 0) & (level > np.percentile(level, 55)), np.array([], int)
    spans = [(a, b) for a, b in runs(held)]
    for cut in cuts:  # two vowels side by side are two notes
        spans = [p for a, b in spans for p in ([(a, cut), (cut, b)] if a < cut < b else [(a, b)])]
    envelope = np.log(pyworld.cheaptrick(audio, note, times, RATE) + 1e-12)
    rough = pyworld.d4c(audio, note, times, RATE)
    at = places(spans, len(times), rng)
    low = np.minimum(at.astype(int), len(times) - 1)
    high, share = np.minimum(low + 1, len(times) - 1), (at - low)[:, None]
    envelope = envelope[low] * (1 - share) + envelope[high] * share
    if rng.random() < 0.6:
        envelope = warped(envelope, float(np.exp(rng.uniform(-0.15, 0.15))))
    rough = np.ascontiguousarray(rough[low] * (1 - share) + rough[high] * share)
    sung = np.where(note[low] > 0, melody(at, spans, float(np.median(note[note > 0])), rng), 0.0)
    sound = pyworld.synthesize(sung, np.exp(envelope), rough, RATE, 1000 * PERIOD)
    sound = sound * min(1.0, 0.98 / (np.abs(sound).max() + 1e-9))
    units = -(-len(sound) // round(UNIT * RATE))
    where = np.interp(np.arange(units) * UNIT / PERIOD, np.arange(len(at)), at) * PERIOD / UNIT
    return np.round(sound * 32767).astype(np.int16), where.astype(np.float32)


def main() -> None:
    """Write what is sung."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    jobs = [(options.corpus, number) for number in range(len(Corpus(options.corpus).clips))]
    offsets, samples, units, began = [], 0, 0, time.monotonic()
    with (
        open(options.corpus / "sung.raw", "wb") as sounds,
        open(options.corpus / "sung_at.raw", "wb") as maps,
        ProcessPoolExecutor(options.workers) as pool,
    ):
        for made in pool.map(sing, jobs, chunksize=8):
            if made is None:
                offsets.append(None)
                continue
            sounds.write(made[0].tobytes())
            maps.write(made[1].tobytes())
            offsets.append([samples, len(made[0]), units, len(made[1])])
            samples, units = samples + len(made[0]), units + len(made[1])
    (options.corpus / "sung.json").write_text(json.dumps({"offsets": offsets}))
    print(json.dumps({"minutes": round(samples / 960000, 1), "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
