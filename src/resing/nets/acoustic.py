"""The acoustic model's networks: a deterministic mel decoder, a denoiser that refines it, a speaker encoder.

Mels are normalised here (see `synthesis/acoustic.py`). Everything is convolutional in time with a finite
reach, except the speaker encoder, which pools over time on purpose.
"""

import math

import torch
from torch import Tensor, nn

from resing.nets.convnext import ConvNeXtBlock

SCORE_CHANNELS = 3
"""Channels of the score beside the units: note, voicing, loudness."""


class SpeakerEncoder(nn.Module):
    """A vector for the voice in a stretch of mel: ConvNeXt frames pooled by mean and spread."""

    def __init__(self, n_mels: int, hidden: int, layers: int, size: int) -> None:
        super().__init__()
        self.enter = nn.Linear(n_mels, hidden)
        self.blocks = nn.ModuleList(ConvNeXtBlock(hidden, expansion=2) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(2 * hidden, size)

    def forward(self, mel: Tensor) -> Tensor:
        """Vector of unit mean square (B, size) for normalised mel (B, M, T)."""
        x = self.enter(mel.transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x.float())
        pooled = torch.cat([x.mean(1), torch.sqrt(x.var(1, unbiased=False) + 1e-5)], dim=-1)
        vector = self.leave(pooled).float()
        return vector * torch.rsqrt(vector.square().mean(-1, keepdim=True) + 1e-5)


class Stack(nn.Module):
    """ConvNeXt blocks, each steered by the same FiLM vector, between two linear layers."""

    def __init__(
        self, inputs: int, outputs: int, hidden: int, layers: int, kernel: int, expansion: int, film: int
    ) -> None:
        super().__init__()
        side = kernel // 2
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(hidden, expansion, side, side, film_dim=film) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(hidden, outputs)
        self.reach = side * layers

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """(B, T, inputs) and (B, film) to (B, T, outputs)."""
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, film)
        return self.leave(self.norm(x)).float()


class AcousticNet(nn.Module):
    """Decoder, denoiser and speaker encoder, trained together.

    Args:
        n_mels: M.
        n_units: C.
        hidden: H.
        decoder_layers: blocks of the deterministic decoder.
        denoiser_layers: blocks of the denoiser.
        kernel_size: frames each block sees.
        expansion: width of each block's perceptron in multiples of H.
        speaker_dim: size of the speaker vector.
    """

    def __init__(
        self,
        n_mels: int,
        n_units: int,
        hidden: int,
        decoder_layers: int,
        denoiser_layers: int,
        kernel_size: int,
        expansion: int,
        speaker_dim: int,
    ) -> None:
        super().__init__()
        self.speaker_encoder = SpeakerEncoder(n_mels, 192, 3, speaker_dim)
        self.film = nn.Sequential(nn.Linear(speaker_dim, hidden), nn.SiLU())
        self.time = nn.Sequential(nn.Linear(64, hidden), nn.SiLU())
        score = n_units + SCORE_CHANNELS
        self.decoder = Stack(score, n_mels, hidden, decoder_layers, kernel_size, expansion, hidden)
        self.denoiser = Stack(
            2 * n_mels + score, n_mels, hidden, denoiser_layers, kernel_size, expansion, hidden
        )
        nn.init.zeros_(self.denoiser.leave.weight)

    def voice(self, speaker: Tensor) -> Tensor:
        """FiLM vector (B, H) from speaker vector (B, S)."""
        return self.film(speaker)

    @staticmethod
    def score(units: Tensor, f0: Tensor, voiced: Tensor, loudness: Tensor) -> Tensor:
        """The score's channels side by side, (B, T, C + 3): units, note, voicing, loudness."""
        note = torch.log2(f0 / 220.0)
        level = (loudness + 20.0) / 20.0
        return torch.cat([units, torch.stack([note, voiced.to(units), level], dim=1)], dim=1).transpose(1, 2)

    def decode(self, score: Tensor, voice: Tensor) -> Tensor:
        """First, deterministic mel (B, M, T), normalised."""
        return self.decoder(score, voice).transpose(1, 2)

    def denoise(self, x: Tensor, clock: Tensor, first: Tensor, score: Tensor, voice: Tensor) -> Tensor:
        """What the denoiser says of noisy mel `x` (B, M, T) at `clock` (B,) in [0, 1], given the first."""
        half = torch.exp(torch.arange(32, device=x.device) * (-math.log(1000.0) / 31)) * 1000.0
        angle = clock.float().unsqueeze(-1) * half
        film = voice + self.time(torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1))
        wide = torch.cat([x.transpose(1, 2), first.transpose(1, 2), score], dim=-1)
        return self.denoiser(wide, film).transpose(1, 2)
