"""The judge's pure measures on sounds whose answer is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import measures
import tables
from measures import Pitch

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
    numbers = np.arange(10, int(seconds / measures.FRAME_SECONDS) - 10)
    return np.full(len(numbers), F0), numbers


def melody(cents: float = 0.0) -> Pitch:
    """A confident glide over an octave, shifted by `cents`."""
    f0 = 200.0 * 2.0 ** (np.linspace(0, 1, 200) + cents / 1200.0)
    return Pitch(f0, np.full(200, 0.95))


def test_the_same_melody_agrees_fully_and_the_requested_shift_is_removed_not_fitted():
    active = np.ones(200, dtype=bool)
    same = measures.pitch_agreement(melody(), melody(), 0.0, active)
    assert same["coverage"] == 1.0 and same["f0_rmse_cents"] == pytest.approx(0.0, abs=1e-6)
    shifted = measures.pitch_agreement(melody(), melody(300.0), 3.0, active)
    assert shifted["f0_rmse_cents"] == pytest.approx(0.0, abs=1e-6)
    off = measures.pitch_agreement(melody(), melody(320.0), 3.0, active)
    assert off["f0_rmse_cents"] == pytest.approx(20.0, abs=1e-6)
    assert off["f0_correlation"] == pytest.approx(1.0)


def test_hoarse_frames_count_against_coverage_and_octave_jumps_are_named():
    output = melody()
    output.confidence[:50] = 0.4
    output.f0[100:120] /= 2.0
    found = measures.pitch_agreement(melody(), output, 0.0, np.ones(200, dtype=bool))
    assert found["coverage"] == pytest.approx(0.75)
    assert found["voicing_error"] == pytest.approx(0.25)
    assert found["octave_share"] == pytest.approx(20 / 150) == found["gross_share"]
    assert found["f0_fine_rmse_cents"] == pytest.approx(0.0, abs=1e-6)


def test_an_output_cut_short_loses_coverage():
    whole = melody()
    half = Pitch(whole.f0[:100], whole.confidence[:100])
    assert measures.pitch_agreement(whole, half, 0.0, np.ones(200, dtype=bool))["coverage"] == 0.5


def test_no_common_frame_gives_no_pitch_figures():
    silent = Pitch(np.full(200, 100.0), np.zeros(200))
    found = measures.pitch_agreement(melody(), silent, 0.0, np.ones(200, dtype=bool))
    assert found["coverage"] == 0.0 and found["f0_rmse_cents"] is None


@pytest.mark.parametrize("snr_db", [5.0, 10.0, 20.0])
def test_hnr_is_the_ratio_that_was_mixed(snr_db):
    heard = measures.hnr(voice(noise=10 ** (-snr_db / 10)), RATE, *frames())
    assert np.median(heard) == pytest.approx(snr_db, abs=1.5)


def test_hnr_above_2_khz_hears_noise_that_the_whole_band_hides():
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(2 * RATE))
    spectrum[np.fft.rfftfreq(2 * RATE, 1 / RATE) < 2500] = 0.0
    tone = voice()
    noise = np.fft.irfft(spectrum)
    noise *= np.sqrt(
        0.1 * 0.5 * np.mean(tone**2) / np.mean(noise**2)
    )  # half of the harmonics lie above 2 kHz
    whole, high = (
        np.median(measures.hnr(tone + noise, RATE, *frames(), low_hz=low)) for low in (0.0, 2000.0)
    )
    assert np.median(measures.hnr(tone, RATE, *frames())) > 30.0
    assert high == pytest.approx(10.0, abs=1.5) and whole == pytest.approx(13.0, abs=1.5)


def test_cpp_falls_with_noise():
    heard = [np.median(measures.cpp(voice(noise=n), RATE, *frames())) for n in (0.0, 0.1, 1.0, 100.0)]
    assert heard[0] > heard[1] > heard[2] > heard[3] + 3.0


def test_a_low_pass_shows_as_deficit_and_bandwidth():
    noise = np.random.default_rng(2).standard_normal(44100 * 2) * 0.1
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / 44100) > 5500] *= 10 ** (-100 / 20)
    dull = np.fft.irfft(spectrum)
    full, low = (measures.long_term_spectrum(x, 44100) for x in (noise, 0.5 * dull))
    assert measures.worst_deficit(full, full, 22050.0)[0] == pytest.approx(0.0)
    assert measures.worst_deficit(low, full, 22050.0)[0] < -60.0
    assert measures.worst_deficit(low, full, 5000.0)[0] > -1.0  # nothing is missed that the target never had
    assert measures.bandwidth(*full) > 21000.0 and measures.bandwidth(*low) <= 6000.0
    assert measures.bandwidth(*measures.long_term_spectrum(np.zeros(100), 44100)) == 0.0


def test_noise_in_silences_is_heard_relative_to_the_active_level():
    source = np.concatenate([voice(1.0), np.zeros(RATE), voice(1.0)])
    noise = np.random.default_rng(3).standard_normal(len(source)) * np.sqrt(np.mean(voice(1.0) ** 2)) * 10**-2
    found = measures.silence_floor(source, 0.5 * (source + noise), (RATE, RATE))
    assert found["output_floor_db"] == pytest.approx(-40.0, abs=0.5)
    assert found["source_floor_db"] < -80.0
    assert measures.silence_floor(voice(), voice(), (RATE, RATE))["source_floor_db"] is None
    assert tables.flags(found) == ["silence"]


def test_clipping_is_a_run_at_the_peak():
    clean = 0.9 * np.sin(2 * np.pi * 220.0 * np.arange(44100) / 44100)
    assert measures.clipped_runs(clean) == 0
    assert measures.clipped_runs(np.clip(1.41 * clean, -0.9, 0.9)) > 400
    assert measures.clipped_runs(np.zeros(100)) == 0


def test_length_is_compared_at_the_rate_of_the_output():
    assert measures.length_difference(48000, 44100, (48000, 44100)) == 0
    assert measures.length_difference(24000, 44612, (24000, 44100)) == 512


def test_windows_are_equal_and_cover_the_clip():
    edges = measures.window_edges(27 * RATE, RATE)
    assert len(edges) == 3 and edges[0][0] == 0 and edges[-1][1] == 27 * RATE
    assert measures.window_edges(4 * RATE, RATE) == [(0, 4 * RATE)]


def test_leave_one_out_leaves_each_window_out():
    assert measures.leave_one_out(np.eye(3)) == pytest.approx(0.0)
    assert measures.leave_one_out(np.ones((4, 5))) == pytest.approx(1.0)


def test_letters_keep_marks_of_indic_scripts_and_drop_punctuation():
    assert measures.letters("Là-bas, I'd SING 2!") == "làbasidsing"
    assert measures.letters("प्यार, रात") == "प्याररात"


def test_quality_is_measured_where_the_source_sings_even_if_the_output_is_hoarse():
    output = melody(310.0)
    output.confidence[:100] = 0.1
    expected = measures.expected_pitch(melody(), output, 3.0)
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
