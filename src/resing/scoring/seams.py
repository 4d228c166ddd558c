"""Faults that last a moment: clicks, holes, steps of level, jumps in time.

All four look for what held notes do not do by themselves and the source does not do there either. `held` says
which tracker frames are in the middle of a note that is sure in source and output: consonants click, dip,
step and jump naturally. Pure functions over mono audio (N,), each at its own rate.
"""

import itertools
import math

import numpy as np

from resing.scoring.melody import CONFIDENT, FRAME_SECONDS, Pitch
from resing.scoring.places import Place, around, at_steps, places

CLICK_STEP_SECONDS = 0.00025
NATURAL_CLICK = 1.5  # isolation that held notes reach by themselves: 2.1 is the most in 50 natural clips
NATURAL_BURST = 5.0  # the same anywhere else: the burst of a t, the smack of a lip
STEP_SECONDS = 0.0025
NATURAL_DIP_DB = 3.0  # what tremolo and the periods of a low note leave between neighbours
HARMONICS = 6
STEP_BANDS_HZ = (60.0, 300.0, 600.0, 1000.0, 1500.0, 2200.0, 3200.0, 4500.0, 6500.0, 9000.0)
STEP_WINDOW_SECONDS = 0.02
STEP_REACH_SECONDS = 0.05
STEP_DB = 0.7
JUMP_FIT = 0.94  # share of the harmonics' amplitude that one jump in time must explain
JUMP_SHARE = 0.12  # of a period
NEAR_SECONDS = 0.05  # the source's own faults excuse the output's this far away


def held_notes(source: Pitch, output: Pitch, reach: int = 3) -> np.ndarray:
    """Tracker frames in the middle of held notes, bool (T,).

    They are sure in the source for `reach` frames on both sides, and in the output too but for gaps of up to
    twice as many: a fault must not hide itself.
    """
    n = min(len(source.confidence), len(output.confidence))
    sure = [pitch.confidence[:n] >= CONFIDENT for pitch in (source, output)]
    if not n:
        return np.zeros(0, bool)
    held: np.ndarray = ~around(~(sure[0] & around(sure[1], reach)), reach)
    return held


def prediction_error(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """What linear prediction from the samples before cannot explain, (N,).

    Order rate / 1 kHz + 2, a new filter every 10 ms from 40 ms around it, by the autocorrelation method
    (Makhoul, Linear prediction: a tutorial review, Proceedings of the IEEE 63, 1975). That it shows clicks:
    Godsill and Rayner, Digital audio restoration, Springer, 1998, chapter 5.
    """
    order, hop = round(sample_rate / 1000) + 2, round(0.01 * sample_rate)
    size, count = 4 * hop, math.ceil(len(audio) / hop)
    before = size // 2 - hop // 2
    padded = np.pad(audio.astype(np.float64), (before + order, size + hop))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    history = np.lib.stride_tricks.sliding_window_view(padded, order + 1)
    n_fft = 2 ** math.ceil(math.log2(size + order + 1))
    error = np.empty((count, hop))
    for part in np.array_split(np.arange(count), max(1, math.ceil(count / 512))):
        power = np.abs(np.fft.rfft(windows[part * hop + order] * np.hanning(size), n_fft)) ** 2
        filters = _levinson(np.fft.irfft(power)[:, : order + 1])
        samples = (part * hop + before)[:, None] + np.arange(hop)
        error[part] = np.einsum("fhk,fk->fh", history[samples], filters[:, ::-1])
    return error.reshape(-1)[: len(audio)]


def _levinson(correlation: np.ndarray) -> np.ndarray:
    """Prediction error filters, (F, order + 1) with a leading 1, from autocorrelations of the same shape."""
    rows, order = correlation.shape[0], correlation.shape[1] - 1
    error = correlation[:, 0] * (1.0 + 1e-6) + 1e-9  # noise 60 dB below keeps band-limited sound stable
    filters = np.zeros((rows, order + 1))
    filters[:, 0] = 1.0
    for i in range(1, order + 1):
        reflection = -np.einsum("fj,fj->f", filters[:, :i], correlation[:, i:0:-1]) / error
        filters[:, 1 : i + 1] = filters[:, 1 : i + 1] + reflection[:, None] * filters[:, i - 1 :: -1][:, :i]
        error = error * (1.0 - reflection**2)
    return filters


def isolation(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """How far the prediction error every 0.25 ms stands out of both its sides, 2 to 25 ms away, (K,).

    The pulses of a voice are as high as their neighbours (1); a lone click is not. 30 ms at both ends of the
    clip and whatever is 50 dB under its largest error are left out (0).
    """
    size = max(1, round(CLICK_STEP_SECONDS * sample_rate))
    count = len(audio) // size
    if count < 2:
        return np.zeros(count)
    peaks = np.abs(prediction_error(audio, sample_rate))[: count * size].reshape(count, size).max(axis=1)
    step = size / sample_rate
    gap, reach, edge = round(0.0015 / step), round(0.025 / step), round(0.03 / step)
    sides = np.lib.stride_tricks.sliding_window_view(np.pad(peaks, reach), reach - gap + 1).max(axis=1)
    highest = np.maximum(sides[:count], sides[reach + gap : reach + gap + count])
    result = peaks / np.maximum(highest, max(float(peaks.max()), 1e-9) * 10.0 ** (-50.0 / 20.0))
    result[:edge] = result[max(0, count - edge) :] = 0.0
    return result


def clicks(
    audio: np.ndarray, sample_rate: int, source: np.ndarray, source_rate: int, held: np.ndarray
) -> tuple[float, list[Place]]:
    """The worst click as a ratio to what is natural there, and where it is above 1.5.

    Natural is what the source does within 50 ms, and at least NATURAL_CLICK in held notes, NATURAL_BURST
    elsewhere.

    Args:
        audio, source: (N,) at their own rates.
        held: (T,) as `held_notes` gives.
    """
    own, before = isolation(audio, sample_rate), isolation(source, source_rate)
    step = max(1, round(CLICK_STEP_SECONDS * sample_rate)) / sample_rate
    source_step = max(1, round(CLICK_STEP_SECONDS * source_rate)) / source_rate
    if not len(own) or not len(before):
        return 0.0, []
    natural = around(before, round(NEAR_SECONDS / source_step))
    at = np.minimum((np.arange(len(own)) * step / source_step).astype(int), len(natural) - 1)
    calm = at_steps(held, FRAME_SECONDS, len(own), step)
    ratio = own / np.maximum(natural[at], np.where(calm, NATURAL_CLICK, NATURAL_BURST))
    return float(ratio.max()), places(ratio > 1.5, ratio, step, 0.01)


def short_levels(audio: np.ndarray, sample_rate: int, window_seconds: float = 0.0075) -> np.ndarray:
    """Level in dB of the window around every 2.5 ms, (K,)."""
    steps = int(len(audio) / sample_rate / STEP_SECONDS)
    power = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    middle, half = np.arange(steps) * STEP_SECONDS * sample_rate, window_seconds * sample_rate / 2.0
    first, last = (np.clip(np.round(middle + x).astype(int), 0, len(audio)) for x in (-half, half))
    levels: np.ndarray = 10.0 * np.log10((power[last] - power[first]) / np.maximum(last - first, 1) + 1e-10)
    return levels


def dip_depths(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """How far the level every 2.5 ms lies below the softest moment 10 to 25 ms before and after, dB, (K,)."""
    levels = short_levels(audio, sample_rate)
    near, far = round(0.01 / STEP_SECONDS), round(0.025 / STEP_SECONDS)
    if not len(levels):
        return levels
    sides = -np.lib.stride_tricks.sliding_window_view(-np.pad(levels, far, mode="edge"), far - near + 1).max(
        1
    )
    softest: np.ndarray = np.minimum(sides[: len(levels)], sides[far + near : far + near + len(levels)])
    heard = softest > np.percentile(levels, 95) - 30.0
    return np.where(heard, np.maximum(softest - levels, 0.0), 0.0)


def dips(
    audio: np.ndarray, sample_rate: int, source: np.ndarray, source_rate: int, held: np.ndarray
) -> tuple[float, list[Place]]:
    """The deepest short hole in a held note in dB, and where holes are deeper than 3 dB.

    Depths count from what the source does within 50 ms, and from NATURAL_DIP_DB. A hole lasts up to 20 ms;
    longer ones are for `missing_places`. Arguments as in `clicks`.
    """
    depth, before = dip_depths(audio, sample_rate), dip_depths(source, source_rate)
    n = min(len(depth), len(before))
    if not n:
        return 0.0, []
    natural = around(before[:n], round(NEAR_SECONDS / STEP_SECONDS))
    excess = depth[:n] - np.maximum(natural, NATURAL_DIP_DB)
    excess = np.where(at_steps(held, FRAME_SECONDS, n, STEP_SECONDS), np.maximum(excess, 0.0), 0.0)
    return float(excess.max()), places(excess > 3.0, excess, STEP_SECONDS, 0.02)


def _band_levels(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of each band in dB every 2.5 ms, (bands, K); bands above half the rate are left out."""
    size = round(STEP_WINDOW_SECONDS * sample_rate)
    steps = int(len(audio) / sample_rate / STEP_SECONDS)
    frequencies = np.fft.rfftfreq(size, 1.0 / sample_rate)
    edges = [e for e in STEP_BANDS_HZ if e <= sample_rate / 2]
    inside = [(frequencies >= low) & (frequencies < high) for low, high in itertools.pairwise(edges)]
    frames = np.lib.stride_tricks.sliding_window_view(
        np.pad(audio.astype(np.float64), (size // 2, size)), size
    )
    starts = np.round(np.arange(steps) * STEP_SECONDS * sample_rate).astype(int)
    power = np.zeros((len(inside), steps))
    for part in np.array_split(np.arange(steps), max(1, math.ceil(steps / 4096))):
        spectrum = np.abs(np.fft.rfft(frames[starts[part]] * np.hanning(size))) ** 2
        power[:, part] = [spectrum[:, band].sum(axis=1) for band in inside]
    return 10.0 * np.log10(power + 1e-10)


def _fitted_steps(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step at each moment and what a cubic with a step leaves within 50 ms, in dB, (bands, K) each."""
    reach = round(STEP_REACH_SECONDS / STEP_SECONDS)
    seconds = np.arange(-reach, reach + 1) * STEP_SECONDS
    fine = np.linspace(-0.5, 0.5, 401)
    rise = np.cumsum(np.hanning(401) ** 2)
    step = np.interp(seconds, fine * STEP_WINDOW_SECONDS, rise / rise[-1])  # a step as the windows see it
    model = np.stack([*(seconds / seconds[-1]) ** np.arange(4)[:, None], step], axis=1)
    solve = np.linalg.pinv(model)
    around_each = np.lib.stride_tricks.sliding_window_view(
        np.pad(levels, ((0, 0), (reach, reach)), mode="edge"), 2 * reach + 1, axis=1
    )
    left = np.eye(len(seconds)) - model @ solve
    steps, rest = np.zeros(levels.shape), np.zeros(levels.shape)
    for part in np.array_split(np.arange(levels.shape[1]), max(1, math.ceil(levels.shape[1] / 4096))):
        steps[:, part] = around_each[:, part] @ solve[-1]
        rest[:, part] = np.sqrt(np.mean((around_each[:, part] @ left) ** 2, axis=-1))
    return steps, rest


def _common_step(
    levels: np.ndarray, heard: np.ndarray, widest: float, roughest: float, share: float = 50.0
) -> np.ndarray:
    """The step that at least four bands take alike on an even course, dB, else 0, (K,).

    Args:
        levels: (bands, K) in dB.
        heard: bands that count, bool (bands, K).
        widest: how far bands may be from the middle one, dB.
        roughest: what the fit may leave, dB.
        share: percentage of the bands that must keep to that.
    """
    steps, rest = (np.where(heard, values, np.nan) for values in _fitted_steps(levels))
    enough = heard.sum(axis=0) >= 4
    result = np.zeros(levels.shape[1])
    if not enough.any():
        return result
    middle = _percentile(steps[:, enough], 50.0)
    spread = _percentile(np.abs(steps[:, enough] - middle), share)
    even = (spread < widest) & (_percentile(rest[:, enough], share) < roughest)
    result[enough] = np.where(even, middle, 0.0)
    return result


def _percentile(values: np.ndarray, share: float) -> np.ndarray:
    """Percentile of each column's numbers, one at least: what np.nanpercentile gives, many times faster."""
    ordered = np.sort(values, axis=0)  # NaN last
    at = (np.count_nonzero(~np.isnan(values), axis=0) - 1) * share / 100.0
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
    first, second = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (low, high))
    return np.asarray(first + (second - first) * (at - low))


def steps(
    audio: np.ndarray, sample_rate: int, source: np.ndarray, source_rate: int, held: np.ndarray
) -> tuple[float, list[Place]]:
    """The largest sudden change of level in dB that the source does not make, and where it is above STEP_DB.

    A step shows where all bands change alike and at once. It is looked for in held notes of the output, and
    in the difference of output and source, which is even only if the output is nearly the source's sound.
    Most steps of 1 dB are not found in another voice: voices do as much by themselves. Arguments as in
    `clicks`.
    """
    own, before = _band_levels(audio, sample_rate), _band_levels(source, source_rate)
    bands, n = min(len(own), len(before)), min(own.shape[1], before.shape[1])
    own, before = own[:bands, :n], before[:bands, :n]
    if n < 3:
        return 0.0, []
    heard = []
    for levels in (own, before):
        whole = 10.0 * np.log10(np.sum(10.0 ** (levels / 10.0), axis=0))
        heard.append((levels > whole - 40.0) & (whole > np.percentile(whole, 95) - 30.0))
    alone = _common_step(own, heard[0], 0.3, 0.3, 75.0)
    natural = around(np.abs(_common_step(before, heard[1], 0.3, 1.0)), round(0.015 / STEP_SECONDS))
    calm = at_steps(held, FRAME_SECONDS, n, STEP_SECONDS)
    alone = np.where(calm, np.maximum(np.abs(alone) - natural, 0.0), 0.0)
    difference = np.abs(_common_step(own - before, heard[0] & heard[1], 0.15, 0.2))
    worst = np.maximum(alone, difference)
    return float(worst.max()), places(worst > STEP_DB, worst, STEP_SECONDS, 0.05)


def _harmonics(audio: np.ndarray, sample_rate: int, pitch: Pitch) -> tuple[np.ndarray, np.ndarray]:
    """Complex amplitude of the lowest harmonics every 2.5 ms, their phase less the tracked one, and f0.

    Returns:
        (H, K), and Hz, (K,).
    """
    known = np.flatnonzero((pitch.confidence >= 0.5) & (pitch.f0 > 0))
    steps = int(len(audio) / sample_rate / STEP_SECONDS)
    if not len(known):
        return np.zeros((HARMONICS, steps), complex), np.full(steps, 1.0)
    log_f0 = np.log(pitch.f0[known])
    f0 = np.exp(np.interp(np.arange(len(audio)) / sample_rate, known * FRAME_SECONDS, log_f0))
    turn = np.exp(-2j * np.pi * np.cumsum(f0) / sample_rate)
    size = round(0.02 * sample_rate)
    window = np.hanning(size + 2)[1:-1]
    starts = np.round(np.arange(steps) * STEP_SECONDS * sample_rate).astype(int)
    amplitudes = np.empty((HARMONICS, steps), complex)
    still = audio.astype(np.complex128)
    for harmonic in range(HARMONICS):
        still = still * turn
        frames = np.lib.stride_tricks.sliding_window_view(np.pad(still, (size // 2, size)), size)
        for part in np.array_split(np.arange(steps), max(1, math.ceil(steps / 8192))):
            amplitudes[harmonic, part] = frames[starts[part]] @ window
    return amplitudes, f0[np.minimum(starts, len(f0) - 1)]


def phase_jumps(audio: np.ndarray, sample_rate: int, pitch: Pitch) -> np.ndarray:
    """By what share of a period the voice jumps in time at each 2.5 ms, 0 where it does not, (K,), up to 0.5.

    In a held note the phase of each harmonic runs on evenly. The phases 10 ms before and after a moment are
    compared with what 30 ms on both sides foretell; if one jump in time explains how far all harmonics are
    off (JUMP_FIT of their amplitude), it is one. A jump by whole periods leaves no trace.
    """
    amplitudes, f0 = _harmonics(audio, sample_rate, pitch)
    near = round(0.01 / STEP_SECONDS)
    at = np.arange(3 * near, max(3 * near, amplitudes.shape[1] - 3 * near))
    found = np.zeros(amplitudes.shape[1])
    if not len(at):
        return found
    first, left, right, last = (amplitudes[:, at + k * near] for k in (-3, -1, 1, 3))
    course = (np.angle(left * first.conj()) + np.angle(last * right.conj())) / 2.0
    turn = np.exp(1j * (np.angle(right * left.conj()) - course))
    weight = np.sqrt(np.min(np.abs([first, left, right, last]), axis=0))
    numbers = np.arange(1, HARMONICS + 1)[:, None]
    weight = weight * (numbers * f0[at] < 3500.0)
    shares = np.linspace(-0.5, 0.5, 41)[:-1]
    fits = np.stack(
        [np.sum(weight * np.real(turn * np.exp(-2j * np.pi * numbers * s)), axis=0) for s in shares]
    )
    fits = fits / np.maximum(weight.sum(axis=0), 1e-12)
    best = fits.argmax(axis=0)
    sure = (fits.max(axis=0) > JUMP_FIT) & (fits.max(axis=0) - fits[len(shares) // 2] > 0.4)
    found[at] = np.where(sure, np.abs(shares[best]), 0.0)
    return found


def jumps(
    heard: tuple[np.ndarray, int, Pitch], source: tuple[np.ndarray, int, Pitch], held: np.ndarray
) -> tuple[float, list[Place]]:
    """The largest jump in time within a held note as a share of its period, and where it is over JUMP_SHARE.

    Args:
        heard, source: audio (N,) best at 16 kHz, its rate, and its own pitch.
        held: (T,) as `held_notes` gives.
    """
    own, before = phase_jumps(*heard), phase_jumps(*source)
    n = min(len(own), len(before))
    if not n:
        return 0.0, []
    natural = around(before[:n], round(NEAR_SECONDS / STEP_SECONDS)) >= JUMP_SHARE
    calm = at_steps(held, FRAME_SECONDS, n, STEP_SECONDS)
    found = np.where(calm & ~natural, own[:n], 0.0)
    return float(found.max()), places(found >= JUMP_SHARE, found, STEP_SECONDS, 0.05)
