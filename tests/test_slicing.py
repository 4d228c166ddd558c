"""Slicing: singing of any level is found whole, quiet breaths stay, pieces are never too long."""

import itertools

import numpy as np
import pytest

from resing.audio.slicing import activity_threshold_db, frame_level_db, slice_voiced

RATE = 16000


def tone(seconds: float, hz: float = 220.0, level_db: float = -12.0) -> np.ndarray:
    """A sine of that RMS level with 10 ms fades, (N,)."""
    samples = np.arange(round(seconds * RATE))
    fade = np.clip(np.minimum(samples, samples[::-1]) / (0.01 * RATE), 0, 1)
    return (np.sqrt(2) * 10 ** (level_db / 20) * fade * np.sin(2 * np.pi * hz * samples / RATE)).astype(
        np.float32
    )


def noise(seconds: float, level_db: float, seed: int = 0) -> np.ndarray:
    """White noise of that RMS level, (N,)."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (10 ** (level_db / 20) * samples).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def covered(pieces: list[tuple[int, int]], start_seconds: float, end_seconds: float) -> float:
    """Share of the given stretch that lies in the pieces."""
    start, end = start_seconds * RATE, end_seconds * RATE
    inside = sum(max(0.0, min(end, last) - max(start, first)) for first, last in pieces)
    return inside / (end - start)


def check(
    pieces: list[tuple[int, int]], samples: int, max_seconds: float = 12.0, min_seconds: float = 0.3
) -> None:
    """In order, no overlap, inside the audio, of an allowed length."""
    edges = [edge for piece in pieces for edge in piece]
    assert edges == sorted(edges) and all(0 <= edge <= samples for edge in edges)
    assert all(min_seconds * RATE <= last - first <= max_seconds * RATE for first, last in pieces)


@pytest.mark.parametrize("gain_db", [0.0, -20.0, -45.0])
def test_phrases_are_found_at_any_level_with_their_margins(gain_db):
    audio = np.concatenate([silence(1), tone(2), silence(1), tone(3, 330), silence(1)])
    pieces = slice_voiced(audio * np.float32(10 ** (gain_db / 20)), RATE)
    check(pieces, len(audio))
    expected = np.array([(0.8, 3.2), (3.8, 7.2)])
    assert np.abs(np.array(pieces) / RATE - expected).max() <= 0.021  # one frame


def test_quiet_notes_beside_loud_ones_are_kept():
    audio = np.concatenate([tone(2, level_db=-10), silence(0.8), tone(2, level_db=-40), silence(0.8)])
    pieces = slice_voiced(audio, RATE)
    assert len(pieces) == 2 and covered(pieces, 0, 2) == 1 and covered(pieces, 2.8, 4.8) == 1


def test_breaths_between_phrases_are_kept():
    breath = noise(0.3, -48)  # 36 dB below the voice
    audio = np.concatenate([tone(2), silence(0.1), breath, silence(0.1), tone(2), silence(0.4), tone(1)])
    pieces = slice_voiced(audio, RATE)
    assert len(pieces) == 1 and covered(pieces, 0, 5.9) == 1
    fainter = np.concatenate([tone(2), noise(0.45, -70), tone(2)])  # below the threshold, within one piece
    assert slice_voiced(fainter, RATE) == [(0, len(fainter))]


def test_a_little_singing_in_minutes_of_silence_is_found():
    audio = np.concatenate([noise(60, -75), tone(2), noise(60, -75, seed=1)])
    pieces = slice_voiced(audio, RATE)
    check(pieces, len(audio))
    assert len(pieces) == 1 and covered(pieces, 60, 62) == 1 and pieces[0][1] - pieces[0][0] < 2.5 * RATE


def test_a_noisy_room_still_gives_phrases():
    room = noise(20, -45)  # 33 dB below the voice
    audio = room.copy()
    for start in (2, 8, 14):
        audio[start * RATE : (start + 4) * RATE] += tone(4)
    pieces = slice_voiced(audio, RATE)
    check(pieces, len(audio))
    assert len(pieces) == 3 and all(covered(pieces, start, start + 4) == 1 for start in (2, 8, 14))


@pytest.mark.parametrize("max_seconds", [1.5, 5.0, 12.0])
def test_long_singing_is_cut_at_its_quietest_moments_and_loses_nothing(max_seconds):
    audio = tone(60)
    for second in np.arange(0.75, 60, 0.75):  # short dips of 20 dB
        audio[round(second * RATE) - 320 : round(second * RATE) + 320] *= 0.1
    pieces = slice_voiced(audio, RATE, max_seconds=max_seconds)
    check(pieces, len(audio), max_seconds)
    assert pieces[0][0] == 0 and pieces[-1][1] == len(audio)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(pieces))
    cuts = np.array([piece[0] for piece in pieces[1:]]) / RATE
    assert np.abs(cuts / 0.75 - np.round(cuts / 0.75)).max() * 0.75 <= 0.021


def test_silence_clicks_and_short_sounds_give_nothing():
    click = silence(2)
    click[RATE] = 0.5
    assert slice_voiced(silence(5), RATE) == []
    assert slice_voiced(noise(5, -95), RATE) == []
    assert slice_voiced(click, RATE) == []
    assert slice_voiced(tone(0.1), RATE) == []
    assert slice_voiced(silence(0), RATE) == []
    assert slice_voiced(np.concatenate([tone(0.25), silence(3)]), RATE, min_seconds=0.5) == []


def test_levels_and_threshold():
    level_db = frame_level_db(np.concatenate([tone(1, 200), silence(1)]), 320)
    assert level_db.shape == (100,) and abs(np.median(level_db[5:45]) + 12) < 0.01 and level_db[60] < -190
    assert activity_threshold_db(level_db) == pytest.approx(-52, abs=0.1)
    steady = np.full(100, -20.0)  # no silence at all: everything counts
    assert activity_threshold_db(steady) == -45.0


@pytest.mark.parametrize("seed", range(20))
def test_any_audio_keeps_the_rules(seed):
    rng = np.random.default_rng(seed)
    parts = [
        (
            tone(rng.uniform(0.05, 4), rng.uniform(100, 800), rng.uniform(-50, -6)),
            noise(rng.uniform(0, 2), -80, seed),
        )
        for _ in range(8)
    ]
    audio = np.concatenate([part for pair in parts for part in pair])
    check(slice_voiced(audio, RATE, max_seconds=2.0, min_seconds=0.5), len(audio), 2.0, 0.5)


def test_programmers_mistakes_are_value_errors():
    with pytest.raises(ValueError, match="mono"):
        slice_voiced(np.zeros((2, 100), np.float32), RATE)
    with pytest.raises(ValueError, match="at least four times"):
        slice_voiced(silence(1), RATE, max_seconds=1, min_seconds=0.3)
