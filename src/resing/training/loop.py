"""The one training loop, for every model: step, average, save, validate, resume.

All randomness of step n (which clips, which noise) comes from (seed, n), so the data position and the
state of the generators are the step number alone, and a run that was killed and resumed is bit-identical
on the same CPU and threads to one that never stopped.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from resing import checkpoint
from resing.errors import ResingError, VoiceError

KEEP = 2


@dataclass(frozen=True)
class LoopConfig:
    """What the loop needs to know.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: peak of the schedule.
        warmup: steps of linear rise.
        cooldown: share of the steps, at the end, over which the rate falls to zero.
        weight_decay: AdamW's.
        ema_decay: decay of the averaged weights per step.
        gradient_clip: largest norm of the gradient.
        precision: "fp32", or "bf16" for autocast (fast where the processor has bf16 units).
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations.
        seed: of everything random.
    """

    steps: int
    learning_rate: float = 6e-4
    warmup: int = 200
    cooldown: float = 0.3
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    precision: str = "fp32"
    checkpoint_every: int = 250
    validate_every: int = 500
    seed: int = 0


@dataclass
class Randomness:
    """The sources of chance of one step."""

    numpy: np.random.Generator
    torch: torch.Generator

    @classmethod
    def at(cls, seed: int, step: int, device: str = "cpu") -> "Randomness":
        """Both generators, seeded by the run's seed and the step."""
        numpy = np.random.default_rng([seed, step])
        return cls(numpy, torch.Generator(device).manual_seed(int(numpy.integers(1 << 62))))


class Task(Protocol):
    """What a model brings to the loop."""

    model: nn.Module

    def batch(self, random: Randomness) -> Any:
        """One training batch; depends on nothing but `random`, and is called from another thread."""
        ...

    def loss(self, batch: Any, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and named figures for the log."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on held-out clips for the averaged weights; `score` is judged by, lower is better."""
        ...


@dataclass
class Progress:
    """What a progress callback is told after each step."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    figures: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] | None = None


def learning_rate_at(step: int, config: LoopConfig) -> float:
    """Warm up, hold, then fall in a straight line to zero (Hägele et al. 2024, arXiv 2405.18392)."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = min(1.0, (config.steps - step) / max(1.0, config.cooldown * config.steps))
    return config.learning_rate * min(rise, fall)


class Trainer:
    """A task being trained in a folder.

    Args:
        task: model, data and loss.
        folder: where checkpoints and logs lie; an existing run in it is resumed.
        config: the loop's settings.
        metadata: stored in every checkpoint beside the loop's own.

    Attributes:
        step: steps done so far.
        ema: the averaged weights by name.
        device: where the model lies and is trained.
        warnings: what had to be worked around on opening, in plain words.
    """

    def __init__(
        self, task: Task, folder: Path, config: LoopConfig, metadata: dict[str, Any] | None = None
    ) -> None:
        self.task, self.folder, self.config = task, Path(folder), config
        self.metadata = metadata or {}
        self.step = 0
        self.warnings: list[str] = []
        self.parameters = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
        )
        self.device = next(iter(self.parameters.values())).device.type
        self.ema = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(
        self, callback: Callable[[Progress], bool | None] | None = None, until: int | None = None
    ) -> dict[str, float]:
        """Train to the end, or to step `until`; returns the last validation figures.

        Args:
            callback: told of each step; training stops early, saved, when it returns True.
            until: stop (saved) at this step.

        Raises:
            ResingError: training diverged, or another one is at work in the folder.
        """
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                return self._run(callback, until)
        except Timeout as error:
            raise ResingError(
                f"another training is at work in {self.folder}; wait for it or stop it, then resume."
            ) from error

    def _run(self, callback: Callable[[Progress], bool | None] | None, until: int | None) -> dict[str, float]:
        stop = min(until or self.config.steps, self.config.steps)
        began, first = time.monotonic(), self.step
        validation: dict[str, float] = {}
        self._trim("losses.jsonl")
        self._trim("validation.jsonl")
        with open(self.folder / "losses.jsonl", "a", buffering=1) as log, ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._batch_at, self.step)
            while self.step < stop:
                batch, random = coming.result()
                coming = ahead.submit(self._batch_at, self.step + 1)  # made while the step is computed
                loss, figures = self._one_step(batch, random)
                log.write(json.dumps({"step": self.step, "loss": loss, **figures}) + "\n")
                at_end = self.step == stop
                due = at_end or self.step % self.config.validate_every == 0
                found = self.validate() if due else None
                validation = found or validation
                pace = (time.monotonic() - began) / (self.step - first)
                told = Progress(self.step, stop, loss, pace * (stop - self.step), figures, found)
                enough = bool(callback(told)) if callback else False
                if at_end or enough or self.step % self.config.checkpoint_every == 0:
                    self.save()
                if enough:
                    break
        return validation

    def validate(self) -> dict[str, float]:
        """Held-out figures of the averaged weights, appended to validation.jsonl."""
        with torch.no_grad(), self.averaged():
            figures = self.task.validate(self.task.model)
        with open(self.folder / "validation.jsonl", "a") as file:
            file.write(json.dumps({"step": self.step, **figures}) + "\n")
        return figures

    def averaged(self) -> "_Averaged":
        """Context in which the model holds the averaged weights."""
        return _Averaged(self)

    def save(self) -> Path:
        """Write a checkpoint; the newest KEEP are kept."""
        path = self.folder / f"checkpoint-{self.step:07d}.safetensors"
        tensors: dict[str, Tensor] = {f"model.{n}": p for n, p in self.parameters.items()}
        tensors |= {f"ema.{n}": t for n, t in self.ema.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{name}.{key}"] = value
        checkpoint.save(path, tensors, {"step": self.step, "loop": asdict(self.config), **self.metadata})
        for old in sorted(self.folder.glob("checkpoint-*.safetensors"))[:-KEEP]:
            old.unlink()
        return path

    def _batch_at(self, step: int) -> tuple[Any, Randomness]:
        random = Randomness.at(self.config.seed, step)
        return self.task.batch(random), random

    def _one_step(self, batch: Any, random: Randomness) -> tuple[float, dict[str, float]]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=bf16):
            loss, figures = self.task.loss(batch, random)
        if not torch.isfinite(loss):
            raise ResingError(f"training diverged at step {self.step}: lower the learning rate and resume.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.gradient_clip)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.ema.values()), [p.detach() for p in self.parameters.values()], 1 - decay
        )
        return float(loss.detach()), figures

    def _resume(self) -> None:
        for path in sorted(self.folder.glob("checkpoint-*.safetensors"), reverse=True):
            try:
                tensors, metadata = checkpoint.load(path)
            except VoiceError as error:
                self.warnings.append(f"{error} Going back to the checkpoint before it.")
                path.rename(path.with_suffix(".damaged"))
                continue
            self._restore(tensors)
            self.step = int(metadata["step"])
            break

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"model.{name}"])
                self.ema[name].copy_(tensors[f"ema.{name}"])
                prefix = f"optimiser.{name}."
                state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
                state = {k: v if k == "step" else v.to(parameter.device) for k, v in state.items()}
                if state:
                    self.optimiser.state[parameter] = state

    def _trim(self, name: str) -> None:
        """Drop log lines of steps that will be done again."""
        path = self.folder / name
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            if kept != path.read_text().splitlines():
                temporary = path.with_suffix(".part")
                temporary.write_text("".join(line + "\n" for line in kept))
                os.replace(temporary, path)


class _Averaged:
    """Swaps the averaged weights in and the trained ones back."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> nn.Module:
        self.kept: dict[str, Tensor] = {n: p.detach().clone() for n, p in self.trainer.parameters.items()}
        self._put(self.trainer.ema)
        return self.trainer.task.model

    def __exit__(self, *_: object) -> None:
        self._put(self.kept)

    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.trainer.parameters.items():
            parameter.data.copy_(tensors[name])
