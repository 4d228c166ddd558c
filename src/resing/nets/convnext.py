"""The one building block of every network here: a 1-D ConvNeXt block, frames before channels.

ConvNeXt (Liu et al. 2022, arXiv 2201.03545) in time, as in Vocos (Siuzdak 2023, arXiv 2306.00814). All
networks are stacks of it, so each has a finite receptive field.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv(nn.Module):
    """One filter per channel along time, written as a sum of shifted frames (fast on CPUs)."""

    def __init__(self, channels: int, left: int, right: int, dilation: int = 1) -> None:
        super().__init__()
        self.left, self.right, self.dilation = left, right, dilation
        size = left + right + 1
        self.weight = nn.Parameter(torch.empty(size, channels).uniform_(-(size**-0.5), size**-0.5))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Filter `x` (B, T, H); the outside counts as zeros."""
        frames = x.shape[1]
        padded = F.pad(x, (0, 0, self.left * self.dilation, self.right * self.dilation))
        out = self.bias.expand_as(x)
        for tap, weight in enumerate(self.weight):
            start = tap * self.dilation
            out = out + padded[:, start : start + frames] * weight
        return out


class ConvNeXtBlock(nn.Module):
    """Depthwise filter, norm over channels, optional FiLM, two-layer perceptron, scaled residual.

    Args:
        channels: H.
        expansion: width of the perceptron in multiples of H.
        left: frames the filter sees before the present one.
        right: frames it sees after.
        dilation: frames between taps.
        film_dim: size of the vector that scales and shifts the normed channels; 0 for none.
        scale: initial size of the residual branch.
    """

    def __init__(
        self,
        channels: int,
        expansion: int = 3,
        left: int = 3,
        right: int = 3,
        dilation: int = 1,
        film_dim: int = 0,
        scale: float = 0.2,
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, left, right, dilation)
        self.norm = nn.LayerNorm(channels)
        self.film = nn.Linear(film_dim, 2 * channels) if film_dim else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)
        self.expand = nn.Linear(channels, expansion * channels)
        self.contract = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    @property
    def reach(self) -> int:
        """Frames of context on the wider side."""
        return max(self.depthwise.left, self.depthwise.right) * self.depthwise.dilation

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """Transform `x` (B, T, H) given an optional `film` (B, film_dim) or (B, T, film_dim)."""
        y = self.norm(self.depthwise(x))
        if self.film is not None and film is not None:
            film = film if film.dim() == 3 else film.unsqueeze(1)
            gain, shift = self.film(film).chunk(2, dim=-1)
            y = y * (1 + gain) + shift
        return x + self.scale * self.contract(F.gelu(self.expand(y), approximate="tanh"))
