"""f0 with doubt: what SwiftF0 heard, held against the signal's own periodicity and against how people sing.

Each frame has up to four candidates: SwiftF0's pitch, its half, its double, and the period that the
signal's normalised autocorrelation shows by itself (McLeod and Wyvill 2005, A smarter way to find pitch). The
path through them that costs least is the melody (Viterbi, as Boersma 1993 and Mauch and Dixon 2014, pYIN):
vibrato and glides are free, a leap within a note is dear, a new start after a rest is free. SwiftF0 alone
decides what is voiced. The signal is read in windows; the path needs a few numbers per frame only.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from resing.config import FeaturesConfig
from resing.features.f0 import SWIFT_HOP, SWIFT_RATE

WINDOW = 1024
"""Samples of one look at the signal, 64 ms: three periods of the lowest note."""
SMOOTHING = np.hanning(11)[1:-1] / np.hanning(11)[1:-1].sum()
NEARBY = 1.0 + 0.015 * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
FACTORS = (1.0, 0.5, 2.0)
LONG_PERIOD_COST, OCTAVE_COST = 0.06, 0.12
"""Handicap of each octave down in the search for a period, and its cost on the path: every multiple of a
period is a period too."""
STRANGER_COST = 0.8
"""Cost of another pitch than SwiftF0's, times its confidence."""
RELATED_SEMITONES = np.array([12.0, 19.0, 24.0])
"""A period found so far from SwiftF0's is no candidate: the half and the double are there already."""
FREE_SEMITONES, SEMITONE_COST, LEAP_COST = 1.5, 0.12, 3.0
"""Per frame of 16 ms: what a glide may rise for free, the cost of each semitone beyond, the most it costs."""
REST_FRAMES = 4
AGREE_SEMITONES = 0.6
HOARSE = 0.55
DOUBT_SECONDS, BRIDGE_SECONDS = 0.08, 0.15
OCTAVES_APART, NOTES_APART, BREATHY = (
    "two trackers an octave apart",
    "two trackers on different notes",
    "breathy or hoarse",
)


@dataclass(frozen=True)
class Doubt:
    """A stretch where the note is not sure, in seconds from the start of what was heard, and why."""

    start_seconds: float
    end_seconds: float
    reason: str


@dataclass(frozen=True, eq=False)
class Melody:
    """The melody at the tracker's frames.

    Attributes:
        hz: pitch, also where unvoiced, (F,) float32.
        sure: how sure the pitch is, [0, 1], (F,) float32.
        doubts: where it is not, in order of time.
    """

    hz: np.ndarray
    sure: np.ndarray
    doubts: tuple[Doubt, ...]


def second_opinion(
    audio: np.ndarray, hz: np.ndarray, voiced: np.ndarray, config: FeaturesConfig
) -> np.ndarray:
    """What the signal's own periodicity says at the tracker's frames.

    Args:
        audio: mono samples at 16 kHz, (N,); frame i is centred on sample 256 i.
        hz: the tracker's pitch, (F,).
        voiced: frames to look at, bool (F,).
        config: pitch range.

    Returns:
        (5, F) float32, 0 where not looked at: its own pitch in Hz, 0 where there is none, and its strength;
        the strength of `hz`, of its half, of its double. Strength is the normalised autocorrelation at the
        period, at most 1.
    """
    padded = np.pad(smoothed(audio), (WINDOW // 2, WINDOW // 2 + SWIFT_HOP * len(hz)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::SWIFT_HOP][: len(hz)][voiced]
    correlation = normalised_autocorrelation(frames, round(2 * SWIFT_RATE / config.f0_min) + 2)
    opinion = np.zeros((2 + len(FACTORS), len(hz)), np.float32)
    known = [_strength_at(correlation, hz[voiced] * factor) for factor in FACTORS]
    opinion[:, voiced] = [*_own_pitch(correlation, config), *known]
    return opinion


def smoothed(audio: np.ndarray) -> np.ndarray:
    """The samples without what lies above some 2.5 kHz, (N,) float32: there the voice is half noise."""
    return np.convolve(audio, SMOOTHING.astype(np.float32), "same")


def normalised_autocorrelation(frames: np.ndarray, lags: int) -> np.ndarray:
    """2 sum x_j x_{j+t} / sum (x_j^2 + x_{j+t}^2) for each lag t below `lags`, (F, lags) (McLeod eq. 9)."""
    lags = min(lags, WINDOW - 64)
    if not len(frames):
        return np.zeros((0, lags), np.float32)
    sound = torch.from_numpy(np.ascontiguousarray(frames, np.float32))
    spectrum = torch.fft.rfft(sound, 2 * WINDOW)
    correlation = torch.fft.irfft(spectrum.real**2 + spectrum.imag**2)[:, :lags]
    energy = F.pad(torch.cumsum(sound.double() ** 2, dim=1), (1, 0))  # (F, WINDOW + 1)
    both = energy.flip(1)[:, :lags] + energy[:, -1:] - energy[:, :lags]
    return (2 * correlation / both.clamp(min=1e-7)).float().numpy()


def _own_pitch(correlation: np.ndarray, config: FeaturesConfig) -> tuple[np.ndarray, np.ndarray]:
    """The strongest period after the first negative correlation, the short ones first, and its strength."""
    lag = np.arange(1, correlation.shape[1] - 1)
    allowed = (lag >= SWIFT_RATE / config.f0_max) & (lag <= SWIFT_RATE / config.f0_min)
    left, middle, right = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    passed = np.minimum.accumulate(middle, axis=1) < 0
    peaks = allowed & passed & (middle >= left) & (middle > right)
    handicap = LONG_PERIOD_COST * np.log2(lag * config.f0_min / SWIFT_RATE)
    best = np.argmax(np.where(peaks, middle - handicap, -np.inf), axis=1)
    rows = np.arange(len(correlation))
    a, b, c = left[rows, best], middle[rows, best], right[rows, best]
    shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
    found = peaks[rows, best]
    return np.where(found, SWIFT_RATE / np.maximum(best + 1 + shift, 1.0), 0.0), np.where(found, b, 0.0)


def _strength_at(correlation: np.ndarray, hz: np.ndarray) -> np.ndarray:
    """Largest correlation within a quarter of a semitone of the period of `hz`, (F,)."""
    lags = SWIFT_RATE / np.maximum(hz, 1.0)[:, None] * NEARBY
    low = np.minimum(lags.astype(int), correlation.shape[1] - 2)
    weight = np.clip(lags - low, 0.0, 1.0)
    rows = np.arange(len(hz))[:, None]
    return np.max((1 - weight) * correlation[rows, low] + weight * correlation[rows, low + 1], axis=1)


def find_melody(
    hz: np.ndarray, confidence: np.ndarray, opinion: np.ndarray, config: FeaturesConfig
) -> Melody:
    """The least costly path through the candidates of every frame.

    Args:
        hz: SwiftF0's pitch, (F,).
        confidence: SwiftF0's, (F,).
        opinion: `second_opinion`, (5, F).
        config: pitch range and the confidence from which a frame is voiced.
    """
    chosen, strong = hz.astype(np.float32), opinion[2].astype(np.float32)
    stranger = np.zeros(len(hz), bool)
    voiced = np.flatnonzero(confidence >= config.f0_confidence)
    for run in np.split(voiced, np.flatnonzero(np.diff(voiced) > REST_FRAMES) + 1):
        if len(run):
            candidates, strength, cost = _candidates(hz[run], confidence[run], opinion[:, run], config)
            choice = _cheapest_path(np.log2(np.maximum(candidates, 1.0)) * 12, cost, run)
            places = choice, np.arange(len(run))
            chosen[run], strong[run], stranger[run] = candidates[places], strength[places], choice == 3
    np.clip(strong, 0.0, 1.0, out=strong)
    apart = np.where(opinion[0] > 0, _semitones_apart(opinion[0], chosen), 0.0)
    agree = (np.abs(apart) < AGREE_SEMITONES) & ~stranger
    sure = confidence * np.where(agree, 1.0, 0.5) * np.where(strong < HOARSE, strong / HOARSE, 1.0)
    heard = confidence >= config.f0_confidence
    return Melody(chosen, sure.astype(np.float32), _doubts(heard, np.abs(apart), opinion[1], strong))


def _candidates(
    hz: np.ndarray, confidence: np.ndarray, opinion: np.ndarray, config: FeaturesConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pitch in Hz, strength and cost of each candidate of the frames of a run, (4, R) each."""
    candidates = np.stack([*(hz * factor for factor in FACTORS), opinion[0]])
    strength = np.stack([opinion[2], opinion[3], opinion[4], opinion[1]])
    cost = 1.0 - strength + OCTAVE_COST * np.log2(config.f0_max / np.maximum(candidates, 1.0))
    cost[1:] += STRANGER_COST * confidence
    interval = np.abs(_semitones_apart(opinion[0], hz))
    related = (np.abs(interval - RELATED_SEMITONES[:, None]) < 1.5).any(axis=0)
    cost[1:][(candidates[1:] < config.f0_min) | (candidates[1:] > config.f0_max)] = np.inf
    cost[3, related] = np.inf
    return candidates, strength, cost


def _semitones_apart(hz: np.ndarray, other: np.ndarray) -> np.ndarray:
    return 12 * np.log2(np.maximum(hz, 1.0) / np.maximum(other, 1.0))


def _cheapest_path(pitch: np.ndarray, cost: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The candidate of each frame on the path of least cost; pitch in semitones and cost (K, R)."""
    steps = np.diff(frames, prepend=frames[0] - 1)
    total, back = cost[:, 0], []
    for at in range(1, len(frames)):
        leap = np.abs(pitch[:, at][None] - pitch[:, at - 1][:, None]) - FREE_SEMITONES * steps[at]
        ways = total[:, None] + np.clip(SEMITONE_COST * leap, 0.0, LEAP_COST)  # (from, to)
        back.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + cost[:, at]
    path = [int(total.argmin())]
    for origin in reversed(back):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1])


def _doubts(heard: np.ndarray, apart: np.ndarray, own: np.ndarray, strong: np.ndarray) -> tuple[Doubt, ...]:
    octave = np.minimum(np.abs(apart - 12), np.abs(apart - 24)) < 1.0
    differ = heard & (own > HOARSE) & (apart > AGREE_SEMITONES)
    found = [
        *spans(differ & octave, OCTAVES_APART),
        *spans(differ & ~octave, NOTES_APART),
        *spans(heard & (strong < HOARSE), BREATHY),
    ]
    return tuple(sorted(found, key=lambda doubt: doubt.start_seconds))


def spans(where: np.ndarray, reason: str) -> list[Doubt]:
    """Stretches of a mask over the tracker's frames, small gaps bridged and short ones left out."""
    period = SWIFT_HOP / SWIFT_RATE
    frames = np.flatnonzero(where)
    cuts = np.flatnonzero(np.diff(frames) * period > BRIDGE_SECONDS) + 1
    found = []
    for first, last in pairwise([0, *cuts.tolist(), len(frames)]):
        if last > first and (last - first) * period >= DOUBT_SECONDS:
            start, end = frames[first] * period, (frames[last - 1] + 1) * period
            found.append(Doubt(round(float(start), 3), round(float(end), 3), reason))
    return found
