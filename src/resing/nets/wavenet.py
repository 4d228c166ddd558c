"""The denoiser of DiffSinger and Diff-SVC, a non-causal WaveNet over mel frames, and what voices add to it.

J. Liu et al., "DiffSinger: singing voice synthesis via shallow diffusion mechanism", AAAI 2022 (arXiv
2105.02446), after Z. Kong et al., "DiffWave" (arXiv 2009.09761). Parameters bear the names that the
community's checkpoints use.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualLayer(nn.Module):
    """A dilated convolution with a gate, told the step and the condition.

    Args:
        channels: of the stream.
        hidden: H, of the condition.
        dilation: frames between the three taps.
    """

    def __init__(self, channels: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.dilated_conv = nn.Conv1d(channels, 2 * channels, 3, padding=dilation, dilation=dilation)
        self.diffusion_projection = nn.Linear(channels, channels)
        self.conditioner_projection = nn.Conv1d(hidden, 2 * channels, 1)
        self.output_projection = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, step: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """The stream (B, channels, T) and this layer's part of the output, of the same shape."""
        y = x + self.diffusion_projection(step).unsqueeze(-1)
        y = self.dilated_conv(y) + self.conditioner_projection(cond)  # (B, 2 channels, T)
        gate, value = y.chunk(2, dim=1)
        y = self.output_projection(torch.sigmoid(gate) * torch.tanh(value))
        residual, skip = y.chunk(2, dim=1)
        return (x + residual) / math.sqrt(2.0), skip


class WaveNetDenoiser(nn.Module):
    """The noise in a noisy mel.

    Args:
        n_mels: M.
        hidden: H, of the condition.
        channels: of the stream.
        layers: residual layers.
        dilation_cycle: layers after which the dilation begins at 1 again.
    """

    def __init__(self, n_mels: int, hidden: int, channels: int, layers: int, dilation_cycle: int) -> None:
        super().__init__()
        dilations = [2 ** (i % dilation_cycle) for i in range(layers)]
        self.channels, self.reach = channels, sum(dilations)
        self.input_projection = nn.Conv1d(n_mels, channels, 1)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.Mish(), nn.Linear(4 * channels, channels)
        )
        self.residual_layers = nn.ModuleList(ResidualLayer(channels, hidden, d) for d in dilations)
        self.skip_projection = nn.Conv1d(channels, channels, 1)
        self.output_projection = nn.Conv1d(channels, n_mels, 1)
        nn.init.zeros_(self.output_projection.weight)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The noise in `x`.

        Args:
            x: noisy normalised mel, (B, M, T).
            t: steps, 0 .. K - 1, (B,).
            cond: (B, H, T).

        Returns:
            (B, M, T).
        """
        step = self.mlp(self.embed(t))
        x = F.relu(self.input_projection(x))
        total = torch.zeros_like(x)
        for layer in self.residual_layers:
            x, skip = layer(x, step, cond)
            total = total + skip
        x = F.relu(self.skip_projection(total / math.sqrt(len(self.residual_layers))))
        return self.output_projection(x)

    def embed(self, t: Tensor) -> Tensor:
        """Sines and cosines of a step, (B, channels)."""
        half = self.channels // 2
        t = t.to(self.input_projection.weight.dtype)
        rates = torch.exp(torch.arange(half).to(t) * -(math.log(10000.0) / (half - 1)))
        angles = t.unsqueeze(-1) * rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class DiffSvcNet(nn.Module):
    """All that a Diff-SVC voice has learnt: the denoiser, a table of pitches, its noise and its mel's range.

    Args:
        n_mels: M.
        hidden: H, width of the units and the pitch vectors.
        channels, layers, dilation_cycle: see `WaveNetDenoiser`.
        pitches: rows of the table of pitches.
        steps: K, of the noise schedule.
    """

    betas: Tensor
    spec_min: Tensor
    spec_max: Tensor

    def __init__(
        self,
        n_mels: int,
        hidden: int,
        channels: int,
        layers: int,
        dilation_cycle: int,
        pitches: int,
        steps: int,
    ) -> None:
        super().__init__()
        self.pitch_embed = nn.Embedding(pitches, hidden)
        self.denoise_fn = WaveNetDenoiser(n_mels, hidden, channels, layers, dilation_cycle)
        self.register_buffer("betas", torch.zeros(steps))
        self.register_buffer("spec_min", torch.zeros(n_mels))
        self.register_buffer("spec_max", torch.ones(n_mels))
