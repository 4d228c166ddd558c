"""Training on TensorBoard: curves, a picture of a held-out piece and the sound of it.

Look at it with `tensorboard --logdir FOLDER`, where FOLDER is the run's.
"""

from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from resing.synthesis import vocoder
from resing.synthesis.vocoder import Vocoder, phase_at_frames
from resing.training.acoustic import AcousticBatch
from resing.training.learning import AnyTask
from resing.training.loop import Progress, Trainer

CURVE_EVERY = 10


class Board:
    """Writes a voice's training to TensorBoard's files in its run folder; a context manager.

    Args:
        trainer: of the run; later steps already in its log are hidden.
        task: the voice in training; its first held-out segment is shown.
    """

    def __init__(self, trainer: Trainer, task: AnyTask) -> None:
        self.trainer, self.task = trainer, task
        self.writer: Any = None
        self.vocoder: Vocoder | None = None
        self.shown = False

    def __enter__(self) -> Self:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.trainer.folder), purge_step=self.trainer.step + 1)
        if vocoder.EMBEDDED.exists():
            self.vocoder = Vocoder.load(vocoder.EMBEDDED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def step(self, told: Progress) -> None:
        """Take what the loop tells; pictures and sound come with each validation."""
        if told.step % CURVE_EVERY == 0 or told.validation:
            for name, value in {"loss": told.loss, **told.figures}.items():
                self.writer.add_scalar(f"training/{name}", value, told.step)
        if told.validation:
            for name, value in told.validation.items():
                self.writer.add_scalar(f"held-out/{name}", value, told.step)
            self._show(told.step)
            self.writer.flush()

    def _show(self, step: int) -> None:
        """Target above prediction, and how both sound."""
        piece = AcousticBatch(**{name: value[:1] for name, value in vars(self.task.held).items()})
        with self.trainer.averaged():
            predicted = self.task.predict(piece)
        image = picture(piece.mel[0], predicted[0])
        self.writer.add_image("target above prediction", image, step, dataformats="HWC")
        if self.vocoder is None:
            return
        sounds = {"prediction": predicted} if self.shown else {"prediction": predicted, "target": piece.mel}
        for name, mel in sounds.items():
            audio = self._sing(piece, mel).clamp(-1, 1)
            self.writer.add_audio(name, audio, step, sample_rate=self.task.data.audio.sample_rate)
        self.shown = True

    def _sing(self, piece: AcousticBatch, mel: Tensor) -> Tensor:
        assert self.vocoder is not None
        phase = phase_at_frames(piece.f0[0].numpy(), self.task.data.audio)[:-1]
        return self.vocoder(mel, piece.f0, piece.voiced, phase=torch.from_numpy(phase).float()[None])


def picture(target: Tensor, predicted: Tensor) -> np.ndarray:
    """Two mels (M, T) one above the other, low notes at the bottom, (2 * M + 2, T, 3) in [0, 1]."""
    import matplotlib

    colours = matplotlib.colormaps["magma"]
    rows = [np.clip((mel.numpy() + 11.5) / 13.5, 0, 1)[::-1] for mel in (target, predicted)]
    gap = np.ones((2, rows[0].shape[1]))
    image: np.ndarray = colours(np.concatenate([rows[0], gap, rows[1]]))[..., :3]
    return image
