"""What singing weak phrases again repairs, and what it costs.

    python benchmarks/retries.py --data ../shared/data --out CLIPS [--voices kumi am_eric] [--every 14]
        [--retries 1] [--budget 50] [--mix ACCOMPANIMENT]

Converts every N-th sung dev-test clip to each voice without and with retries and prints a Markdown table. The
figures of replaced phrases are by `resing score`; coverage and the units' distance had no say in the choice.
With `--mix` each clip is sung from the lead that our separator finds in it, over an accompaniment at equal
level.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from render import sung_clips

from resing.audio import files
from resing.config import ConvertOptions
from resing.conversion import Converter
from resing.scoring.score import score
from resing.separation import separate
from resing.separation_unet import embedded
from resing.voice import Voice

FIGURES = ("hnr_db", "cpp_db", "coverage", "units_distance")


def separated(source: Path, accompaniment: Path, out: Path) -> Path:
    """The lead that is found in a clip over an accompaniment of equal level."""
    rate = 44100
    lead = files.read(source, rate, mono=True)[0]
    played = np.resize(files.read(accompaniment, rate, mono=True)[0], lead.shape)
    played *= np.sqrt(np.mean(lead**2) / max(float(np.mean(played**2)), 1e-12))
    both, stems = out / "mix.wav", [out / f"{source.stem}-{name}.flac" for name in ("lead", "rest")]
    files.write(both, 0.5 * (lead + played), rate)
    separate(both, stems[0], stems[1], embedded())
    return stems[0]


def convert(converter: Converter, source: Path, out: Path, options: ConvertOptions) -> dict[str, Any]:
    """Retakes of a conversion, its length and the seconds of processor time that singing it took."""
    began = time.process_time()
    record = converter.convert(source, out, options)
    return {"retakes": record.retakes, "cpu": time.process_time() - began, "seconds": record.seconds}


def changes(before: Path, after: Path, source: Path, retakes: list[dict[str, Any]]) -> list[list[float]]:
    """By how much each of FIGURES changed in each replaced phrase."""
    cards = [score(path, source) for path in (before, after)]
    found = []
    for retake in retakes:
        pairs = [
            [
                phrase.figures
                for phrase in card.phrases
                if phrase.end_seconds > retake["start_seconds"] + 0.1
                and phrase.start_seconds < retake["end_seconds"] - 0.1
            ]
            for card in cards
        ]
        for old, new in zip(*pairs, strict=True):
            found.append([(new[name] or np.nan) - (old[name] or np.nan) for name in FIGURES])
    return found


def main() -> None:
    """Convert and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--voices", nargs="+", default=["kumi", "am_eric"])
    parser.add_argument("--every", type=int, default=14)
    parser.add_argument("--retries", type=int, default=ConvertOptions().retries)
    parser.add_argument("--budget", type=float, default=50.0)
    parser.add_argument("--mix", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    clips = [asked.data / row["file"] for row in sung_clips(asked.data)[:: asked.every]]
    if asked.mix:
        clips = [separated(clip, asked.mix, asked.out) for clip in clips]
    print(
        "| voice | clips | minutes | weak phrases | replaced | weak s | left s | HNR or CPP there dB "
        "| HNR | CPP | coverage | units | cpu s |\n" + "|---" * 13 + "|"
    )
    for name in asked.voices:
        print(row(Converter(Voice.load(name)), clips, asked), flush=True)


def row(converter: Converter, clips: list[Path], asked: argparse.Namespace) -> str:
    """A voice's line of the table."""
    plain, again = (asked.out / f"{kind}.flac" for kind in ("plain", "again"))
    options = [ConvertOptions(retries=n, retry_budget=asked.budget) for n in (0, asked.retries)]
    converter.convert(clips[0], plain, options[0])  # so that no model is opened while the time is taken
    weak, gains, cpu, seconds = [], [], np.zeros(2), 0.0
    for clip in clips:
        first = convert(converter, clip, plain, options[0])
        first = convert(converter, clip, plain, options[0])  # heard by now
        second = convert(converter, clip, again, options[1])
        cpu += first["cpu"], second["cpu"]
        seconds += first["seconds"]
        weak += second["retakes"]
        gains += changes(plain, again, clip, [r for r in second["retakes"] if r["replaced"]])
    better = [r for r in weak if r["replaced"]]
    there = np.mean([r["after_db"] - r["before_db"] for r in better]) if better else np.nan
    sums = [sum(r[key] for r in weak) for key in ("weak_seconds", "left_seconds")]
    means = np.nanmean(gains, axis=0) if gains else np.full(len(FIGURES), np.nan)
    cells = [converter.voice.card.name, len(clips), f"{seconds / 60:.1f}", len(weak), len(better)]
    cells += [f"{value:.1f}" for value in sums] + [f"{value:+.2f}" for value in (there, *means[:2])]
    cells += [f"{value:+.3f}" for value in means[2:]] + [f"{cpu[0]:.1f} to {cpu[1]:.1f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
