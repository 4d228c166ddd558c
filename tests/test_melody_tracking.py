"""The melody and its doubts: slips of the tracker are mended, sung leaps stay, doubt has a reason."""

import numpy as np
import pytest
import soxr

from resing.config import FeaturesConfig
from resing.features.f0 import SWIFT_HOP, SWIFT_RATE, swift_frames
from resing.features.melody_tracking import (
    BREATHY,
    OCTAVES_APART,
    Doubt,
    find_melody,
    second_opinion,
    spans,
)

CONFIG = FeaturesConfig()
PHRASE = [(220.0, 0.8), (0.0, 0.3), (440.0, 0.6), (247.0, 0.7)]


@pytest.fixture(scope="module")
def audio(sung_phrase) -> np.ndarray:
    return soxr.resample(0.3 * sung_phrase(PHRASE), 44100, SWIFT_RATE)


@pytest.fixture(scope="module")
def heard(audio) -> tuple[np.ndarray, np.ndarray]:
    return swift_frames(audio, CONFIG, 1)


@pytest.mark.parametrize("note", [70.0, 110.0, 261.6, 784.0, 1200.0])
def test_the_signals_own_period_is_the_note(note: float, sung_vowel) -> None:
    sung = soxr.resample(sung_vowel(note, 0.8, vibrato_cents=0.0), 44100, SWIFT_RATE)
    own, strength, *known = second_opinion(sung, np.full(50, note), np.ones(50, bool), CONFIG)[:, 5:-5]
    assert np.abs(1200 * np.log2(own / note)).max() < 12
    assert strength.min() > 0.9 and known[0].min() > 0.9
    assert known[2].max() < strength.min()  # an octave up is no period


def test_noise_has_no_period() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(SWIFT_RATE).astype(np.float32)
    assert np.median(second_opinion(noise, np.full(62, 200.0), np.ones(62, bool), CONFIG)[1]) < 0.5
    silence = second_opinion(np.zeros(SWIFT_RATE, np.float32), np.full(62, 200.0), np.ones(62, bool), CONFIG)
    assert np.isfinite(silence).all() and not silence[0].any()


def test_a_window_says_what_the_whole_says(audio, heard) -> None:
    voiced = heard[1] >= 0.5
    whole = second_opinion(audio, heard[0], voiced, CONFIG)
    first, last = 40, 90
    near = slice(first - 4, last + 4)
    part = second_opinion(
        audio[(first - 4) * SWIFT_HOP : (last + 4) * SWIFT_HOP], heard[0][near], voiced[near], CONFIG
    )
    assert not whole[:, ~voiced].any()
    np.testing.assert_allclose(part[:, 4:-4], whole[:, first:last], rtol=1e-4, atol=1e-5)


def test_clean_singing_is_sung_as_swift_hears_it_without_a_doubt(audio, heard) -> None:
    melody = find_melody(*heard, second_opinion(audio, heard[0], heard[1] >= 0.5, CONFIG), CONFIG)
    sung = heard[1] >= CONFIG.f0_confidence
    np.testing.assert_array_equal(melody.hz[sung], heard[0][sung])
    assert np.median(melody.sure[sung]) > 0.9 and melody.doubts == ()


@pytest.mark.parametrize(("factor", "frames"), [(2.0, 3), (0.5, 3), (2.0, 25), (1.26, 4)])
def test_a_slip_is_mended(audio, heard, factor: float, frames: int) -> None:
    hz, sure = heard[0].copy(), heard[1]
    slip = slice(20, 20 + frames)
    hz[slip] *= factor
    melody = find_melody(hz, sure, second_opinion(audio, hz, heard[1] >= 0.5, CONFIG), CONFIG)
    np.testing.assert_allclose(melody.hz[slip], heard[0][slip], rtol=0.02)
    assert (melody.sure[slip] <= sure[slip]).all()


def test_a_leap_that_is_sung_stays(audio, heard) -> None:
    """From 440 Hz to 247 Hz without a pause, and an octave up after a rest."""
    melody = find_melody(*heard, second_opinion(audio, heard[0], heard[1] >= 0.5, CONFIG), CONFIG)
    seconds = np.arange(len(melody.hz)) * SWIFT_HOP / SWIFT_RATE
    for start, end, note in ((0.1, 0.7, 220), (1.2, 1.65, 440), (1.8, 2.3, 247)):
        inside = (seconds > start) & (seconds < end)
        assert np.abs(1200 * np.log2(melody.hz[inside] / note)).max() < 60


def test_where_the_trackers_differ_there_is_doubt(audio, heard) -> None:
    opinion = second_opinion(audio, heard[0], heard[1] >= 0.5, CONFIG)
    opinion[0, 15:40] *= 0.5
    melody = find_melody(*heard, opinion, CONFIG)
    assert melody.doubts == (Doubt(0.24, 0.64, OCTAVES_APART),)
    assert melody.sure[15:40].max() < 0.6 < melody.sure[42:48].min()


def test_a_hoarse_voice_is_in_doubt(sung_vowel) -> None:
    sung = soxr.resample(sung_vowel(220.0, 1.5), 44100, SWIFT_RATE)
    breath = np.random.default_rng(0).standard_normal(len(sung)) * np.std(sung)
    sung[12000:] += 3.0 * breath[12000:].astype(np.float32)
    frames = len(sung) // SWIFT_HOP
    hz, sure = np.full(frames, 220.0), np.full(frames, 0.8)  # a tracker that is sure all the same
    melody = find_melody(hz, sure, second_opinion(sung, hz, sure > 0, CONFIG), CONFIG)
    assert {doubt.reason for doubt in melody.doubts} == {BREATHY}
    assert melody.doubts[0].start_seconds == pytest.approx(0.75, abs=0.1)


def test_spans_bridge_gaps_and_leave_out_moments() -> None:
    where = np.zeros(200, bool)
    where[10:20] = where[25:30] = True  # 80 ms apart: one
    where[60:63] = True  # 48 ms: none
    where[100:110] = True
    assert spans(where, "x") == [Doubt(0.16, 0.48, "x"), Doubt(1.6, 1.76, "x")]
    assert spans(np.zeros(10, bool), "x") == []
