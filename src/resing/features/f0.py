"""Which note is sung: f0 in Hz on the house frame grid, with confidence.

The default tracker is SwiftF0 (Nieradzik 2025, arXiv 2508.18440), a small ONNX network that comes in
its own wheel. `track_world` is a second opinion by WORLD's Harvest (Morise 2017).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from resing.config import AudioConfig, FeaturesConfig

SWIFT_RATE = 16000
SWIFT_HOP = 256
CHUNK_SECONDS = 20.0
HALO_FRAMES = 16


@lru_cache(maxsize=2)
def _swift(threads: int) -> Any:
    from swift_f0 import SwiftF0

    return SwiftF0(threads=threads, spin=False)


def frame_times(frames: int, config: AudioConfig, start_frame: int = 0) -> np.ndarray:
    """Seconds at the centre of each house frame, (T,)."""
    return (np.arange(start_frame, start_frame + frames) + 0.5) * config.hop_length / config.sample_rate


def swift_times(frames: int) -> np.ndarray:
    """Seconds at the centre of each of the tracker's own frames, (F,)."""
    return np.arange(frames) * (SWIFT_HOP / SWIFT_RATE)


def swift_frames(
    audio: np.ndarray, config: FeaturesConfig, threads: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """SwiftF0's own frames (16 ms apart): pitch in Hz and confidence in [0, 1].

    Long audio is cut into chunks with a halo wider than the network's reach, so memory stays flat and
    the result does not depend on the chunks.

    Args:
        audio: mono samples at 16 kHz, (N,).
        config: pitch range.
        threads: threads of the ONNX runtime.

    Returns:
        Two arrays (F,), float32.
    """
    chunk = int(CHUNK_SECONDS * SWIFT_RATE) // SWIFT_HOP
    frames = max(1, len(audio) // SWIFT_HOP)
    pitch = np.zeros(frames, np.float32)
    confidence = np.zeros(frames, np.float32)
    for start in range(0, frames, chunk):
        stop = min(start + chunk, frames)
        first, last = max(0, start - HALO_FRAMES), stop + HALO_FRAMES
        piece = audio[first * SWIFT_HOP : last * SWIFT_HOP]
        if len(piece) < SWIFT_HOP:
            piece = np.pad(piece, (0, SWIFT_HOP - len(piece)))
        result = _swift(threads).detect(piece, SWIFT_RATE, config.f0_min, config.f0_max)
        wanted = slice(start - first, start - first + stop - start)
        pitch[start:stop] = result.pitch_hz[wanted]
        confidence[start:stop] = result.confidence[wanted]
    return pitch, confidence


@dataclass(frozen=True)
class Tracker:
    """A pitch tracker that answers on SwiftF0's frames.

    Attributes:
        hear: what it makes of mono samples at 16 kHz (N,): pitch in Hz and confidence in [0, 1], both
            (N // SWIFT_HOP,), at least one frame.
        tracker_id: short name, with a hash where its weights do not ship.
        halo: samples of context that it wants on both sides.
        grain: a window that begins at a multiple of so many samples is heard as in the whole.
    """

    hear: Callable[[np.ndarray, FeaturesConfig], tuple[np.ndarray, np.ndarray]]
    tracker_id: str
    halo: int
    grain: int = SWIFT_HOP


SWIFT = Tracker(swift_frames, "swift-f0", HALO_FRAMES * SWIFT_HOP)


def to_grid(
    pitch: np.ndarray,
    confidence: np.ndarray,
    times: np.ndarray,
    threshold: float,
    period: float = SWIFT_HOP / SWIFT_RATE,
) -> tuple[np.ndarray, np.ndarray]:
    """Pitch frames moved to other times: log-frequency interpolation that never crosses an unvoiced frame.

    Args:
        pitch: Hz, (F,), frame i at second i * period.
        confidence: [0, 1], (F,).
        times: seconds, (T,).
        threshold: confidence from which a frame counts as voiced.
        period: seconds between frames.

    Returns:
        f0 in Hz with 0 where unvoiced, and confidence, both (T,) float32.
    """
    position = np.clip(times / period, 0, len(pitch) - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(pitch) - 1)
    weight = position - low
    conf = (1 - weight) * confidence[low] + weight * confidence[high]
    ok_low, ok_high = confidence[low] >= threshold, confidence[high] >= threshold
    near = np.abs(np.log2(np.maximum(pitch[high], 1.0) / np.maximum(pitch[low], 1.0))) < 0.5
    weight = np.where(
        ok_low & ok_high & near, weight, np.where(ok_low & ok_high, np.round(weight), ok_high * 1.0)
    )
    log_f0 = (1 - weight) * np.log(np.maximum(pitch[low], 1.0)) + weight * np.log(
        np.maximum(pitch[high], 1.0)
    )
    f0 = np.where((conf >= threshold) & (ok_low | ok_high), np.exp(log_f0), 0.0)
    return f0.astype(np.float32), conf.astype(np.float32)


def track(
    audio: np.ndarray, frames: int, audio_config: AudioConfig, config: FeaturesConfig, threads: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """f0 and confidence on the house grid by the default tracker.

    Args:
        audio: mono samples at 16 kHz, (N,).
        frames: T, the number of house frames.
        audio_config: the frame grid.
        config: pitch range and voicing threshold.
        threads: threads of the ONNX runtime.

    Returns:
        f0 in Hz with 0 where unvoiced, and confidence in [0, 1], both (T,) float32.
    """
    pitch, confidence = swift_frames(audio, config, threads)
    return to_grid(pitch, confidence, frame_times(frames, audio_config), config.f0_confidence)


def track_world(
    audio: np.ndarray, sample_rate: int, frames: int, audio_config: AudioConfig, config: FeaturesConfig
) -> np.ndarray:
    """f0 on the house grid by WORLD's Harvest with StoneMask: the second tracker.

    Args:
        audio: mono samples, (N,).
        sample_rate: Hz of `audio`.
        frames: T, the number of house frames.
        audio_config: the frame grid.
        config: pitch range.

    Returns:
        f0 in Hz with 0 where unvoiced, (T,) float32.
    """
    import pyworld

    signal = audio.astype(np.float64)
    f0, seconds = pyworld.harvest(signal, sample_rate, f0_floor=config.f0_min, f0_ceil=config.f0_max)
    f0 = pyworld.stonemask(signal, f0, seconds, sample_rate)
    return to_grid(f0, (f0 > 0) * 1.0, frame_times(frames, audio_config), 0.5, period=0.005)[0]


def fill_unvoiced(f0: np.ndarray, default: float = 200.0) -> np.ndarray:
    """f0 with unvoiced frames (0) bridged by a straight line in log-frequency; edges hold the nearest note.

    Args:
        f0: Hz, (T,).
        default: Hz where nothing at all is voiced.
    """
    known = np.flatnonzero(f0 > 0)
    if len(known) == 0:
        return np.full_like(f0, default)
    return np.exp(np.interp(np.arange(len(f0)), known, np.log(f0[known]))).astype(np.float32)
