"""Fine-tune the vocoder on the mels that the acoustic model predicts for training clips.

    python recipes/vocoder_last_stage.py --corpus CORPUS --start VOCODER --run RUN --steps 1500
    ... --export src/resing/weights/vocoder.safetensors

A vocoder that only ever saw true mels turns the smoother predicted ones breathy. Half of each batch stays
what recipes/vocoder.py trains on. A critic (recipes/critic.py) is trained beside it. VOCODER is the run of a
last stage, or exported weights. Repeat it whenever the acoustic model changes; voices stay as they are.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from acoustic import EDGE, BaseTask
from corpus import Corpus
from critic import Critic, judge
from run import begin, read_options, train_or_export
from torch import Tensor, nn
from vocoder import CONTEXT, Batch, VocoderTask

from resing.config import ConvertOptions
from resing.synthesis import diffusion
from resing.synthesis.acoustic import AcousticModel, denormalise, normalise
from resing.synthesis.vocoder import VocoderConfig, phase_at_frames
from resing.training.acoustic import AcousticBatch
from resing.training.loop import LoopConfig, Randomness
from resing.training.spectral import band_mask, log_magnitude

HEARD_FFT = 1024
CONVINCING, ALIKE = 2.0, 4.0
"""Weights of the critic's judgement, and of how unlike a recording its layers find a rendering."""
BEYOND = -2.0
"""What the critic hears above a recording's band."""


@dataclass
class Heard:
    """An acoustic batch with the audio (B, N) it was cut from."""

    sung: AcousticBatch
    reference: Tensor
    audio: Tensor


class Pieces(BaseTask):
    """The acoustic model's pieces, none of them conversions, with their audio."""

    conversions = 0.0

    def heard(self, random: Randomness) -> Heard:
        """A batch whose mel and audio are of the same voice."""
        self.kept: Tensor | None = None
        sung, reference = self.batch(random)
        assert self.kept is not None
        hop = self.audio.hop_length
        return Heard(sung, reference, self.kept[:, EDGE * hop : -EDGE * hop])

    def _collate(self, rows: list[dict], rng: np.random.Generator) -> tuple[AcousticBatch, Tensor]:
        self.kept = torch.from_numpy(np.stack([row["audio"] for row in rows]).astype(np.float32))
        return super()._collate(rows, rng)


class LastStageTask(VocoderTask):
    """Half copy-synthesis, half singing from predicted mels."""

    def __init__(self, corpus: Corpus, config: VocoderConfig, batch_size: int, frames: int) -> None:
        super().__init__(corpus, config, batch_size // 2, frames)
        self.base = AcousticModel.load()
        self.pieces = Pieces(corpus, self.base.config, batch_size // 2, frames)
        self.critic = Critic(HEARD_FFT // 2 + 1, self.audio_config.n_mels + 2)
        self.model = nn.ModuleDict({"vocoder": self.vocoder, "critic": self.critic})

    def batch(self, random: Randomness) -> Batch:
        """Copies, then what the acoustic model predicts."""
        copied, heard = super().batch(random), self.pieces.heard(random)
        sung = heard.sung
        mel = self._predict(sung, heard.reference, random)
        phase = np.stack([phase_at_frames(f0.numpy(), self.audio_config)[:-1] for f0 in sung.f0])
        phases = torch.from_numpy(phase.astype(np.float32))
        predicted = Batch(heard.audio, mel, sung.f0, sung.voiced, phases, sung.bandwidth)
        return Batch(
            *(torch.cat([a, b]) for a, b in zip(vars(copied).values(), vars(predicted).values(), strict=True))
        )

    def loss(self, batch: Batch, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """The vocoder's loss, and what the critic thinks."""
        loss, figures, (rendered, recorded) = self._loss(batch, random.torch, self._sizes(random))
        with torch.autocast("cpu", enabled=False):
            logs = [normalise(log_magnitude(a, HEARD_FFT)[1]) for a in (rendered, recorded)]
            mask = band_mask(batch.bandwidth, logs[0].shape[1], self.audio_config.sample_rate / 2)
            heard = [torch.where(mask > 0, x, BEYOND) for x in logs]
            note = torch.stack([torch.log2(batch.f0 / 220), batch.voiced], dim=1)
            told = torch.cat([normalise(batch.mel), note], dim=1)[:, :, CONTEXT:-CONTEXT]
            told = F.interpolate(told, size=heard[0].shape[-1], mode="linear").transpose(1, 2)
        wrong, unconvincing, unlike = judge(self.critic, *heard, told)
        figures |= {"critic": float(wrong.detach()), "unconvincing": float(unconvincing.detach())}
        return loss + wrong + CONVINCING * unconvincing + ALIKE * unlike, figures

    @torch.no_grad()
    def _predict(self, sung: AcousticBatch, reference: Tensor, random: Randomness) -> Tensor:
        """Mel as a conversion would predict it, at the default options."""
        net, options = self.base.net, ConvertOptions()
        voice = net.voice(net.speaker_encoder(normalise(reference)))
        score = net.score(sung.units, sung.f0, sung.voiced, sung.loudness)
        first = net.decode(score, voice)
        noise = torch.randn(first.shape, generator=random.torch)
        start = diffusion.flow_start(first, options.temperature * self.base.config.prior_sigma, noise)
        times = diffusion.uniform_times(options.steps)
        mel = diffusion.heun(lambda x, t: net.denoise(x, t, first, score, voice), start, times)
        return denormalise(mel)


def main() -> None:
    """Fine-tune, or export the averaged weights of a run."""
    options = read_options(__doc__, steps=1500, batch_size=8, frames=72)
    task = LastStageTask(Corpus(options.corpus), VocoderConfig(), options.batch_size, options.frames)
    task.begun = begin(task.vocoder, options.start)
    loop = LoopConfig(
        steps=options.steps, learning_rate=4e-4, ema_decay=0.995, cooldown=0.3, precision=options.precision,
        checkpoint_every=100, validate_every=500,
    )  # fmt: skip
    train_or_export(task, options, loop, task.export)


if __name__ == "__main__":
    main()
