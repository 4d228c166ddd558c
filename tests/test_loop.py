"""The training loop: a run that was killed, damaged or split is the run that never stopped, bit for bit.

Run as a script (`python tests/test_loop.py FOLDER PAUSE`) it trains the toy below; the tests kill that.
"""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resing import checkpoint
from resing.errors import ResingError
from resing.training.loop import LoopConfig, Progress, Randomness, Trainer, learning_rate_at

STEPS = 300


class Toy:
    """A small network that learns to add noise-free sums; `broken_from` makes its loss infinite."""

    def __init__(self, pause_seconds: float = 0.0, broken_from: int | None = None) -> None:
        self.model: nn.Module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.model[0].bias.requires_grad_(False)
        with torch.no_grad():
            for number, parameter in enumerate(self.model.parameters()):
                parameter.copy_(
                    torch.linspace(-0.5, 0.5, parameter.numel()).reshape(parameter.shape) + 0.1 * number
                )
        self.pause_seconds, self.broken_from, self.steps = pause_seconds, broken_from, 0

    def batch(self, random: Randomness) -> Tensor:
        time.sleep(self.pause_seconds)
        return torch.from_numpy(random.numpy.standard_normal((6, 4)).astype(np.float32))

    def loss(self, batch: Tensor, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        self.steps += 1
        noise = 0.1 * torch.randn(batch.shape, generator=random.torch)
        error = (self.model(batch + noise) - batch.sum(1, keepdim=True)).square().mean()
        if self.broken_from is not None and self.steps > self.broken_from:
            error = error / 0
        return error, {"error": float(error.detach())}

    def validate(self, model: nn.Module) -> dict[str, float]:
        grid = torch.linspace(-1, 1, 20).reshape(5, 4)
        return {"score": float((model(grid) - grid.sum(1, keepdim=True)).square().mean())}


def config(steps: int = STEPS) -> LoopConfig:
    return LoopConfig(steps, learning_rate=1e-2, warmup=5, checkpoint_every=5, validate_every=10)


def newest(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load(sorted(folder.glob("checkpoint-*.safetensors"))[-1])[0]


def validations(folder: Path) -> list[str]:
    """The lines of the regular validations; a run split by hand has one more at each split."""
    lines = (folder / "validation.jsonl").read_text().splitlines()
    return [line for line in lines if json.loads(line)["step"] % config().validate_every == 0]


def assert_same_run(one: Path, other: Path) -> None:
    """Equal weights, averages, optimiser and logs, to the last bit."""
    first, second = newest(one), newest(other)
    assert first.keys() == second.keys() and len(first) > 12
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert (one / "losses.jsonl").read_text() == (other / "losses.jsonl").read_text()
    assert validations(one) == validations(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of STEPS steps in one go."""
    folder = tmp_path_factory.mktemp("whole")
    Trainer(Toy(), folder, config()).run()
    return folder


def test_a_split_run_is_the_whole_run(whole: Path, tmp_path: Path):
    for until in (1, 17, 100, None):
        trainer = Trainer(Toy(), tmp_path, config())
        trainer.run(until=until)
        assert trainer.warnings == []
    assert_same_run(whole, tmp_path)


def test_opening_a_run_leaves_its_logs_alone(tmp_path: Path):
    Trainer(Toy(), tmp_path, config()).run(until=20)
    with open(tmp_path / "losses.jsonl", "a") as log:
        log.write('{"step": 21, "loss": 1.0}\n')  # by a training that is at work
    before = (tmp_path / "losses.jsonl").read_text()
    assert Trainer(Toy(), tmp_path, config()).step == 20
    assert (tmp_path / "losses.jsonl").read_text() == before


def test_another_process_goes_on_the_same(whole: Path, tmp_path: Path):
    Trainer(Toy(), tmp_path, config()).run(until=123)
    start(tmp_path).wait(60)
    assert_same_run(whole, tmp_path)


def test_sigkill_at_any_moment_changes_nothing(whole: Path, tmp_path: Path):
    random = np.random.default_rng(3)
    kills = 0
    for _ in range(4):
        process = start(tmp_path, pause_seconds=0.003)
        grown = size(tmp_path / "losses.jsonl")
        while process.poll() is None and size(tmp_path / "losses.jsonl") <= grown:
            time.sleep(0.002)
        time.sleep(random.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        kills += process.wait(60) == -signal.SIGKILL
        for path in tmp_path.glob("checkpoint-*.safetensors"):
            checkpoint.load(path)
    assert kills >= 3
    start(tmp_path).wait(60)
    assert_same_run(whole, tmp_path)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(whole: Path, tmp_path: Path):
    Trainer(Toy(), tmp_path, config()).run(until=40)
    last = sorted(tmp_path.glob("checkpoint-*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    trainer = Trainer(Toy(), tmp_path, config())
    assert trainer.step == 35
    assert (
        len(trainer.warnings) == 1 and last.name in trainer.warnings[0] and "damaged" in trainer.warnings[0]
    )
    trainer.run()
    assert_same_run(whole, tmp_path)


def test_the_average_is_that_of_the_weights(tmp_path: Path):
    trainer = Trainer(Toy(), tmp_path, config())
    expected = {n: p.detach().clone().double() for n, p in trainer.parameters.items()}
    assert "0.bias" not in expected

    def follow(told: Progress) -> None:
        decay = min(trainer.config.ema_decay, (1 + told.step) / (10 + told.step))
        for name, parameter in trainer.parameters.items():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach().double()

    trainer.run(follow, until=30)
    for name, average in trainer.ema.items():
        torch.testing.assert_close(average.double(), expected[name], atol=1e-6, rtol=1e-5)
    before = {n: p.detach().clone() for n, p in trainer.parameters.items()}
    with trainer.averaged() as model:
        assert torch.equal(dict(model.named_parameters())["0.weight"], trainer.ema["0.weight"])
    assert all(torch.equal(p, before[n]) for n, p in trainer.parameters.items())


def test_the_rate_rises_holds_and_falls_to_zero():
    plan = LoopConfig(steps=1000, learning_rate=2.0, warmup=10, cooldown=0.2)
    rates = [learning_rate_at(step, plan) for step in range(1000)]
    assert rates[0] == pytest.approx(0.2) and rates[4] == pytest.approx(1.0)
    assert rates[9:800] == [2.0] * 791
    assert rates[900] == pytest.approx(1.0) and rates[999] == pytest.approx(0.01)
    assert all(later < earlier for earlier, later in pairwise(rates[800:]))


def test_divergence_stops_and_leaves_the_last_checkpoint(tmp_path: Path):
    with pytest.raises(ResingError, match=r"diverged at step 12: lower the learning rate"):
        Trainer(Toy(broken_from=12), tmp_path, config()).run()
    assert Trainer(Toy(), tmp_path, config()).step == 10


def test_two_trainings_do_not_share_a_folder(tmp_path: Path):
    def another(told: Progress) -> bool:
        with pytest.raises(ResingError, match="another training is at work"):
            Trainer(Toy(), tmp_path, config()).run()
        return True

    Trainer(Toy(), tmp_path, config()).run(another)
    assert Trainer(Toy(), tmp_path, config()).run(until=3) and len(list(tmp_path.glob("checkpoint-*"))) >= 1


def test_the_callback_is_told_of_every_step_and_can_stop(tmp_path: Path):
    told: list[Progress] = []

    def follow(progress: Progress) -> bool:
        told.append(progress)
        return progress.step == 22

    trainer = Trainer(Toy(), tmp_path, config())
    trainer.run(follow)
    assert [p.step for p in told] == list(range(1, 23))
    assert [p.step for p in told if p.validation] == [10, 20]
    assert all(p.steps == STEPS and p.seconds_left >= 0 and "error" in p.figures for p in told)
    assert Trainer(Toy(), tmp_path, config()).step == 22


def test_chance_depends_on_seed_and_step_alone():
    one, same, other = Randomness.at(1, 5), Randomness.at(1, 5), Randomness.at(1, 6)
    assert one.numpy.random() == same.numpy.random() != other.numpy.random()
    draws = [torch.randn(3, generator=r.torch) for r in (one, same, other)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def start(folder: Path, pause_seconds: float = 0.0) -> "subprocess.Popen[bytes]":
    """Train the toy in another process."""
    return subprocess.Popen([sys.executable, __file__, str(folder), str(pause_seconds)], env=dict(os.environ))


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_logs_hold_one_line_per_step(whole: Path):
    lines = [json.loads(line) for line in (whole / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    Trainer(Toy(float(sys.argv[2])), Path(sys.argv[1]), config()).run()
