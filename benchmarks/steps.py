"""What the sampler's steps are worth: the scorecard's clips sung in different numbers of steps.

    python benchmarks/steps.py --judge JUDGE --data ../shared/data --work WORK [--voices kumi af_aoede]
        [--steps 0 1:0.3 2:0.3 4:0.3 8:1] [--every 2]

STEPS:TEMPERATURE each; 0 steps are the decoder alone. Nothing is sung a second time (`retries=0`). Before the
scorecard's table it is told how much processor time each setting took, in multiples of the first's.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from quality import CLIPS, WORD_CLIPS, judged_table
from render import convert, pair, sung_clips

from resing.config import ConvertOptions
from resing.conversion import Converter
from resing.voice import Voice


def setting(text: str) -> ConvertOptions:
    """Options from STEPS:TEMPERATURE; without a temperature it is 0."""
    steps, _, temperature = text.partition(":")
    return ConvertOptions(steps=int(steps), temperature=float(temperature or 0), retries=0)


def sung(name: str, how: str, options: argparse.Namespace) -> tuple[list[dict], float]:
    """The judge's rows of a voice by a setting, and the processor time they took in seconds."""
    converter, rows, began = Converter(Voice.load(name)), [], time.process_time()
    folder, asked = options.work / how.replace(":", "_"), setting(how)
    for clip in sung_clips(options.data):
        known = clip["file"].rsplit(".", 1)[0]
        if known not in (*CLIPS[:: options.every], *WORD_CLIPS):
            continue
        row = convert(converter, options.data, clip["file"], folder, asked)
        row |= {"pair": pair(clip), "target": name, "voice": f"{name}, {how}"}
        rows.append(row | ({} if known in CLIPS else {"only": "words"}))
    return rows, time.process_time() - began


def main() -> None:
    """Sing, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--voices", nargs="+", default=["kumi", "af_aoede"])
    parser.add_argument("--steps", nargs="+", default=["0", "1:0.3", "2:0.3", "3:0.3", "4:0.3", "8:1"])
    parser.add_argument("--every", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    spent = dict.fromkeys(options.steps, 0.0)
    for name in options.voices:
        for how in options.steps:
            made, seconds = sung(name, how, options)
            rows += made
            spent[how] += seconds
    first = spent[options.steps[0]]
    print({how: round(seconds / first, 2) for how, seconds in spent.items()}, file=sys.stderr)
    print(judged_table(rows, options))


if __name__ == "__main__":
    main()
