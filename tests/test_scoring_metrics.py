"""Measures of a clip on sounds whose answer is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import tables

from resing.scoring import metrics, timing
from resing.scoring.melody import Pitch, octave_places, voicing_places

RATE = 16000
F0 = 220.0


def voice(seconds: float = 2.0, noise: float = 0.0, f0: float = F0) -> np.ndarray:
    """Equal harmonics up to 4 kHz at f0 plus white noise of the given power relative to them, (N,)."""
    t = np.arange(round(seconds * RATE)) / RATE
    harmonics = [np.cos(2 * np.pi * f0 * k * t + k * k) for k in range(1, int(4000 / f0) + 1)]
    tone = np.sum(harmonics, axis=0)
    rng = np.random.default_rng(0)
    sound = tone + rng.standard_normal(len(t)) * np.sqrt(noise * np.mean(tone**2))
    return 0.3 * sound / np.abs(sound).max()


def frames(seconds: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """f0 and frame numbers of the inner frames of a steady voice."""
    numbers = np.arange(10, int(seconds / metrics.FRAME_SECONDS) - 10)
    return np.full(len(numbers), F0), numbers


def melody(cents: float = 0.0) -> Pitch:
    """A confident glide over an octave, shifted by `cents`."""
    f0 = 200.0 * 2.0 ** (np.linspace(0, 1, 200) + cents / 1200.0)
    return Pitch(f0, np.full(200, 0.95))


def test_the_same_melody_agrees_fully_and_the_requested_shift_is_removed_not_fitted():
    active = np.ones(200, dtype=bool)
    same = metrics.pitch_agreement(melody(), melody(), 0.0, active)
    assert same["coverage"] == 1.0 and same["f0_rmse_cents"] == pytest.approx(0.0, abs=1e-6)
    shifted = metrics.pitch_agreement(melody(), melody(300.0), 3.0, active)
    assert shifted["f0_rmse_cents"] == pytest.approx(0.0, abs=1e-6)
    off = metrics.pitch_agreement(melody(), melody(320.0), 3.0, active)
    assert off["f0_rmse_cents"] == pytest.approx(20.0, abs=1e-6)
    assert off["f0_correlation"] == pytest.approx(1.0)


def test_hoarse_frames_count_against_coverage_and_octave_jumps_are_named():
    output = melody()
    output.confidence[:50] = 0.4
    output.f0[100:120] /= 2.0
    found = metrics.pitch_agreement(melody(), output, 0.0, np.ones(200, dtype=bool))
    assert found["coverage"] == pytest.approx(0.75)
    assert found["voicing_error"] == pytest.approx(0.25)
    assert found["octave_share"] == pytest.approx(20 / 150) == found["gross_share"]
    assert found["f0_fine_rmse_cents"] == pytest.approx(0.0, abs=1e-6)


def test_an_output_cut_short_loses_coverage():
    whole = melody()
    half = Pitch(whole.f0[:100], whole.confidence[:100])
    assert metrics.pitch_agreement(whole, half, 0.0, np.ones(200, dtype=bool))["coverage"] == 0.5


def test_no_common_frame_gives_no_pitch_figures():
    silent = Pitch(np.full(200, 100.0), np.zeros(200))
    found = metrics.pitch_agreement(melody(), silent, 0.0, np.ones(200, dtype=bool))
    assert found["coverage"] == 0.0 and found["f0_rmse_cents"] is None


@pytest.mark.parametrize("snr_db", [5.0, 10.0, 20.0])
def test_hnr_is_the_ratio_that_was_mixed(snr_db):
    heard = metrics.hnr(voice(noise=10 ** (-snr_db / 10)), RATE, *frames())
    assert np.median(heard) == pytest.approx(snr_db, abs=1.5)


def test_hnr_above_2_khz_hears_noise_that_the_whole_band_hides():
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(2 * RATE))
    spectrum[np.fft.rfftfreq(2 * RATE, 1 / RATE) < 2500] = 0.0
    tone = voice()
    noise = np.fft.irfft(spectrum)
    noise *= np.sqrt(
        0.1 * 0.5 * np.mean(tone**2) / np.mean(noise**2)
    )  # half of the harmonics lie above 2 kHz
    whole, high = (np.median(metrics.hnr(tone + noise, RATE, *frames(), low_hz=low)) for low in (0.0, 2000.0))
    assert np.median(metrics.hnr(tone, RATE, *frames())) > 30.0
    assert high == pytest.approx(10.0, abs=1.5) and whole == pytest.approx(13.0, abs=1.5)


def test_cpp_falls_with_noise():
    heard = [np.median(metrics.cpp(voice(noise=n), RATE, *frames())) for n in (0.0, 0.1, 1.0, 100.0)]
    assert heard[0] > heard[1] > heard[2] > heard[3] + 3.0


def test_a_low_pass_shows_as_deficit_and_bandwidth():
    noise = np.random.default_rng(2).standard_normal(44100 * 2) * 0.1
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / 44100) > 5500] *= 10 ** (-100 / 20)
    dull = np.fft.irfft(spectrum)
    full, low = (metrics.long_term_spectrum(x, 44100) for x in (noise, 0.5 * dull))
    assert metrics.worst_deficit(full, full, 22050.0)[0] == pytest.approx(0.0)
    assert metrics.worst_deficit(low, full, 22050.0)[0] < -60.0
    assert metrics.worst_deficit(low, full, 5000.0)[0] > -1.0  # nothing is missed that the target never had
    assert metrics.bandwidth(*full) > 21000.0 and metrics.bandwidth(*low) <= 6000.0
    assert metrics.bandwidth(*metrics.long_term_spectrum(np.zeros(100), 44100)) == 0.0


def test_noise_in_silences_is_heard_relative_to_the_active_level():
    source = np.concatenate([voice(1.0), np.zeros(RATE), voice(1.0)])
    noise = np.random.default_rng(3).standard_normal(len(source)) * np.sqrt(np.mean(voice(1.0) ** 2)) * 10**-2
    found = metrics.silence_floor(source, 0.5 * (source + noise), (RATE, RATE))
    assert found["output_floor_db"] == pytest.approx(-40.0, abs=0.5)
    assert found["source_floor_db"] < -80.0
    assert metrics.silence_floor(voice(), voice(), (RATE, RATE))["source_floor_db"] is None
    assert tables.flags(found) == ["silence"]


def test_clipping_is_a_run_at_the_peak():
    clean = 0.9 * np.sin(2 * np.pi * 220.0 * np.arange(44100) / 44100)
    assert metrics.clipped_runs(clean) == 0
    assert metrics.clipped_runs(np.clip(1.41 * clean, -0.9, 0.9)) > 400
    assert metrics.clipped_runs(np.zeros(100)) == 0


def test_length_is_compared_at_the_rate_of_the_output():
    assert metrics.length_difference(48000, 44100, (48000, 44100)) == 0
    assert metrics.length_difference(24000, 44612, (24000, 44100)) == 512


def test_windows_are_equal_and_cover_the_clip():
    edges = metrics.window_edges(27 * RATE, RATE)
    assert len(edges) == 3 and edges[0][0] == 0 and edges[-1][1] == 27 * RATE
    assert metrics.window_edges(4 * RATE, RATE) == [(0, 4 * RATE)]


def test_leave_one_out_leaves_each_window_out():
    assert metrics.leave_one_out(np.eye(3)) == pytest.approx(0.0)
    assert metrics.leave_one_out(np.ones((4, 5))) == pytest.approx(1.0)


def test_letters_keep_marks_of_indic_scripts_and_drop_punctuation():
    assert metrics.letters("Là-bas, I'd SING 2!") == "làbasidsing"
    assert metrics.letters("प्यार, रात") == "प्याररात"


def test_quality_is_measured_where_the_source_sings_even_if_the_output_is_hoarse():
    output = melody(310.0)
    output.confidence[:100] = 0.1
    expected = metrics.expected_pitch(melody(), output, 3.0)
    assert np.array_equal(expected.confidence, melody().confidence)
    assert expected.f0[:100] == pytest.approx(melody(300.0).f0[:100])
    assert expected.f0[100:] == pytest.approx(output.f0[100:])


def test_report_means_skip_rows_without_the_figure():
    rows = [
        {"system": "a", "voice": "v", "pair": "", "coverage": 1.0, "similarity": 0.9, "length_difference": 1},
        {"system": "a", "voice": "v", "pair": "", "coverage": 0.5},
    ]
    text = tables.markdown_report(rows, {})
    assert "| a | v | 1 | 0.900 |" in text and "| a | all | 2 | 0.750 |" in text
    assert "| a | coverage | 1 |" in text and "| a | length | 1 |" in text


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
def test_a_full_scale_sine_at_997_hz_has_3_lufs_less_than_its_peak(rate):
    sine = np.sin(2 * np.pi * 997.0 * np.arange(3 * rate) / rate)
    assert metrics.loudness_lufs(sine, rate) == pytest.approx(-3.01, abs=0.06)
    assert metrics.loudness_lufs(0.1 * sine, rate) == pytest.approx(-23.01, abs=0.06)


def test_k_weighting_is_that_of_the_standard():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(24000)
    expected = noise
    for b, a in (  # BS.1770-4, tables 1 and 2, for 48 kHz
        (
            (1.53512485958697, -2.69169618940638, 1.19839281085285),
            (-1.69065929318241, 0.73248077421585),
        ),
        ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621)),
    ):
        out = np.zeros(len(expected) + 2)
        padded = np.concatenate([np.zeros(2), expected])
        for n in range(2, len(out)):
            out[n] = b[0] * padded[n] + b[1] * padded[n - 1] + b[2] * padded[n - 2]
            out[n] -= a[0] * out[n - 1] + a[1] * out[n - 2]
        expected = out[2:]
    heard = metrics.k_weighted(noise, 48000)
    assert np.abs(heard - expected).max() < 1e-4 * np.abs(expected).max()


def test_silence_does_not_count_towards_loudness():
    tone = voice(4.0)
    with_silence = np.concatenate([tone, np.zeros(4 * RATE), 1e-3 * tone])
    assert metrics.loudness_lufs(with_silence, RATE) == pytest.approx(
        metrics.loudness_lufs(tone, RATE), abs=0.3
    )
    assert metrics.loudness_lufs(np.zeros(RATE), RATE) == metrics.EMPTY_DB
    assert metrics.loudness_lufs(tone[:100], RATE) < metrics.loudness_lufs(tone, RATE)


def test_the_true_peak_lies_between_the_samples():
    sine = 0.5 * np.sin(2 * np.pi * 0.25 * np.arange(12 * RATE) + np.pi / 4)  # samples reach 0.354 only
    inner = sine * np.clip(np.minimum(np.arange(len(sine)), np.arange(len(sine))[::-1]) / RATE, 0, 1)
    assert np.abs(inner).max() < 0.36
    assert metrics.true_peak_dbtp(inner, RATE) == pytest.approx(-6.02, abs=0.1)


def test_what_is_no_number_is_counted():
    assert metrics.not_finite(np.array([0.0, np.nan, np.inf, 1.0])) == 2


def song(seconds: float = 8.0, late: float = 0.0, rate: int = RATE, f0: float = F0) -> np.ndarray:
    """Notes of uneven length with breaths of noise between them, all `late` seconds later."""
    rng = np.random.default_rng(7)
    t = np.arange(round(seconds * rate)) / rate - late
    starts = np.cumsum(rng.uniform(0.15, 0.6, 40))
    note = np.searchsorted(starts, t)
    swell = np.where(note % 3 == 2, 0.02, 1.0)
    tone = sum(np.sin(2 * np.pi * f0 * (1 + note % 4 / 8) * k * t) / k for k in range(1, 9))
    return 0.1 * swell * tone + 0.01 * (note % 2) * np.random.default_rng(8).standard_normal(len(t))


def test_a_late_output_is_late_by_that_much_at_any_rate_and_pitch():
    source = song()
    for late in (-0.1, 0.0, 0.025, 0.3):
        found = timing.lag_ms(source, song(late=late, rate=44100, f0=300.0), (RATE, 44100))
        assert found == pytest.approx(1000 * late, abs=2.0)


def test_a_slower_output_drifts():
    source = song(12.0)
    stretched = np.interp(np.arange(len(source)) / 1.005, np.arange(len(source)), source)
    drift = timing.drift_ms_per_minute(source, stretched, (RATE, RATE))
    assert drift == pytest.approx(300.0, rel=0.1) and drift > timing.drift_limit(12.0)
    assert timing.drift_ms_per_minute(source, source, (RATE, RATE)) == pytest.approx(0.0, abs=0.1)


def test_time_left_out_shows_from_there_on():
    source = song(12.0)
    shorter = np.concatenate([source[: 6 * RATE], source[6 * RATE + 4800 :], np.zeros(4800)])
    worst, places = timing.timing_places(source, shorter, (RATE, RATE))
    assert worst == pytest.approx(-300.0, abs=5.0)
    assert len(places) == 1 and places[0][0] == pytest.approx(6.0, abs=1.2)


def test_silence_has_no_time():
    silent = np.zeros(3 * RATE)
    found = timing.measure_timing(silent, silent, (RATE, RATE))
    assert found == timing.Timing(0.0, 0.0, 0.0, ())
    assert timing.lag_ms(np.zeros(10), np.zeros(10), (RATE, RATE)) == 0.0


def test_an_octave_counts_only_where_both_trackers_hear_it():
    output = melody()
    output.f0[100:120] /= 2.0
    share, places = octave_places(melody(), output)
    assert share == pytest.approx(0.1) and places == [(1.6, 1.92, pytest.approx(0.32))]
    certain = Pitch(output.f0, np.ones(200))
    assert octave_places(melody(), output, melody(), certain)[0] == pytest.approx(0.1)
    assert octave_places(melody(), output, melody(), melody())[0] == 0.0
    half = Pitch(certain.f0[:50], certain.confidence[:50])
    assert octave_places(melody(), output, melody(), half) == (0.0, [])


def test_tone_lost_and_tone_found_are_both_voicing_errors():
    source, output = melody(), melody()
    source.confidence[20:40] = 0.1
    output.confidence[100:120] = 0.1
    share, places = voicing_places(source, output, np.ones(200, dtype=bool))
    assert share == pytest.approx(0.2) and [place[0] for place in places] == pytest.approx([0.32, 1.6])
