"""What is heard in a lead: levels of a few bands over time, and spectra of all channels over all singing.

Frames are four to a window of about 46 ms; frame t is centred on the middle of its hop, as on the house grid.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

WINDOW_SECONDS = 0.046
OVERLAP = 4
REVERB_BANDS_HZ = (200.0, 800.0, 2500.0, 8000.0)
SHARP_BAND_HZ = (5000.0, 10000.0)
VOICE_FROM_HZ = 400.0
ACTIVE_DB = 30.0  # below the level that 5 % of the frames exceed, it counts as singing
EMPTY = 1e-12


def window_size(sample_rate: int) -> int:
    """Samples of a window: the power of two nearest to 46 ms."""
    return int(2 ** round(math.log2(WINDOW_SECONDS * sample_rate)))


def hop_size(sample_rate: int) -> int:
    """Samples from frame to frame."""
    return window_size(sample_rate) // OVERLAP


def bins_hz(sample_rate: int) -> np.ndarray:
    """Frequency of each bin of the spectra, (F,)."""
    return np.fft.rfftfreq(window_size(sample_rate), 1.0 / sample_rate)


def spectra(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Spectra of all frames, some at a time, (channels, t, F) complex; the same whatever the blocks.

    Args:
        blocks: audio, (channels, n) each.
        sample_rate: Hz.
    """
    size, hop = window_size(sample_rate), hop_size(sample_rate)
    window = (np.hanning(size + 1)[:-1] / math.sqrt(0.375 * size)).astype(np.float32)
    samples, given, held = 0, 0, None
    for block in blocks:
        if held is None:
            held = np.zeros((block.shape[0], (size - hop) // 2), np.float32)
        held, samples = np.concatenate([held, block], axis=1), samples + block.shape[1]
        count = max(0, (held.shape[1] - size) // hop + 1)
        yield _transform(held, window, count, hop)
        held, given = held[:, count * hop :], given + count
    if held is not None:
        count = math.ceil(samples / hop) - given
        held = np.pad(held, ((0, 0), (0, max(0, size + count * hop - held.shape[1]))))
        yield _transform(held, window, count, hop)


def _transform(audio: np.ndarray, window: np.ndarray, count: int, hop: int) -> np.ndarray:
    """Spectra of `count` frames, (channels, count, F)."""
    if not count:
        return np.zeros((audio.shape[0], 0, len(window) // 2 + 1), np.complex64)
    frames = np.lib.stride_tricks.sliding_window_view(audio, len(window), axis=1)[:, ::hop][:, :count]
    return np.fft.rfft(frames * window)


@dataclass(frozen=True, eq=False)
class Envelope:
    """Power of a lead over time, all channels together.

    Attributes:
        bands: power in each of the three reverb bands, (3, T).
        sharp: power in the band of sibilants, (T,).
        voice: power under that band, without the lowest harmonics, which differ with the key, (T,).
    """

    bands: np.ndarray
    sharp: np.ndarray
    voice: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray], sample_rate: int) -> Self:
        """Hear audio, (channels, n) per block, at a rate in Hz."""
        hz = bins_hz(sample_rate)
        edges = [*itertools.pairwise(REVERB_BANDS_HZ)]
        edges += [SHARP_BAND_HZ, (VOICE_FROM_HZ, SHARP_BAND_HZ[0])]
        inside = np.stack([(hz >= low) & (hz < high) for low, high in edges]).astype(np.float32)
        parts = [
            (np.abs(part) ** 2).sum(0) @ inside.T for part in spectra(blocks, sample_rate)
        ]  # each (t, bands)
        power = np.concatenate([np.zeros((0, len(edges)), np.float32), *parts]).T
        return cls(power[:3], power[3], power[4])

    @property
    def level_db(self) -> np.ndarray:
        """Level of each frame, (T,)."""
        return np.asarray(10 * np.log10(self.sharp + self.voice + EMPTY))

    @property
    def active_db(self) -> float:
        """Level that 5 % of the frames exceed."""
        return float(np.percentile(self.level_db, 95)) if len(self.sharp) else 10 * math.log10(EMPTY)

    @property
    def active(self) -> np.ndarray:
        """Frames with singing, bool (T,)."""
        level = self.level_db
        return (level > self.active_db - ACTIVE_DB) & (level > -80.0)


@dataclass(frozen=True, eq=False)
class LongTerm:
    """What is heard on the whole in the frames that count.

    Attributes:
        cross: mean power and cross power of the channels, its real part, (channels, channels, F).
        angles: amplitude found at each angle between the channels, (180,): see `angles`.
    """

    cross: np.ndarray
    angles: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray], sample_rate: int, heard: np.ndarray) -> Self:
        """Hear audio, (channels, n) per block, at a rate in Hz, in the frames `heard`, bool (T,)."""
        hz = bins_hz(sample_rate)
        voice = (hz >= VOICE_FROM_HZ) & (hz < SHARP_BAND_HZ[1])
        cross, angles, start = np.zeros((1, 1, len(hz))), np.zeros(180), 0
        for part in spectra(blocks, sample_rate):
            chosen = part[:, heard[start : start + part.shape[1]]].astype(np.complex128)
            cross = cross + np.einsum("ctf,dtf->cdf", chosen, chosen.conj()).real
            angles += channel_angles(chosen[..., voice])
            start += part.shape[1]
        return cls(cross / max(1, int(np.count_nonzero(heard))), angles)

    @property
    def power(self) -> np.ndarray:
        """Mean power of all channels together, (F,)."""
        return np.einsum("ccf->f", self.cross)


def channel_angles(spectrum: np.ndarray) -> np.ndarray:
    """Amplitude found at each angle from 0 to 179 degrees, (180,); all 0 unless there are two channels.

    The first channel alone is at 0, both alike at 45, the second alone at 90, both in opposite phase at 135
    (Avendano, Frequency-domain source identification and manipulation in stereo mixes, WASPAA 2003).

    Args:
        spectrum: (channels, ...) complex.
    """
    if len(spectrum) != 2:
        return np.zeros(180)
    left, right = spectrum
    angle = np.arctan2(np.copysign(np.abs(right), (left * right.conj()).real), np.abs(left))
    amplitude = np.sqrt(np.abs(left) ** 2 + np.abs(right) ** 2)
    place = np.rint(np.degrees(angle)).astype(int) % 180
    return np.bincount(place.ravel(), amplitude.ravel(), minlength=180)
