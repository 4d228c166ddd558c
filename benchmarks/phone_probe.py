"""Fit the probe of phones, by which `resing score` hears how far words moved, to the encoder that ships.

    python benchmarks/phone_probe.py --data ../shared/data

Fits it to the training clips of kokoro_sung, whose phones were commanded, prints how many frames of its
dev-test clips it hears right, and writes src/resing/weights/phones.safetensors. To be run again whenever the
encoder is replaced.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resing.features import content
from resing.scoring.clip import Clip
from resing.scoring.pair import UNIT_SECONDS
from resing.scoring.phones import EMBEDDED, Probe

SEGMENT_SECONDS = 0.025


def phones_at(segments: list[list[Any]], count: int) -> np.ndarray:
    """Phone commanded at each unit, "" at edges and word gaps, (count,)."""
    ends = np.cumsum([frames for _, _, frames in segments]) * SEGMENT_SECONDS
    inside = np.searchsorted(ends - 1e-6, np.arange(count) * UNIT_SECONDS, side="right")
    return np.array([*(phone for phone, _, _ in segments), ""])[np.minimum(inside, len(segments))]


def fit_probe(units: np.ndarray, phones: np.ndarray, encoder_id: str = "") -> Probe:
    """Multinomial logistic regression with a little weight decay, (N, C) and (N,)."""
    names, labels = np.unique(phones, return_inverse=True)
    x, y = torch.from_numpy(units), torch.from_numpy(labels)
    weight = torch.zeros(x.shape[1], len(names), requires_grad=True)
    bias = torch.zeros(len(names), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = torch.nn.functional.cross_entropy(x @ weight + bias, y) + 1e-4 * (weight**2).sum()
        found.backward()
        return found

    optimiser.step(loss)
    return Probe(weight.detach(), bias.detach(), tuple(map(str, names)), encoder_id)


def labelled(data: Path, rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Units, (N, C), and the phones commanded there, (N,), of recordings in kokoro_sung."""
    units, phones = [], []
    for row in rows:
        heard = Clip.read(data / "kokoro_sung" / f"{row['file']}.opus").units.T
        said = phones_at(row["segments"], len(heard))
        units.append(heard[said != ""].astype(np.float32))
        phones.append(said[said != ""])
    return np.concatenate(units), np.concatenate(phones)


def main() -> None:
    """Fit, try and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.data / "kokoro_sung" / "alignment.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    train, held = ([row for row in rows if row["use"] == use] for use in ("train", "dev-test"))
    probe = fit_probe(*labelled(options.data, train), content.embedded().encoder_id)
    units, phones = labelled(options.data, held)
    right = np.array(probe.phones)[probe(units.T).argmax(axis=1)] == phones
    probe.save(EMBEDDED, fitted_to="kokoro_sung, training clips")
    print(
        f"{len(train)} clips; of {len(held)} others {100 * right.mean():.1f} % of the frames are heard right"
    )


if __name__ == "__main__":
    main()
