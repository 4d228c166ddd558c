"""What this machine can do: where to train, in which arithmetic, and how many segments its memory holds."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.autograd.graph import saved_tensors_hooks

from resing.config import TRIAL_ROWS, TrainingConfig
from resing.errors import ConfigError
from resing.training.loop import Randomness, Task

MEMORY_SHARE = 0.6
"""Of what is free on a GPU; the rest is for the allocator, convolutions' workspaces and other programs."""
BYTES_PER_PARAMETER = 20
"""Weight, gradient, AdamW's two averages and the EMA, in fp32."""
ON_A_PROCESSOR = 8
FEWEST, MOST = 4, 64


@dataclass(frozen=True)
class Machine:
    """Where a training runs.

    Attributes:
        device: "cpu" or "cuda".
        bf16: it has fast arithmetic in bf16.
        free_bytes: memory that is free on a GPU; 0 without one.
    """

    device: str
    bf16: bool = False
    free_bytes: int = 0

    @classmethod
    def find(cls, wanted: Literal["cpu", "cuda", "auto"] = "auto") -> "Machine":
        """This machine.

        Args:
            wanted: the device that is asked for.

        Raises:
            ConfigError: there is no such device.
        """
        here = torch.cuda.is_available()
        if wanted == "cuda" and not here:
            raise ConfigError(
                "device=cuda: torch sees no GPU here; install its build for one (docs/install.md), or give "
                "--set device=cpu"
            )
        if wanted == "cpu" or not here:
            return cls("cpu")
        return cls("cuda", torch.cuda.is_bf16_supported(), torch.cuda.mem_get_info()[0])

    def precision(self, wanted: Literal["fp32", "bf16", "auto"]) -> str:
        """The arithmetic: what is asked for, or bf16 where it is fast, which on a processor it rarely is."""
        return ("bf16" if self.bf16 else "fp32") if wanted == "auto" else wanted

    def batch_size(self, parameters: int, row_bytes: int) -> int:
        """Segments that fit into memory, a multiple of FEWEST.

        Args:
            parameters: of the networks that learn.
            row_bytes: what one segment leaves in memory for the way back.
        """
        if self.device == "cpu":
            return ON_A_PROCESSOR
        spare = MEMORY_SHARE * self.free_bytes - BYTES_PER_PARAMETER * parameters
        return min(MOST, max(FEWEST, int(spare / row_bytes) // FEWEST * FEWEST))


def row_bytes(task: Task, machine: Machine, precision: str) -> int:
    """Bytes that the loss of one segment keeps for the way back, counted in a trial of TRIAL_ROWS.

    Args:
        task: whose batches hold so many segments.
        machine: where it runs.
        precision: of the arithmetic.
    """
    learning = {p.data_ptr() for p in task.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in learning:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    random = Randomness.at(0, 0)
    batch = task.batch(random)
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast(machine.device, torch.bfloat16, precision == "bf16"),
    ):
        task.loss(batch, random)
    return max(1, sum(kept.values()) // TRIAL_ROWS)


def settle(
    training: TrainingConfig, task: Task, machine: Machine, known: int | None = None
) -> TrainingConfig:
    """The settings with all that is "auto" decided for this machine.

    Args:
        training: as asked for.
        task: with batches for a trial, see `TrainingConfig.rows`.
        machine: where it will run.
        known: segments in a batch of the training that this one goes on with.
    """
    precision = machine.precision(training.precision)
    size = training.batch_size
    if size == "auto":
        parameters = sum(p.numel() for p in task.model.parameters() if p.requires_grad)
        trial = 1 if known or machine.device == "cpu" else row_bytes(task, machine, precision)
        size = known or machine.batch_size(parameters, trial)
    changes = {"precision": precision, "device": machine.device, "batch_size": size}
    return training.model_copy(update=changes)
