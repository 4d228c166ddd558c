"""Keys and ranges: each rule on melodies whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest

from resing.errors import ConfigError
from resing.pitch import (
    Note,
    Shares,
    VoiceRange,
    auto_transpose,
    check_transpose,
    find_notes,
    hz_to_semitones,
    note_name,
    shares,
    sing_in_range,
    voice_range,
)

FRAMES = 86.13  # per second
MAN = VoiceRange(low=40.0, high=64.0, median=50.0)
WOMAN = VoiceRange(low=52.0, high=81.0, median=63.0)


def hz(semitones: float) -> float:
    return 440.0 * 2 ** ((semitones - 69.0) / 12)


def melody(*pitches: float, seconds: float = 0.5) -> np.ndarray:
    """Notes, each followed by three unvoiced frames, (T,) Hz."""
    frames = round(seconds * FRAMES)
    return np.concatenate([np.r_[np.full(frames, hz(p)), np.zeros(3)] for p in pitches]).astype(np.float32)


def notes_of(*pitches: float) -> list[Note]:
    return find_notes(melody(*pitches), FRAMES)


def pitches_of(f0: np.ndarray) -> list[float]:
    return [round(n.pitch, 2) for n in find_notes(f0, FRAMES)]


def test_pitch_in_semitones_and_names() -> None:
    np.testing.assert_allclose(hz_to_semitones(np.array([440.0, 880.0, 261.6256])), [69, 81, 60], atol=1e-4)
    assert [note_name(n) for n in (69, 60, 59.6, 61, 21)] == ["A4", "C4", "C4", "C#4", "A0"]


def test_a_voices_range_and_middle() -> None:
    limits = voice_range((110.0, 440.0), {"50": 1.0, "52": 5.0, "60": 1.5, "70": 0.0})
    assert (limits.low, limits.high, limits.median) == pytest.approx((45.0, 69.0, 52.0))
    assert voice_range((110.0, 440.0), {}).median == pytest.approx(57.0)


# --- notes


def test_each_sung_note_is_one_note() -> None:
    found = notes_of(60, 64, 67)
    assert [round(n.pitch, 2) for n in found] == [60, 64, 67]
    assert [(n.start, n.stop) for n in found] == [(0, 43), (46, 89), (92, 135)]


def test_legato_notes_are_parted_and_cover_every_voiced_frame() -> None:
    f0 = np.array([hz(p) for p in [60] * 50 + [62] * 50 + [67] * 50 + [55] * 50])
    found = find_notes(f0, FRAMES)
    steady = [n for n in found if n.stop - n.start > 20]
    assert [round(n.pitch) for n in steady] == [60, 62, 67, 55]
    assert found[0].start == 0 and found[-1].stop == 200
    assert all(a.stop == b.start for a, b in pairwise(found))


@pytest.mark.parametrize("cents", [30, 80, 120])
def test_vibrato_does_not_part_a_note(cents: float) -> None:
    turn = np.sin(2 * np.pi * 5.5 * np.arange(170) / FRAMES)
    found = find_notes(hz(60) * 2 ** (cents / 1200 * turn), FRAMES)
    assert len(found) == 1 and found[0].pitch == pytest.approx(60, abs=0.1)


def test_silence_has_no_notes() -> None:
    assert find_notes(np.zeros(50), FRAMES) == []
    assert [(n.start, n.stop) for n in find_notes(np.r_[0, hz(60), 0], FRAMES)] == [(1, 2)]


# --- keys


@pytest.mark.parametrize(
    ("song", "voice", "key"),
    [
        ((48, 50, 52), MAN, 0),  # in the middle of the voice
        ((45, 57), MAN, 0),  # inside, though not in the middle
        ((62, 65, 69), MAN, -12),  # a woman's song, an octave down
        ((45, 48, 50), WOMAN, 12),  # a man's song, an octave up
        ((84, 86, 88), MAN, -24),
        ((55, 58, 60), MAN, -12),  # 58 is 8 above the middle; an octave down it is 4 below, at a cost of 3
        ((55, 57, 60), MAN, 0),  # 57 is 7 above the middle: not worth an octave
    ],
)
def test_keys_for_a_voice(song, voice, key) -> None:
    assert auto_transpose(notes_of(*song), voice) == key


def test_a_narrow_voice_gets_the_key_that_fits_if_no_octave_does() -> None:
    narrow = VoiceRange(low=60.0, high=67.0, median=63.0)
    song = notes_of(57, 60, 64)  # needs +3; +-12 and 0 leave notes outside
    key = auto_transpose(song, narrow)
    assert shares(song, key, narrow).inside == 1.0 and key == 3


def test_an_octave_may_cost_three_per_cent_of_singing_time() -> None:
    voice = VoiceRange(low=50.0, high=62.0, median=56.0)
    long, short = Note(0, 980, 51.0), Note(980, 1000, 63.0)  # 0 loses 2 %
    assert auto_transpose([long, short], voice) == 0
    assert auto_transpose([long, Note(980, 1080, 63.0)], voice) != 0  # 0 loses 9 %


def test_no_notes_no_key() -> None:
    assert auto_transpose([], MAN) == 0
    assert shares([], 0, MAN) == Shares(0.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("transpose", [float("nan"), float("inf"), 49, -100.0])
def test_impossible_keys_are_refused(transpose: float) -> None:
    with pytest.raises(ConfigError, match=r"transpose: got .*expected auto or semitones from -48 to 48"):
        check_transpose(transpose)


@pytest.mark.parametrize("transpose", ["auto", 0, -12, 1.5])
def test_possible_keys_pass(transpose) -> None:
    check_transpose(transpose)


# --- range


@pytest.mark.parametrize("transpose", [12.0, -1.37])
def test_notes_inside_are_only_transposed(transpose: float) -> None:
    f0 = melody(50, 52)
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), transpose, MAN, "fold", FRAMES)
    np.testing.assert_allclose(sung, f0 * 2 ** (transpose / 12), rtol=1e-6)
    assert (report.below, report.inside, report.above, report.moved) == (0.0, 1.0, 0.0, ())


def test_plus_twelve_is_exactly_double() -> None:
    f0 = melody(45, 46.3)
    sung, _ = sing_in_range(f0, find_notes(f0, FRAMES), 12, MAN, "fold", FRAMES)
    np.testing.assert_array_equal(sung, 2 * f0)


def test_folded_notes_move_by_whole_octaves_and_are_told() -> None:
    f0 = melody(50, 70, 30, 95)
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "fold", FRAMES, start_seconds=40.0)
    assert pitches_of(sung) == [50, 58, 42, 59]
    assert (report.below, report.inside, report.above) == (0.25, 0.25, 0.5)
    assert [(m.note, m.sung) for m in report.moved] == [("A#4", "A#3"), ("F#1", "F#2"), ("B6", "B3")]
    assert report.moved[0].start_seconds == pytest.approx(40 + 46 / FRAMES, abs=1e-3)
    assert report.moved[0].end_seconds == pytest.approx(40 + 89 / FRAMES, abs=1e-3)


def rested(*phrases: list[float]) -> np.ndarray:
    """Phrases of notes of half a second, half a second of rest after each, (T,) Hz."""
    return np.concatenate([np.r_[melody(*pitches), np.zeros(43)] for pitches in phrases]).astype(np.float32)


def test_a_phrase_is_folded_as_a_whole_and_its_neighbours_stay() -> None:
    f0 = rested([60, 62], [59, 66, 62], [60, 55])
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "fold", FRAMES)
    assert pitches_of(sung) == [60, 62, 47, 54, 50, 60, 55]
    assert [(m.note, m.outside) for m in report.moved] == [("B3", False), ("F#4", True), ("D4", False)]
    assert report.above == pytest.approx(1 / 7, abs=1e-3)


def test_a_phrase_with_notes_at_both_ends_of_the_range_is_folded_note_by_note() -> None:
    f0 = rested([45, 66, 45])
    assert pitches_of(sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "fold", FRAMES)[0]) == [45, 54, 45]


def test_one_high_note_does_not_take_a_long_phrase_along() -> None:
    f0 = rested([60] * 8 + [66] + [60] * 8)
    assert pitches_of(sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "fold", FRAMES)[0])[7:10] == [
        60,
        54,
        60,
    ]


def test_a_touch_of_a_note_just_outside_is_bent_rather_than_folded() -> None:
    f0 = np.concatenate([melody(*[62] * 16), melody(65.2, seconds=0.1), melody(62)])
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "fold", FRAMES)
    assert pitches_of(sung) == [62] * 16 + [64, 62]
    assert [(m.note, m.sung) for m in report.moved] == [("F4", "E4")]


def test_clamped_notes_go_to_the_limit() -> None:
    f0 = melody(50, 70, 30)
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "clamp", FRAMES)
    assert pitches_of(sung) == [50, 64, 40]
    assert [m.sung for m in report.moved] == ["E4", "E2"]


def test_a_note_that_no_octave_fits_is_clamped() -> None:
    narrow = VoiceRange(low=60.0, high=64.0, median=62.0)
    f0 = melody(68)
    sung, _ = sing_in_range(f0, find_notes(f0, FRAMES), 0, narrow, "fold", FRAMES)
    assert pitches_of(sung) == [64]


def test_vibrato_at_the_limit_is_left_alone_and_a_moved_note_keeps_its_own() -> None:
    turn = 2 ** (60 / 1200 * np.sin(2 * np.pi * 5.5 * np.arange(170) / FRAMES))
    at_limit = hz(64) * turn
    sung, report = sing_in_range(at_limit, find_notes(at_limit, FRAMES), 0, MAN, "fold", FRAMES)
    np.testing.assert_allclose(sung, at_limit, rtol=1e-6)
    assert report.moved == ()
    above = hz(70) * turn
    for policy in ("fold", "clamp"):
        sung, _ = sing_in_range(above, find_notes(above, FRAMES), 0, MAN, policy, FRAMES)
        np.testing.assert_allclose(sung / sung.mean(), above / above.mean(), rtol=1e-5)


@pytest.mark.parametrize("policy", ["fold", "clamp"])
def test_no_note_is_dropped_and_all_end_inside(policy) -> None:
    f0 = melody(*np.random.default_rng(0).uniform(24, 100, 40), seconds=0.2)
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), 0, WOMAN, policy, FRAMES)
    np.testing.assert_array_equal(sung > 0, f0 > 0)
    heights = hz_to_semitones(sung[sung > 0])
    assert heights.min() >= WOMAN.low - 0.51 and heights.max() <= WOMAN.high + 0.51
    assert report.below + report.inside + report.above == pytest.approx(1.0, abs=1e-3)
    assert len(report.moved) > 10


def test_notes_are_kept_where_that_is_asked_and_told_all_the_same() -> None:
    f0 = melody(50, 70, 30)
    sung, report = sing_in_range(f0, find_notes(f0, FRAMES), 0, MAN, "keep", FRAMES)
    np.testing.assert_array_equal(sung, f0)
    assert [(m.note, m.sung) for m in report.moved] == [("A#4", "A#4"), ("F#1", "F#1")]
    assert (report.below, report.inside, report.above) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-3)


# --- how well the voice knows its notes

SYLLABLES = voice_range((220.0, 587.33), {"57": 1.0, "62": 2.0, "69": 0.8, "72": 0.8, "74": 0.7})
"""A voice recorded on five notes, A3 to D5."""


def test_near_are_notes_in_the_range_that_the_voice_was_hardly_heard_on() -> None:
    song = [Note(0, 60, 62.2), Note(60, 80, 63.4), Note(80, 90, 65.6), Note(90, 100, 80.0)]
    assert shares(song, 0, SYLLABLES) == Shares(0.0, pytest.approx(0.9), pytest.approx(0.1), 0.1)
    f0 = melody(62, 66)
    report = sing_in_range(f0, find_notes(f0, FRAMES), 0, SYLLABLES, "fold", FRAMES)[1]
    assert (report.inside, report.near, report.moved) == (1.0, 0.5, ())


def test_of_a_short_voice_a_share_is_enough() -> None:
    short = voice_range((220.0, 440.0), {"57": 0.05, "62": 0.2, "69": 0.05})  # 18 s
    assert short.well_known(np.array([57.0, 58.4, 62.0, 65.0, 69.4])).tolist() == [
        True,
        True,
        True,
        False,
        True,
    ]


def test_a_voice_without_a_histogram_knows_its_whole_range() -> None:
    assert voice_range((220.0, 440.0), {}).well_known(np.array([56.6, 63.0, 71.0])).tolist() == [
        True,
        True,
        False,
    ]


def test_the_octave_that_the_voice_knows_is_chosen() -> None:
    """A range that reaches down to notes heard for a moment, as a tracker's slips make it."""
    slips = voice_range((92.5, 329.6), {"42": 0.01, "52": 1.0} | {str(n): 0.05 for n in range(53, 65)})
    song = notes_of(50, 50, 51)
    assert shares(song, 0, slips).inside == 1.0 and shares(song, 0, slips).near > 0.6
    assert auto_transpose(song, slips) == 12
    everywhere = VoiceRange(slips.low, slips.high, slips.median)
    assert auto_transpose(song, everywhere) == 0


def test_gaps_in_what_a_voice_knows_do_not_take_a_song_out_of_its_key() -> None:
    song = notes_of(64, 66, 67, 71)
    assert shares(song, 0, SYLLABLES).near > 0.5
    assert auto_transpose(song, SYLLABLES) == 0


def test_notes_outside_are_worse_than_notes_hardly_known() -> None:
    song = notes_of(60, 60, 62, 65)
    here, above = shares(song, 0, SYLLABLES), shares(song, 12, SYLLABLES)
    assert (here.inside, here.near) == (1.0, 0.75)
    assert (above.inside, above.near) == (0.75, 0.0)
    assert auto_transpose(song, SYLLABLES) == 0
