"""A file and what is heard in it; what takes long to work out is kept for the next time."""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from resing import cache, checkpoint
from resing.audio import files
from resing.audio.mel import log_mel
from resing.config import AudioConfig, FeaturesConfig
from resing.errors import AudioError
from resing.features import content, f0
from resing.features.loudness import REFERENCE_DB, a_weighted_level, song_level
from resing.scoring import metrics
from resing.scoring.metrics import FRAME_SECONDS, Pitch
from resing.synthesis.acoustic import AcousticModel
from resing.whole import whole

HEARING_RATE = 16000
"""Hz at which pitch, tone and words are heard."""
SHORTEST_SECONDS = 0.3
SILENT_DB = -70.0
"""A file that never gets louder than this holds no singing."""
EMBEDDED_SECONDS = 0.5
"""Less sound than this tells nothing about whose voice it is."""
CACHE_VERSION = 1
KEPT = ("swift", "dio", "units", "density", "loudness")


@dataclass(frozen=True)
class Part:
    """The stretch of a file that counts, in seconds; None: to its end."""

    start_seconds: float = 0.0
    end_seconds: float | None = None


WHOLE = Part()


class Clip:
    """Mono sound and what is heard in it, each worked out when first asked for.

    Args:
        name: what messages call it.
        raw: samples, (N,) float32, finite or not.
        sample_rate: Hz.

    Attributes:
        audio: the samples with zeros for what is not finite, (N,).
    """

    def __init__(self, name: str, raw: np.ndarray, sample_rate: int) -> None:
        self.name, self.raw, self.sample_rate = name, raw, sample_rate
        self.audio = np.nan_to_num(raw, posinf=0.0, neginf=0.0)
        self.cache: Path | None = None

    @classmethod
    def read(cls, path: Path | str, part: Part = WHOLE) -> "Clip":
        """The clip in a file.

        Raises:
            AudioError: the file cannot be read, is too short, or holds silence only.
        """
        audio, rate = files.read(path, None, True, part.start_seconds, part.end_seconds)
        clip = cls(str(path), audio[0], rate)
        if clip.seconds < SHORTEST_SECONDS:
            raise AudioError(
                f"{path}: {clip.seconds:.2f} s of sound, expected at least {SHORTEST_SECONDS} s; "
                "give a longer recording"
            )
        if clip.levels.max() < SILENT_DB:
            raise AudioError(
                f"{path}: holds no singing: its loudest moment has {clip.levels.max():.0f} dB, expected over "
                f"{SILENT_DB:.0f} dB; check that it is the right file and not muted"
            )
        return clip

    @classmethod
    def remembered(cls, path: Path | str, part: Part = WHOLE) -> "Clip":
        """The clip in a file, with what was heard in it before; `keep` it afterwards."""
        clip = cls.read(path, part)
        facts = (checkpoint.file_hash(path), part, CACHE_VERSION, content.embedded().encoder_id)
        clip.cache = cache.entry("scoring", f"{cache.key(*facts)}.safetensors")
        with contextlib.suppress(OSError, ValueError, SafetensorError):
            known = load_file(clip.cache)
            clip.__dict__.update({name: known[name] for name in KEPT if name in known})
            cache.used(clip.cache)
        return clip

    def keep(self) -> None:
        """Remember what was heard, whole or not at all; where nothing can be written nothing is."""
        known = {n: np.ascontiguousarray(self.__dict__[n]) for n in KEPT if n in self.__dict__}
        if self.cache is None or not known:
            return
        with contextlib.suppress(OSError, SafetensorError):
            with whole(self.cache) as temporary:
                save_file(known, temporary)
            cache.trim()

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.raw) / self.sample_rate

    @cached_property
    def levels(self) -> np.ndarray:
        """Level of each 10 ms in dB re full scale, (L,)."""
        return metrics.frame_levels(self.audio, self.sample_rate)

    @cached_property
    def audio_16k(self) -> np.ndarray:
        """At HEARING_RATE, (N16,)."""
        return soxr.resample(self.audio, self.sample_rate, HEARING_RATE)

    @cached_property
    def active(self) -> np.ndarray:
        """Where it sounds, at HEARING_RATE, bool (N16,)."""
        return metrics.active_samples(self.audio_16k, HEARING_RATE)

    @cached_property
    def active_frames(self) -> np.ndarray:
        """Where it sounds, at the tracker's frames, bool (T,)."""
        return self.active[:: round(FRAME_SECONDS * HEARING_RATE)]

    @cached_property
    def swift(self) -> np.ndarray:
        """f0 in Hz and confidence by SwiftF0, (2, T)."""
        return np.stack(f0.swift_frames(self.audio_16k, FeaturesConfig()))

    @cached_property
    def dio(self) -> np.ndarray:
        """f0 in Hz, 0 where unvoiced, by WORLD's DIO and StoneMask, at the same frames, (T,).

        Morise, Kawahara and Katayose, Fast and reliable F0 estimation method based on the period extraction
        of vocal fold vibration, AES 35th conference, 2009: forty times faster than Harvest, and in sung
        recordings nearer to SwiftF0 in what counts as voiced.
        """
        import pyworld

        config, signal = FeaturesConfig(), self.audio_16k.astype(np.float64)
        rough, times = pyworld.dio(
            signal, HEARING_RATE, config.f0_min, config.f0_max, frame_period=1000.0 * FRAME_SECONDS
        )
        return pyworld.stonemask(signal, rough, times, HEARING_RATE).astype(np.float32)

    @property
    def pitch(self) -> Pitch:
        """What SwiftF0 heard, frames 16 ms apart, (T,)."""
        return Pitch(*self.swift)

    @property
    def second_pitch(self) -> Pitch:
        """What DIO heard at the same frames: confidence is 1 where voiced, else 0, (T,)."""
        return Pitch(self.dio, (self.dio > 0).astype(np.float32))

    @cached_property
    def units(self) -> np.ndarray:
        """Content units at second 0.02 * u, (C, U) float16, heard at the house level."""
        heard = content.embedded()(self.audio_16k * self.house_gain)
        return heard.astype(np.float16)

    @cached_property
    def density(self) -> np.ndarray:
        """Long-term power density of the sounding parts at the house rate, 0 above the file's own band."""
        frequencies, density = metrics.long_term_spectrum(self.audio_house, AudioConfig().sample_rate)
        return np.where(frequencies <= self.sample_rate / 2, density, 0.0)

    @property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies in Hz and `density`."""
        return np.linspace(0.0, AudioConfig().sample_rate / 2, len(self.density)), self.density

    @cached_property
    def loudness(self) -> np.ndarray:
        """Integrated loudness in LUFS and true peak in dBTP, (2,)."""
        return np.array(
            [
                metrics.loudness_lufs(self.audio, self.sample_rate),
                metrics.true_peak_dbtp(self.audio, self.sample_rate),
            ]
        )

    @cached_property
    def audio_house(self) -> np.ndarray:
        """At the house rate, (N44,)."""
        return soxr.resample(self.audio, self.sample_rate, AudioConfig().sample_rate)

    @cached_property
    def house_gain(self) -> np.float32:
        """Factor that brings the clip to the level at which the networks hear every song."""
        level = a_weighted_level(torch.from_numpy(self.audio_house)[None], AudioConfig())[0].numpy()
        return np.float32(10 ** ((REFERENCE_DB - song_level(level)) / 20))

    def house_audio(self, active: np.ndarray) -> np.ndarray:
        """What sounds where a mask, bool (N16,), says so: samples at the house rate and level, (n,)."""
        rate = AudioConfig().sample_rate
        edges = metrics.runs(active) * rate // HEARING_RATE
        pieces = [self.audio_house[first:last] for first, last in edges]
        return np.concatenate([np.zeros(0, np.float32), *pieces]) * self.house_gain


def speaker_vectors(model: AcousticModel, audio: np.ndarray) -> np.ndarray:
    """Whose voice the model's own speaker encoder hears in each window of about 10 s, of length one.

    Args:
        model: with its speaker encoder.
        audio: sound without pauses at the house rate and level, (N44,).

    Returns:
        (W, S); without rows where there is too little sound.
    """
    config = AudioConfig()
    if len(audio) < EMBEDDED_SECONDS * config.sample_rate:
        return np.zeros((0, model.config.speaker_dim), np.float32)
    windows = metrics.window_edges(len(audio), config.sample_rate)
    pieces: list[Any] = [torch.from_numpy(audio[a:b].astype(np.float32))[None] for a, b in windows]
    return metrics.unit(np.stack([model.speaker_vector(log_mel(p, config))[0].numpy() for p in pieces]))
