"""What a voice learns: adapters on the base model and its own vector, and how that is scored."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from resing.config import ModelConfig, TrainingConfig
from resing.nets.acoustic import AcousticNet
from resing.synthesis import acoustic, diffusion
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.noise import frame_noise
from resing.training.acoustic import AcousticBatch, acoustic_loss
from resing.training.dataset import VoiceData
from resing.training.loop import LoopConfig, Randomness
from resing.voice import add_voice_adapters

SHOWN_STEPS = 3
HELD_OUT_NOISE = 1 << 40
"""The step whose chance serves every validation; no training gets there."""


class VoiceNet(nn.Module):
    """The base model with fresh adapters, and the voice's vector as a parameter: only these two learn.

    Args:
        net: the base, which is changed in place.
        speaker: where the vector starts, (S,).
        rank: of the adapters.
        seed: of the adapters' start.
    """

    def __init__(self, net: AcousticNet, speaker: Tensor, rank: int, seed: int = 0) -> None:
        super().__init__()
        add_voice_adapters(net, rank)
        random = torch.Generator().manual_seed(seed)
        for name, parameter in net.named_parameters():
            if parameter.requires_grad and name.endswith(".down"):
                start = torch.randn(parameter.shape, generator=random) * parameter.shape[1] ** -0.5
                parameter.data.copy_(start)
        self.net = net
        self.speaker = nn.Parameter(speaker.clone())


class OwnNet(nn.Module):
    """An acoustic model of the voice's own; all of it learns but the speaker encoder, and the vector stays.

    Args:
        net: the networks; the speaker encoder is the base's, so that the vector says the same as of others.
        speaker: the voice's vector, (S,).
    """

    speaker: Tensor

    def __init__(self, net: AcousticNet, speaker: Tensor) -> None:
        super().__init__()
        net.speaker_encoder.requires_grad_(False)
        self.net = net
        self.register_buffer("speaker", speaker.clone())


class VoiceTask:
    """A voice to be learnt, as the training loop wants it.

    Args:
        model: what learns.
        data: the voice's recordings.
        model_config: what the denoiser predicts.
        config: batches and segments.

    Attributes:
        audition: judges what learns by how it sings; None: only the held-out error is known.
    """

    model: nn.Module
    audition: Callable[[dict[str, Tensor]], dict[str, float]] | None = None

    def __init__(
        self, model: VoiceNet | OwnNet, data: VoiceData, model_config: ModelConfig, config: TrainingConfig
    ) -> None:
        self.model = self.voice = model
        self.data, self.model_config, self.config = data, model_config, config
        self.held = data.held_batch()

    def batch(self, random: Randomness) -> AcousticBatch:
        """Random segments of the recordings."""
        return self.data.batch(random, self.config.rows, self.config.segment_frames)

    def loss(self, batch: AcousticBatch, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """Masked errors of decoder and denoiser."""
        return self._loss(self.voice, batch, random)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The same errors on the held-out segments with the same noise every time, and of an audition."""
        assert isinstance(model, VoiceNet | OwnNet)
        loss, figures = self._loss(model, self.held, Randomness.at(self.config.seed, HELD_OUT_NOISE))
        found = {"score": float(loss), **figures}
        if self.audition:
            found |= self.audition({n: p for n, p in model.named_parameters() if p.requires_grad})
        return found

    @torch.no_grad()
    def predict(self, piece: AcousticBatch) -> Tensor:
        """The mel that the present weights sing for a held-out piece, with fixed noise, (B, M, T)."""
        net, piece = self.voice.net, piece.to(self.voice.speaker.device)
        score = net.score(piece.units, piece.f0, piece.voiced, piece.loudness)
        voice = net.voice(self.voice.speaker[None])
        first = net.decode(score, voice)
        if self.model_config.target != "flow":
            return acoustic.denormalise(first).cpu()
        noise = frame_noise(0, 0, first.shape[-1], first.shape[1])[None].to(first)
        start = diffusion.flow_start(first, self.model_config.prior_sigma, noise)
        mel = diffusion.heun(
            lambda x, t: net.denoise(x, t, first, score, voice), start, diffusion.uniform_times(SHOWN_STEPS)
        )
        return acoustic.denormalise(mel).cpu()

    def _loss(
        self, model: VoiceNet | OwnNet, batch: AcousticBatch, random: Randomness
    ) -> tuple[Tensor, dict[str, float]]:
        batch = batch.to(model.speaker.device)
        speaker = model.speaker.expand(len(batch.mel), -1)
        return acoustic_loss(model.net, batch, speaker, self.model_config, self.data.audio, random)


def speaker_vectors(base: AcousticModel, mels: Tensor) -> Tensor:
    """The base's vector for each stretch of mel, (K, S).

    Args:
        base: with its speaker encoder.
        mels: (K, M, T).
    """
    return torch.cat([base.speaker_vector(part) for part in mels.split(32)]).clone()


def loop_config(steps: int, training: TrainingConfig) -> LoopConfig:
    """The loop's settings for a voice that learns for so many steps."""
    return LoopConfig(
        steps=steps,
        learning_rate=training.learning_rate,
        warmup=min(50, max(1, steps // 10)),
        ema_decay=training.ema_decay,
        gradient_clip=training.gradient_clip,
        checkpoint_every=training.checkpoint_every,
        validate_every=training.validate_every,
        seed=training.seed,
        precision="fp32" if training.precision == "auto" else training.precision,
    )
