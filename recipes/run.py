"""What every training script does: read its options, train or export, say how it goes."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from resing import checkpoint
from resing.training.loop import LoopConfig, Progress, Task, Trainer


def read_options(about: str, **defaults: int) -> argparse.Namespace:
    """The command line's options; one thread unless asked.

    Args:
        about: the script's docstring.
        defaults: whole numbers that this script takes, `steps` and `batch_size` among them.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument(
        "--start", type=Path, help="run whose newest checkpoint, or exported weights, a new run begins with"
    )
    parser.add_argument("--until", type=int)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile the network: needs a compiler")
    parser.add_argument("--export", type=Path, help="write the averaged weights here instead of training")
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


FAINT = 0.02
"""Size of the residual branch of a block that the weights of the start do not have yet."""


def begin(model: nn.Module, start: Path | None) -> int:
    """Put exported weights into a new run's model; returns the steps they have seen, 0 without any.

    Blocks that the model has and the weights have not stay random, with next to no say.
    """
    if start is None or start.is_dir():
        return 0
    tensors, about = checkpoint.load(start)
    begun = model.state_dict()
    for name, value in begun.items():
        if ".blocks." not in name or name in tensors:
            begun[name] = tensors[name].float()
        elif name.endswith(".scale"):
            begun[name] = torch.full_like(value, FAINT)
    model.load_state_dict(begun)
    return int(about["steps"])


def train_or_export(
    task: Task, options: argparse.Namespace, loop: LoopConfig, export: Callable[[Path, int], None]
) -> None:
    """Go on with the run, or hand its averaged weights to `export` with the step they are from."""
    if options.start and options.start.is_dir() and not list(options.run.glob("checkpoint-*")):
        options.run.mkdir(parents=True, exist_ok=True)
        newest = max(options.start.glob("checkpoint-*.safetensors"))
        (options.run / newest.name).write_bytes(newest.read_bytes())
    trainer = Trainer(task, options.run, loop)
    if not options.export:
        trainer.run(_report, options.until)
        return
    with trainer.averaged():
        export(options.export, trainer.step)


def _report(told: Progress) -> None:
    """One line now and then."""
    if told.validation or told.step % 100 == 0:
        line = {"step": told.step, "loss": round(told.loss, 4), "left": round(told.seconds_left)}
        print(json.dumps(line | {"validation": told.validation}), flush=True)
