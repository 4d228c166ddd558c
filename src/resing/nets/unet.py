"""The separator's network: a U-Net that masks one source's magnitudes out of a stereo spectrogram.

The layers are those of Spleeter (R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and
efficient music source separation tool with pre-trained models", JOSS 5(50), 2020), after A. Jansson et al.,
"Singing voice separation with deep U-Net convolutional networks", ISMIR 2017.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 256, 512)
KERNEL = 5
SLOPE = 0.2


class Affine(nn.Module):
    """A scale and a shift per channel: what is left of batch normalisation with its statistics folded in.

    Args:
        channels: channels of the images, (B, channels, T, K).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`x` scaled and shifted, of the same shape."""
        return x * self.scale + self.shift


class UNet(nn.Module):
    """Magnitudes of one source in a stereo mix.

    Each level halves frames and frequencies on the way down and doubles them on the way up, where it also
    sees what the same level saw on the way down.

    Args:
        widths: channels of each level, from the top.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        above = (2, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, KERNEL, stride=2) for a, b in zip(above, widths, strict=True)
        )
        self.down_affine = nn.ModuleList(Affine(width) for width in widths[:-1])
        deeper = [widths[-1], *(2 * width for width in widths[-2::-1])]
        shallower = [*widths[-2::-1], 1]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, KERNEL, stride=2) for a, b in zip(deeper, shallower, strict=True)
        )
        self.up_affine = nn.ModuleList(Affine(width) for width in shallower)
        self.leave = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """The source's magnitudes, at most those of the mix.

        Args:
            magnitudes: of the left and the right channel, (B, 2, T, K); T frames and K bins are multiples
                of 2 to the number of levels.
        """
        x, seen = magnitudes, []
        for level, conv in enumerate(self.down):
            # Even sizes leave three cells to pad: one before, two after.
            seen.append(conv(F.pad(x, (1, 2, 1, 2))))
            if level < len(self.down_affine):
                x = F.leaky_relu(self.down_affine[level](seen[-1]), SLOPE)
        x = seen.pop()
        for conv, affine in zip(self.up, self.up_affine, strict=True):
            x = affine(F.relu(conv(x)[..., 1:-2, 1:-2]))
            if seen:
                x = torch.cat([seen.pop(), x], dim=1)
        return torch.sigmoid(self.leave(x)) * magnitudes
