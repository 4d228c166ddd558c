"""Who sings in the source, as the acoustic model's speaker encoder hears it."""

import numpy as np
import torch
from torch import Tensor

from resing.audio.mel import log_mel
from resing.features.extract import Features, Recording
from resing.synthesis.acoustic import AcousticModel, mean_speaker

STRETCH_FRAMES = 256
"""About three seconds."""
LEAST_FRAMES = 32
VOICED_SHARE = 0.3
MOST_STRETCHES = 20


def singer_of(recording: Recording, features: Features, model: AcousticModel) -> Tensor | None:
    """Vector of the singer, (1, S), from the first minute of singing; None where next to nothing is sung.

    Args:
        recording: the source.
        features: what is heard in it.
        model: with its speaker encoder.
    """
    config, frame = features.audio, 0
    vectors: list[Tensor] = []
    size = STRETCH_FRAMES * config.hop_length
    waiting = np.zeros(0, np.float32)
    for block in recording.mono(config.sample_rate):
        waiting = np.concatenate([waiting, block * features.reference_gain])
        while len(waiting) >= size and len(vectors) < MOST_STRETCHES:
            if features.voiced[frame : frame + STRETCH_FRAMES].mean() >= VOICED_SHARE:
                vectors.append(_vector(waiting[:size], features, model))
            waiting, frame = waiting[size:], frame + STRETCH_FRAMES
        if len(vectors) == MOST_STRETCHES:
            break
    rest = len(waiting) // config.hop_length
    if not vectors and rest >= LEAST_FRAMES and features.voiced[frame : frame + rest].mean() >= VOICED_SHARE:
        vectors.append(_vector(waiting[: rest * config.hop_length], features, model))
    return mean_speaker(torch.cat(vectors))[None] if vectors else None


def _vector(samples: np.ndarray, features: Features, model: AcousticModel) -> Tensor:
    return model.speaker_vector(log_mel(torch.from_numpy(samples.astype(np.float32))[None], features.audio))
