"""The phrases of a song, and where a take of one is weak."""

from collections.abc import Callable

import numpy as np
import pytest

from resing.conversion_phrases import Phrase, Tone, pieces
from resing.scoring.clip import HEARING_RATE
from resing.scoring.metrics import FRAME_SECONDS

RATE, SECONDS, HZ = 44100, 3.0, 220.0
FRAMES = round(SECONDS / FRAME_SECONDS)

Singer = Callable[..., np.ndarray]


@pytest.fixture
def phrase(sung_vowel: Singer) -> Phrase:
    hz, sure = np.full(FRAMES, HZ), np.ones(FRAMES, bool)
    sure[:4] = sure[-4:] = False
    source = sung_vowel(HZ, SECONDS, HEARING_RATE, vibrato_cents=0.0)
    return Phrase(0, 258, Tone.of(source, hz, sure), hz, sure)


def noisy(audio: np.ndarray, start: float, end: float, level: float) -> np.ndarray:
    at = slice(round(start * RATE), round(end * RATE))
    out = audio.copy()
    out[at] += level * np.random.default_rng(0).standard_normal(at.stop - at.start).astype(np.float32)
    return out


def test_a_clear_take_is_not_weak(phrase: Phrase, sung_vowel: Singer):
    take = 0.3 * sung_vowel(HZ, SECONDS, formant_shift=1.2, vibrato_cents=0.0)
    assert phrase.judge(take, RATE).weak_seconds == 0.0


def test_breath_is_found_where_it_is(phrase: Phrase, sung_vowel: Singer):
    take = noisy(sung_vowel(HZ, SECONDS, vibrato_cents=0.0), 1.0, 1.8, 0.2)
    heard = phrase.judge(take, RATE)
    assert heard.fault == "breathy" and heard.weak_seconds == pytest.approx(0.8, abs=0.2)
    where = np.flatnonzero(heard.weak["breathy"]) * FRAME_SECONDS
    assert where.min() == pytest.approx(1.0, abs=0.15) and where.max() == pytest.approx(1.8, abs=0.15)
    clear = phrase.judge(sung_vowel(HZ, SECONDS, vibrato_cents=0.0), RATE)
    at = heard.weak["breathy"]
    assert heard.figure_db("breathy", at) < 8 < 20 < clear.figure_db("breathy", at)


def test_a_note_an_octave_off_or_missing_is_weak(phrase: Phrase, sung_vowel: Singer):
    assert phrase.judge(sung_vowel(1.5 * HZ, SECONDS, vibrato_cents=0.0), RATE).weak_seconds > 2.0
    hiss = 0.1 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE))
    assert phrase.judge(hiss, RATE).weak_seconds > 2.0


def test_what_the_source_does_not_surely_sing_does_not_count(phrase: Phrase):
    silent = Phrase(0, 258, phrase.source, phrase.hz, np.zeros(FRAMES, bool))
    hiss = 0.1 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE))
    assert silent.judge(hiss, RATE).weak_seconds == 0.0


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
def test_pieces_of_a_stream(size: int):
    stream = np.arange(100, dtype=np.float32)
    blocks = [stream[at : at + size] for at in range(0, 100, size)]
    spans = [(0, 3), (3, 40), (55, 56), (90, 110), (120, 122)]
    expected = [np.pad(stream, (0, 30))[start:stop] for start, stop in spans]
    for found, wanted in zip(pieces(blocks, spans), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
