"""Train the content encoder and the base together: the error of the mel reaches what the encoder says.

    python recipes/together.py --corpus CORPUS --run RUN [--start WEIGHTS] --steps 3000 --compile
    ... --export WEIGHTS

WEIGHTS is a folder with content.safetensors and base.safetensors; by default training begins with those that
ship. The base's pieces (recipes/acoustic.py) are sung from units that the encoder makes on the spot of what
recipes/content.py lets it hear, conversions and copies in other voices among them, so that it learns to say
what a mel needs and nothing of who sang. Its own teachers keep that near to words.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from acoustic import COPIED, EDGE, SHARES, UNIT_NOISE, BaseTask
from content import HISS_BANDS, NOISE, ContentTask, phone_error
from content import SHARES as HEARD_SHARES
from corpus import Corpus
from run import begin, read_options, train_or_export
from torch import Tensor, nn

from resing import checkpoint
from resing.config import ModelConfig
from resing.features.content import (
    EMBEDDED,
    SAMPLE_RATE,
    UNIT_HOP,
    ContentConfig,
    content_mel,
    hiss,
    save_content,
)
from resing.synthesis.acoustic import AcousticModel, normalise, save_base
from resing.training.acoustic import AcousticBatch, acoustic_loss
from resing.training.loop import LoopConfig, Randomness

CLEAN = 0.3
"""Share of pieces that the encoder hears as they are."""
TAUGHT = 0.05
"""Weight of the encoder's own teachers: their gradient is then about as long as that of the mel's error."""
HEARD_SECONDS = 10
"""Of each speaker, at least, for the mean of his units."""
FEW_ROWS = 200
"""Rows of 20 ms after which a speaker's mean counts half."""
LONGEST = 8
"""Seconds of a recording that are heard for that."""
UNIT_SECONDS = UNIT_HOP / SAMPLE_RATE


@dataclass
class Heard:
    """What the encoder hears, and what it should say of it.

    Attributes:
        mel: (B, 80, 2 U).
        position: of each frame among the units, (B, T).
        moved: what is added to the units, (B, C).
        teacher: (B, U, 64).
        phones: (B, U), -1 = unknown.
    """

    mel: Tensor
    position: Tensor
    moved: Tensor
    teacher: Tensor
    phones: Tensor


class TogetherTask(BaseTask):
    """The base's pieces, and an encoder that hears them."""

    def __init__(
        self, corpus: Corpus, config: ModelConfig, batch_size: int, frames: int, start: Path
    ) -> None:
        self.start = start
        super().__init__(corpus, config, batch_size, frames)

    def loss(
        self, batch: tuple[AcousticBatch, Tensor, Heard], random: Randomness
    ) -> tuple[Tensor, dict[str, float]]:
        """The acoustic loss, and a little of what the encoder's teachers say."""
        return self._loss(self.model, batch, random, UNIT_NOISE)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss on held-out pieces, on held-out conversions and on held-out copies, without noise."""
        figures: dict[str, float] = {}
        for name, batch in self.held.items():
            loss, parts = self._loss(model, batch, Randomness.at(1, 1), 0.0)
            figures |= {name: float(loss)} | {f"{name}_{k}": v for k, v in parts.items()}
        return {"score": sum(figures[name] for name in self.held), **figures}

    def _loss(
        self, model: nn.Module, batch: tuple[AcousticBatch, Tensor, Heard], random: Randomness, noise: float
    ) -> tuple[Tensor, dict[str, float]]:
        sung, reference, heard = batch
        units = model["content"].net(heard.mel).float()
        said = units.transpose(1, 2)
        taught = (said - heard.teacher).square().mean()
        blurred = said + NOISE * torch.randn(said.shape, generator=random.torch)
        phones = phone_error(model["content"].phones(blurred), heard.phones)
        units = at_frames(torch.cat([units, hiss(heard.mel, HISS_BANDS)], dim=1), heard.position)
        units = units + heard.moved.unsqueeze(-1) + noise * torch.randn(units.shape, generator=random.torch)
        net, sung = model["acoustic"], replace(sung, units=units)
        speaker = net.speaker_encoder(normalise(reference))
        loss, parts = acoustic_loss(net, sung, speaker, self.config, self.audio, random)
        parts |= {"teacher": float(taught.detach()), "phones": float(phones.detach())}
        return loss + TAUGHT * (taught + 0.5 * phones), parts

    def _open_units(self) -> None:
        frames = self.frames + 2 * EDGE
        self.size = int(np.ceil(frames / self.audio.frame_rate / UNIT_SECONDS)) + 2
        self.ears = ContentTask(self.corpus, ContentConfig(), 2, 1, self.size)
        self.student = self.ears.model
        begin(self.student.net, self.start / "content.safetensors")
        self.acoustic.load_state_dict(AcousticModel.load(self.start / "base.safetensors").net.state_dict())
        self.model = nn.ModuleDict({"content": self.student, "acoustic": self.acoustic})
        for clip in self.corpus.clips:
            clip["copied"] = clip in self.ears.copies
        self.plain, self.of_copy = ("itself", True), ("copied", True)

    def _way_to_hear(self, source: dict, rng: np.random.Generator) -> Any:
        """Itself or its copy, and whether as it is."""
        heard = "copied" if source["copied"] and rng.random() < COPIED else "itself"
        return heard, rng.random() < CLEAN

    def _words(
        self, source: dict, times: np.ndarray, ratio: float, way: Any, rng: np.random.Generator
    ) -> dict[str, Any]:
        heard, clean = way
        first = min(int(times[0] / UNIT_SECONDS), source["teacher"][1] - 1)
        piece = self.ears.piece(source, None if clean else rng, first, ratio, heard)
        position = (times / UNIT_SECONDS - first) / ratio
        return {
            "heard": piece,
            "position": np.clip(position, 0, self.size - 1.001).astype(np.float32),
            "moved": np.zeros(self.config.n_units, np.float32),
            "units": np.zeros((0, len(times)), np.float32),
        }

    def _move(self, row: dict, by: np.ndarray) -> None:
        row["moved"] = by

    @torch.inference_mode()
    def _unit_means(self, clips: list[dict]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(5)
        totals: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for speaker, mine in sorted(self.by_speaker.items()):
            units: list[np.ndarray] = []
            for number in rng.permutation(len(mine)):
                if sum(map(len, units)) * UNIT_SECONDS >= HEARD_SECONDS:
                    break
                audio = self.corpus.get(mine[number], "audio_16k", 0, LONGEST * SAMPLE_RATE)
                mel = content_mel(torch.from_numpy(audio.astype(np.float32) / 32768)[None])
                units.append(self.student.net(mel)[0].T.numpy())
            rows = np.concatenate(units)
            totals[speaker], counts[speaker] = rows.sum(0), len(rows)
        middle = sum(totals.values()) / sum(counts.values())
        means = {s: (total + FEW_ROWS * middle) / (counts[s] + FEW_ROWS) for s, total in totals.items()}
        return {s: np.pad(mean, (0, HISS_BANDS)).astype(np.float32) for s, mean in means.items()}

    def _collate(self, rows: list[dict], rng: np.random.Generator) -> tuple[AcousticBatch, Tensor, Heard]:  # type: ignore[override]
        sung, reference = super()._collate(rows, rng)
        heard = Heard(
            position=torch.from_numpy(np.stack([row["position"] for row in rows]))[:, EDGE:-EDGE],
            moved=torch.from_numpy(np.stack([row["moved"] for row in rows])),
            **{k: torch.stack([row["heard"][k] for row in rows]) for k in ("mel", "teacher", "phones")},
        )
        return sung, reference, heard


def at_frames(units: Tensor, position: Tensor) -> Tensor:
    """Units (B, C, U) in a straight line between two at positions (B, T) among them, (B, C, T)."""
    low = position.long()
    share = (position - low).unsqueeze(1)
    index = low.unsqueeze(1).expand(-1, units.shape[1], -1)
    return units.gather(2, index) * (1 - share) + units.gather(2, index + 1) * share


def main() -> None:
    """Train, or export the averaged weights of a run."""
    options = read_options(__doc__, steps=3000, batch_size=8, frames=256)
    start, options.start = options.start or EMBEDDED.parent, None
    task = TogetherTask(Corpus(options.corpus), ModelConfig(), options.batch_size, options.frames, start)
    if options.compile:
        net = task.acoustic
        for part in (task.student.net, net.decoder, net.denoiser, net.speaker_encoder):
            part.compile(dynamic=False)
    loop = LoopConfig(
        steps=options.steps, learning_rate=4e-4, precision=options.precision, checkpoint_every=100,
        validate_every=250,
    )  # fmt: skip

    def export(folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        begun = {n: checkpoint.load(start / f"{n}.safetensors")[1]["steps"] for n in ("content", "base")}
        config = replace(ContentConfig(), hiss_bands=HISS_BANDS)
        about = {"trained_on": sorted(HEARD_SHARES), "steps": begun["content"] + step}
        save_content(folder / "content.safetensors", task.student.net, config, **about)
        model = AcousticModel(task.acoustic, task.config, strangers=task.strangers())
        about = {"trained_on": sorted(SHARES), "steps": begun["base"] + step}
        save_base(folder / "base.safetensors", model, task.audio, **about)

    train_or_export(task, options, loop, export)


if __name__ == "__main__":
    main()
