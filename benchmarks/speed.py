"""How fast, and how much memory: start-up, a cold conversion, each network alone, three against ten minutes.

    python benchmarks/speed.py [--voice kumi] [--threads 2]

Prints a Markdown table. Real-time factor: seconds of computing per second of audio.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 44100
SONG = Path(__file__).parent.parent / "src" / "resing" / "assets" / "demo_lead.ogg"
PEAK = """
import resource, sys, torch
torch.set_num_threads({threads})
import resing
resing.convert({source!r}, {out!r}, {voice!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def wall(*command: str) -> float:
    """Seconds a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def sung(seconds: float, path: Path) -> str:
    """The demo song, repeated to a length."""
    audio = soundfile.read(SONG, dtype="float32")[0].mean(1)
    soundfile.write(path, np.resize(audio, int(seconds * RATE)), RATE)
    return str(path)


def networks(threads: int) -> list[tuple[str, float]]:
    """Real-time factor of each network on 20 s."""
    import torch

    from resing.config import ConvertOptions, FeaturesConfig
    from resing.features.content import ContentEncoder
    from resing.features.f0 import swift_frames
    from resing.synthesis.acoustic import AcousticModel
    from resing.synthesis.vocoder import Vocoder

    torch.set_num_threads(threads)
    frames, seconds = 1723, 1723 * 512 / RATE
    base, vocoder, encoder = AcousticModel.load(), Vocoder.load(), ContentEncoder.load()
    audio = np.resize(soundfile.read(SONG, dtype="float32")[0].mean(1), 16000 * 20)
    row = torch.full((1, frames), 220.0)
    mel, noise = torch.randn(1, 128, frames) - 5, torch.randn(1, 128, frames)
    score = (torch.randn(1, base.config.n_units, frames), row, row * 0 + 1, row * 0 - 10, torch.randn(1, 128))
    jobs = {
        "pitch (SwiftF0)": lambda: swift_frames(audio, FeaturesConfig(), threads),
        "content encoder": lambda: encoder(audio),
        "acoustic model, default steps": lambda: base.sample(
            *score, noise=noise, sampler="heun", steps=ConvertOptions().steps
        ),
        "vocoder": lambda: vocoder(mel, row, row * 0 + 1, phase=row * 0),
    }
    factors = []
    for name, job in jobs.items():
        job()
        best = min(_seconds(job) for _ in range(3))
        factors.append((name, best / seconds))
    return factors


def _seconds(job) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voice", default="kumi")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"| what, {options.threads} threads | figure |\n|---|---|")
    print(
        f"| `resing --help` | {min(wall(sys.executable, '-m', 'resing', '--help') for _ in range(3)):.2f} s |"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = sung(10, place / "10.flac")
        convert = (sys.executable, "-m", "resing", "convert", source, "--voice", options.voice, "-o")
        print(f"| 10 s converted, cold | {wall(*convert, str(place / 'o.flac')):.1f} s |")
        for name, factor in networks(options.threads):
            print(f"| {name}, real-time factor | {factor:.4f} |")
        for minutes in (3, 10):
            source, out = sung(60 * minutes, place / "long.flac"), str(place / "long.out.flac")
            code = PEAK.format(threads=options.threads, source=source, out=out, voice=options.voice)
            began = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            factor = (time.perf_counter() - began) / (60 * minutes)
            what = f"{minutes} minutes: peak memory, real-time factor with start-up"
            print(f"| {what} | {done.stdout.strip()} MB, {factor:.3f} |")


if __name__ == "__main__":
    main()
