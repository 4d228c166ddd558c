"""The embedded vocoder's network: mel and f0 set the filters of a pulse train and of noise.

A frame-rate ConvNeXt stack predicts, twice per house frame, a complex filter for band-limited pulses at f0
and a gain for white noise; both are applied in one short-time Fourier transform and summed. f0 is obeyed by
construction. Source-filter synthesis by STFT filters follows Liu et al. 2022 ("SawSing", arXiv 2208.04756)
and Engel et al. 2020 (DDSP, arXiv 2001.04643).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resing.nets.convnext import ConvNeXtBlock


def cycles_at_samples(f0: Tensor, phase: Tensor, hop_length: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """f0 in Hz and cycles at every sample, on straight lines between frame centres, each (B, T, hop_length).

    Args:
        f0: Hz at frame centres, (B, T).
        phase: cycles at the start of each frame, (B, T).
        hop_length: samples per frame.
        sample_rate: Hz.
    """
    edges = F.pad(f0.unsqueeze(1), (1, 1), mode="replicate").squeeze(1)  # (B, T + 2)
    half = hop_length // 2
    ramp = (torch.arange(hop_length, device=f0.device, dtype=f0.dtype) + 0.5) / hop_length
    first = edges[:, :-2, None] + (edges[:, 1:-1] - edges[:, :-2])[..., None] * (ramp[:half] + 0.5)
    second = edges[:, 1:-1, None] + (edges[:, 2:] - edges[:, 1:-1])[..., None] * ramp[:half]
    sample_f0 = torch.cat([first, second], dim=-1)  # (B, T, hop)
    return sample_f0, phase.unsqueeze(-1) + sample_f0.cumsum(-1) / sample_rate


def pulse_train(f0: Tensor, phase: Tensor, hop_length: int, sample_rate: int) -> Tensor:
    """Unit-power sum of all harmonics of f0 below the Nyquist frequency, in closed form.

    The Dirichlet kernel: sum_{k=1..K} cos(k p) = sin((K + 1/2) p) / (2 sin(p / 2)) - 1/2.

    Args:
        f0: Hz at frame centres, everywhere > 0, (B, T).
        phase: cycles at the start of each frame, (B, T).
        hop_length: samples per frame.
        sample_rate: Hz.

    Returns:
        (B, T * hop_length).
    """
    batch, frames = f0.shape
    sample_f0, cycles = cycles_at_samples(f0, phase, hop_length, sample_rate)
    angle = 2 * math.pi * (cycles - cycles.round())
    harmonics = torch.floor(0.5 * sample_rate / sample_f0)
    half_sine = torch.sin(angle / 2)
    near = half_sine.abs() < 1e-4
    kernel = (
        torch.sin((harmonics + 0.5) * angle) / torch.where(near, torch.ones_like(angle), 2 * half_sine) - 0.5
    )
    pulses = torch.where(near, harmonics, kernel) * torch.sqrt(4 * sample_f0 / sample_rate)
    return pulses.reshape(batch, frames * hop_length)


class SourceFilter(nn.Module):
    """Filters for a pulse train and for noise from mel, f0 and voicing.

    Args:
        n_mels: M.
        hidden: H.
        layers: ConvNeXt blocks.
        kernel_size: frames each block sees.
        hop_length: samples per house frame.
        sample_rate: Hz.
        n_fft: length of the synthesis window; its hop is a quarter of that.
        points: number of mel-spaced frequencies at which the filters are predicted.
        interpolation: fixed (points, n_fft // 2 + 1) matrix from points to bins.
    """

    interpolation: Tensor
    window: Tensor

    def __init__(
        self,
        n_mels: int,
        hidden: int,
        layers: int,
        kernel_size: int,
        hop_length: int,
        sample_rate: int,
        n_fft: int,
        points: int,
        interpolation: Tensor,
    ) -> None:
        super().__init__()
        self.hop_length, self.sample_rate, self.n_fft, self.points = hop_length, sample_rate, n_fft, points
        self.columns = hop_length // (n_fft // 4)
        self.reach = layers * (kernel_size // 2)
        self.enter = nn.Linear(n_mels + 2, hidden)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(hidden, left=kernel_size // 2, right=kernel_size // 2) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, self.columns * 3 * points)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("interpolation", interpolation, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def halo_frames(self) -> int:
        """Frames of context on each side that an output frame depends on."""
        return self.reach + math.ceil(self.n_fft / self.hop_length)

    def filters(self, mel: Tensor, f0: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log gain and phase of the pulse filter, log gain of the noise, each (B, columns * T, bins)."""
        note = torch.log2(f0 / 220.0)
        x = torch.cat(
            [(mel.transpose(1, 2) + 5.0) / 3.0, note.unsqueeze(-1), voiced.to(mel).unsqueeze(-1)], dim=-1
        )
        x = self.enter(x)  # (B, T, H)
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):
            out = self.head(self.norm(x.float()))
            out = out.reshape(x.shape[0], x.shape[1] * self.columns, 3, self.points) @ self.interpolation
        return out[:, :, 0] * 4 - 4.0, out[:, :, 1] * 4, out[:, :, 2] * 4 - 4.0

    def synthesise(self, filters: tuple[Tensor, Tensor, Tensor], pulses: Tensor, noise: Tensor) -> Tensor:
        """Filter both sources in the STFT domain and add them up, (B, N)."""
        gain, angle, noise_gain = filters
        shaped = torch.polar(torch.exp(gain.clamp(max=6)), angle) * self._analyse(pulses)
        shaped = shaped + torch.exp(noise_gain.clamp(max=6)) * self._analyse(noise)
        frames = torch.fft.irfft(shaped, self.n_fft, dim=-1) * self.window  # (B, columns * T, n_fft)
        hop = self.n_fft // 4
        length = frames.shape[1] * hop
        out = F.fold(frames.transpose(1, 2), (1, length + self.n_fft - hop), (1, self.n_fft), stride=(1, hop))
        pad = (self.n_fft - hop) // 2
        return out[:, 0, 0, pad : pad + length] / 1.5  # squared Hann windows at 75 % overlap add up to 1.5

    def _analyse(self, audio: Tensor) -> Tensor:
        pad = (self.n_fft - self.n_fft // 4) // 2
        frames = F.pad(audio, (pad, pad)).unfold(-1, self.n_fft, self.n_fft // 4)
        return torch.fft.rfft(frames * self.window, dim=-1)  # (B, columns * T, bins)

    def forward(self, mel: Tensor, f0: Tensor, voiced: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """Audio from mel.

        Args:
            mel: natural-log mel, (B, M, T).
            f0: Hz > 0 at every frame, (B, T).
            voiced: 1 where f0 was heard, (B, T).
            phase: cycles of the pulse train at the start of each frame, (B, T).
            noise: unit-variance noise, (B, T * hop_length).

        Returns:
            (B, T * hop_length).
        """
        pulses = pulse_train(f0, phase, self.hop_length, self.sample_rate)
        return self.synthesise(self.filters(mel, f0, voiced), pulses, noise)
