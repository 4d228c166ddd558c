"""Whether an output keeps its source's time: late, drifting, or with something left out.

Two voices differ in timbre, so what is compared is not sound but its changes: how fast the level of each of
five bands rises and falls. Pure functions over mono audio (N,), each at its own rate.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from resing.scoring.places import Place, places

STEP_SECONDS = 0.0025
BANDS_HZ = (100.0, 400.0, 1000.0, 2500.0, 5000.0, 10000.0)
CHANGE_STEPS = 8  # a change of level is taken over twice as many steps: 40 ms
DEEPEST_DB = 40.0  # below each band's 95th percentile; nothing softer is heard
WINDOW_SECONDS = 0.02
PART_SECONDS = 2.0
WIDEST_SECONDS = 0.5  # the largest lag looked for
MOMENT_SECONDS = 0.1
PART_LAG_MS = 20.0
RELIABLE = 0.3  # correlation of a part from which its lag counts


def band_changes(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Change of the level of each band in dB over 40 ms, (bands, T), every `STEP_SECONDS`."""
    size = round(WINDOW_SECONDS * sample_rate)
    steps = int(len(audio) / sample_rate / STEP_SECONDS)
    padded = np.pad(audio.astype(np.float64), (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)
    frequencies = np.fft.rfftfreq(size, 1.0 / sample_rate)
    inside = [(frequencies >= low) & (frequencies < high) for low, high in itertools.pairwise(BANDS_HZ)]
    starts = np.round(np.arange(steps) * STEP_SECONDS * sample_rate).astype(int)
    power = np.zeros((len(inside), steps))
    for part in np.array_split(np.arange(steps), max(1, math.ceil(steps / 4096))):
        spectrum = np.abs(np.fft.rfft(frames[starts[part]] * np.hanning(size))) ** 2
        power[:, part] = [spectrum[:, band].sum(axis=1) for band in inside]
    levels = 10.0 * np.log10(power + 1e-12)
    if steps:
        levels = np.maximum(levels, np.percentile(levels, 95, axis=1, keepdims=True) - DEEPEST_DB)
    change = levels[:, 2 * CHANGE_STEPS :] - levels[:, : -2 * CHANGE_STEPS]
    return np.pad(change, ((0, 0), (CHANGE_STEPS, CHANGE_STEPS)))[:, :steps]


def _lag(source: np.ndarray, output: np.ndarray) -> tuple[float, float]:
    """Lag in ms at which the changes of both, (bands, T) each, agree best, and their correlation there."""
    n = min(source.shape[1], output.shape[1])
    reach = min(round(WIDEST_SECONDS / STEP_SECONDS), n // 2)
    if reach < 2:
        return 0.0, 0.0
    a, b = source[:, :n], output[:, :n]
    size = 2 ** math.ceil(math.log2(2 * n))
    product = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size), size)
    energy = np.sqrt(np.sum(a**2, axis=1) * np.sum(b**2, axis=1))
    heard = energy > 0
    if not heard.any():
        return 0.0, 0.0
    curve = np.mean(product[heard] / energy[heard, None], axis=0)
    curve = np.concatenate([curve[-reach:], curve[: reach + 1]])
    at = int(np.clip(curve.argmax(), 1, 2 * reach - 1))
    left, middle, right = curve[at - 1 : at + 2]
    bend = left - 2.0 * middle + right
    fine = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float((at + fine - reach) * STEP_SECONDS * 1000.0), float(middle)


def _parts(source: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Start in seconds, lag in ms and correlation of parts of 2 s, or half the clip, (P, 3).

    Only parts in which something happens and whose lag is sure.
    """
    n = min(source.shape[1], output.shape[1])
    size = min(round(PART_SECONDS / STEP_SECONDS), n // 2)
    starts = range(0, n - size + 1, max(1, size // 4))
    energies = [float(np.sum(source[:, s : s + size] ** 2)) for s in starts]
    found = [
        (s * STEP_SECONDS, *_lag(source[:, s : s + size], output[:, s : s + size]))
        for s, energy in zip(starts, energies, strict=True)
        if energy > 0.1 * max(energies)
    ]
    reliable = [part for part in found if part[2] >= RELIABLE]
    return np.array(reliable).reshape(-1, 3)


@dataclass(frozen=True)
class Timing:
    """How an output keeps its source's time.

    Attributes:
        lag_ms: by how much it is late over the whole clip, up to half a second.
        drift_ms_per_minute: by how much it falls behind; how much is natural depends on the length:
            `drift_limit`.
        part_lag_ms: the largest lag of any part of 2 s, with its sign.
        places: where parts are off by more than PART_LAG_MS; strength: ms.
    """

    lag_ms: float
    drift_ms_per_minute: float
    part_lag_ms: float
    places: tuple[Place, ...]


def measure_timing(source: np.ndarray, output: np.ndarray, rates: tuple[int, int]) -> Timing:
    """All about the output's time at once.

    The drift is the slope of the lags of the parts by Theil and Sen: the median of the slopes of all pairs
    (Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63, 1968), so that single parts
    may be wrong.

    Args:
        source, output: (N,) at their own `rates` in Hz.
    """
    changes = band_changes(source, rates[0]), band_changes(output, rates[1])
    parts, whole = _parts(*changes), _lag(*changes)[0]
    if not len(parts):
        return Timing(whole, 0.0, 0.0, ())
    first, second = np.triu_indices(len(parts), 1)
    drift = 0.0
    if len(first):
        slopes = (parts[second, 1] - parts[first, 1]) / (parts[second, 0] - parts[first, 0])
        drift = float(60.0 * np.median(slopes))
    seconds = len(source) / rates[0]
    moments = np.arange(math.ceil(seconds / MOMENT_SECONDS)) * MOMENT_SECONDS
    middles = parts[:, 0] + 0.5 * min(PART_SECONDS, seconds / 2.0)
    late = np.abs(parts[np.abs(moments[:, None] - middles).argmin(axis=1), 1])  # of the part around a moment
    worst = float(parts[np.abs(parts[:, 1]).argmax(), 1])
    return Timing(whole, drift, worst, tuple(places(late > PART_LAG_MS, late, MOMENT_SECONDS)))


def lag_ms(source: np.ndarray, output: np.ndarray, rates: tuple[int, int]) -> float:
    """By how many ms the output is late; see `Timing`."""
    return _lag(band_changes(source, rates[0]), band_changes(output, rates[1]))[0]


def drift_ms_per_minute(source: np.ndarray, output: np.ndarray, rates: tuple[int, int]) -> float:
    """By how many ms a minute the output falls behind; see `Timing`."""
    return measure_timing(source, output, rates).drift_ms_per_minute


def drift_limit(seconds: float) -> float:
    """Drift in ms a minute that two natural singers of such a clip may show: 18 ms from end to end."""
    return max(20.0, 1080.0 / max(seconds, 1e-3))


def timing_places(
    source: np.ndarray, output: np.ndarray, rates: tuple[int, int]
) -> tuple[float, list[Place]]:
    """The largest lag in ms of any part, and where parts are late or early; see `Timing`."""
    found = measure_timing(source, output, rates)
    return found.part_lag_ms, list(found.places)
