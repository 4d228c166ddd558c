"""Sibilants no sharper than the original's."""

import numpy as np

from resing.song.hearing import SHARP_BAND_HZ, Envelope
from resing.song.tone import taps_hz

SHARP_SHARE_DB = -3.0  # from this ratio of the band to what is below it, a frame is a sibilant
HIGHEST_PERCENTILE = 95.0
FURTHEST_DB = 10.0
FEWEST_FRAMES = 20
EDGE_OCTAVES = 0.25


def sharpness(lead: Envelope, tilt_db: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Level of the sibilant band in dB relative to the singing, (T,), and which frames are sibilants.

    Args:
        lead: what is heard.
        tilt_db: gain that a filter will give to the band.
    """
    sharp_db = 10 * np.log10(lead.sharp + 1e-12) + tilt_db
    voice_db = 10 * np.log10(lead.voice + 1e-12)
    return sharp_db - lead.active_db, lead.active & (sharp_db - voice_db > SHARP_SHARE_DB)


def de_ess_curve(original: Envelope, converted: Envelope, tilt_db: float = 0.0) -> np.ndarray:
    """Gain in dB, at most 0, for the sibilant band of each frame of the converted lead, (T,).

    Only sibilants are touched, and only what of them is louder, relative to the singing, than 95 % of the
    original's.

    Args:
        original: the original lead.
        converted: the converted lead.
        tilt_db: gain that a filter will give to the converted lead's band.
    """
    level, sibilant = sharpness(converted, tilt_db)
    own_level, own_sibilant = sharpness(original)
    if np.count_nonzero(own_sibilant) < FEWEST_FRAMES:
        return np.zeros(len(level))
    limit = np.percentile(own_level[own_sibilant], HIGHEST_PERCENTILE)
    reduction = np.where(sibilant, np.clip(level - limit, 0.0, FURTHEST_DB), 0.0)
    wide = np.pad(reduction, 1, mode="edge")
    return -np.convolve(
        np.pad(np.maximum(np.maximum(wide[:-2], reduction), wide[2:]), 1), [0.25, 0.5, 0.25], "valid"
    )


def high_band(sample_rate: int) -> np.ndarray:
    """Amplitude gain, at `taps_hz`, of what lies above the lower edge of the sibilant band."""
    octaves = np.log2(np.maximum(taps_hz(sample_rate), 1.0) / SHARP_BAND_HZ[0])
    return np.asarray(np.sin(np.pi / 2 * np.clip(0.5 + octaves / (2 * EDGE_OCTAVES), 0.0, 1.0)) ** 2)
