"""How many minutes of recordings a voice needs: likeness, melody and words by what it was made from.

    python benchmarks/minutes.py --judge JUDGE --data ../shared/data --work WORK [--voices kumi kathleen]
        [--minutes 1 5 10 30] [--every 2]

Each voice is made as a user makes it: by `resing voice clone` of 20 seconds, then by `resing voice create` of
so many minutes of its training recordings, drawn by the same seed, so that more holds less. Every N-th clip
of the scorecard and its clips for words are sung and judged. Voices that WORK holds are not made again.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from quality import CLIPS, WORD_CLIPS, judged_table
from render import convert, pair, sung_clips

from resing.audio.files import read, write
from resing.config import AudioConfig
from resing.conversion import Converter
from resing.training.clone import clone_voice
from resing.training.create import create_voice
from resing.voice import Voice

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
from voices import VOICES, gather, tell

INSTANT_SECONDS = 20.0
FACTS = {"licence": "for this measurement only", "consent": "as its recordings were published"}


def made(name: str, minutes: float, data: Path, work: Path) -> Voice:
    """The voice of a manifest's speaker from so many minutes; 0: from 20 seconds, without training."""
    called = f"{name}_{minutes:g}min" if minutes else f"{name}_instant"
    if called in {card.name for card in Voice.list()}:
        return Voice.load(called)
    facts, folder = VOICES.get(name, {"sources": [name]}), work / called
    about = FACTS | {"sex": facts.get("sex", "unstated")}
    gather(data, facts, folder, minutes or 1.0)
    if minutes:
        return create_voice(called, folder, **about, progress=tell)
    return clone_voice(called, one_clip(folder, work / f"{called}.wav"), **about)


def one_clip(folder: Path, out: Path) -> Path:
    """The recordings of a folder behind each other, cut after 20 seconds."""
    rate = AudioConfig().sample_rate
    audio = np.concatenate([read(path, rate, mono=True)[0] for path in sorted(folder.iterdir())], axis=1)
    write(out, audio[:, : round(INSTANT_SECONDS * rate)], rate)
    return out


def sung(voice: Voice, target: str, options: argparse.Namespace) -> list[dict]:
    """The judge's rows of a voice."""
    converter, rows = Converter(voice), []
    for clip in sung_clips(options.data):
        name = clip["file"].rsplit(".", 1)[0]
        if name in (*CLIPS[:: options.every], *WORD_CLIPS):
            row = convert(converter, options.data, clip["file"], options.work / "sung")
            only = {} if name in CLIPS else {"only": "words"}
            rows.append(row | {"pair": pair(clip), "target": target} | only)
    return rows


def main() -> None:
    """Make, sing, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--voices", nargs="+", default=["kumi", "kathleen"], help="speakers of the manifest")
    parser.add_argument("--minutes", nargs="*", type=float, default=[1.0, 5.0, 10.0, 30.0])
    parser.add_argument("--every", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["RESING_HOME"] = str(options.work.absolute() / "home")
    rows: list[dict] = []
    for name in options.voices:
        for minutes in (0.0, *options.minutes):
            rows += sung(made(name, minutes, options.data, options.work), name, options)
    print(judged_table(rows, options))


if __name__ == "__main__":
    main()
