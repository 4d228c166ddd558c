"""Recordings as strangers would sing them: a voice learns its own sound from units that came from others."""

from dataclasses import dataclass

import numpy as np
import soxr
import torch

from resing.config import AudioConfig, ConvertOptions
from resing.features import content
from resing.features.content import ContentEncoder
from resing.features.f0 import fill_unvoiced, frame_times
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.noise import frame_noise
from resing.synthesis.vocoder import Vocoder, phase_at_frames

STEPS = 1
"""Of the sampler: a copy need not be beautiful."""
SPREAD_SEMITONES, FURTHEST_SEMITONES = 2.0, 18.0


@dataclass(frozen=True, eq=False)
class Line:
    """What is sung in a stretch of a recording, per frame.

    Attributes:
        units: (C, T).
        f0: Hz, 0 where unvoiced, (T,).
        loudness: dB relative to the recording, (T,).
    """

    units: np.ndarray
    f0: np.ndarray
    loudness: np.ndarray


class Strangers:
    """Singers who stand in for everybody whose song a voice will be asked to sing.

    Args:
        acoustic: the base model, with its strangers' vectors and usual pitches.
        vocoder: of the copies.
        encoder: hears the copies again.
        audio: the frame grid.
        ears: hears what they are to sing, where that is another than `encoder`.
    """

    def __init__(
        self,
        acoustic: AcousticModel,
        vocoder: Vocoder,
        encoder: ContentEncoder,
        audio: AudioConfig,
        ears: ContentEncoder | None = None,
    ) -> None:
        self.acoustic, self.vocoder, self.encoder, self.audio = acoustic, vocoder, encoder, audio
        self.ears = ears

    def __len__(self) -> int:
        return len(self.acoustic.strangers)

    def units(self, line: Line, random: np.random.Generator) -> np.ndarray:
        """Units of the line sung by a stranger drawn at random, in sync with it, (C, T)."""
        number = int(random.integers(len(self)))
        vector, usual_f0 = self.acoustic.strangers[number], float(self.acoustic.strangers_f0[number])
        sung = self.sing(line, vector[None], usual_f0, random)
        return content.to_grid(self.encoder(sung), frame_times(line.units.shape[1], self.audio))

    def sing(
        self, line: Line, speaker: torch.Tensor, usual_f0: float, random: np.random.Generator
    ) -> np.ndarray:
        """The line in another voice near the pitch it is used to, at 16 kHz and the reference level, (N,).

        Args:
            line: what to sing.
            speaker: vector of the voice, (1, S).
            usual_f0: the voice's median pitch in Hz; 0 keeps the line's.
            random: of key and noise.
        """
        f0 = line.f0 * _key(line.f0, usual_f0, random)
        filled, voiced, seed = fill_unvoiced(f0), _batch(f0 > 0), int(random.integers(1 << 30))
        mel = self.acoustic.sample(
            _batch(line.units),
            _batch(filled),
            voiced,
            _batch(line.loudness),
            speaker,
            noise=frame_noise(seed, 0, len(f0), self.audio.n_mels)[None],
            sampler=self.acoustic.default_sampler(),
            steps=STEPS,
            temperature=ConvertOptions().temperature,
        )
        phase = _batch(phase_at_frames(filled, self.audio)[:-1])
        sung = self.vocoder(mel, _batch(filled), voiced, phase=phase, seed=seed)[0].numpy()
        return np.asarray(soxr.resample(sung, self.audio.sample_rate, content.SAMPLE_RATE))


def _key(f0: np.ndarray, usual_f0: float, random: np.random.Generator) -> float:
    """Factor that brings a melody near a voice's usual pitch, give or take some semitones."""
    semitones = random.normal(0, SPREAD_SEMITONES)
    if usual_f0 > 0 and (f0 > 0).any():
        semitones += 12 * np.log2(usual_f0 / np.median(f0[f0 > 0]))
    return float(2 ** (np.clip(semitones, -FURTHEST_SEMITONES, FURTHEST_SEMITONES) / 12))


def _batch(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
