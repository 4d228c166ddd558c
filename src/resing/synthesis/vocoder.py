"""Mel and f0 in, audio out: the embedded source-filter vocoder, any length, block by block."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resing import checkpoint
from resing.audio.mel import hz_to_mel
from resing.config import AudioConfig
from resing.nets.nsf_hifigan import NSFHiFiGAN
from resing.nets.source_filter import SourceFilter
from resing.synthesis.noise import frame_noise

EMBEDDED = Path(__file__).parent.parent / "weights" / "vocoder.safetensors"
REST_FRAMES = 9
"""About a tenth of a second without voice ends a phrase."""


@dataclass(frozen=True)
class VocoderConfig:
    """Shape of the source-filter network."""

    hidden: int = 320
    layers: int = 7
    kernel_size: int = 7
    n_fft: int = 1024
    points: int = 192


def interpolation_matrix(points: int, n_fft: int, sample_rate: int) -> Tensor:
    """Straight-line interpolation from mel-spaced points to FFT bins, (points, n_fft // 2 + 1)."""
    bins = hz_to_mel(np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1))
    position = bins / bins[-1] * (points - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(position[None] - np.arange(points)[:, None]))
    return torch.from_numpy(weights.astype(np.float32))


def build(config: VocoderConfig, audio: AudioConfig) -> SourceFilter:
    """An untrained network of the given shape."""
    return SourceFilter(
        audio.n_mels,
        config.hidden,
        config.layers,
        config.kernel_size,
        audio.hop_length,
        audio.sample_rate,
        config.n_fft,
        config.points,
        interpolation_matrix(config.points, config.n_fft, audio.sample_rate),
    )


def phase_at_frames(f0: np.ndarray, config: AudioConfig, start: float = 0.0) -> np.ndarray:
    """Cycles of the pulse train at each frame edge: the exact sum of the vocoder's sample-wise f0.

    Computed over the whole song, so that any window starts in phase with its neighbours.

    Args:
        f0: Hz > 0 at frame centres, (T,).
        config: the frame grid.
        start: cycles at the first edge.

    Returns:
        Cycles modulo 1, (T + 1,) float64; entry t is the start of frame t.
    """
    hop = config.hop_length
    wide = np.pad(f0.astype(np.float64), 1, mode="edge")
    cycles = (0.75 * wide[1:-1] + 0.125 * (wide[:-2] + wide[2:])) * hop / config.sample_rate
    return np.concatenate([[start], start + np.cumsum(cycles)]) % 1.0


def phase_of_phrases(f0: np.ndarray, voiced: np.ndarray, config: AudioConfig) -> np.ndarray:
    """Cycles of the pulse train at the start of each frame, (T,): every phrase begins anew at 0.

    A phrase begins at the first voiced frame after REST_FRAMES or more without voice. So its phase follows
    from its own pitch alone, and a change in one phrase leaves all others as they are.

    Args:
        f0: Hz > 0 at frame centres, (T,).
        voiced: True where f0 was heard, (T,).
        config: the frame grid.
    """
    frames = np.arange(len(f0))
    last = np.maximum.accumulate(np.where(voiced, frames, -1))
    before = np.concatenate([[-1], last[:-1]])  # the last voiced frame before each
    begins = frames[voiced & (frames - before > REST_FRAMES) & (frames > 0)]
    edges = [0, *begins.tolist(), len(f0)]
    return np.concatenate([phase_at_frames(f0[a:b], config)[:-1] for a, b in pairwise(edges)])


class Vocoder:
    """Audio from mel and f0.

    Args:
        net: the trained network.
        audio: the frame grid it was trained on.
        vocoder_id: short name and hash, stored in voices.
    """

    def __init__(
        self, net: SourceFilter | NSFHiFiGAN, audio: AudioConfig, vocoder_id: str = "untrained"
    ) -> None:
        self.net, self.audio, self.vocoder_id = net.eval().requires_grad_(False), audio, vocoder_id

    @classmethod
    def load(cls, path: Path | str = EMBEDDED, device: str = "cpu") -> "Vocoder":
        """The vocoder stored in `path`; by default the one that ships."""
        tensors, metadata = checkpoint.load(path, device)
        audio = AudioConfig(**metadata["audio"])
        net = build(VocoderConfig(**metadata["vocoder"]), audio).to(device)
        net.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=True)
        return cls(net, audio, metadata["id"])

    @property
    def halo_frames(self) -> int:
        """Frames of context needed on each side for block = whole."""
        return self.net.halo_frames

    def __call__(
        self, mel: Tensor, f0: Tensor, voiced: Tensor, *, phase: Tensor, start_frame: int = 0, seed: int = 0
    ) -> Tensor:
        """Render frames.

        Args:
            mel: natural-log mel, (B, M, T).
            f0: Hz, > 0 everywhere (`fill_unvoiced`), (B, T).
            voiced: True where f0 was heard, (B, T).
            phase: cycles at the start of each frame (`phase_at_frames`), (B, T).
            start_frame: absolute frame of the first one; the noise is keyed by it.
            seed: of the noise.

        Returns:
            (B, T * hop_length), not limited to [-1, 1].
        """
        frames = mel.shape[-1]
        noise = frame_noise(seed, start_frame, frames, self.audio.hop_length)  # (hop, T)
        noise = noise.T.reshape(1, -1).to(mel).expand(mel.shape[0], -1)
        with torch.inference_mode():
            return self.net(mel, f0, voiced, phase, noise)


def save_vocoder(
    path: Path, net: SourceFilter, config: VocoderConfig, audio: AudioConfig, **about: Any
) -> None:
    """Write a vocoder in half precision with its shape, id and what it was trained on."""
    tensors = {n: t.half() for n, t in net.state_dict().items()}
    vocoder_id = f"resing-vocoder-{checkpoint.tensors_hash(tensors)[:12]}"
    metadata = {"id": vocoder_id, "vocoder": asdict(config), "audio": audio.model_dump(), **about}
    checkpoint.save(path, tensors, metadata)
