"""Injected faults and harmless changes: what detectors of damage must and must not hear.

Each takes mono audio (N,), its rate in Hz, a generator, and moments in seconds from which one is chosen for
what lasts a moment, and returns audio of the same length, but for `longer`.
"""

import io

import av
import numpy as np
import pyworld
import soxr

from resing.scoring import metrics

Array = np.ndarray


def _sample(moments: Array, rate: int, rng: np.random.Generator, offset_seconds: float = 0.0) -> int:
    """One of the moments as a sample, so much later."""
    return max(0, round((float(rng.choice(moments)) + offset_seconds) * rate))


def add_noise(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """White noise 20 dB under the singing."""
    noise = rng.standard_normal(len(audio))
    return audio + noise * np.sqrt(np.mean(audio**2)) * 10 ** (-20 / 20)


def add_phase_noise(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Phases of a 23 ms STFT scattered by 1 radian."""
    size = 4 * round(0.006 * rate)
    hop, window = size // 4, np.hanning(size + 1)[:-1]
    padded = np.pad(audio.astype(np.float64), (size, 2 * size))
    starts = np.arange(0, len(padded) - size, hop)
    frames = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, size)[starts] * window)
    frames = np.fft.irfft(frames * np.exp(1j * rng.standard_normal(frames.shape)), size) * window
    out = np.zeros(len(padded))
    for start, frame in zip(starts, frames, strict=True):
        out[start : start + size] += frame / 1.5
    return out[size : size + len(audio)]


def low_pass(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Nothing above 5.5 kHz."""
    spectrum = np.fft.rfft(audio)
    return np.fft.irfft(spectrum * (np.fft.rfftfreq(len(audio), 1 / rate) < 5500), len(audio))


def noise_in_silence(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Noise of -45 dBFS where nothing is sung."""
    levels = metrics.frame_levels(audio, rate)
    silent = levels < metrics.active_level(levels) - 40.0
    mask = np.repeat(silent, round(0.01 * rate))[: len(audio)]
    return audio + mask * rng.standard_normal(len(audio)) * 10 ** (-45 / 20)


def _heard_by_world(audio: Array, rate: int) -> tuple[Array, Array, Array]:
    """Pitch in Hz, spectral envelope and aperiodicity."""
    signal = audio.astype(np.float64)
    rough, times = pyworld.dio(signal, rate, f0_floor=60.0, f0_ceil=1000.0)
    f0 = pyworld.stonemask(signal, rough, times, rate)
    return f0, pyworld.cheaptrick(signal, f0, times, rate), pyworld.d4c(signal, f0, times, rate)


def halve_pitch(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Copy-synthesis by WORLD with f0 halved in 20 % of the sung frames, 120 ms at a time."""
    f0, envelope, noise = _heard_by_world(audio, rate)
    sung = np.flatnonzero(f0 > 0)
    for block in range(0, len(sung), 120):
        f0[sung[block : block + 24]] /= 2.0
    return pyworld.synthesize(f0, envelope, noise, rate)[: len(audio)]


def hoarse(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Copy-synthesis by WORLD with most of the tone turned into noise of its colour."""
    f0, envelope, noise = _heard_by_world(audio, rate)
    return pyworld.synthesize(f0, envelope, 0.8 + 0.2 * noise, rate)[: len(audio)]


def mistune(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Copy-synthesis by WORLD a quarter tone sharp."""
    f0, envelope, noise = _heard_by_world(audio, rate)
    return pyworld.synthesize(f0 * 2 ** (50 / 1200), envelope, noise, rate)[: len(audio)]


def sing_wrong_notes(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Copy-synthesis by WORLD a fifth too high in 20 % of the sung frames, 120 ms at a time."""
    f0, envelope, noise = _heard_by_world(audio, rate)
    sung = np.flatnonzero(f0 > 0)
    for block in range(0, len(sung), 120):
        f0[sung[block : block + 24]] *= 1.5
    return pyworld.synthesize(f0, envelope, noise, rate)[: len(audio)]


def whisper(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Copy-synthesis by WORLD with breath for tone in 40 % of the sung frames, 200 ms at a time."""
    f0, envelope, noise = _heard_by_world(audio, rate)
    sung = np.flatnonzero(f0 > 0)
    for block in range(0, len(sung), 100):
        f0[sung[block : block + 40]] = 0.0
    return pyworld.synthesize(f0, envelope, noise, rate)[: len(audio)]


def boost(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """9 dB louder."""
    return audio * 10 ** (9 / 20)


def overshoot(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """As loud as full scale holds and 1 dB more, in a format that holds it."""
    return audio / np.abs(audio).max() * 10 ** (1 / 20)


def click(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """One sample off by half the peak."""
    result = audio.astype(np.float64).copy()
    result[_sample(moments, rate, rng)] += 0.5 * np.abs(audio).max()
    return result


def longer(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """12 samples too many."""
    return np.pad(audio, (0, 12))


def step(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """1 dB louder from one sample on."""
    gain = np.ones(len(audio))
    gain[_sample(moments, rate, rng) :] = 10 ** (1 / 20)
    return audio * gain


def jump(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """5 ms left out, and as many zeros at the end."""
    at, size = _sample(moments, rate, rng), round(0.005 * rate)
    return np.concatenate([audio[:at], audio[at + size :], np.zeros(min(size, len(audio) - at))])


def _hole(audio: Array, rate: int, at: int, seconds: float, gain: float) -> Array:
    """The gain for so long, with edges of 1 ms."""
    size, edge = round(seconds * rate), round(0.001 * rate)
    shape = np.clip(np.minimum(np.arange(size), np.arange(size)[::-1]) / edge, 0, 1)
    result = audio.astype(np.float64).copy()
    result[at : at + size] *= 1 - (1 - gain) * shape[: len(result) - at]
    return result


def dip(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """10 ms of a note 20 dB softer."""
    return _hole(audio, rate, _sample(moments, rate, rng, -0.005), 0.01, 0.1)


def clip(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """3 dB louder than full scale holds."""
    return np.clip(audio / np.abs(audio).max() * 10 ** (3 / 20), -1, 1)


def delay(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """25 ms late."""
    size = round(0.025 * rate)
    return np.concatenate([np.zeros(size), audio])[: len(audio)]


def stretch(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """0.5 % slower, cut to the same length."""
    return soxr.resample(audio, rate, rate * 1.005)[: len(audio)]


def cut(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """300 ms of singing silent."""
    return _hole(audio, rate, _sample(moments, rate, rng, -0.15), 0.3, 0.0)


def leave_out(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """300 ms of singing gone, the rest early, zeros at the end."""
    at, size = _sample(moments, rate, rng, -0.15), round(0.3 * rate)
    return np.concatenate([audio[:at], audio[at + size :], np.zeros(min(size, len(audio) - at))])


def opus(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """Opus at 96 kbit/s and back."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        stream.bit_rate = 96000
        samples = soxr.resample(audio, rate, 48000).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        decoded = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])
    result = soxr.resample(decoded.astype(np.float64), 48000, rate)
    return np.pad(result, (0, max(0, len(audio) - len(result))))[: len(audio)]


def softer(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """3 dB softer."""
    return audio * 10 ** (-3 / 20)


def shelf(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """2 dB more above 3 kHz."""
    frequencies = np.fft.rfftfreq(len(audio), 1 / rate)
    gain = 10 ** (2 / 20 / (1 + (3000 / np.maximum(frequencies, 1)) ** 2))
    return np.fft.irfft(np.fft.rfft(audio) * gain, len(audio))


def reverb(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """A light room: 0.3 s to -60 dB, 15 dB under the direct sound, 5 ms after it."""
    seconds = np.arange(round(0.4 * rate)) / rate
    room = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / 0.3) * (seconds > 0.005)
    room *= 10 ** (-15 / 20) / np.sqrt(np.sum(room**2))
    room[0] = 1.0
    size = len(audio) + len(room)
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(room, size), size)[: len(audio)]


def nothing(audio: Array, rate: int, rng: np.random.Generator, moments: Array) -> Array:
    """The clip as it is."""
    return audio


# heading: the fault, and the detectors of which at least one must fire
FAULTS = {
    "noise at 20 dB": (add_noise, ("hnr_high_db_change", "silence_floor_db")),
    "phase noise": (add_phase_noise, ("hnr_db_change",)),
    "low-pass 5.5 kHz": (low_pass, ("worst_band_db",)),
    "noise at -45 dBFS in silences": (noise_in_silence, ("silence_floor_db",)),
    "f0 halved in 20 %": (halve_pitch, ("octave_share",)),
    "a quarter tone sharp": (mistune, ("f0_median_cents", "f0_rmse_cents")),
    "a fifth too high in 20 %": (sing_wrong_notes, ("gross_share",)),
    "breath for tone in 40 %": (whisper, ("voicing_error", "coverage")),
    "hoarse": (hoarse, ("cpp_ratio",)),
    "a click": (click, ("clicks_ratio",)),
    "12 samples more": (longer, ("length_difference_samples",)),
    "1 dB step": (step, ("steps_db", "clicks_ratio")),
    "5 ms jump": (jump, ("jumps_share", "clicks_ratio")),
    "10 ms dip": (dip, ("dips_db",)),
    "+3 dB clipping": (clip, ("clipped_runs",)),
    "9 dB louder": (boost, ("loudness_change_lu",)),
    "1 dB over full scale": (overshoot, ("true_peak_dbtp",)),
    "25 ms delay": (delay, ("lag_ms",)),
    "0.5 % stretch": (stretch, ("drift_ms_per_minute",)),
    "300 ms cut to silence": (cut, ("missing_seconds",)),
    "300 ms left out": (leave_out, ("lag_ms", "part_lag_ms", "missing_seconds")),
}
HARMLESS = {
    "as it is": nothing,
    "Opus at 96 k": opus,
    "-3 dB": softer,
    "2 dB shelf": shelf,
    "light reverb": reverb,
}
