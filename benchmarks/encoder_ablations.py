"""What each part of the content encoder's training is worth: short trainings, one thing changed in each.

    python benchmarks/encoder_ablations.py --corpus CORPUS --start START --runs FOLDER [--only NAME ...]

START is what recipes/content_start.py makes, or an encoder that ships. Trains every variant for the same
steps on the same pieces and prints a row of `benchmarks/encoder.py`'s probes for each. Runs are resumed where
they stopped. Needs the shared data and CORPUS (recipes/corpus.py and those after it).
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoder import Data, Encode, Probed, parallels, pitch, speaker, steadiness, words
from tables import markdown_table
from torch import Tensor

from resing import checkpoint
from resing.features.content import ContentConfig, content_mel
from resing.training.loop import LoopConfig, Trainer

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
from content import ContentTask
from corpus import Corpus

LEVELS_PER_UNIT = 2.0
"""FSQ: levels on a stretch as long as the root mean square of the units."""


def unperturbed(self: ContentTask, audio: np.ndarray, rng: np.random.Generator) -> Tensor:
    """What is heard of a piece as it is."""
    return content_mel(torch.from_numpy(audio)[None])[0]


def rounded(self: ContentTask, units: Tensor) -> Tensor:
    """Finite scalar quantisation with straight-through gradients (Mentzer et al. 2023, arXiv 2309.15505)."""
    levels = torch.round(units * LEVELS_PER_UNIT) / LEVELS_PER_UNIT
    return units + (levels - units).detach()


VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without perturbation": {"hear": unperturbed},
    "without phones": {"phone_weight": 0.0},
    "without agreement of voices": {"pair_weight": 0.0},
    "without speech as singing": {"sung": 0.0},
    "without splices": {"spliced": 0.0},
    "FSQ": {"narrow": rounded},
    "32 wide": {"n_units": 32},
    "16 wide": {"n_units": 16},
}
PROBES = (words, parallels, speaker, pitch, steadiness)


def trained(name: str, options: argparse.Namespace) -> Trainer:
    """A variant, trained for so many steps."""
    changes = dict(VARIANTS[name])
    config = replace(ContentConfig(), n_units=changes.pop("n_units", ContentConfig().n_units))
    task = type("Variant", (ContentTask,), changes)(
        Corpus(options.corpus), config, options.batch_size, options.pairs, options.units
    )
    task.model.net.load_state_dict(narrowed(checkpoint.load(options.start)[0], config.n_units))
    loop = LoopConfig(
        steps=options.steps, learning_rate=2e-4, precision=options.precision, checkpoint_every=50
    )
    trainer = Trainer(task, options.runs / name.replace(" ", "_"), loop)
    trainer.run(None)
    return trainer


def narrowed(tensors: Mapping[str, Tensor], n_units: int) -> dict[str, Tensor]:
    """Weights whose bottleneck keeps the first directions, which the teacher's decoder uses most."""
    return {k: (v[:n_units] if k.startswith("leave.") else v).float() for k, v in tensors.items()}


def encode_with(task: ContentTask) -> Encode:
    """Units (U, C) of audio (N,) through the variant's bottleneck."""

    @torch.inference_mode()
    def encode(audio: np.ndarray) -> np.ndarray:
        mel = content_mel(torch.from_numpy(audio)[None].float())
        return np.asarray(task.narrow(task.model.net(mel).transpose(1, 2))[0])

    return encode


def main() -> None:
    """Train and probe, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    for name, default in {"steps": 200, "batch-size": 10, "pairs": 2, "units": 150}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data, rows = Data(options.data), {}
    for name in options.only:
        torch.manual_seed(0)
        trainer = trained(name, options)
        with trainer.averaged():
            probed = Probed(encode_with(trainer.task), data)
            rows[name] = {key: value for probe in PROBES for key, value in probe(probed).items()}
        print(json.dumps({name: rows[name]}), file=sys.stderr, flush=True)
    names = list(next(iter(rows.values())))
    table = [[name, *(f"{row[key]:.3g}" for key in names)] for name, row in rows.items()]
    print(markdown_table(["variant", *names], table))


if __name__ == "__main__":
    main()
