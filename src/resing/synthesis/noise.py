"""Noise keyed by seed and absolute frame, so that a window hears what the whole song would."""

import torch
from torch import Tensor

BLOCK_FRAMES = 64


def frame_noise(seed: int, start_frame: int, frames: int, channels: int) -> Tensor:
    """Standard normal noise of some frames of an endless, fixed sequence.

    Args:
        seed: names the sequence.
        start_frame: first frame wanted; may be negative.
        frames: T.
        channels: values per frame.

    Returns:
        (channels, T) float32.
    """
    first, last = start_frame // BLOCK_FRAMES, (start_frame + frames - 1) // BLOCK_FRAMES
    blocks = []
    for block in range(first, last + 1):
        key = (seed * 1_000_003 + block * 7919 + 12345) & 0x7FFF_FFFF_FFFF_FFFF
        generator = torch.Generator().manual_seed(key)
        blocks.append(torch.randn(channels, BLOCK_FRAMES, generator=generator))
    offset = start_frame - first * BLOCK_FRAMES
    return torch.cat(blocks, dim=1)[:, offset : offset + frames]
