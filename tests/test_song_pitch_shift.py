"""Another key: pitch to the cent, attacks in place, the image kept, and the length to the sample."""

from pathlib import Path

import numpy as np
import pytest

from resing.audio import files
from resing.errors import ConfigError
from resing.song.pitch_shift import shift_pitch, shifted

RATE = 44100


def shift(audio: np.ndarray, semitones: float, size: int = RATE) -> np.ndarray:
    parts = (audio[:, at : at + size] for at in range(0, audio.shape[1], size))
    return np.concatenate(list(shifted(parts, RATE, semitones)), axis=1)


@pytest.mark.parametrize("semitones", [-5, 2, 3.5])
def test_a_chord_moves_and_stays_in_tune(semitones: float):
    notes, times = [220.0, 277.18, 329.63, 1000.0, 3000.0], np.arange(3 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hz * times + hz) for hz in notes)[None].astype(np.float32) / 10
    out = shift(np.concatenate([chord, -0.5 * chord]), semitones)
    assert out.shape == (2, 3 * RATE)
    np.testing.assert_allclose(out[1], -0.5 * out[0], atol=1e-6)
    middle = out[0, RATE // 2 : -RATE // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 16 * RATE))
    hz = np.fft.rfftfreq(16 * RATE, 1 / RATE)
    near = np.zeros(len(hz), bool)
    for note in np.array(notes) * 2 ** (semitones / 12):
        around = np.abs(hz - note) < 10
        assert 1200 * np.log2(hz[around][np.argmax(spectrum[around])] / note) == pytest.approx(0, abs=1)
        near |= around
    assert 10 * np.log10(np.sum(spectrum[~near] ** 2) / np.sum(spectrum[near] ** 2)) < -40
    assert np.std(middle) == pytest.approx(np.std(chord), rel=0.02)


@pytest.mark.parametrize("semitones", [-3, 2])
def test_attacks_stay_in_place(semitones: float):
    rng, audio = np.random.default_rng(0), np.zeros((1, 2 * RATE), np.float32)
    hits = [10000, 30000, 60000]
    for at in hits:
        audio[0, at : at + 300] = rng.standard_normal(300) * np.exp(-np.arange(300) / 60)
    out = shift(audio, semitones)
    for at in hits:
        energy = np.cumsum(out[0, at - 4000 : at + 4000] ** 2)
        first, last = np.searchsorted(energy / energy[-1], [0.1, 0.9])
        assert abs(first - 4000) < 0.003 * RATE
        assert last - first < 0.015 * RATE


@pytest.mark.parametrize("samples", [1, 1000, 44101])
@pytest.mark.parametrize("semitones", [-12, 0, 7])
def test_the_length_stays_exact(samples: int, semitones: float):
    audio = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    assert shift(audio, semitones, 3000).shape == (2, samples)


def test_blocks_do_not_matter_and_silence_stays_silent():
    audio = np.random.default_rng(1).standard_normal((1, 60000)).astype(np.float32) * 0.1
    np.testing.assert_allclose(shift(audio, 2, 999), shift(audio, 2, 60000), atol=1e-6)
    assert not shift(np.zeros((2, 50000), np.float32), 3).any()


def test_a_file_is_shifted(tmp_path: Path):
    audio = np.random.default_rng(1).standard_normal((2, 30000)).astype(np.float32) * 0.1
    files.write(tmp_path / "in.flac", audio, RATE)
    shift_pitch(tmp_path / "in.flac", tmp_path / "out.flac", 1.0)
    out, rate = files.read(tmp_path / "out.flac")
    assert (out.shape, rate) == ((2, 30000), RATE)


def test_too_far_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="-12 to 12"):
        shift_pitch(tmp_path / "in.flac", tmp_path / "out.flac", 13)
