"""The content encoder's network: log-mel frames to narrow units that say what is sung, not by whom."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 64
"""Channels of an attention head."""
BLOCK = 48
"""Queries that are attended at once."""
DENSE = 192
"""So many frames are attended all at once."""
FORBIDDEN = -1e4


class LocalAttention(nn.Module):
    """Self-attention of each frame to its neighbourhood, with a learned bias for every distance.

    Args:
        hidden: H, split into heads of 64.
        left: frames heard before one's own.
        right: frames heard after it.
    """

    apart: Tensor

    def __init__(self, hidden: int, left: int, right: int) -> None:
        super().__init__()
        self.heads, self.left, self.right = max(1, hidden // HEAD), left, right
        self.enter = nn.Linear(hidden, 3 * hidden)
        self.leave = nn.Linear(hidden, hidden)
        self.distance = nn.Parameter(torch.zeros(self.heads, left + 1 + right))
        apart = torch.arange(BLOCK + left + right) - torch.arange(BLOCK)[:, None]  # (block, span)
        self.register_buffer("apart", apart, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        return self.leave(self.mix(*self.enter(x).chunk(3, -1)))

    def mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Values (B, T, H) weighed by how query and key agree, and by their distance."""
        batch, frames, hidden = value.shape
        if frames <= DENSE:
            return self._mix_all(query, key, value)
        blocks, reach = -(-frames // BLOCK), self.left + self.right
        spare = blocks * BLOCK - frames
        query = F.pad(query, (0, 0, 0, spare)).view(batch, blocks, BLOCK, self.heads, -1)
        near = [
            F.pad(x, (0, 0, self.left, self.right + spare)).unfold(1, BLOCK + reach, BLOCK)
            for x in (key, value)
        ]  # (B, blocks, H, span)
        key, value = (x.view(batch, blocks, self.heads, -1, BLOCK + reach) for x in near)
        mixed = F.scaled_dot_product_attention(
            query.transpose(2, 3), key.mT, value.mT, attn_mask=self._mask(frames, blocks).to(query.dtype)
        )  # (B, blocks, heads, block, H / heads)
        return mixed.transpose(2, 3).reshape(batch, -1, hidden)[:, :frames]

    def _mix_all(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same where all frames are few enough to be set against each other at once: faster to train."""
        batch, frames, hidden = value.shape
        query, key, value = (
            x.view(batch, frames, self.heads, -1).transpose(1, 2) for x in (query, key, value)
        )
        at = torch.arange(frames, device=value.device)
        apart = at - at[:, None]
        bias = self.distance[:, (apart + self.left).clamp(0, self.left + self.right)]
        near = (apart >= -self.left) & (apart <= self.right)
        mask = torch.where(near, bias, FORBIDDEN).to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(batch, frames, hidden)

    def _mask(self, frames: int, blocks: int) -> Tensor:
        """What is added to the logits, (blocks, heads, block, span)."""
        near = (self.apart >= 0) & (self.apart <= self.left + self.right)
        bias = self.distance[:, self.apart.clamp(0, self.left + self.right)]
        where = torch.arange(self.apart.shape[1], device=bias.device) - self.left
        where = where + BLOCK * torch.arange(blocks, device=bias.device)[:, None]  # (blocks, span)
        inside = (where >= 0) & (where < frames)
        return torch.where(near & inside[:, None, None], bias, FORBIDDEN)


class Block(nn.Module):
    """Attention, then a feed-forward layer no wider than its input, each on top of what it is given."""

    def __init__(self, hidden: int, left: int, right: int) -> None:
        super().__init__()
        self.hear, self.think = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = LocalAttention(hidden, left, right)
        self.widen, self.narrow = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        x = x + self.attention(self.hear(x))
        return x + self.narrow(F.gelu(self.widen(self.think(x))))


class ContentNet(nn.Module):
    """A small transformer with bounded look-ahead, after Whisper's encoder, and a narrow bottleneck.

    Two convolutions, the second of stride 2, and blocks whose attention reaches a bounded way; feed-forward
    layers are as wide as the rest, and distances stand in for positions, so that a stretch sounds the same
    wherever it stands. Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision,
    2022, section 2.2.

    Args:
        n_mels: mel bands of the 100 Hz front end.
        hidden: H.
        layers: blocks.
        n_units: C, width of the bottleneck.
        left: frames each block sees back.
        right: frames each block sees ahead.
    """

    def __init__(self, n_mels: int, hidden: int, layers: int, n_units: int, left: int, right: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(n_mels, hidden, 3, padding=1)
        self.halve = nn.Conv1d(hidden, hidden, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(hidden, left, right) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(hidden, n_units)
        self.left_frames, self.right_frames = left * layers + 1, right * layers + 1

    def forward(self, mel: Tensor) -> Tensor:
        """Units of unit mean square.

        Args:
            mel: log-mel at 100 frames/s, (B, M, 2 * T).

        Returns:
            (B, C, T) at 50 units/s.
        """
        x = F.gelu(self.halve(F.gelu(self.enter(mel)))).transpose(1, 2)  # (B, T, H)
        for block in self.blocks:
            x = block(x)
        units = self.leave(self.norm(x)).float()
        units = units * torch.rsqrt(units.square().mean(-1, keepdim=True) + 1e-5)
        return units.transpose(1, 2)  # (B, C, T)
