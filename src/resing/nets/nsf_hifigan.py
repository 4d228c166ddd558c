"""NSF-HiFiGAN: the community's vocoder, a HiFi-GAN generator that is shown the melody as sines.

J. Kong et al., "HiFi-GAN" (arXiv 2010.05646); X. Wang, S. Takaki, J. Yamagishi, "Neural source-filter
waveform models" (1904.12088). Parameters bear the names of the published checkpoints, weight norm folded in.
The sines follow the melody's phase and the noise is given, so that a window sounds as in the whole song.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resing.nets.source_filter import cycles_at_samples

SLOPE = 0.1
HARMONICS = 9
SINE_HEIGHT, VOICED_NOISE = 0.1, 0.003
DILATIONS = (1, 3, 5)


class ResidualBlock(nn.Module):
    """Three pairs of a dilated and a plain convolution, each with a way around it."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel - 1) * d // 2)
            for d in DILATIONS
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in DILATIONS
        )
        self.reach = (kernel - 1) // 2 * (sum(DILATIONS) + len(DILATIONS))

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, channels, N) filtered."""
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class _Source(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l_linear = nn.Linear(HARMONICS, 1)


class NSFHiFiGAN(nn.Module):
    """Audio from mel and melody.

    Args:
        n_mels: M.
        channels: at the first stage; each later one has half.
        rates: by which each stage has more samples; their product is the hop.
        kernels: of the residual blocks of every stage, odd.
        sample_rate: Hz.
    """

    def __init__(
        self,
        n_mels: int,
        channels: int = 512,
        rates: tuple[int, ...] = (8, 8, 2, 2, 2),
        kernels: tuple[int, ...] = (3, 7, 11),
        sample_rate: int = 44100,
    ) -> None:
        super().__init__()
        self.rates, self.sample_rate, self.hop_length = rates, sample_rate, math.prod(rates)
        self.m_source = _Source()
        self.conv_pre = nn.Conv1d(n_mels, channels, 7, padding=3)
        widths = [channels // 2**i for i in range(len(rates) + 1)]
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 2 * rate, rate, padding=rate // 2)
            for a, b, rate in zip(widths, widths[1:], rates, strict=False)
        )
        steps = [math.prod(rates[i + 1 :]) for i in range(len(rates))]
        self.noise_convs = nn.ModuleList(
            nn.Conv1d(1, width, 2 * step, step, padding=step // 2) if step > 1 else nn.Conv1d(1, width, 1)
            for width, step in zip(widths[1:], steps, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, kernel) for width in widths[1:] for kernel in kernels
        )
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3)

    @property
    def halo_frames(self) -> int:
        """Frames of context on each side that an output frame depends on."""
        reach, blocks = 3, len(self.resblocks) // len(self.rates)
        for stage in reversed(range(len(self.rates))):
            reach += max(int(b.reach) for b in self.resblocks[stage * blocks : (stage + 1) * blocks])  # type: ignore[arg-type]
            reach = math.ceil((reach + 1.5 * self.rates[stage]) / self.rates[stage])
        return reach + 3 + 1

    def source(self, f0: Tensor, voiced: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """The melody as merged sines with noise, (B, 1, N).

        The published source adds noise to each sine before they are weighed and summed; a sum of independent
        normals is one normal of the weights' length, which is what is added here.
        """
        cycles = cycles_at_samples(f0, phase, self.hop_length, self.sample_rate)[1].flatten(1)  # (B, N)
        sung = voiced.to(cycles).repeat_interleave(self.hop_length, dim=-1)
        weight, bias = self.m_source.l_linear.weight[0], self.m_source.l_linear.bias
        merged = torch.zeros_like(cycles)
        for number, share in enumerate(weight, 1):
            merged = merged + share * torch.sin(2 * math.pi * (number * cycles % 1.0))
        level = sung * VOICED_NOISE + (1 - sung) * SINE_HEIGHT / 3
        merged = SINE_HEIGHT * sung * merged + level * weight.norm() * noise + bias
        return torch.tanh(merged).unsqueeze(1)

    def forward(self, mel: Tensor, f0: Tensor, voiced: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """Audio from mel.

        Args:
            mel: natural-log mel, (B, M, T).
            f0: Hz > 0 at every frame, (B, T).
            voiced: 1 where f0 was heard, (B, T).
            phase: cycles of the fundamental at the start of each frame, (B, T).
            noise: unit-variance noise, (B, T * hop_length).

        Returns:
            (B, T * hop_length).
        """
        source = self.source(f0, voiced, phase, noise)
        x, blocks = self.conv_pre(mel), len(self.resblocks) // len(self.rates)
        for stage, (up, shown) in enumerate(zip(self.ups, self.noise_convs, strict=True)):
            x = up(F.leaky_relu(x, SLOPE)) + shown(source)
            parts = [block(x) for block in self.resblocks[stage * blocks : (stage + 1) * blocks]]
            x = torch.stack(parts).mean(0)
        return torch.tanh(self.conv_post(F.leaky_relu(x)))[:, 0]
