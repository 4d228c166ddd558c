"""Measures of a converted clip as pure functions over NumPy arrays; no model, no file.

Every function takes mono audio as float (N,). Frames of the pitch tracker are 16 ms apart: frame t is centred
at `t * FRAME_SECONDS`. melody.py compares melodies, timing.py compares times, artefacts.py points at places.
"""

import itertools
import math
import unicodedata
from collections.abc import Callable, Iterator

import numpy as np
import soxr

from resing.scoring.melody import CONFIDENT, FRAME_SECONDS, VOICED, Pitch, expected_pitch, pitch_agreement
from resing.scoring.places import runs

__all__ = [
    "CONFIDENT",
    "EMPTY_DB",
    "FRAME_SECONDS",
    "LEVEL_SECONDS",
    "SILENCE_SECONDS",
    "SILENT_DB",
    "VOICED",
    "Pitch",
    "active_level",
    "active_samples",
    "band_levels",
    "bandwidth",
    "clipped_runs",
    "cpp",
    "decibels",
    "deficits",
    "expected_pitch",
    "frame_levels",
    "gated_loudness",
    "hnr",
    "k_weighted",
    "leave_one_out",
    "length_difference",
    "letters",
    "long_term_spectrum",
    "loudness_lufs",
    "median_at",
    "not_finite",
    "pitch_agreement",
    "runs",
    "silence_floor",
    "true_peak_dbtp",
    "unit",
    "weighted_median",
    "window_edges",
    "worst_deficit",
]

LEVEL_SECONDS = 0.01
SILENT_DB = -40.0  # below the active level
SILENCE_SECONDS = 0.15
EMPTY_DB = -120.0
HIGH_HZ = 2000.0


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
    if not len(levels):
        return EMPTY_DB
    loud = levels[levels >= np.percentile(levels, 95) - 20.0]
    return float(decibels(np.mean(10.0 ** (loud / 10.0))))


def active_samples(audio: np.ndarray, sample_rate: int, hangover_seconds: float = 0.2) -> np.ndarray:
    """Where the singer sounds, within 40 dB of the active level, and the hangover around it, bool (N,)."""
    levels = frame_levels(audio, sample_rate)
    width = 2 * round(hangover_seconds / LEVEL_SECONDS) + 1
    loud = (levels > max(active_level(levels) + SILENT_DB, -80.0)).astype(np.float64)
    wide = np.convolve(loud, np.ones(width), mode="full")[width // 2 : width // 2 + len(loud)] > 0.5
    return np.repeat(wide, round(LEVEL_SECONDS * sample_rate))[: len(audio)]


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


def hnr_high(audio: np.ndarray, sample_rate: int, f0: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """HNR of what lies above HIGH_HZ, in dB, (F,); arguments as in `hnr`."""
    return hnr(audio, sample_rate, f0, frames, HIGH_HZ)


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
    """Third-octave levels in dB over the mean density of 200 to 4000 Hz, (bands,); no bin: EMPTY_DB."""
    middle = (frequencies >= 200.0) & (frequencies <= 4000.0)
    reference = max(float(density[middle].mean()), 1e-30)
    third = 2.0 ** (1.0 / 6.0)
    inside = [(frequencies >= c / third) & (frequencies < c * third) for c in centres]
    return np.array([float(decibels(density[b].mean() / reference)) if b.any() else EMPTY_DB for b in inside])


def deficits(
    output: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], bandwidth_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """What each third octave from 4 to 16 kHz has more than the target's, in dB, and their centres in Hz.

    Negative where the output lacks; only bands wholly inside the target's real bandwidth are heard.
    """
    centres = 1000.0 * 2.0 ** (np.arange(6, 13) / 3.0)  # 4 to 16 kHz
    centres = centres[centres * 2.0 ** (1.0 / 6.0) <= max(bandwidth_hz, 4500.0)]
    return band_levels(*output, centres) - band_levels(*target, centres), centres


def worst_deficit(
    output: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], bandwidth_hz: float
) -> tuple[float, float]:
    """The least of `deficits` and its centre."""
    found, centres = deficits(output, target, bandwidth_hz)
    worst = int(np.argmin(found))
    return float(found[worst]), float(centres[worst])


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


def loudness_lufs(audio: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of one channel in LUFS; nothing above -70 LUFS: EMPTY_DB.

    ITU-R BS.1770-4, annex 1: K-weighting, blocks of 400 ms every 100 ms, gates at -70 LUFS and 10 LU under
    the mean of what passes the first.
    """
    step = round(0.1 * sample_rate)
    weighted = k_weighted(np.pad(audio.astype(np.float64), (0, max(0, 4 * step - len(audio)))), sample_rate)
    steps = np.add.reduceat(weighted**2, np.arange(0, len(weighted) // step * step, step))
    steps[-1] -= np.sum(weighted[len(weighted) // step * step :] ** 2)
    return gated_loudness(np.convolve(steps, np.ones(4), mode="valid") / (4 * step))


def gated_loudness(power: np.ndarray) -> float:
    """Loudness in LUFS from the K-weighted power of overlapping blocks, summed over channels, (blocks,).

    Gates at -70 LUFS and 10 LU under the mean of what passes the first; nothing above -70 LUFS: EMPTY_DB.
    """
    loud = power[power > 10.0 ** ((-70.0 + 0.691) / 10.0)]
    if not len(loud):
        return EMPTY_DB
    return float(-0.691 + decibels(loud[loud > 0.1 * loud.mean()].mean()))


def k_weighted(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Audio through the two filters of BS.1770, (N,).

    Their analogue prototypes make them fit any rate (De Man, Evaluation of implementations of the EBU R128
    loudness measurement, AES 145, 2018).
    """
    n_fft = (len(audio) + sample_rate) // 16384 * 16384 + 16384  # a second of zeros for them to ring out
    z = np.exp(-2j * np.pi * np.arange(n_fft // 2 + 1) / n_fft)
    response = np.ones(len(z), complex)
    gain = 10.0 ** (3.999843853973347 / 20.0)
    for hertz, q, high, middle in (
        (1681.974450955533, 0.7071752369554196, gain, gain**0.4996667741545416),
        (38.13547087602444, 0.5003270373238773, 1.0, 0.0),
    ):
        k = math.tan(math.pi * hertz / sample_rate)
        low = k * k if middle else 0.0  # the shelf passes what lies below it, the high-pass nothing
        below = np.polyval([1.0 - k / q + k * k, 2.0 * (k * k - 1.0), 1.0 + k / q + k * k], z)
        above = [high - middle * k / q + low, 2.0 * (low - high), high + middle * k / q + low]
        scale = 1.0 if middle else 1.0 + k / q + k * k  # the standard's second filter has numerator 1, -2, 1
        response *= scale * np.polyval(above, z) / below
    return np.fft.irfft(np.fft.rfft(audio, n_fft) * response, n_fft)[: len(audio)]


def true_peak_dbtp(audio: np.ndarray, sample_rate: int) -> float:
    """Highest peak between the samples in dB re full scale (ITU-R BS.1770-4, annex 2: 4 x the rate)."""
    peak, size, halo = 0.0, 10 * sample_rate, 1024
    for start in range(0, len(audio), size):
        first = max(0, start - halo)
        fine = soxr.resample(audio[first : start + size + halo], sample_rate, 4 * sample_rate)
        peak = max(peak, float(np.max(np.abs(fine[4 * (start - first) :][: 4 * size]), initial=0.0)))
    return float(decibels(peak**2))


def not_finite(audio: np.ndarray) -> int:
    """Number of samples that are no number at all."""
    return int(np.count_nonzero(~np.isfinite(audio)))


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
    """Mean cosine of each window with the centroid of all others, (W, D), W >= 2: similarity's ceiling."""
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


def weighted_median(values: list[float | None], weights: np.ndarray) -> float | None:
    """Median of clip medians, each counted by its frames; clips without a value are left out."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    ordered = np.array(sorted(known))
    return float(ordered[np.searchsorted(np.cumsum(ordered[:, 1]), ordered[:, 1].sum() / 2.0), 0])
