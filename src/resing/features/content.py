"""What is sung: content units at 50 per second from our own small encoder.

Vowels and voiced consonants are heard by a network that is blind to who sings. What hisses (s, f, t, k)
says little of a singer and much of the word, so its colour is passed on as it is, in channels of its own.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resing import checkpoint
from resing.audio.mel import hann_window, mel_filterbank
from resing.features.units import Units
from resing.nets.content import ContentNet

EMBEDDED = Path(__file__).parent.parent / "weights" / "content.safetensors"
SAMPLE_RATE = 16000
UNIT_HOP = 320
N_MELS = 80
N_FFT = 400
MEL_HOP = UNIT_HOP // 2
CHUNK_UNITS = 960
FLOOR = 3e-7
LOW_BANDS, HIGH_BANDS = 24, 40
"""Mel bands below 900 Hz, and from 1.7 kHz on, whose energies are weighed to tell hiss from voice."""
HISS_BELS, HISS_SLOPE = 0.05, 6.0
"""The high band over the low one at which a sound counts half as hiss, in bels, and how sharply."""


@dataclass(frozen=True)
class ContentConfig:
    """Shape of the content network, and in how many bands the colour of hiss is told beside its units."""

    hidden: int = 512
    layers: int = 4
    n_units: int = 64
    left: int = 32
    right: int = 16
    hiss_bands: int = 0


def content_mel(audio: Tensor, warp: float = 1.0) -> Tensor:
    """The encoder's input: Whisper's log-mel at 100 frames/s, with a fixed floor.

    Args:
        audio: mono samples at 16 kHz, (B, N).
        warp: factor on the frequencies of the filters; moves the formants (an augmentation).

    Returns:
        (B, 80, 2 * ceil(N / 320)); 0.25 more is ten times the power.
    """
    units = -(-audio.shape[-1] // UNIT_HOP)
    pad = N_FFT // 2
    audio = F.pad(audio, (pad, N_FFT - MEL_HOP - pad + units * UNIT_HOP - audio.shape[-1]))
    spectrum = torch.stft(
        audio, N_FFT, MEL_HOP, N_FFT, hann_window(N_FFT).to(audio), center=False, return_complex=True
    )
    filters = mel_filterbank(SAMPLE_RATE, N_FFT, N_MELS, 0.0, min(8000.0 * warp, SAMPLE_RATE / 2))
    power = filters.to(audio) @ spectrum.abs().square()
    return power.clamp(min=FLOOR).log10() / 4.0 + 1.0


def hiss(mel: Tensor, bands: int) -> Tensor:
    """Colour of what hisses, and nothing where a voice sounds.

    Args:
        mel: `content_mel`, (B, 80, 2 * U).
        bands: how many of equal width in mel; 80 is a multiple of it.

    Returns:
        Level of each band over the mean of all, on twice the scale of `content_mel`, times the share of hiss,
        (B, bands, U).
    """
    batch, size, frames = mel.shape
    paired = mel.reshape(batch, size, frames // 2, 2)
    energy = (10.0 ** (4.0 * paired - 4.0)).mean(-1)
    low, high = energy[:, :LOW_BANDS].sum(1), energy[:, HIGH_BANDS:].sum(1)
    share = torch.sigmoid(HISS_SLOPE * (torch.log10((high + 1e-6) / (low + 1e-6)) - HISS_BELS))
    colour = 2.0 * paired.mean(-1).reshape(batch, bands, size // bands, -1).mean(2)
    return (colour - colour.mean(1, keepdim=True)) * share.unsqueeze(1)


def build(config: ContentConfig) -> ContentNet:
    """An untrained network of the given shape."""
    return ContentNet(N_MELS, config.hidden, config.layers, config.n_units, config.left, config.right)


class ContentEncoder:
    """Content units of audio of any length.

    Args:
        net: the trained network.
        encoder_id: short name and hash; a voice works only with the encoder it was trained on.
        hiss_bands: channels of `hiss` that follow the network's own.

    Attributes:
        warps: it can be told to hear with warped frequencies.
    """

    warps = True

    def __init__(self, net: ContentNet, encoder_id: str = "untrained", hiss_bands: int = 0) -> None:
        self.net, self.encoder_id = net.eval().requires_grad_(False), encoder_id
        self.hiss_bands = hiss_bands

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(next(self.net.parameters()).device)

    @classmethod
    def load(cls, path: Path | str = EMBEDDED, device: str = "cpu") -> "ContentEncoder":
        """The encoder stored in `path`; by default the one that ships."""
        tensors, metadata = checkpoint.load(path, device)
        config = ContentConfig(**metadata["content"])
        net = build(config).to(device)
        net.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=True)
        return cls(net, metadata["id"], config.hiss_bands)

    @torch.inference_mode()
    def __call__(self, audio: np.ndarray, warp: float = 1.0) -> np.ndarray:
        """Units of mono audio at 16 kHz, in chunks whose joins leave no trace.

        Args:
            audio: (N,).
            warp: factor on the frequencies of the mel filters, see `content_mel`.

        Returns:
            (C, ceil(N / 320)) float32; unit t is heard at second 0.02 * t.
        """
        units = -(-len(audio) // UNIT_HOP)
        left, right = self.net.left_frames + 2, self.net.right_frames + 2
        pieces = []
        for start in range(0, units, CHUNK_UNITS):
            stop = min(start + CHUNK_UNITS, units)
            first, last = max(0, start - left), min(units, stop + right)
            piece = torch.from_numpy(audio[first * UNIT_HOP : last * UNIT_HOP].astype(np.float32))
            out = self.units(piece[None], warp)[0]
            pieces.append(out[:, start - first : start - first + stop - start])
        return torch.cat(pieces, dim=1).numpy()

    def units(self, audio: Tensor, warp: float = 1.0) -> Tensor:
        """Units of one window (B, N) without regard to its neighbours, (B, C, ceil(N / 320))."""
        mel = content_mel(audio, warp)
        units = self.net(mel)
        return torch.cat([units, hiss(mel, self.hiss_bands)], dim=1) if self.hiss_bands else units


def to_grid(units: np.ndarray | Units, times: np.ndarray) -> np.ndarray:
    """Units interpolated in a straight line to other times.

    Args:
        units: (C, U) at second 0.02 * u.
        times: seconds, (T,).

    Returns:
        (C, T) float32.
    """
    position = np.clip(times * SAMPLE_RATE / UNIT_HOP, 0, units.shape[1] - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, units.shape[1] - 1)
    weight = (position - low).astype(np.float32)
    found: np.ndarray = units[:, low] * (1 - weight) + units[:, high] * weight
    return found


@lru_cache(maxsize=1)
def embedded() -> ContentEncoder:
    """The encoder that ships, loaded once."""
    return ContentEncoder.load()


def save_content(path: Path, net: ContentNet, config: ContentConfig, **about: Any) -> None:
    """Write an encoder in half precision with its shape, id and what it was trained on."""
    tensors = {n: t.half() for n, t in net.state_dict().items()}
    encoder_id = f"resing-content-{checkpoint.tensors_hash(tensors)[:12]}"
    encoder_id += f"-hiss{config.hiss_bands}" if config.hiss_bands else ""
    checkpoint.save(path, tensors, {"id": encoder_id, "content": asdict(config), **about})
