"""The original's broad balance of low and high for another voice, whose own formants stay."""

import numpy as np

from resing.scoring.metrics import EMPTY_DB, bandwidth, decibels
from resing.song.filtering import linear_phase
from resing.song.hearing import bins_hz

THIRD = 2.0 ** (1.0 / 6.0)  # from the centre of a third octave to its edge
CENTRES_HZ = 1000.0 * 2.0 ** (np.arange(-11, 13) / 3.0)  # third octaves, 79 Hz to 16 kHz
WIDTH_OCTAVES = 1.5  # of the smoothing, at half its height: formants are narrower, tilt is wider
FURTHEST_DB = 6.0
LOWEST_NOTE_DB = 20.0  # under its loudest third octave, a voice has its lowest note
TAPS = 4096


def tone_curve(original: np.ndarray, converted: np.ndarray, sample_rate: int) -> np.ndarray:
    """Gain in dB at each of CENTRES_HZ that gives the converted lead the original's tilt, within 6 dB.

    The difference of the long-term spectra in third octaves, smoothed over an octave and a half, less its
    mean: level is not its affair. Under the lowest notes that both sing, which move with the key, and past
    the end of either's real band the curve goes on straight.

    Args:
        original: mean power of the original lead where both sing, (F,).
        converted: the same of the converted lead, (F,).
        sample_rate: Hz.
    """
    levels = np.stack([third_octaves(power, sample_rate) for power in (original, converted)])
    highest = min(bandwidth(bins_hz(sample_rate), power) for power in (original, converted))
    loud = (levels > levels.max(1, keepdims=True) - LOWEST_NOTE_DB).all(0)
    if not loud.any() or levels.max(1).min() <= EMPTY_DB:
        return np.zeros(len(CENTRES_HZ))
    known = np.arange(len(CENTRES_HZ)) >= np.argmax(loud)
    known &= (highest >= CENTRES_HZ * THIRD) & (levels > EMPTY_DB).all(0)
    if not known.any():
        return np.zeros(len(CENTRES_HZ))
    difference, octaves = (levels[0] - levels[1])[known], np.log2(CENTRES_HZ[known])
    kernel = np.exp(-4 * np.log(2) * ((octaves[:, None] - octaves) / WIDTH_OCTAVES) ** 2)
    smooth = kernel @ difference / kernel.sum(1)
    curve = np.interp(np.log2(CENTRES_HZ), octaves, smooth - smooth.mean())
    return np.clip(curve, -FURTHEST_DB, FURTHEST_DB)


def third_octaves(power: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level in dB of each third octave's mean power, (bands,), from a spectrum (F,); no bin: EMPTY_DB."""
    hz = bins_hz(sample_rate)
    inside = [(hz >= centre / THIRD) & (hz < centre * THIRD) for centre in CENTRES_HZ]
    return np.array([float(decibels(power[band].mean())) if band.any() else EMPTY_DB for band in inside])


def gain_at(curve_db: np.ndarray, hz: np.ndarray) -> np.ndarray:
    """Amplitude gain of a curve at CENTRES_HZ at any frequencies, straight over log frequency."""
    gain_db = np.interp(np.log2(np.maximum(hz, 1.0)), np.log2(CENTRES_HZ), curve_db)
    return np.asarray(10.0 ** (gain_db / 20.0))


def tone_filter(curve_db: np.ndarray, sample_rate: int, gain: np.ndarray | float = 1.0) -> np.ndarray:
    """Linear-phase taps of the curve, (TAPS,), the middle one at time 0.

    Args:
        curve_db: gain at CENTRES_HZ.
        sample_rate: Hz.
        gain: another amplitude gain on top, at `taps_hz`.
    """
    return linear_phase(gain_at(curve_db, taps_hz(sample_rate)) * gain)


def taps_hz(sample_rate: int) -> np.ndarray:
    """Frequencies at which a filter of TAPS taps is laid down, (TAPS // 2 + 1,)."""
    return np.fft.rfftfreq(TAPS, 1.0 / sample_rate)
