"""Measures of a converted clip as pure functions over NumPy arrays; no model, no file.

Every function takes mono audio as float (N,). Frames of the pitch tracker are 16 ms apart: frame t is centred
at `t * FRAME_SECONDS`.
"""

import itertools
import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

FRAME_SECONDS = 0.016
CONFIDENT = 0.9  # a frame whose pitch counts
VOICED = 0.5  # SwiftF0's own calibrated threshold
LEVEL_SECONDS = 0.01
SILENT_DB = -40.0  # below the active level
SILENCE_SECONDS = 0.15
EMPTY_DB = -120.0


@dataclass(frozen=True)
class Pitch:
    """What a tracker heard: f0 in Hz and confidence in [0, 1], (T,) each."""

    f0: np.ndarray
    confidence: np.ndarray


def decibels(power: np.ndarray | float) -> np.ndarray:
    """Level of a power in dB, floored at EMPTY_DB."""
    return 10.0 * np.log10(np.maximum(np.asarray(power, dtype=np.float64), 10.0 ** (EMPTY_DB / 10.0)))


def frame_levels(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of each 10 ms in dB re full scale, (T,)."""
    size = round(LEVEL_SECONDS * sample_rate)
    frames = math.ceil(len(audio) / size)
    padded = np.pad(audio.astype(np.float64), (0, frames * size - len(audio)))
    return decibels(np.mean(padded.reshape(frames, size) ** 2, axis=1))


def active_level(levels: np.ndarray) -> float:
    """Mean level in dB of the frames within 20 dB of the 95th percentile: how loud it is while it sounds."""
    loud = levels[levels >= np.percentile(levels, 95) - 20.0]
    return float(decibels(np.mean(10.0 ** (loud / 10.0))))


def active_samples(audio: np.ndarray, sample_rate: int, hangover_seconds: float = 0.2) -> np.ndarray:
    """Where the singer sounds, bool (N,): within 40 dB of the active level, widened by the hangover on both
    sides."""
    levels = frame_levels(audio, sample_rate)
    width = 2 * round(hangover_seconds / LEVEL_SECONDS) + 1
    loud = (levels > max(active_level(levels) + SILENT_DB, -80.0)).astype(np.float64)
    wide = np.convolve(loud, np.ones(width), mode="full")[width // 2 : width // 2 + len(loud)] > 0.5
    return np.repeat(wide, round(LEVEL_SECONDS * sample_rate))[: len(audio)]


def runs(mask: np.ndarray) -> np.ndarray:
    """First and past-last index of each run of True, (R, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges.reshape(-1, 2)


def pitch_agreement(
    source: Pitch, output: Pitch, transpose: float, active: np.ndarray
) -> dict[str, float | None]:
    """How well the output keeps the melody; the requested shift is removed, never fitted.

    Args:
        source: pitch of the source.
        output: pitch of the output; frames that it lacks count as not confident.
        transpose: the requested shift in semitones.
        active: where the source sounds, bool (T,) at the tracker's frames.

    Returns:
        coverage: share of the source's confident frames that are confident in the output.
        f0_rmse_cents, f0_median_cents: of the absolute difference on frames confident in both.
        f0_fine_rmse_cents: the same without gross errors; gross_share: off by more than 20 %; octave_share:
            off by one octave within a semitone.
        f0_correlation: of log f0, where the source moves by at least 100 cents, else None.
        voicing_error: share of the sounding frames whose voicing differs.
    """
    n = min(len(source.f0), len(active))
    missing = max(0, n - len(output.f0))
    output = Pitch(np.pad(output.f0, (0, missing)), np.pad(output.confidence, (0, missing)))
    sure = source.confidence[:n] >= CONFIDENT
    both = sure & (output.confidence[:n] >= CONFIDENT)
    differs = (source.confidence[:n] >= VOICED) != (output.confidence[:n] >= VOICED)
    result: dict[str, float | None] = {
        "coverage": float(both.sum() / sure.sum()) if sure.any() else None,
        "voicing_error": float(differs[active[:n]].mean()) if active[:n].any() else None,
    }
    return result | _deviation(
        1200.0 * np.log2(source.f0[:n][both]), 1200.0 * np.log2(output.f0[:n][both]), transpose
    )


def _deviation(
    source_cents: np.ndarray, output_cents: np.ndarray, transpose: float
) -> dict[str, float | None]:
    """Pitch figures of `pitch_agreement` over the frames confident in both, (F,) each; None without one."""
    cents = output_cents - source_cents - 100.0 * transpose
    fine = np.abs(cents) <= 1200.0 * np.log2(1.2)
    some = len(cents) > 0
    moves = some and np.ptp(np.percentile(source_cents, [5, 95])) >= 100.0 and np.std(output_cents) > 0
    return {
        "f0_rmse_cents": float(np.sqrt(np.mean(cents**2))) if some else None,
        "f0_median_cents": float(np.median(np.abs(cents))) if some else None,
        "f0_fine_rmse_cents": float(np.sqrt(np.mean(cents[fine] ** 2))) if fine.any() else None,
        "gross_share": float(np.mean(~fine)) if some else None,
        "octave_share": float(np.mean(np.abs(np.abs(cents) - 1200.0) < 100.0)) if some else None,
        "f0_correlation": float(np.corrcoef(source_cents, output_cents)[0, 1]) if moves else None,
    }


def _windowed(audio: np.ndarray, centres: np.ndarray, size: int) -> np.ndarray:
    """Hann-windowed frames without their mean, (T, size); the signal is padded with zeros."""
    padded = np.pad(audio.astype(np.float64), (size, size))
    starts = np.clip(centres - size // 2 + size, 0, len(padded) - size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[starts]
    return (frames - frames.mean(axis=1, keepdims=True)) * np.hanning(size + 2)[1:-1]


def _by_octave(f0: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Lowest f0 of each octave that occurs and the indices of its frames, so that windows fit the pitch."""
    octaves = np.floor(np.log2(f0 / 50.0)).astype(int)
    for octave in np.unique(octaves):
        yield 50.0 * 2.0 ** int(octave), np.flatnonzero(octaves == octave)


def hnr(
    audio: np.ndarray, sample_rate: int, f0: np.ndarray, frames: np.ndarray, low_hz: float = 0.0
) -> np.ndarray:
    """Harmonics-to-noise ratio in dB at known pitch.

    Boersma, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
    sampled sound, IFA Proceedings 17, 1993, eqs. 4, 9 and 23: the autocorrelation of a window of 4.5 to 9
    periods divided by the window's own, at its peak within 4 % of the period.

    Args:
        audio: (N,).
        f0: expected pitch in Hz of each frame asked for, (F,).
        frames: their tracker-frame numbers, (F,).
        low_hz: only the band above this is heard.

    Returns:
        (F,).
    """
    result = np.empty(len(f0))
    for low, chosen in _by_octave(f0):
        size = math.ceil(4.5 * sample_rate / low)
        n_fft = 2 ** math.ceil(math.log2(2 * size))
        window = np.hanning(size + 2)[1:-1]
        own = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2, 4 * n_fft)
        lags = 4.0 * sample_rate / f0[chosen]  # in quarter samples: zeros added to the spectrum interpolate
        search = np.arange(-math.ceil(0.04 * lags.max()), math.ceil(0.04 * lags.max()) + 1)
        for part in np.array_split(np.arange(len(chosen)), math.ceil(len(chosen) / 256)):
            centres = np.round(frames[chosen[part]] * FRAME_SECONDS * sample_rate).astype(int)
            power = np.abs(np.fft.rfft(_windowed(audio, centres, size), n_fft)) ** 2
            power[:, : math.ceil(low_hz * n_fft / sample_rate)] = 0.0
            correlation = np.fft.irfft(power, 4 * n_fft)
            near = np.round(lags[part]).astype(int)[:, None] + search
            allowed = np.abs(near - lags[part][:, None]) <= 0.04 * lags[part][:, None] + 1.0
            level = np.maximum(correlation[:, :1] / own[0], 1e-20)
            ratio = np.take_along_axis(correlation, near, axis=1) / own[near] / level
            peak = np.clip(_peak_height(np.where(allowed, ratio, -1.0)), 1e-6, 1.0 - 1e-6)
            result[chosen[part]] = 10.0 * np.log10(peak / (1.0 - peak))
    return result


def _peak_height(curves: np.ndarray) -> np.ndarray:
    """Height of the maximum of each row by a parabola through its neighbours, (F, L) -> (F,)."""
    at = np.clip(curves.argmax(axis=1), 1, curves.shape[1] - 2)[:, None]
    left, middle, right = (np.take_along_axis(curves, at + step, axis=1)[:, 0] for step in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    inner = (middle >= left) & (middle >= right) & (bend < 0) & (np.minimum(left, right) > -1.0)
    return np.where(
        inner, middle - (right - left) ** 2 / np.where(inner, 8.0 * bend, 1.0), curves.max(axis=1)
    )


def cpp(audio: np.ndarray, sample_rate: int, f0: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Cepstral peak prominence in dB at known pitch, (F,); arguments as in `hnr`.

    Hillenbrand, Cleveland and Erickson, Acoustic correlates of breathy vocal quality, JSHR 37, 1994: height
    of the cepstral peak (here within 6 % of the period) above the line fitted to the cepstrum from 1 ms to 20
    ms.
    """
    size = 2 ** round(math.log2(0.064 * sample_rate))
    quefrency = np.arange(size // 2) / sample_rate
    fitted = (quefrency >= 0.001) & (quefrency <= 0.02)
    result = np.empty(len(f0))
    for part in np.array_split(np.arange(len(f0)), max(1, math.ceil(len(f0) / 256))):
        centres = np.round(frames[part] * FRAME_SECONDS * sample_rate).astype(int)
        power = np.abs(np.fft.rfft(_windowed(audio, centres, size))) ** 2
        spectrum = decibels(power / np.maximum(power.mean(axis=1, keepdims=True), 1e-30))
        cepstrum = decibels(np.abs(np.fft.irfft(spectrum)[:, : size // 2]) ** 2)
        slope, offset = np.polyfit(quefrency[fitted], cepstrum[:, fitted].T, 1)
        above = cepstrum - (slope[:, None] * quefrency + offset[:, None])
        period = 1.0 / f0[part][:, None]
        near = np.abs(quefrency - period) <= 0.06 * period + 1.0 / sample_rate
        result[part] = np.where(near, above, -np.inf).max(axis=1)
    return result


def long_term_spectrum(
    audio: np.ndarray, sample_rate: int, n_fft: int = 4096
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and mean power density of the sounding parts, (n_fft // 2 + 1,) each (Welch 1967)."""
    frequencies = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    sounding = audio[active_samples(audio, sample_rate)].astype(np.float64)
    if len(sounding) < n_fft:
        sounding = np.pad(sounding, (0, n_fft - len(sounding)))
    window = np.hanning(n_fft)
    total = np.zeros(n_fft // 2 + 1)
    starts = range(0, len(sounding) - n_fft + 1, n_fft // 2)
    for start in starts:
        total += np.abs(np.fft.rfft(sounding[start : start + n_fft] * window)) ** 2
    return frequencies, total / len(starts) / (sample_rate * np.sum(window**2))


def band_levels(frequencies: np.ndarray, density: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Third-octave levels in dB relative to the mean density of 200 to 4000 Hz, (bands,); no bin:
    EMPTY_DB."""
    middle = (frequencies >= 200.0) & (frequencies <= 4000.0)
    reference = max(float(density[middle].mean()), 1e-30)
    third = 2.0 ** (1.0 / 6.0)
    inside = [(frequencies >= c / third) & (frequencies < c * third) for c in centres]
    return np.array([float(decibels(density[b].mean() / reference)) if b.any() else EMPTY_DB for b in inside])


def worst_deficit(
    output: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], bandwidth_hz: float
) -> tuple[float, float]:
    """The third octave between 4 and 16 kHz that lacks most against the target: its level difference in dB
    (negative where the output lacks) and centre in Hz; only bands wholly inside the target's real bandwidth
    are heard."""
    centres = 1000.0 * 2.0 ** (np.arange(6, 13) / 3.0)  # 4 to 16 kHz
    centres = centres[centres * 2.0 ** (1.0 / 6.0) <= max(bandwidth_hz, 4500.0)]
    difference = band_levels(*output, centres) - band_levels(*target, centres)
    worst = int(np.argmin(difference))
    return float(difference[worst]), float(centres[worst])


def bandwidth(frequencies: np.ndarray, density: np.ndarray, below_db: float = 60.0) -> float:
    """Highest 500 Hz band, by its upper edge in Hz, within `below_db` of the strongest; silence: 0."""
    bands = np.arange(0.0, frequencies[-1], 500.0)
    means = np.array([density[(frequencies >= b) & (frequencies < b + 500.0)].mean() for b in bands])
    levels = decibels(means / max(float(means.max()), 1e-30))
    heard = np.flatnonzero(levels >= -below_db)
    return float(bands[heard[-1]] + 500.0) if len(heard) else 0.0


def silence_floor(source: np.ndarray, output: np.ndarray, rates: tuple[int, int]) -> dict[str, float | None]:
    """Level of both, each relative to its active level, where the source is silent for at least 150 ms.

    Args:
        source, output: (N,) at their own `rates` in Hz.

    Returns:
        source_floor_db, output_floor_db (None without such a silence); 50 ms at both ends of a silence are
        left to decay.
    """
    levels = [frame_levels(audio, rate) for audio, rate in zip((source, output), rates, strict=True)]
    silent = levels[0] < active_level(levels[0]) + SILENT_DB
    shortest, edge = round(SILENCE_SECONDS / LEVEL_SECONDS), round(0.05 / LEVEL_SECONDS)
    inner = [np.arange(a + edge, b - edge) for a, b in runs(silent) if b - a >= shortest]
    names = ("source_floor_db", "output_floor_db")
    if not inner:
        return dict.fromkeys(names)
    chosen = np.concatenate(inner)
    floors: dict[str, float | None] = {}
    for name, level in zip(names, levels, strict=True):
        quiet = level[chosen[chosen < len(level)]]
        floors[name] = (
            float(decibels(np.mean(10.0 ** (quiet / 10.0))) - active_level(level)) if len(quiet) else None
        )
    return floors


def clipped_runs(audio: np.ndarray, shortest: int = 3) -> int:
    """Number of flat tops: runs of at least `shortest` samples at the peak of either sign."""
    peak = float(np.max(np.abs(audio), initial=0.0))
    if peak < 1e-3:
        return 0
    tops = [runs(sign * audio >= peak * (1.0 - 2e-5)) for sign in (1.0, -1.0)]
    return int(sum(np.count_nonzero(np.diff(top, axis=1) >= shortest) for top in tops))


def length_difference(source_samples: int, output_samples: int, rates: tuple[int, int]) -> int:
    """Samples, at the output's rate, by which the output is longer than its source."""
    return output_samples - round(source_samples * rates[1] / rates[0])


def window_edges(samples: int, sample_rate: int, seconds: float = 10.0) -> list[tuple[int, int]]:
    """Equal windows of about `seconds`; a clip shorter than that is one window."""
    count = max(1, round(samples / (seconds * sample_rate)))
    edges = np.linspace(0, samples, count + 1).astype(int)
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one along the last axis."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def leave_one_out(embeddings: np.ndarray) -> float:
    """Mean cosine of each window with the centroid of all others, (W, D): the ceiling of similarity; W at
    least 2."""
    others = unit(embeddings.sum(axis=0, keepdims=True) - embeddings)
    return float(np.mean(np.sum(unit(embeddings) * others, axis=1)))


def letters(text: str) -> str:
    """Lower-case letters with their marks, nothing else: what character error rates compare."""
    text = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in text if unicodedata.category(c)[0] in "LM")


def median_at(
    measure: Callable[..., np.ndarray], audio: np.ndarray, sample_rate: int, pitch: Pitch
) -> float | None:
    """Median of `hnr` or `cpp` over the confident frames, None without one."""
    frames = np.flatnonzero(pitch.confidence >= CONFIDENT)
    return float(np.median(measure(audio, sample_rate, pitch.f0[frames], frames))) if len(frames) else None


def expected_pitch(source: Pitch, output: Pitch, transpose: float) -> Pitch:
    """Pitch at which the output's voice quality is measured, so that hoarse frames do not vanish from the
    median.

    The frames are the source's confident ones; the f0 is the output's own where it is confident and within 20
    % of the requested one, else the requested one.
    """
    n = min(len(source.f0), len(output.f0))
    wanted = source.f0[:n] * 2.0 ** (transpose / 12.0)
    own = (output.confidence[:n] >= CONFIDENT) & (np.abs(np.log2(output.f0[:n] / wanted)) <= math.log2(1.2))
    return Pitch(np.where(own, output.f0[:n], wanted), source.confidence[:n])


def weighted_median(values: list[float | None], weights: np.ndarray) -> float | None:
    """Median of clip medians, each counted by its frames; clips without a value are left out."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    ordered = np.array(sorted(known))
    return float(ordered[np.searchsorted(np.cumsum(ordered[:, 1]), ordered[:, 1].sum() / 2.0), 0])
