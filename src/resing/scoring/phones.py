"""Which phones are heard in content units: a linear probe, for how far words moved in a conversion."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from resing import checkpoint
from resing.features import content

EMBEDDED = Path(__file__).parents[1] / "weights" / "phones.safetensors"


class Probe:
    """Multinomial logistic regression of phones on the units of one encoder.

    Args:
        weight: (C, P).
        bias: (P,).
        phones: their names, P of them.
        encoder_id: of the encoder whose units it hears.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, phones: tuple[str, ...], encoder_id: str
    ) -> None:
        self.weight, self.bias, self.phones, self.encoder_id = weight, bias, phones, encoder_id

    @classmethod
    def load(cls, path: Path | str = EMBEDDED) -> "Probe":
        """The probe in a file; by default the one that ships."""
        tensors, about = checkpoint.load(path)
        return cls(tensors["weight"], tensors["bias"], tuple(about["phones"]), about["encoder_id"])

    def save(self, path: Path | str, **about: str) -> None:
        """Write it, with what it was fitted to."""
        facts = {"phones": list(self.phones), "encoder_id": self.encoder_id, **about}
        checkpoint.save(path, {"weight": self.weight, "bias": self.bias}, facts)

    def __call__(self, units: np.ndarray) -> np.ndarray:
        """Probability of each phone at each unit, (C, U) to (U, P)."""
        logits = torch.from_numpy(units.T.astype(np.float32)) @ self.weight + self.bias
        return torch.softmax(logits, dim=1).numpy()

    def distances(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Total variation, 0 to 1, of the phones heard in both at each unit, (C, U) each to (U,)."""
        n = min(before.shape[1], after.shape[1])
        heard = self(before[:, :n]), self(after[:, :n])
        return 0.5 * np.abs(heard[0] - heard[1]).sum(axis=1)


def embedded() -> Probe | None:
    """The probe that ships; None where it was fitted to another encoder than the one here."""
    found = _shipped()
    return found if found.encoder_id == content.embedded().encoder_id else None


@lru_cache(maxsize=1)
def _shipped() -> Probe:
    return Probe.load()
