"""What a classic voice learns: the noise in its own mels, by Diff-SVC's networks, with nothing under them."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from resing.config import DiffSvcConfig, TrainingConfig
from resing.synthesis import diff_svc, diffusion
from resing.synthesis.noise import frame_noise
from resing.training.acoustic import AcousticBatch
from resing.training.dataset import GAIN_DB, VoiceData
from resing.training.loop import Randomness
from resing.training.task import HELD_OUT_NOISE

SHOWN_STEPS = 10
LOG10 = math.log(10.0)
NARROWEST = 0.1
"""Of a band's range in log10: one in which nothing ever moves is not blown up to all of -1 .. 1."""


class ClassicNet(nn.Module):
    """Diff-SVC's networks, and beside them the vector that says what the voice is like.

    Args:
        shape: of the networks.
        speaker: the voice's vector, (S,); it does not steer them and does not learn.
        data: whose mels give the range of each band.
    """

    speaker: Tensor

    def __init__(self, shape: DiffSvcConfig, speaker: Tensor, data: VoiceData) -> None:
        super().__init__()
        self.shape, self.net = shape, diff_svc.build(shape)
        self.register_buffer("speaker", speaker.clone())
        self.net.betas.copy_(torch.linspace(1e-4, 0.02, shape.steps))
        mels = [piece.mel / LOG10 for piece in data.train]
        louder = GAIN_DB / 20  # a segment's level moves by as much, see `VoiceData.batch`
        low = torch.stack([mel.amin(1) for mel in mels]).amin(0) - louder
        high = torch.stack([mel.amax(1) for mel in mels]).amax(0) + louder
        self.net.spec_min.copy_(low)
        self.net.spec_max.copy_(torch.maximum(high, low + NARROWEST))


class ClassicTask:
    """A classic voice to be learnt, as the training loop wants it.

    Args:
        model: what learns.
        data: the voice's recordings; their units are taken as they are, not perturbed.
        config: batches and segments.
    """

    model: nn.Module

    def __init__(self, model: ClassicNet, data: VoiceData, config: TrainingConfig) -> None:
        self.model = self.voice = model
        self.data, self.config = data, config
        self.held = data.held_batch()
        self.schedule = diffusion.linear_schedule(model.shape.steps)

    def batch(self, random: Randomness) -> AcousticBatch:
        """Random segments of the recordings."""
        return self.data.batch(random, self.config.rows, self.config.segment_frames, perturbed_share=0.0)

    def loss(self, batch: AcousticBatch, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """Mean square error of the noise, over all frames within the recordings."""
        net, batch = self.voice.net, batch.to(self.voice.speaker.device)
        low, high = net.spec_min[:, None], net.spec_max[:, None]
        data = (batch.mel / LOG10 - low) / (high - low) * 2 - 1
        noise = torch.randn(data.shape, generator=random.torch).to(data)
        k = torch.randint(self.voice.shape.steps, (len(data),), generator=random.torch).to(data.device)
        pair = diffusion.ddpm_pair(data, k, noise, self.schedule, "eps")
        said = net.denoise_fn(pair.x_k, k, self._condition(batch)).float()
        valid = batch.valid.unsqueeze(1).expand_as(said)
        error = ((said - pair.target).square() * valid).sum() / valid.sum()
        return error, {"noise": float(error.detach())}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The same error on the held-out segments with the same noise every time."""
        loss, figures = self.loss(self.held, Randomness.at(self.config.seed, HELD_OUT_NOISE))
        return {"score": float(loss), **figures}

    @torch.no_grad()
    def predict(self, piece: AcousticBatch) -> Tensor:
        """Natural-log mel that the present weights sing for a held-out piece, noise fixed, (B, M, T)."""
        net, piece = self.voice.net, piece.to(self.voice.speaker.device)
        cond = self._condition(piece)
        x = frame_noise(0, 0, piece.mel.shape[-1], piece.mel.shape[1])[None].to(cond)
        denoise = diff_svc.denoiser(net, cond, self.schedule)
        steps = diffusion.lu_lambda_steps(self.schedule, SHOWN_STEPS)
        x = diffusion.dpm_solver_pp_2m(denoise, x, steps, self.schedule)
        low, high = net.spec_min[:, None], net.spec_max[:, None]
        return (((x + 1) / 2 * (high - low) + low) * LOG10).cpu()

    def _condition(self, batch: AcousticBatch) -> Tensor:
        """(B, H, T)."""
        rows = np.stack([diff_svc.pitch_rows(f0, self.voice.shape) for f0 in batch.f0.cpu().numpy()])
        return batch.units + self.voice.net.pitch_embed(torch.from_numpy(rows).to(batch.f0.device)).transpose(
            1, 2
        )
