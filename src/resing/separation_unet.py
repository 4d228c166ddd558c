"""The separator that ships: Spleeter's two U-Nets, which weigh vocals against accompaniment in each bin.

R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source separation
tool with pre-trained models", JOSS 5(50), 2020. One network estimates the magnitudes of the vocals, the other
those of the accompaniment; the vocals get their share of the mix's spectrum and its phase. The networks see
11 kHz; above, the share is that of the highest bands they see, so that sibilants stay whole.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from resing import checkpoint
from resing.audio.mel import hann_window
from resing.nets.unet import UNet

EMBEDDED = Path(__file__).parent / "weights" / "separator.safetensors"
N_FFT = 4096
HOP_LENGTH = 1024
FRAMES = 512
BINS = 1024
EDGE_BINS = 160  # of the networks' highest, 9.3 to 11 kHz: they decide for what is above
SILENCE = 1e-10
LARGE = 4096  # weights from this size on are stored in 8 bits
STEPS = 127
SCALE = ".scale8"


class UNetSeparator:
    """Vocals of 11.9 s of music.

    Args:
        vocals: the network that estimates the vocals.
        accompaniment: the network that estimates everything else.
        separator_id: short name and hash.
    """

    sample_rate = 44100
    window_samples = (FRAMES - 1) * HOP_LENGTH
    hop_seconds = 9

    def __init__(self, vocals: UNet, accompaniment: UNet, separator_id: str = "untrained") -> None:
        self.vocals, self.accompaniment = (
            net.eval().requires_grad_(False) for net in (vocals, accompaniment)
        )
        self.separator_id = separator_id

    @classmethod
    def load(cls, path: Path | str = EMBEDDED) -> Self:
        """The separator stored in `path`; by default the one that ships."""
        tensors, metadata = checkpoint.load(path)
        plain = from_bytes(tensors)

        def net(source: str) -> UNet:
            built = UNet()
            built.load_state_dict({n: plain[f"{source}.{n}"] for n in built.state_dict()})
            return built

        return cls(net("vocals"), net("accompaniment"), metadata["id"])

    @torch.inference_mode()
    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Vocals, (2, N) float32.

        Args:
            audio: stereo samples at 44.1 kHz, (2, N); N = window_samples, or any (511 + 64 k) * 1024.
        """
        mix = torch.from_numpy(np.ascontiguousarray(audio, np.float32))
        window = hann_window(N_FFT).to(mix)
        spectrum = torch.stft(
            mix, N_FFT, HOP_LENGTH, window=window, center=True, pad_mode="constant", return_complex=True
        )  # (2, N_FFT / 2 + 1, T)
        vocals: Tensor = torch.istft(
            spectrum * self._share(spectrum), N_FFT, HOP_LENGTH, window=window, length=mix.shape[1]
        )
        return vocals.numpy()

    def _share(self, spectrum: Tensor) -> Tensor:
        """The vocals' share of each bin, 0 to 1."""
        heard = spectrum[:, :BINS].abs().transpose(1, 2)[None]  # (1, 2, T, BINS)
        vocals, others = (
            net(heard)[0].transpose(1, 2) for net in (self.vocals, self.accompaniment)
        )  # (2, BINS, T)
        edge, other_edge = (x[:, -EDGE_BINS:].square().sum(1, keepdim=True) for x in (vocals, others))
        above = edge / (edge + other_edge + SILENCE)
        share = vocals / (vocals + others + SILENCE)
        return torch.cat([share, above.expand(-1, spectrum.shape[1] - BINS, -1)], dim=1)


@lru_cache(maxsize=1)
def embedded() -> UNetSeparator:
    """The separator that ships, loaded once."""
    return UNetSeparator.load()


def to_bytes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Large filters as 8-bit integers with one half-precision scale per output channel, the rest as halves.

    Args:
        tensors: a `UNet`'s, by name.
    """
    packed = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 4 or tensor.numel() < LARGE:
            packed[name] = tensor.half()
            continue
        # A transposed convolution has its output channels second.
        others = [axis for axis in range(4) if axis != (1 if "up." in name else 0)]
        scale = (tensor.abs().amax(others, keepdim=True) / STEPS).half()
        packed[name] = torch.clamp(torch.round(tensor / scale.float()), -STEPS, STEPS).to(torch.int8)
        packed[name + SCALE] = scale
    return packed


def from_bytes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Single-precision tensors from those of `to_bytes`."""
    return {
        name: tensor.float() * (tensors[name + SCALE].float() if name + SCALE in tensors else 1.0)
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }


def save_separator(path: Path, vocals: UNet, accompaniment: UNet, **about: Any) -> None:
    """Write both networks with their id and where they are from."""
    nets = {"vocals": vocals, "accompaniment": accompaniment}
    tensors = to_bytes({f"{s}.{n}": t for s, net in nets.items() for n, t in net.state_dict().items()})
    separator_id = f"resing-spleeter-{checkpoint.tensors_hash(tensors)[:12]}"
    checkpoint.save(path, tensors, {"id": separator_id, **about})
