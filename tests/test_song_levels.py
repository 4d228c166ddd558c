"""Filters, loudness and the limiter: known answers, FFmpeg as a reference, and nothing touched in vain."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph

from resing.scoring.metrics import EMPTY_DB, true_peak_dbtp
from resing.song.filtering import Filter, filtered, linear_phase, regrouped
from resing.song.levels import LoudnessMeter, PeakMeter
from resing.song.limiter import CEILING_DBTP, Limiter

RATE = 48000


def blocks(audio: np.ndarray, size: int):
    return (audio[:, at : at + size] for at in range(0, audio.shape[1], size))


def lufs(audio: np.ndarray, sample_rate: int = RATE, size: int = 10000) -> float:
    meter = LoudnessMeter(sample_rate, audio.shape[0])
    for block in blocks(audio, size):
        meter.push(block)
    return meter.finish()


def ffmpeg_lufs(audio: np.ndarray, sample_rate: int) -> float:
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=sample_rate, format="fltp", layout="stereo", time_base=Fraction(1, sample_rate)
    )
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout="stereo")
    frame.sample_rate = sample_rate
    source.push(frame)
    source.push(None)
    heard = {}
    while True:
        try:
            heard = sink.pull().metadata
        except (av.EOFError, av.BlockingIOError):
            return float(heard["lavfi.r128.I"])


def limited(audio: np.ndarray, size: int = 4096) -> tuple[np.ndarray, Limiter]:
    limiter = Limiter(RATE, audio.shape[0])
    parts = [limiter.push(block) for block in blocks(audio, size)]
    return np.concatenate([*parts, limiter.finish()], axis=1), limiter


def tone(hz: float, seconds: float, peak: float, phase: float = 0.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (peak * np.sin(2 * np.pi * hz * times + phase))[None].astype(np.float32)


@pytest.mark.parametrize("size", [700, 40000, 200000])
def test_a_filter_is_convolution_without_delay(size: int):
    rng = np.random.default_rng(0)
    audio, taps = rng.standard_normal((1, 100001)), rng.standard_normal((2, 301))
    out = np.concatenate(list(filtered(blocks(audio, size), Filter(taps, early=150))), axis=1)
    for channel in range(2):
        np.testing.assert_allclose(out[channel], np.convolve(audio[0], taps[channel], "same"), atol=2e-5)


def test_a_filter_keeps_channels_apart_and_silence_silent():
    audio = np.zeros((2, 90000), np.float32)
    audio[1, 100] = 1.0
    out = np.concatenate(list(filtered([audio], Filter(np.ones((2, 10))))), axis=1)
    assert not out[0].any()
    assert np.flatnonzero(out[1]).tolist() == list(range(100, 110))
    assert Filter(np.ones((2, 5))).finish().shape == (2, 0)


def test_a_filter_refuses_taps_without_a_time_0():
    with pytest.raises(ValueError, match="expected taps"):
        Filter(np.ones((1, 4)), early=4)


def test_linear_phase_has_the_asked_gain():
    gain = np.linspace(1.0, 0.5, 513)
    taps = linear_phase(gain)
    assert np.allclose(taps[1:], taps[1:][::-1])
    np.testing.assert_allclose(np.abs(np.fft.rfft(taps))[5:-5], gain[5:-5], atol=0.002)


def test_blocks_are_regrouped_and_padded():
    parts = list(regrouped([np.ones((1, 3)), np.ones((1, 4))], [2, 4, 3], 1))
    assert [part.shape[1] for part in parts] == [2, 4, 3]
    assert np.concatenate(parts, axis=1)[0].tolist() == [1.0] * 7 + [0.0] * 2


def test_loudness_of_the_standards_sine():
    """BS.1770-4 annex 1: 997 Hz at 0 dBFS in one channel reads -3.01."""
    sine = np.concatenate([tone(997, 5, 1.0), np.zeros((1, 5 * RATE), np.float32)])
    assert lufs(sine) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize("sample_rate", [44100, 48000])
def test_loudness_agrees_with_ffmpeg(sample_rate: int):
    rng = np.random.default_rng(1)
    loud = np.repeat([0.3, 0.001, 0.1, 0.02, 0.2], 2 * sample_rate)  # the gates have work to do
    audio = (rng.standard_normal((2, len(loud))) * loud * [[1.0], [0.4]]).astype(np.float32)
    assert lufs(audio, sample_rate) == pytest.approx(ffmpeg_lufs(audio, sample_rate), abs=0.05)


def test_loudness_does_not_depend_on_blocks_and_silence_has_none():
    audio = np.random.default_rng(2).standard_normal((2, 3 * RATE)).astype(np.float32) * 0.1
    assert lufs(audio, size=333) == pytest.approx(lufs(audio, size=10**6), abs=1e-6)
    assert lufs(np.zeros((2, RATE), np.float32)) == EMPTY_DB
    assert lufs(tone(997, 0.05, 0.5)) > -40


def test_a_peak_between_samples_is_seen():
    """A sine at a quarter of the rate, sampled at 45 degrees, peaks 3.01 dB above its samples."""
    hidden = tone(RATE / 4, 1, 1.0, phase=np.pi / 4)
    hidden *= np.clip(np.minimum(np.arange(RATE), RATE - np.arange(RATE)) / 1000, 0, 1).astype(np.float32)
    meter = PeakMeter(RATE, 1)
    meter.push(hidden)
    assert 20 * np.log10(np.abs(hidden).max()) == pytest.approx(-3.01, abs=0.01)
    assert meter.finish() == pytest.approx(0.0, abs=0.05)


def test_the_limiter_holds_the_peak_between_samples():
    loud = tone(RATE / 4, 1, 1.2, phase=np.pi / 4)
    edges = np.minimum(np.arange(RATE), RATE - np.arange(RATE)) / 2000
    loud *= np.clip(edges, 0, 1).astype(np.float32)
    out, limiter = limited(np.concatenate([loud, -0.3 * loud]))
    assert CEILING_DBTP - 0.05 < true_peak_dbtp(out[0], RATE) <= CEILING_DBTP + 0.02
    assert limiter.deepest_db == pytest.approx(20 * np.log10(1.2) + 1.02, abs=0.2)
    np.testing.assert_allclose(out[1], -0.3 * out[0], atol=1e-6)  # both channels alike


def test_the_limiter_holds_bursts():
    rng = np.random.default_rng(3)
    audio = rng.standard_normal((2, RATE)).astype(np.float32) * 0.1
    for at in (0, 1, 9000, 9100, 30000, RATE - 1):
        audio[:, at] += rng.choice([-2.0, 2.0])
    out, _ = limited(audio)
    assert max(true_peak_dbtp(channel, RATE) for channel in out) <= CEILING_DBTP + 0.05


def test_samples_where_the_limiter_does_not_act_are_untouched():
    audio = tone(220, 4, 0.5)
    audio[:, RATE : RATE + 200] *= 2.2
    out, limiter = limited(audio)
    assert out.shape == audio.shape
    touched = np.flatnonzero((out != audio).any(0))
    assert 0.5 < limiter.deepest_db < 3.0
    assert touched.min() >= RATE - 0.006 * RATE
    assert touched.max() <= 1.1 * RATE + 200  # let go at 40 dB a second
    quiet = tone(220, 1, 0.85)
    assert np.array_equal(limited(quiet)[0], quiet)


@pytest.mark.parametrize("size", [1, 5000])
def test_the_limiter_does_not_depend_on_blocks(size: int):
    audio = np.random.default_rng(4).standard_normal((1, 20000 if size > 1 else 2000)).astype(np.float32)
    np.testing.assert_allclose(limited(audio, size)[0], limited(audio, 10**6)[0], atol=1e-6)
