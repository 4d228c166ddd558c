"""Pitch, loudness and content on the frame grid, against sounds with a known answer."""

import numpy as np
import pytest
import soxr
import torch

from resing.config import AudioConfig, FeaturesConfig
from resing.features import content
from resing.features.content import ContentConfig, ContentEncoder
from resing.features.f0 import fill_unvoiced, frame_times, to_grid, track, track_world
from resing.features.loudness import (
    FLOOR_DB,
    FURTHEST_DB,
    a_weighted_level,
    a_weighting,
    follow,
    relative_loudness,
    song_level,
)

AUDIO, FEATURES = AudioConfig(), FeaturesConfig()


@pytest.mark.parametrize("note", [110.0, 261.6, 784.0])
def test_both_trackers_hear_the_note_that_is_sung(note: float, sung_vowel) -> None:
    audio = sung_vowel(note, 1.5, sample_rate=44100, vibrato_cents=0.0)
    frames = AUDIO.frame_count(len(audio))
    f0, confidence = track(soxr.resample(audio, 44100, 16000), frames, AUDIO, FEATURES, threads=1)
    second = track_world(audio, 44100, frames, AUDIO, FEATURES)
    for heard in (f0, second):
        middle = heard[20:-20]
        assert (middle > 0).mean() > 0.95
        assert abs(1200 * np.log2(np.median(middle[middle > 0]) / note)) < 10
    assert confidence.shape == f0.shape == (frames,)


def test_long_audio_is_tracked_in_chunks_without_a_trace(sung_vowel, monkeypatch) -> None:
    audio = soxr.resample(sung_vowel(220.0, 6.0, sample_rate=44100), 44100, 16000)
    whole = track(audio, 500, AUDIO, FEATURES, threads=1)
    monkeypatch.setattr("resing.features.f0.CHUNK_SECONDS", 1.3)
    parts = track(audio, 500, AUDIO, FEATURES, threads=1)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-4)


def test_silence_has_no_note() -> None:
    f0, _ = track(np.zeros(16000, np.float32), 86, AUDIO, FEATURES, threads=1)
    assert not f0.any()


def test_a_glide_is_interpolated_in_log_frequency_and_gaps_are_not_crossed() -> None:
    pitch, sure = np.array([100.0, 120.0, 120.0, 240.0]), np.array([1.0, 1.0, 0.0, 1.0])
    f0, _ = to_grid(pitch, sure, np.array([0.0, 0.004, 0.8 * 0.016, 0.016, 0.032]), 0.5)
    np.testing.assert_allclose(f0[:4], [100.0, 100.0 * 1.2**0.25, 100.0 * 1.2**0.8, 120.0], rtol=1e-5)
    assert f0[4] == 0.0


def test_unvoiced_frames_are_bridged() -> None:
    filled = fill_unvoiced(np.array([0.0, 100.0, 0.0, 400.0, 0.0], np.float32))
    np.testing.assert_allclose(filled, [100, 100, 200, 400, 400], rtol=1e-5)
    assert (fill_unvoiced(np.zeros(3, np.float32)) == 200.0).all()


def test_a_weighting_is_the_standards() -> None:
    gain = 10 * torch.log10(a_weighting(48000, 4800))
    for hz, expected in ((100, -19.1), (1000, 0.0), (4000, 1.0), (10000, -2.5)):
        assert gain[hz // 10].item() == pytest.approx(expected, abs=0.15)


def test_level_follows_gain_and_loudness_does_not(sung_vowel) -> None:
    audio = torch.from_numpy(sung_vowel(220.0, 1.0, sample_rate=44100))[None]
    loud, soft = (a_weighted_level(audio * g, AUDIO)[0].numpy() for g in (1.0, 0.1))
    np.testing.assert_allclose(loud - soft, 20.0, atol=0.01)
    a, b = (relative_loudness(x, song_level(x)) for x in (loud, soft))
    np.testing.assert_allclose(a, b, atol=0.02)
    assert relative_loudness(np.array([-200.0]), -20.0)[0] == FLOOR_DB


def test_a_full_scale_sine_at_1_khz_is_minus_3_db() -> None:
    time = np.arange(44100) / 44100
    level = a_weighted_level(torch.from_numpy(np.sin(2 * np.pi * 1000 * time)).float()[None], AUDIO)
    assert level[0, 40].item() == pytest.approx(-3.01, abs=0.1)


def test_the_colour_of_a_hiss_is_told_and_that_of_a_voice_is_not(sung_vowel) -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.05
    bright = np.diff(noise, n=3, prepend=np.zeros(3)).astype(np.float32)  # an s
    dark = np.convolve(noise, np.ones(4) / 4, "same").astype(np.float32)  # more of an f or h
    vowel = sung_vowel(220.0, 1.0, sample_rate=16000)
    colours = {}
    for name, audio in (("bright", bright), ("dark", dark), ("vowel", vowel), ("rest", 0 * noise)):
        colours[name] = content.hiss(content.content_mel(torch.from_numpy(audio)[None]), 8)[0, :, 5:-5]
        assert colours[name].shape[0] == 8
    assert torch.argmax(colours["bright"].mean(1)) == 7 and colours["bright"].std() > 0.5
    assert (colours["bright"] - colours["dark"]).abs().mean() > 0.3
    assert colours["vowel"].abs().max() < 0.05 * colours["bright"].abs().max()
    assert colours["rest"].abs().max() < 1e-3


def test_units_in_chunks_leave_no_trace(monkeypatch) -> None:
    torch.manual_seed(0)
    net = content.build(ContentConfig(hidden=16, layers=3, n_units=6))
    encoder = ContentEncoder(net, hiss_bands=8)
    audio = np.random.default_rng(0).standard_normal(50000).astype(np.float32) * 0.1
    whole = encoder(audio)
    assert whole.shape == (14, -(-50000 // 320)) and np.abs(whole[6:]).max() > 0.1
    monkeypatch.setattr(content, "CHUNK_UNITS", 37)
    np.testing.assert_allclose(encoder(audio), whole, atol=1e-4)


def test_units_move_to_the_frame_grid() -> None:
    units = np.arange(10, dtype=np.float32)[None]
    times = np.array([0.0, 0.01, 0.02, 0.05, 9.0])
    np.testing.assert_allclose(content.to_grid(units, times)[0], [0, 0.5, 1, 2.5, 9], atol=1e-5)


def test_frames_are_centred_on_half_hops() -> None:
    np.testing.assert_allclose(frame_times(2, AUDIO, 10), np.array([10.5, 11.5]) * 512 / 44100)


def test_a_level_follows_another() -> None:
    rng = np.random.default_rng(0)
    slow = np.interp(np.arange(300), np.arange(0, 301, 30), rng.uniform(-5, 5, 11))
    level = -30 + rng.normal(0, 1, 300)
    gain = follow(level, slow, np.ones(300, bool))
    assert np.std(follow(level + gain, slow, np.ones(300, bool))) < 0.3
    np.testing.assert_allclose(follow(level, slow + 40, np.ones(300, bool)), gain)


def test_a_gain_stays_within_its_limits_and_crosses_silence_in_a_line() -> None:
    level, wanted, heard = np.zeros(90), np.zeros(90), np.ones(90, bool)
    wanted[60:], level[30:60], heard[30:60] = 40.0, -90.0, False
    gain = follow(level, wanted, heard)
    assert np.abs(gain).max() <= FURTHEST_DB
    np.testing.assert_allclose(np.diff(gain[29:61]), (gain[60] - gain[29]) / 31)
    assert not follow(level, wanted, np.zeros(90, bool)).any()
