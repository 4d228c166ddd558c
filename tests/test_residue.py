"""What is in a lead besides its note: silent on one dry voice, heard on two and in a ringing room."""

import numpy as np
import pytest
import soxr

from resing.features.f0 import SWIFT_HOP, SWIFT_RATE
from resing.features.residue import LONG_REVERB_DB, SEVERAL, left_over, several_notes, steepest_fall

SUNG = [(220.0, 0.7), (0.0, 0.2), (247.0, 0.8), (262.0, 0.6), (0.0, 0.3), (220.0, 0.9)]


@pytest.fixture(scope="module")
def lead(sung_phrase) -> np.ndarray:
    return soxr.resample(0.3 * sung_phrase(SUNG), 44100, SWIFT_RATE)


def note_of(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lead's notes and where they are sung, as a tracker without fault would tell them, (F,)."""
    hz = np.concatenate([np.full(round(s * SWIFT_RATE), note) for note, s in SUNG])[::SWIFT_HOP]
    frames = len(audio) // SWIFT_HOP
    turn = np.concatenate([np.arange(round(s * SWIFT_RATE)) for _, s in SUNG])[::SWIFT_HOP] / SWIFT_RATE
    vibrato = 2 ** (30 / 1200 * np.sin(2 * np.pi * 5.5 * turn))
    return (np.maximum(hz, 100.0) * vibrato)[:frames], (hz > 0)[:frames]


def test_one_voice_in_a_dry_room_is_alone(lead) -> None:
    hz, voiced = note_of(lead)
    left = left_over(lead, hz, voiced)
    assert left.shape == (3, len(hz)) and np.median(left[0][voiced]) < 0.03
    assert several_notes(left, hz, voiced) == ()
    assert steepest_fall(left) < 2 * LONG_REVERB_DB


@pytest.mark.parametrize(("ratio", "gain_db"), [(1.26, -10), (1.498, -10), (0.8, -6)])
def test_another_voice_is_heard_and_where(lead, sung_vowel, ratio: float, gain_db: float) -> None:
    hz, voiced = note_of(lead)
    other = soxr.resample(sung_vowel(220.0 * ratio, 1.5, formant_shift=1.1), 44100, SWIFT_RATE)
    mixed = lead.copy()
    mixed[: len(other)] += other * 10 ** (gain_db / 20) * np.std(lead) / np.std(other)
    found = several_notes(left_over(mixed, hz, voiced), hz, voiced)
    assert found and {doubt.reason for doubt in found} == {SEVERAL}
    assert max(doubt.end_seconds for doubt in found) < 1.7
    assert sum(doubt.end_seconds - doubt.start_seconds for doubt in found) > 0.5


def test_a_ringing_room_never_falls_steeply(lead) -> None:
    rng, length = np.random.default_rng(0), round(1.5 * SWIFT_RATE)
    room = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    size = 2 ** int(np.ceil(np.log2(len(lead) + length)))
    wet = np.fft.irfft(np.fft.rfft(lead, size) * np.fft.rfft(room, size))[: len(lead)]
    mixed = (lead + wet * np.std(lead) / np.std(wet)).astype(np.float32)
    assert steepest_fall(left_over(mixed, *note_of(lead))) > LONG_REVERB_DB


def test_a_window_says_what_the_whole_says(lead) -> None:
    hz, voiced = note_of(lead)
    whole = left_over(lead, hz, voiced)
    part = left_over(lead[36 * SWIFT_HOP : 94 * SWIFT_HOP], hz[36:94], voiced[36:94])
    np.testing.assert_allclose(part[:, 4:-4], whole[:, 40:90], rtol=1e-3, atol=1e-4)


def test_silence_and_moments_are_no_trouble() -> None:
    left = left_over(np.zeros(SWIFT_HOP * 3, np.float32), np.full(3, 200.0), np.ones(3, bool))
    assert np.isfinite(left).all() and steepest_fall(left) == -np.inf
    assert several_notes(left, np.full(3, 200.0), np.zeros(3, bool)) == ()
