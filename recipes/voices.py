"""Make the voices that ship, from the training recordings of the shared data, as a user would make one.

    python recipes/voices.py --data ../shared/data --work WORK --out src/resing/weights/voices [--only kumi]
    python recipes/voices.py --samples docs/samples

The second lets those that ship sing some bars of the demo song into a folder.
"""

import argparse
import csv
import random
from pathlib import Path

import torch

from resing import convert
from resing.config import ConvertOptions, TrainingConfig
from resing.demo import LEAD
from resing.training.create import train_voice
from resing.training.prepare import Update, prepare
from resing.training.request import VoiceFacts
from resing.voice import SHIPPED, Voice

SYNTHETIC = {
    "kind": "synthetic singing",
    "whose": "no person's voice: synthesised by Kokoro-82M",
    "licence": "Apache-2.0; the weights as a whole CC BY-SA 4.0 (WEIGHTS-LICENSE)",
    "consent": "not needed: no person's voice",
    "credit": "synthetic voice, Kokoro-82M by hexgrad; 12 kHz source",
}
VOICES: dict[str, dict] = {
    "kumi": {
        "sources": ["kumi_utau"],
        "without": "Whisper",
        "whose": "Hitsuboku Kumi, voiced by Cubialpha",
        "licence": "Hitsuboku Kumi terms: keep the name Hitsuboku Kumi, credit Cubialpha, link, state edits",
        "consent": "published by Cubialpha as a voicebank, use in other synthesis software allowed",
        "source": "Hitsuboku Kumi ACT 4 voicebank, converted to FLAC; edited: trained into a model",
        "credit": "Hitsuboku Kumi, Cubialpha, https://cubialpha.wixsite.com/koomstar/character",
        "languages": ("ja",),
        "sex": "female",
        "kind": "singing",
    },
    "kathleen": {
        "sources": ["kathleen_rhasspy"],
        "whose": "Kathleen, a volunteer reader",
        "licence": "CC0 1.0; the weights as a whole CC BY-SA 4.0 (WEIGHTS-LICENSE)",
        "consent": "recorded by the reader for free voice models and given away under CC0",
        "source": "rhasspy/dataset-voice-kathleen",
        "credit": "Kathleen (Rhasspy)",
        "languages": ("en",),
        "sex": "female",
        "kind": "speech",
    },
    "pjs": {
        "sources": ["pjs"],
        "whose": "the singer of the PJS corpus",
        "licence": "CC BY-SA 4.0",
        "consent": "published by its authors as a singing corpus under CC BY-SA 4.0",
        "source": "PJS corpus, phoneme-balanced Japanese singing (2020), 24 kHz copy",
        "credit": "PJS corpus, J. Koguchi, S. Takamichi, M. Morise",
        "languages": ("ja",),
        "sex": "male",
        "kind": "singing",
    },
    "af_aoede": {"sources": ["af_aoede"], "languages": ("en", "it", "es"), "sex": "female", **SYNTHETIC},
    "am_eric": {"sources": ["am_eric"], "languages": ("en", "es", "it"), "sex": "male", **SYNTHETIC},
    "zm_yunxia": {"sources": ["zm_yunxia"], "languages": ("ja", "en"), "sex": "male", **SYNTHETIC},
}

UNSHIPPED = {"kathleen"}
"""Measured in benchmarks/minutes.py only: she reads, and does not sing well yet."""


def gather(data: Path, facts: dict, folder: Path, minutes: float) -> None:
    """Link some minutes of a voice's training recordings, drawn at random by a fixed seed, into a folder."""
    with open(data / "manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["use"] == "train"]
    names = facts["sources"]
    mine = [r for r in rows if r["source"] in names or r["speaker"] in names]
    mine = [r for r in mine if facts.get("without", "-") not in r["speaker"]]
    random.Random(0).shuffle(mine)
    folder.mkdir(parents=True, exist_ok=True)
    total = 0.0
    for row in mine:
        if total >= 60 * minutes:
            break
        total += float(row["seconds"])
        link = folder / row["file"].replace("/", "_")
        if not link.exists():
            link.symlink_to((data / row["file"]).resolve())


def tell(update: Update) -> None:
    """One line a validation or message."""
    if update.message or update.validation:
        print(update.stage, update.done, update.total, update.message, update.validation or "", flush=True)


def sing_samples(folder: Path) -> None:
    """Some bars of the demo song in every voice that ships, as Ogg files."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(SHIPPED.glob("*.safetensors")):
        out = folder / f"{path.stem}.ogg"
        convert(LEAD, out, Voice.load(path), ConvertOptions(start_seconds=0.0, end_seconds=8.0))
        Path(f"{out}.json").unlink()


def main() -> None:
    """Prepare and train each voice, or let them sing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--samples", type=Path, help="folder to sing samples into, instead of training")
    parser.add_argument("--only", nargs="*", default=[v for v in VOICES if v not in UNSHIPPED])
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--steps", type=int, default=280, help="the base knows these voices: few are enough")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.samples:
        sing_samples(options.samples)
        return
    if not (options.data and options.work):
        parser.error("--data and --work are needed to make voices")
    for name in options.only:
        facts, folder = dict(VOICES[name]), options.work / name
        gather(options.data, facts, folder / "recordings", options.minutes)
        prepare(folder / "recordings", folder / "dataset", progress=tell)
        card = VoiceFacts(name=name, **{k: v for k, v in facts.items() if k not in ("sources", "without")})
        training = TrainingConfig(steps=options.steps, steps_at_least=options.steps, validate_every=70)
        train_voice(
            folder / "dataset",
            folder / "run",
            card,
            training,
            progress=tell,
            out=options.out / f"{name}.safetensors",
        )


if __name__ == "__main__":
    main()
