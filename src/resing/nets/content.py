"""The content encoder's network: log-mel frames to narrow units that say what is sung, not by whom."""

import torch
from torch import Tensor, nn

from resing.nets.convnext import ConvNeXtBlock


class ContentNet(nn.Module):
    """Two mel frames per unit, a ConvNeXt stack with bounded look-ahead, a narrow normalised bottleneck.

    Args:
        n_mels: mel bands of the 100 Hz front end.
        hidden: H.
        layers: ConvNeXt blocks.
        n_units: C, width of the bottleneck.
        left: frames each block sees back.
        right: frames each block sees ahead.
    """

    def __init__(self, n_mels: int, hidden: int, layers: int, n_units: int, left: int, right: int) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * n_mels, hidden)
        self.blocks = nn.ModuleList(ConvNeXtBlock(hidden, left=left, right=right) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(hidden, n_units)
        self.left_frames, self.right_frames = left * layers, right * layers

    def forward(self, mel: Tensor) -> Tensor:
        """Units of unit mean square.

        Args:
            mel: standardised log-mel at 100 frames/s, (B, M, 2 * T).

        Returns:
            (B, C, T) at 50 units/s.
        """
        batch, bands, frames = mel.shape
        x = mel.transpose(1, 2).reshape(batch, frames // 2, 2 * bands)
        x = self.enter(x)  # (B, T, H)
        for block in self.blocks:
            x = block(x)
        units = self.leave(self.norm(x)).float()
        units = units * torch.rsqrt(units.square().mean(-1, keepdim=True) + 1e-5)
        return units.transpose(1, 2)  # (B, C, T)
