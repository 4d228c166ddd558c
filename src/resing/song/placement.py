"""Where a lead stands between the loudspeakers, and how wide it is."""

from dataclasses import dataclass

import numpy as np

from resing.song.hearing import LongTerm, bins_hz
from resing.song.reverb import Reverb, band_shares, reverb_tail

WIDEST = 0.5  # share of the energy at right angles relative to that on the axis
ANGLE_SPREAD = 5  # degrees over which angles are taken together
DECORRELATOR_TAPS = 1024


@dataclass(frozen=True)
class Placement:
    """Gain and sign of each channel, and width in each of three bands.

    Attributes:
        axis: the lead's gain in each channel; the sum of the squares is 1.
        width: energy at right angles to the axis relative to that on it: side to mid, if it is central.
    """

    axis: tuple[float, ...]
    width: tuple[float, ...]


def centre(channels: int) -> Placement:
    """The middle, of no width."""
    return Placement((channels**-0.5,) * channels, (0.0, 0.0, 0.0))


def hear_placement(heard: LongTerm, sample_rate: int) -> Placement:
    """The placement of a lead; its axis is the angle at which most of it is found.

    A long note on a resonance of the room can be much louder in one channel, so amplitudes count and not
    powers, and of all angles the most frequent one.

    Args:
        heard: the lead where it sings.
        sample_rate: Hz.
    """
    cross = heard.cross
    if len(cross) != 2 or not heard.angles.any():
        return centre(len(cross))
    near = np.hanning(2 * ANGLE_SPREAD + 3)[1:-1]
    wrapped = np.pad(heard.angles, ANGLE_SPREAD, mode="wrap")
    angle = np.radians(np.argmax(np.convolve(wrapped, near, mode="valid")))
    axis = np.array([np.cos(angle), np.sin(angle)])
    shares = band_shares(bins_hz(sample_rate)) ** 2  # (3, F)
    every = np.einsum("ccf,bf->b", cross, shares)
    along = np.einsum("c,cdf,d,bf->b", axis, cross, axis, shares)
    width = np.clip((every - along) / np.maximum(along, 1e-12), 0.0, WIDEST)
    return Placement(tuple(axis.tolist()), tuple(width.tolist()))


def towards(placement: Placement, amount: float) -> Placement:
    """A placement between the middle (0) and this one (1)."""
    middle = np.array(centre(len(placement.axis)).axis)
    axis = amount * np.array(placement.axis) + (1 - amount) * middle
    length = float(np.linalg.norm(axis)) or 1.0
    return Placement(tuple(map(float, axis / length)), tuple(amount * width for width in placement.width))


def space_response(placement: Placement, reverb: Reverb | None, sample_rate: int) -> np.ndarray:
    """Taps from a mono lead to all channels, (channels, taps), the first at time 0.

    The lead stands on the axis. At right angles to it, where the channels cancel in mono, lies as much of
    its decorrelated self as the width asks for beyond what the reverberation brings (random phase, flat
    spectrum: Kendall, The decorrelation of audio signals, Computer Music Journal 19, 1995). Reverberation is
    spread over both, no wider than the original.

    Args:
        placement: where to.
        reverb: what is to ring on, if anything.
        sample_rate: Hz.
    """
    axis = np.array(placement.axis)[:, None]
    if len(axis) != 2:
        tails = np.zeros((1, 1)) if reverb is None else reverb_tail(reverb, sample_rate, len(axis))
        return _sum(axis, tails * (axis if len(axis) > 1 else 1.0))
    across = np.stack([-axis[1], axis[0]])
    width, late, direct = np.array(placement.width), np.zeros(3), axis
    if reverb is not None:
        late = 10 ** (np.array(reverb.level_db) / 10)
        wide = np.clip(width * (1 + late) / np.maximum(late * (1 + width), 1e-9), 0.0, 0.5)
        tails = reverb_tail(reverb, sample_rate, 2)
        along = _shaped(tails[0], np.sqrt(1 - wide), sample_rate)
        direct = _sum(direct, axis * along, across * _shaped(tails[1], np.sqrt(wide), sample_rate))
        missing = width * (1 + late * (1 - wide)) - late * wide
    else:
        missing = width
    side = np.sqrt(np.maximum(missing, 0.0))
    return _sum(direct, across * _shaped(_all_pass(), side, sample_rate)) if side.any() else direct


def _sum(*responses: np.ndarray) -> np.ndarray:
    """The sum of responses of any lengths, (channels, taps)."""
    taps = max(response.shape[1] for response in responses)
    return np.sum([np.pad(r, ((0, 0), (0, taps - r.shape[1]))) for r in responses], axis=0)


def _all_pass() -> np.ndarray:
    """Taps of flat spectrum and random phase, (DECORRELATOR_TAPS,)."""
    bins = DECORRELATOR_TAPS // 2 + 1
    phase = np.random.default_rng(1).uniform(-np.pi, np.pi, bins)
    phase[[0, -1]] = 0.0
    return np.asarray(np.fft.irfft(np.exp(1j * phase)))


def _shaped(taps: np.ndarray, gains: np.ndarray, sample_rate: int) -> np.ndarray:
    """Taps with a gain in each of the three bands, of the same length."""
    hz = np.fft.rfftfreq(len(taps), 1.0 / sample_rate)
    return np.asarray(np.fft.irfft(np.fft.rfft(taps) * (gains @ band_shares(hz)), len(taps)))
