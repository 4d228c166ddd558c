"""From what was rendered to the file: as loud as the source at every moment, in its channels and length."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import torch

from resing.audio import files
from resing.audio.resampling import Resampler, resampled_length
from resing.features.extract import Features
from resing.features.loudness import a_weighted_level, follow, middle_difference, song_level

HIGHEST_PEAK = 0.98
KEPT_RATES = (44100, 48000)
"""Rates of the source that the output keeps; any other becomes the house rate."""
BLOCK_FRAMES = 512
SWITCH_FRAMES = 1
"""Frames by which sound reaches into silence, so that no onset is cut."""


def output_rate(source_rate: int, out: Path) -> int:
    """The source's own rate if it is a usual one; Opus has one rate only."""
    if out.suffix.lower() == ".opus":
        return files.ENCODER_RATES[".opus"][0]
    return source_rate if source_rate in KEPT_RATES else KEPT_RATES[0]


@dataclass(frozen=True)
class Levels:
    """What the whole of a song decides about its gain; kept where only a phrase is sung anew.

    Attributes:
        middle_db: difference between source and rendering that counts as no gain of the curve.
        gain_db: overall gain.
        limited_db: how much of it was held back so that nothing clips.
    """

    middle_db: float
    gain_db: float
    limited_db: float


@dataclass(frozen=True, eq=False)
class Levelled:
    """A rendered song and the gain that makes it as loud as its source.

    Attributes:
        features: of the source.
        rendered: mono float32 samples at the house rate.
        curve_db: gain at the middle of each frame, without the overall one, (T,).
        levels: the overall gain.
    """

    features: Features
    rendered: BinaryIO
    curve_db: np.ndarray
    levels: Levels = Levels(0.0, 0.0, 0.0)

    @classmethod
    def like(
        cls, features: Features, rendered: BinaryIO, dynamics: float, levels: Levels | None = None
    ) -> Self:
        """Work out the gains.

        Args:
            features: of the source.
            rendered: what is to be levelled.
            dynamics: share of the source's rise and fall that is restored, 0 to 1.
            levels: of a rendering of the same song that this one is to be like; lowered if it would clip.
        """
        plain = cls(features, rendered, np.zeros(len(features.loudness)))
        level, heard = plain._level(), ~features.silent
        middle = levels.middle_db if levels else middle_difference(level, features.loudness, heard)
        curve = dynamics * follow(level, features.loudness, heard, middle)
        shaped = cls(features, rendered, curve)
        wanted = levels.gain_db if levels else features.song_level_db - song_level((level + curve)[heard])
        highest = HIGHEST_PEAK / max(shaped._peak() * float(features.balance.max()), 1e-9)
        gain = min(wanted, 20 * float(np.log10(highest)))
        limited = wanted - gain + (levels.limited_db if levels else 0.0)
        return cls(features, rendered, curve, Levels(middle, gain, limited))

    def write(self, writer: files.AudioWriter) -> None:
        """The song in the source's channels, at the output's rate, cut to the source's length."""
        features, house = self.features, self.features.audio.sample_rate
        rate = output_rate(features.source_rate, writer.path)
        left = resampled_length(features.source_samples, features.source_rate, rate)
        resampler, balance = Resampler(house, rate, 1), features.balance[:, None].astype(np.float32)
        with writer:
            for block in self._blocks():
                left -= _write(writer, resampler.push(block[None])[:, :left], balance)
            rest = np.pad(resampler.finish(), ((0, 0), (0, left)))
            _write(writer, rest[:, :left], balance)

    def _blocks(self) -> Iterator[np.ndarray]:
        """The samples with their gain, in pieces of whole frames, (n,)."""
        hop, frames = self.features.audio.hop_length, np.arange(len(self.curve_db))
        self.rendered.seek(0)
        start = 0
        while data := self.rendered.read(4 * BLOCK_FRAMES * hop):
            samples = np.frombuffer(data, np.float32)
            place = (start + np.arange(len(samples)) + 0.5) / hop - 0.5
            gain = np.interp(place, frames, self.curve_db) + self.levels.gain_db
            yield samples * (10 ** (gain / 20)).astype(np.float32)
            start += len(samples)

    def _peak(self) -> float:
        return max((float(np.abs(block).max()) for block in self._blocks()), default=0.0)

    def _level(self) -> np.ndarray:
        """A-weighted level of each frame in dB, (T,), measured as the source's was, in fixed blocks."""
        audio = self.features.audio
        blocks = (torch.from_numpy(block)[None] for block in self._blocks())
        return np.concatenate([a_weighted_level(block, audio)[0].numpy() for block in blocks])


def _write(writer: files.AudioWriter, mono: np.ndarray, balance: np.ndarray) -> int:
    """Write (1, n) in channels (channels, 1) of the given balance; returns n."""
    if mono.shape[1]:
        writer.write(np.clip(balance * mono, -1.0, 1.0))
    return mono.shape[1]


def gate_of(silent: np.ndarray, start: int, stop: int, hop: int) -> np.ndarray:
    """0 where the source is silent, 1 elsewhere, with ramps of one frame, (samples,) float32."""
    first, last = max(0, start - SWITCH_FRAMES - 1), min(len(silent), stop + SWITCH_FRAMES + 1)
    sounding = (~silent[first:last]).astype(np.float32)
    for _ in range(SWITCH_FRAMES):
        wide = np.pad(sounding, 1)
        sounding = np.maximum(np.maximum(wide[:-2], wide[2:]), sounding)
    centres = (np.arange(first, last) + 0.5) * hop
    return np.interp(np.arange(start * hop, stop * hop) + 0.5, centres, sounding).astype(np.float32)
