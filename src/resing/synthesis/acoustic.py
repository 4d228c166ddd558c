"""Units, note, voicing, loudness and a voice in, mel out: the decoder's first mel, refined by diffusion."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resing import checkpoint
from resing.config import AudioConfig, ModelConfig
from resing.errors import ConfigError
from resing.nets.acoustic import AcousticNet
from resing.synthesis import diffusion

EMBEDDED = Path(__file__).parent.parent / "weights" / "base.safetensors"
MEL_MEAN, MEL_SCALE = -5.0, 3.0
STRANGERS, STRANGERS_F0 = "strangers.speaker", "strangers.f0"
SHALLOW_STEP = 200.0
"""The ddpm step at which sampling starts from the noised first mel (Liu et al. 2022, arXiv 2105.02446)."""

GUIDED_FRAMES = 43
"""Half a second: as far on both sides a guided frame takes the difference of two singers from."""


def normalise(mel: Tensor) -> Tensor:
    """Natural-log mel to the networks' scale."""
    return (mel - MEL_MEAN) / MEL_SCALE


def denormalise(mel: Tensor) -> Tensor:
    """The networks' scale to natural-log mel."""
    return mel * MEL_SCALE + MEL_MEAN


def smoothed(mel: Tensor) -> Tensor:
    """Mean over GUIDED_FRAMES on both sides of each frame, (B, M, T)."""
    wide = F.pad(mel, (GUIDED_FRAMES, GUIDED_FRAMES), mode="replicate")
    return F.avg_pool1d(wide, 2 * GUIDED_FRAMES + 1, 1)


def widened(bands: Tensor, n_mels: int) -> Tensor:
    """Bands (B, K, T) as mel bands (B, M, T), on straight lines."""
    return F.interpolate(bands.transpose(1, 2), n_mels, mode="linear").transpose(1, 2)


def mean_speaker(vectors: Tensor) -> Tensor:
    """The mean of (K, S) vectors at unit mean square, (S,)."""
    mean = vectors.mean(0)
    return mean * torch.rsqrt(mean.square().mean() + 1e-5)


def build(config: ModelConfig, audio: AudioConfig) -> AcousticNet:
    """An untrained network of the given shape."""
    return AcousticNet(
        audio.n_mels,
        config.n_units,
        config.hidden,
        config.decoder_layers,
        config.denoiser_layers,
        config.kernel_size,
        config.expansion,
        config.speaker_dim,
    )


class AcousticModel:
    """Mel from a score and a voice.

    Args:
        net: the trained networks.
        config: their shape and what the denoiser predicts.
        base_hash: hash of the base's tensors, stored in voices.
        strangers: vectors (K, S) and usual pitches in Hz (K,) of voices that copies of recordings are sung by
            while a new voice is trained; none by default.
    """

    def __init__(
        self,
        net: AcousticNet,
        config: ModelConfig,
        base_hash: str = "untrained",
        strangers: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.net, self.config, self.base_hash = net.eval().requires_grad_(False), config, base_hash
        self.strangers, self.strangers_f0 = strangers or (torch.zeros(0, config.speaker_dim), torch.zeros(0))
        self.schedule = diffusion.linear_schedule()

    @classmethod
    def load(cls, path: Path | str = EMBEDDED, device: str = "cpu") -> "AcousticModel":
        """The base model stored in `path`; by default the one that ships."""
        stored, metadata = checkpoint.load(path, device)
        tensors = {n: t.float() for n, t in stored.items()}
        strangers = (tensors.pop(STRANGERS), tensors.pop(STRANGERS_F0)) if STRANGERS in tensors else None
        config = ModelConfig(**metadata["model"])
        net = build(config, AudioConfig(**metadata["audio"])).to(device)
        net.load_state_dict(tensors, strict=True)
        return cls(net, config, metadata["hash"], strangers)

    def default_sampler(self) -> str:
        """The sampler that fits what the denoiser predicts."""
        return "heun" if self.config.target == "flow" else "dpm-solver++"

    def check_sampler(self, sampler: str) -> str:
        """The family of samplers that fits what the denoiser predicts, "flow" or "ddpm".

        Raises:
            ConfigError: `sampler` is not of that family.
        """
        family = "flow" if self.config.target == "flow" else "ddpm"
        if sampler not in diffusion.SAMPLERS[family]:
            fitting = ", ".join(diffusion.SAMPLERS[family])
            raise ConfigError(
                f"sampler {sampler} does not fit a {self.config.target} model; choose one of {fitting}."
            )
        return family

    def evaluations(self, sampler: str, steps: int) -> int:
        """How often the denoiser is called in a row."""
        return diffusion.evaluations(sampler, steps) if steps else 0

    def halo_frames(self, sampler: str, steps: int) -> int:
        """Frames of context on each side for window = whole."""
        refined = self.evaluations(sampler, steps) * self.net.denoiser.reach
        return self.net.decoder.reach + max(refined, GUIDED_FRAMES)

    @torch.inference_mode()
    def speaker_vector(self, mel: Tensor) -> Tensor:
        """The voice in natural-log mel (B, M, T), as (B, S)."""
        return self.net.speaker_encoder(normalise(mel))

    @torch.inference_mode()
    def first(self, units: Tensor, f0: Tensor, voiced: Tensor, loudness: Tensor, speaker: Tensor) -> Tensor:
        """The decoder's mel of a score, normalised, (B, M, T); see `sample`."""
        return self.net.decode(self.net.score(units, f0, voiced, loudness), self.net.voice(speaker))

    @torch.inference_mode()
    def sample(
        self,
        units: Tensor,
        f0: Tensor,
        voiced: Tensor,
        loudness: Tensor,
        speaker: Tensor,
        *,
        noise: Tensor,
        sampler: str,
        steps: int,
        temperature: float = 1.0,
        away: Tensor | None = None,
        guidance: float = 0.0,
        articulation: Tensor | None = None,
    ) -> Tensor:
        """Sing the score.

        What the decoder would let another singer sing, `away`, is a direction to leave: the mel goes beyond
        the speaker's by `guidance` times the difference of the two, averaged over a second, since how the two
        say a word is none of the voice's colour. It is classifier-free guidance (Ho and Salimans 2022, arXiv
        2207.12598) with the source's singer in place of nobody.

        Args:
            units: (B, C, T).
            f0: Hz > 0 everywhere, (B, T).
            voiced: (B, T).
            loudness: dB relative to the song, (B, T).
            speaker: (B, S).
            noise: standard normal, keyed by absolute frame, (B, M, T).
            sampler: a name of `diffusion.SAMPLERS` that fits the model's target.
            steps: of the sampler; 0 returns the deterministic decoder's mel.
            temperature: factor on the noise that sampling starts from; less is calmer, with less variation.
            away: vector of the singer to get away from, (1, S).
            guidance: how far, as a share of the way from that singer to this one.
            articulation: what to add to the finished mel, on the networks' scale, (B, bands, T).

        Returns:
            Natural-log mel, (B, M, T).

        Raises:
            ConfigError: the sampler does not fit the model.
        """
        score = self.net.score(units, f0, voiced, loudness)
        voice = self.net.voice(speaker)
        first = self.net.decode(score, voice)
        beyond: Tensor | float = 0.0
        if away is not None and guidance > 0:
            beyond = guidance * smoothed(first - self.net.decode(score, self.net.voice(away)))
        if articulation is not None:
            beyond = beyond + widened(articulation, first.shape[1])
        if steps == 0:
            return denormalise(first + beyond)
        family = self.check_sampler(sampler)
        step = diffusion.SAMPLERS[family][sampler]
        if family == "flow":
            start = diffusion.flow_start(first, temperature * self.config.prior_sigma, noise)
            mel = step(
                lambda x, t: self.net.denoise(x, t, first, score, voice),
                start,
                diffusion.uniform_times(steps),
            )
        else:
            mel = step(
                self._denoiser(first, score, voice),
                *self._shallow(first, temperature * noise, steps),
                self.schedule,
            )
        return denormalise(mel + beyond)

    def _denoiser(self, first: Tensor, score: Tensor, voice: Tensor) -> diffusion.Denoiser:
        def network(x: Tensor, k: Tensor) -> Tensor:
            return self.net.denoise(x, k / self.schedule.last_step, first, score, voice)

        prediction = self.config.target.removeprefix("ddpm-")
        return diffusion.denoiser(network, self.schedule, prediction)  # type: ignore[arg-type]

    def _shallow(self, first: Tensor, noise: Tensor, steps: int) -> tuple[Tensor, list[float]]:
        start = diffusion.diffuse(first, SHALLOW_STEP, noise, self.schedule)
        return start, diffusion.lu_lambda_steps(self.schedule, steps, SHALLOW_STEP)


def save_base(path: Path, model: AcousticModel, audio: AudioConfig, **about: Any) -> None:
    """Write a base model in half precision with its shape, hash, strangers and what it was trained on."""
    tensors = {n: t.half() for n, t in model.net.state_dict().items()}
    if len(model.strangers):
        tensors |= {STRANGERS: model.strangers.half(), STRANGERS_F0: model.strangers_f0.half()}
    metadata = {
        "hash": checkpoint.tensors_hash(tensors),
        "model": model.config.model_dump(),
        "audio": audio.model_dump(),
    }
    checkpoint.save(path, tensors, metadata | about)
