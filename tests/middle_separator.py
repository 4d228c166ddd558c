"""A separator that cannot be wrong, for songs made for it."""

import numpy as np

RATE = 44100


class Middle:
    """A separator of songs whose singer stands in the middle and whose band is at the sides, out of phase."""

    separator_id, sample_rate, window_samples, hop_seconds = "middle", RATE, 3 * RATE, 2

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.repeat(audio.mean(axis=0, keepdims=True), 2, axis=0)
