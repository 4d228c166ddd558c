"""What --dereverb gives back of dry singing: test clips in synthetic rooms, heard before and after.

    python benchmarks/dereverb.py --data ../shared/data [--every 14] [--t60 0.4 0.8 1.5] [--direct 0 6]

A room is noise that decays by 60 dB in T60 seconds, `--direct` dB under what comes directly. Prints a
Markdown table, everything against what is heard in the dry clip: share of its sure frames whose note is right
within 50 cents, the same where the tracker is sure too, share of frames that are voiced in one only, and
distance of the content units (1 - cosine) where it sings.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import soxr
from render import sung_clips
from tables import markdown_table

from resing.audio.files import read
from resing.config import FeaturesConfig
from resing.features import content
from resing.features.dereverb import without_reverb
from resing.features.f0 import swift_frames
from resing.scoring.metrics import CONFIDENT, VOICED, unit

RATE, HEARD_RATE = 44100, 16000
LONGEST_SECONDS = 10.0
ONE = np.ones(1, np.float32)


def in_room(audio: np.ndarray, t60: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """Audio in a synthetic room, (N,)."""
    times = np.arange(round(t60 * RATE)) / RATE
    late = rng.standard_normal(len(times)) * 10.0 ** (-3.0 * times / t60) * (times > 0.01)
    late *= 10.0 ** (-direct_db / 20.0) / np.sqrt(np.sum(late**2))
    late[0] = 1.0
    size = len(audio) + len(late)
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(late, size), size)[: len(audio)].astype(
        np.float32
    )


def heard(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Note in Hz and how sure it is, (T,) each, and units, (C, U)."""
    low = soxr.resample(audio, RATE, HEARD_RATE)
    return *swift_frames(low, FeaturesConfig()), content.embedded()(low)


def against(dry: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> list[float]:
    """The four figures of the table."""
    sure = dry[1] >= CONFIDENT
    right = np.abs(1200.0 * np.log2(np.maximum(other[0], 1.0) / np.maximum(dry[0], 1.0))) < 50.0
    apart = 1.0 - np.sum(unit(dry[2].T) * unit(other[2].T), axis=1)
    at = np.minimum(np.round(np.arange(len(apart)) * 0.02 / 0.016).astype(int), len(sure) - 1)
    return [
        float(right[sure].mean()),
        float((right & (other[1] >= CONFIDENT))[sure].mean()),
        float(np.mean((dry[1] >= VOICED) != (other[1] >= VOICED))),
        float(apart[(dry[1] >= VOICED)[at]].mean()),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=14)
    parser.add_argument("--t60", type=float, nargs="+", default=[0.4, 0.8, 1.5])
    parser.add_argument("--direct", type=float, nargs="+", default=[0.0, 6.0])
    asked = parser.parse_args()
    rooms = [None, *((t60, direct) for t60 in asked.t60 for direct in asked.direct)]
    found: dict[object, list[list[float]]] = {room: [] for room in rooms}
    rng, spent, seconds = np.random.default_rng(0), 0.0, 0.0
    for row in sung_clips(asked.data)[:: asked.every]:
        audio = read(asked.data / row["file"], RATE, True, 0.0, LONGEST_SECONDS)[0][0]
        audio = 0.035 * audio / max(float(np.sqrt(np.mean(audio**2))), 1e-6)
        dry = heard(audio)
        for room in rooms:
            wet = audio if room is None else in_room(audio, *room, rng)
            began = time.process_time()
            out = without_reverb(wet[None], ONE, RATE)[0]
            spent, seconds = spent + time.process_time() - began, seconds + len(wet) / RATE
            found[room].append([*against(dry, heard(wet)), *against(dry, heard(out))])
    headings = ["T60 s", "direct dB", "note right %", "and sure %", "voicing wrong %", "units"]
    rows = []
    for room, figures in found.items():
        before, after = np.split(np.nanmean(figures, axis=0), 2)
        cells = [f"{100 * b:.1f} to {100 * a:.1f}" for b, a in zip(before[:3], after[:3], strict=True)]
        rows.append(
            [*(f"{x:g}" for x in room or (0.0, np.inf)), *cells, f"{before[3]:.3f} to {after[3]:.3f}"]
        )
    print(markdown_table(headings, rows))
    print(f"\n{len(found[None])} clips; {spent / seconds:.3f} s of one core per second.")


if __name__ == "__main__":
    main()
