"""Which of two outputs is better: the interval is right, and nothing is claimed that does not show."""

from pathlib import Path

import numpy as np
import pytest

from resing.errors import ConfigError
from resing.scoring import compare
from resing.scoring.card import Phrase, Scorecard


def card(name: str, voice: str | None = "kumi", **figures: list[float | None]) -> Scorecard:
    """A scorecard whose phrases of 2 s have the figures given, one value per phrase."""
    count = len(next(iter(figures.values())))
    phrases = tuple(
        Phrase(3.0 * i, 3.0 * i + 2.0, 0.0, {name: values[i] for name, values in figures.items()})
        for i in range(count)
    )
    return Scorecard(name, "song.flac", voice, 3.0 * count, 0.0, (), (), phrases, ())


def noisy(mean: float, spread: float, count: int = 40, seed: int = 0) -> list[float | None]:
    return (mean + spread * np.random.default_rng(seed).standard_normal(count)).tolist()


def test_the_interval_is_that_of_a_mean_of_normal_differences():
    a, b = noisy(20.0, 3.0, 200, 1), noisy(20.0, 3.0, 200, 2)
    found = compare.difference("hnr_db", card("a", hnr_db=a).phrases, card("b", hnr_db=b).phrases)
    changes = np.array(b) - np.array(a)
    half = 1.96 * changes.std(ddof=1) / np.sqrt(200)
    assert found.change == pytest.approx(changes.mean())
    assert found.low == pytest.approx(changes.mean() - half, abs=0.06)
    assert found.high == pytest.approx(changes.mean() + half, abs=0.06)
    assert (found.a, found.b) == (pytest.approx(np.mean(a)), pytest.approx(np.mean(b)))


def test_pairing_removes_what_both_share():
    a = noisy(20.0, 8.0)
    b = [value + 0.1 for value in a]
    found = compare.difference("hnr_db", card("a", hnr_db=a).phrases, card("b", hnr_db=b).phrases)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.verdict == "same"


def test_the_same_seed_gives_the_same_interval():
    a, b = card("a", hnr_db=noisy(20.0, 3.0)).phrases, card("b", hnr_db=noisy(20.0, 3.0, seed=5)).phrases
    first, again, other = (compare.difference("hnr_db", a, b, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.low != other.low


def test_longer_phrases_count_more():
    a = (Phrase(0.0, 9.0, 0.0, {"hnr_db": 20.0}), Phrase(10.0, 11.0, 0.0, {"hnr_db": 10.0}))
    b = (Phrase(0.0, 9.0, 0.0, {"hnr_db": 21.0}), Phrase(10.0, 11.0, 0.0, {"hnr_db": 10.0}))
    assert compare.difference("hnr_db", a, b).change == pytest.approx(0.9)


def test_phrases_without_the_figure_are_left_out():
    a, b = card("a", hnr_db=[20.0, None, 18.0]), card("b", hnr_db=[21.0, 3.0, None])
    found = compare.difference("hnr_db", a.phrases, b.phrases)
    assert (found.phrases, found.change, found.verdict) == (1, 1.0, "unsure")
    nothing = compare.difference("similarity", a.phrases, b.phrases)
    assert (nothing.phrases, nothing.change, nothing.verdict) == (0, None, "unsure")


@pytest.mark.parametrize(
    ("change", "spread", "verdict"),
    [
        (0.0, 0.1, "same"),
        (0.2, 0.2, "same"),  # sure, and too small to matter
        (2.0, 1.0, "b"),
        (-2.0, 1.0, "a"),
        (0.0, 5.0, "unsure"),
        (0.4, 0.6, "unsure"),  # may be a gain that counts, may be none
    ],
)
def test_verdicts(change: float, spread: float, verdict: str):
    a = noisy(20.0, 3.0)
    b = [x + change + y for x, y in zip(a, noisy(0.0, spread, seed=3), strict=True)]
    found = compare.difference("hnr_db", card("a", hnr_db=a).phrases, card("b", hnr_db=b).phrases)
    assert found.verdict == verdict


def test_less_is_better_where_it_is_an_error():
    a, b = card("a", f0_rmse_cents=[20.0] * 8), card("b", f0_rmse_cents=[9.0] * 8)
    assert compare.difference("f0_rmse_cents", a.phrases, b.phrases).verdict == "b"
    assert compare.difference("coverage", a.phrases, b.phrases).verdict == "unsure"


def same(name: str, voice: str | None = "kumi", **changed: list[float | None]) -> Scorecard:
    known = {"similarity": [0.9] * 8, "hnr_db": [20.0] * 8, "phone_distance": [15.0] * 8}
    return card(name, voice, **(known | changed))


def test_no_difference_needs_voice_tone_and_words():
    found = compare.compare_cards(same("a"), same("b"))
    assert found.better == "same"
    assert found.verdict.startswith("No difference: neither loses 0.01 of likeness")
    assert "2 % of vowels and consonants heard otherwise. Nobody listened for the words" in found.verdict
    deaf = compare.compare_cards(same("a", phone_distance=[None] * 8), same("b"))
    assert deaf.better == "unsure" and "0 phrases" in deaf.verdict
    mumbled = compare.compare_cards(same("a"), same("b", phone_distance=[19.0] * 8))
    assert mumbled.better == "a" and "vowels and consonants heard otherwise by 4 %" in mumbled.verdict
    blind = compare.compare_cards(same("a", similarity=[None] * 8), same("b"))
    assert blind.better == "unsure" and "0 phrases" in blind.verdict
    nobody = compare.compare_cards(same("a", None, similarity=[None] * 8), same("b", None))
    assert nobody.better == "unsure" and "--voice NAME" in nobody.verdict


def test_words_count_where_they_were_heard():
    silent = compare.compare_cards(same("a", words_cer=[20.0] * 8), same("b", words_cer=[20.5] * 8))
    assert silent.better == "same" and "2 % of letters misheard" in silent.verdict
    assert "vowels" not in silent.verdict and "Nobody" not in silent.verdict
    wrong = compare.compare_cards(same("a", words_cer=[20.0] * 8), same("b", words_cer=[50.0] * 8))
    assert wrong.better == "a" and "letters misheard by 30 %" in wrong.verdict
    loose = [20.0, 60.0] * 4
    unsure = compare.compare_cards(same("a", words_cer=loose), same("b", words_cer=loose[::-1]))
    assert unsure.better == "unsure"


def test_a_loss_that_is_not_excluded_is_no_equality():
    wide = [20.0, 22.0, 18.0, 24.0, 16.0, 20.0, 23.0, 17.0]
    found = compare.compare_cards(same("a", hnr_db=wide), same("b", hnr_db=wide[::-1]))
    assert found.better == "unsure"
    assert found.verdict.startswith("Not enough to tell: the 95 % interval is") and "dB" in found.verdict


def test_few_phrases_tell_nothing():
    a = card("a", similarity=[0.9] * 3, hnr_db=[20.0] * 3, phone_distance=[15.0] * 3)
    b = card("b", similarity=[0.9] * 3, hnr_db=[26.0] * 3, phone_distance=[15.0] * 3)
    found = compare.compare_cards(a, b)
    assert found.better == "unsure" and "3 phrases" in found.verdict


def test_the_better_one_is_named():
    a, b = same("x/a.flac"), same("x/b.flac", hnr_db=[23.0] * 8)
    found = compare.compare_cards(a, b)
    assert found.better == "b"
    assert found.verdict == "b.flac is better: tone over noise by 3 dB."
    assert compare.compare_cards(b, a).better == "a"
    mixed = compare.compare_cards(
        same("y/a.flac", similarity=[0.95] * 8), same("x/a.flac", hnr_db=[23.0] * 8)
    )
    assert mixed.better == "neither"
    assert "y/a.flac in likeness to the voice by 0.05; x/a.flac in tone over noise by 3 dB" in mixed.verdict


def test_what_stays_open_is_said_beside_what_is_clear():
    loose = [0.8, 1.0] * 4
    found = compare.compare_cards(same("a", similarity=loose), same("b", hnr_db=[23.0] * 8))
    assert found.verdict.endswith("by 3 dB. Not enough to tell about likeness to the voice.")


def test_places_are_the_phrases_that_differ_most():
    tone: list[float | None] = [20.0, 20.0, 25.0, 20.0, 20.0, 12.0, 20.0, 20.0]
    found = compare.compare_cards(same("a"), same("b", hnr_db=tone))
    assert [(p.start_seconds, p.better) for p in found.places] == [(6.0, "b"), (15.0, "a")]
    assert found.places[1].text == "a is better: tone over noise by 8 dB"
    many = compare.compare_cards(same("a"), same("b", hnr_db=[30.0] * 8))
    assert len(many.places) == compare.MOST_PLACES


def test_outputs_of_other_parts_or_voices_are_refused():
    with pytest.raises(ConfigError, match="do not sing the same part"):
        compare.compare_cards(same("a"), card("b", hnr_db=[20.0] * 5))
    with pytest.raises(ConfigError, match="--voice NAME"):
        compare.compare_cards(same("a", "kumi"), same("b", "pjs"))


def test_every_margin_has_a_heading():
    assert set(compare.MARGINS) <= set(compare.ROWS) and set(compare.DECISIVE) <= set(compare.MARGINS)
    assert Path(compare.__file__).parent.name == "scoring"
