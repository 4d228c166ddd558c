"""Scales by name, and notes pulled onto them with vibrato and glides as they were sung."""

import numpy as np
import pytest

from resing.errors import ConfigError
from resing.pitch import find_notes, hz_to_semitones
from resing.pitch_tune import scale_tones, tune

RATE = 86.13


def hz(semitones: np.ndarray | float) -> np.ndarray:
    return (440.0 * 2 ** ((np.asarray(semitones) - 69.0) / 12)).astype(np.float32)


def tuned(f0: np.ndarray, scale: str = "chromatic", strength: float = 1.0) -> np.ndarray:
    return tune(f0, find_notes(f0, RATE), scale, strength, RATE)


@pytest.mark.parametrize(
    ("scale", "tones"),
    [
        ("C major", (0, 2, 4, 5, 7, 9, 11)),
        ("A minor", (0, 2, 4, 5, 7, 9, 11)),
        ("c  MAJOR ", (0, 2, 4, 5, 7, 9, 11)),
        ("F# minor", (1, 2, 4, 6, 8, 9, 11)),
        ("Bb major", (0, 2, 3, 5, 7, 9, 10)),
        ("b♭ major pentatonic", (0, 2, 5, 7, 10)),
        ("E harmonic minor", (0, 3, 4, 6, 7, 9, 11)),
        ("Chromatic", tuple(range(12))),
    ],
)
def test_scales(scale: str, tones: tuple[int, ...]) -> None:
    assert scale_tones(scale) == tones


@pytest.mark.parametrize("scale", ["", "C", "H major", "C mayor", "C# # major", "major", "C major please"])
def test_what_is_no_scale_is_refused(scale: str) -> None:
    with pytest.raises(ConfigError, match=r"tune: got .*expected chromatic, or a tonic and one of major, mi"):
        scale_tones(scale)


@pytest.mark.parametrize(
    ("sung", "scale", "expected"),
    [
        (60.3, "chromatic", 60),
        (60.3, "C major", 60),
        (61.2, "C major", 62),
        (60.9, "C major", 60),
        (58.6, "A minor", 59),
    ],
)
def test_a_note_moves_to_the_nearest_tone(sung: float, scale: str, expected: float) -> None:
    f0 = np.concatenate([np.zeros(5), np.full(40, hz(sung)), np.zeros(5)])
    after = tuned(f0, scale)
    np.testing.assert_allclose(hz_to_semitones(after[5:45]), expected, atol=1e-3)
    assert not after[:5].any() and not after[45:].any()


def test_strength() -> None:
    f0 = np.full(50, hz(60.4))
    for strength, expected in ((0.0, 60.4), (0.5, 60.2), (1.0, 60.0)):
        np.testing.assert_allclose(hz_to_semitones(tuned(f0, strength=strength)), expected, atol=1e-3)
    np.testing.assert_array_equal(tuned(f0, strength=0.0), f0)


def test_vibrato_stays_as_it_was_sung() -> None:
    turn = 0.6 * np.sin(2 * np.pi * 5.5 * np.arange(120) / RATE)
    after = hz_to_semitones(tuned(hz(64.35 + turn), "C major"))
    np.testing.assert_allclose(after - turn, np.full(120, (after - turn)[0]), atol=1e-3)
    assert np.median(after) == pytest.approx(64, abs=0.1)


def test_a_glide_stays_a_glide() -> None:
    """From one held note to the next through tones that the scale does not have."""
    line = np.concatenate([np.full(40, 60.3), np.linspace(60.3, 66.7, 30), np.full(40, 66.7)])
    after = hz_to_semitones(tuned(hz(line), "C major"))
    assert np.median(after[5:30]) == pytest.approx(60, abs=0.02)
    assert np.median(after[-30:-5]) == pytest.approx(67, abs=0.02)
    slope = np.diff(after)
    assert slope.min() > -0.03 and slope.max() < np.diff(line).max() + 0.06


def test_a_melody_in_tune_is_left_alone() -> None:
    f0 = np.concatenate([np.full(40, hz(60)), np.full(40, hz(64)), np.zeros(9), np.full(40, hz(67))])
    np.testing.assert_allclose(tuned(f0, "C major"), f0, rtol=1e-6)
    assert not tuned(np.zeros(20, np.float32)).any()
