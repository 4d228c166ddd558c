"""A critic that tells recorded spectra from rendered ones, for the vocoder's last stage.

Distances to a recording ask for the middle of all that might have been there; the critic knows that no
recording sounds like that. It hears each patch together with what the vocoder was told, so that a clear sound
of another kind is as wrong as a blurred one. Only training knows it. Sources: Mao et al. 2017, Least squares
generative adversarial networks (arXiv 1611.04076); Larsen et al. 2016, Autoencoding beyond pixels (arXiv
1512.09300), for the distance between what its layers hear.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

WIDTHS = (16, 32, 48, 64)
STRIDES = ((2, 1), (2, 2), (2, 2), (1, 1))
SLOPE = 0.2


class Critic(nn.Module):
    """Judges every patch of a spectrum.

    Args:
        bins: F.
        told: K, channels of what the vocoder was told.
    """

    def __init__(self, bins: int, told: int) -> None:
        super().__init__()
        self.told = nn.Linear(told, bins)
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, (5, 3), stride, (2, 1))
            for inputs, outputs, stride in zip((2, *WIDTHS), WIDTHS, STRIDES, strict=False)
        )
        self.leave = nn.Conv2d(WIDTHS[-1], 1, (3, 3), padding=1)

    def forward(self, spectrum: Tensor, told: Tensor) -> list[Tensor]:
        """What each layer hears in a log spectrum (B, F, T), told (B, T, K); the last is the judgement."""
        x, heard = torch.stack([spectrum, self.told(told).transpose(1, 2)], dim=1), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            heard.append(x)
        return [*heard, self.leave(x)]


def judge(critic: Critic, rendered: Tensor, recorded: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How wrong the critic is, how far from convincing the rendering, and how unlike the two sound to it.

    The first descends in the critic's weights alone, the others in what made `rendered` alone.

    Args:
        critic: the critic.
        rendered: log spectrum, (B, F, T).
        recorded: what it should be, (B, F, T).
        told: (B, T, K).
    """
    real, false = critic(recorded, told), critic(rendered.detach(), told)
    wrong = (real[-1] - 1).square().mean() + false[-1].square().mean()
    fixed = {name: weight.detach() for name, weight in critic.named_parameters()}
    heard = functional_call(critic, fixed, (rendered, told))
    unconvincing = (heard[-1] - 1).square().mean()
    unlike = [
        (a - b.detach()).abs().mean() / (b.detach().abs().mean() + 1e-3)
        for a, b in zip(heard[:-1], real[:-1], strict=True)
    ]
    return wrong, unconvincing, torch.stack(unlike).mean()
