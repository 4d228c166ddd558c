"""Pitch by the community's RMVPE, where it has been fetched."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resing import hub
from resing.audio.mel import hann_window, triangles
from resing.config import FeaturesConfig
from resing.features.f0 import SWIFT_HOP, SWIFT_RATE, Tracker, swift_times, to_grid
from resing.nets.rmvpe import GRAIN_FRAMES, N_BINS, N_MELS, Rmvpe

NAME = "rmvpe"
HOP, N_FFT = 160, 1024
F_MIN, F_MAX, FLOOR = 30.0, 8000.0, 1e-5
CENTS_OF_BINS = 20.0 * np.arange(N_BINS) + 1997.3794084376191
"""Above 10 Hz."""
NEIGHBOURS = 4
VOICED_SALIENCE = 0.03
"""From here on the community counts a frame as sung; as confidence it is one half."""
CONTEXT_SECONDS = 2.0
"""The recurrent layer hears all it is given; this much on each side makes windows alike."""
CHUNK_FRAMES = 2400
COUNTER = "num_batches_tracked"


def mel(audio: Tensor) -> Tensor:
    """The network's input: natural-log magnitude mel on HTK's scale, centred frames every 10 ms.

    Args:
        audio: mono samples at 16 kHz, (N,).

    Returns:
        (128, N // 160 + 1).
    """
    window = hann_window(N_FFT).to(audio)
    mode = "reflect" if len(audio) > N_FFT // 2 else "constant"
    spectrum = torch.stft(audio, N_FFT, HOP, N_FFT, window, pad_mode=mode, return_complex=True)
    return torch.log((filters().to(audio) @ spectrum.abs()).clamp(min=FLOOR))


@lru_cache(maxsize=1)
def filters() -> Tensor:
    """HTK's mel filters, (128, 513)."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (F_MIN, F_MAX))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, N_MELS + 2) / 2595.0) - 1.0)
    return triangles(edges, SWIFT_RATE, N_FFT)


def decode(salience: np.ndarray, config: FeaturesConfig) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz and confidence of each frame, both (F,): the mean of the highest bin and its neighbours.

    Args:
        salience: (F, 360).
        config: notes outside its range are not considered.
    """
    hz = 10.0 * 2.0 ** (CENTS_OF_BINS / 1200.0)
    wanted = np.where((hz >= config.f0_min) & (hz <= config.f0_max), salience, 0.0)
    highest = wanted.argmax(1)
    near = highest[:, None] + np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    weight = np.where(
        (near >= 0) & (near < N_BINS), np.take_along_axis(salience, near.clip(0, N_BINS - 1), 1), 0.0
    )
    cents = (weight * CENTS_OF_BINS[near.clip(0, N_BINS - 1)]).sum(1) / np.maximum(weight.sum(1), 1e-9)
    peak = wanted.max(1)
    pitch = np.clip(10.0 * 2.0 ** (cents / 1200.0), config.f0_min, config.f0_max)
    return pitch.astype(np.float32), (peak / (peak + VOICED_SALIENCE)).astype(np.float32)


@torch.inference_mode()
def salience(net: Rmvpe, audio: np.ndarray) -> np.ndarray:
    """What the network says of mono samples at 16 kHz (N,), in chunks with context, (N // 160 + 1, 360)."""
    seen = mel(torch.from_numpy(audio.astype(np.float32)))
    frames, place = seen.shape[1], next(net.parameters()).device
    halo = -(-round(CONTEXT_SECONDS * SWIFT_RATE / HOP) // GRAIN_FRAMES) * GRAIN_FRAMES
    pieces = []
    for start in range(0, frames, CHUNK_FRAMES):
        stop, first = min(start + CHUNK_FRAMES, frames), max(0, start - halo)
        piece = seen[:, first : stop + halo]
        piece = F.pad(piece[None], (0, -piece.shape[1] % GRAIN_FRAMES), value=float(np.log(FLOOR)))
        said = net(piece.to(place))[0].float().cpu().numpy()
        pieces.append(said[start - first : stop - first])
    return np.concatenate(pieces)


def tracker(net: Rmvpe, tracker_id: str = "untrained") -> Tracker:
    """A network as a tracker on SwiftF0's frames."""

    def hear(audio: np.ndarray, config: FeaturesConfig) -> tuple[np.ndarray, np.ndarray]:
        pitch, sure = decode(salience(net, audio), config)
        times = swift_times(max(1, len(audio) // SWIFT_HOP))
        hz, confidence = to_grid(pitch, sure, times, config.f0_confidence, period=HOP / SWIFT_RATE)
        return np.where(hz > 0, hz, config.f0_min).astype(np.float32), confidence

    return Tracker(hear, tracker_id, round(CONTEXT_SECONDS * SWIFT_RATE), HOP * GRAIN_FRAMES)


def load(device: str = "cpu") -> Tracker:
    """The tracker, where its model is here.

    Raises:
        DownloadError: it is not here, or not what it should be; says how to get it.
    """
    path = hub.locate(NAME)
    return _load(path, path.stat().st_mtime_ns, device)


@lru_cache(maxsize=2)
def _load(path: Path, written_ns: int, device: str) -> Tracker:
    """Loaded once, for as long as the file is the same."""
    net, digest = hub.build(NAME, build)
    return tracker(net.to(device), f"{NAME}-{digest}")


def build(tensors: dict[str, Tensor]) -> Rmvpe:
    """The network that fits published tensors, with them.

    Raises:
        KeyError, RuntimeError: tensors are missing or do not fit.
    """
    named = {n: t.float() for n, t in tensors.items() if not n.endswith(COUNTER)}

    def count(stem: str) -> int:
        return 1 + max(int(n.removeprefix(stem).split(".")[0]) for n in named if n.startswith(stem))

    with torch.device("meta"):
        net = Rmvpe(
            named["cnn.weight"].shape[1],
            count("unet.encoder.layers.0.conv."),
            count("unet.intermediate.layers."),
            named["fc.0.gru.weight_hh_l0"].shape[1],
        )
    counters = {n: torch.zeros((), dtype=torch.int64) for n in net.state_dict() if n.endswith(COUNTER)}
    net.load_state_dict(named | counters, strict=True, assign=True)
    return net.eval().requires_grad_(False)
