"""Low-rank adapters: what a voice changes in the base model, small enough to share (Hu et al. 2021, LoRA)."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """Adds up @ down to a weight; starts as nothing.

    Args:
        weight: the frozen weight, (outputs, inputs).
        rank: of the change.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        rank = min(rank, outputs, inputs)
        self.down = nn.Parameter(torch.empty(rank, inputs))
        if not weight.is_meta:
            nn.init.normal_(self.down, std=inputs**-0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + self.up @ self.down


def add_adapters(net: nn.Module, rank: int) -> None:
    """Freeze `net` and put an adapter on every linear layer; where it lies on `meta`, for its shapes alone.

    Nothing is drawn or multiplied on `meta`: PyTorch would load its compiler for that, which takes seconds.
    """
    net.requires_grad_(False)
    for module in list(net.modules()):
        if isinstance(module, nn.Linear):
            adapter = LowRank(module.weight, rank)
            parametrize.register_parametrization(module, "weight", adapter, unsafe=True)
            module.get_parameter("parametrizations.weight.original").requires_grad_(False)


def merge_adapters(net: nn.Module) -> None:
    """Fold every adapter into its weight, for speed."""
    for module in list(net.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def adapter_tensors(net: nn.Module) -> dict[str, Tensor]:
    """The adapters' parameters by name."""
    return {n: p for n, p in net.named_parameters() if p.requires_grad and ".parametrizations." in f".{n}"}
