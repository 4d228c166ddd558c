"""RMVPE: the community's pitch tracker, a U-Net over a mel spectrogram and a recurrent layer above it.

H. Wei, X. Cao, T. Dan, Y. Chen, "RMVPE: a robust model for vocal pitch estimation in polyphonic music"
(arXiv 2306.15412). Parameters bear the names of the published checkpoint.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_MELS, N_BINS = 128, 360
HALVINGS = 5
GRAIN_FRAMES = 2**HALVINGS
"""Frames come in multiples of this; windows that begin on one are pooled alike."""


class _Block(nn.Module):
    """Two convolutions with a way around them."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (before, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.shortcut = nn.Conv2d(before, width, 1) if before != width else None

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + (x if self.shortcut is None else self.shortcut(x))


def _blocks(before: int, width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(width if i else before, width) for i in range(count))


class _Level(nn.Module):
    """Blocks on the way down, or at the bottom."""

    def __init__(self, before: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv = _blocks(before, width, blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.conv:
            x = block(x)
        return x


class _Rise(nn.Module):
    """Twice as many frames and bands, joined to those of the way down."""

    def __init__(self, before: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(before, width, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.conv2 = _blocks(2 * width, width, blocks)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        x = torch.cat([self.conv1(x), kept], dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class _Down(nn.Module):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(
            _Level(width * 2 ** (i - 1) if i else 1, width * 2**i, blocks) for i in range(HALVINGS)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, kept = self.bn(x), []
        for level in self.layers:
            kept.append(level(x))
            x = F.avg_pool2d(kept[-1], 2)
        return x, kept


class _UNet(nn.Module):
    def __init__(self, width: int, blocks: int, bottom: int) -> None:
        super().__init__()
        self.encoder = _Down(width, blocks)
        deepest = width * 2**HALVINGS
        self.intermediate = nn.ModuleDict(
            {
                "layers": nn.ModuleList(
                    _Level(deepest if i else deepest // 2, deepest, blocks) for i in range(bottom)
                )
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "layers": nn.ModuleList(
                    _Rise(deepest // 2**i, deepest // 2 ** (i + 1), blocks) for i in range(HALVINGS)
                )
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        x, kept = self.encoder(x)
        for level in self.intermediate["layers"].children():
            x = level(x)
        for rise, beside in zip(self.decoder["layers"].children(), reversed(kept), strict=True):
            x = rise(x, beside)
        return x


class _Recurrent(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class Rmvpe(nn.Module):
    """How likely each of 360 notes 20 cents apart is sung, 100 times a second.

    Args:
        width: channels of the uppermost level; each below has twice as many.
        blocks: of each level.
        bottom: levels at the bottom.
        hidden: of the recurrent layer, in each direction.
    """

    def __init__(self, width: int = 16, blocks: int = 4, bottom: int = 4, hidden: int = 256) -> None:
        super().__init__()
        self.unet = _UNet(width, blocks, bottom)
        self.cnn = nn.Conv2d(width, 3, 3, padding=1)
        self.fc = nn.Sequential(_Recurrent(3 * N_MELS, hidden), nn.Linear(2 * hidden, N_BINS))

    def forward(self, mel: Tensor) -> Tensor:
        """Salience in [0, 1].

        Args:
            mel: natural-log mel, frames a multiple of GRAIN_FRAMES, (B, 128, F).

        Returns:
            (B, F, 360).
        """
        x = self.cnn(self.unet(mel.transpose(1, 2).unsqueeze(1)))  # (B, 3, F, 128)
        return torch.sigmoid(self.fc(x.transpose(1, 2).flatten(-2)))
