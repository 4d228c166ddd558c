"""Weak phrases are sung again: the better take is put in, without a seam, and again from the record."""

import io
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from resing import cache, conversion_reopen, pitch
from resing.cli import run
from resing.cli_told import retake_text
from resing.config import ConvertOptions
from resing.conversion import Converter
from resing.conversion_melody import Score, arrange
from resing.conversion_retakes import FADE_FRAMES, Rendering, Retake, Settled
from resing.conversion_windows import Renderer
from resing.errors import AudioError
from resing.features.extract import extract_recording, open_recording
from resing.song.arrange import repeat

RATE, HOP = 44100, 512
NOTES = [(0.0, 0.4), (220.0, 1.5), (0.0, 0.6), (330.0, 1.2), (294.0, 0.8), (0.0, 0.4)]
FIRST, SECOND = (0.4, 1.9), (2.5, 4.5)
OPTIONS = ConvertOptions(steps=1, transpose=0.0, sampler="heun", retries=2, retry_budget=50.0)

Singer = Callable[..., np.ndarray]


class Sings:
    """Stands for the networks: the source with breath, as much as `breath` says of seed and steps.

    Args:
        audio: the source.
        breath: level of noise by seed and steps, in the stretches that are weak.
        weak: these stretches in seconds.
    """

    def __init__(self, audio: np.ndarray, breath: dict[tuple[int, int], float], *weak: tuple[float, float]):
        self.audio, self.breath, self.calls = audio, breath, []
        self.where = np.zeros(len(audio), np.float32)
        for start, end in weak:
            self.where[round(start * RATE) : round(end * RATE)] = 1.0

    def __call__(self, score: Score, start: int, stop: int, options: ConvertOptions) -> np.ndarray:
        self.calls.append((start, stop, options.seed, options.steps))
        noise = np.random.default_rng(options.seed).standard_normal(len(self.audio)).astype(np.float32)
        level = self.breath.get((options.seed, options.steps), 0.3)
        sung = self.audio + level * noise * self.where
        return np.pad(sung, (0, HOP))[start * HOP : stop * HOP]


@pytest.fixture
def audio(sung_phrase: Singer) -> np.ndarray:
    return 0.3 * sung_phrase(NOTES, vibrato_cents=0.0)


@pytest.fixture
def rendering(tiny_converter: Converter, audio: np.ndarray, tmp_path: Path) -> Callable[..., Rendering]:
    soundfile.write(tmp_path / "song.wav", audio, RATE, subtype="FLOAT")
    voice = tiny_converter.voice
    source = open_recording(tmp_path / "song.wav")
    heard = extract_recording(source, voice.audio, voice.features, tiny_converter.encoder)
    score, options, _ = arrange(heard, pitch.voice_range((110, 880), {}), OPTIONS)

    def build(sings: Sings, **change: object) -> Rendering:
        how = options.model_copy(update=change)
        samples = io.BytesIO(sings(score, 0, len(score.f0), how).tobytes())
        sings.calls.clear()
        return Rendering(samples, score, heard, source, how, sings, tiny_converter.renderer.work)

    return build


def sound(made: Rendering) -> np.ndarray:
    return np.frombuffer(made.samples.getvalue(), np.float32)


def test_the_weak_phrase_is_replaced_and_nothing_else(rendering, audio) -> None:
    made = rendering(Sings(audio, {(0, 4): 0.0}, SECOND))
    before, (retake,) = sound(made), made.sing_again()
    assert retake.replaced and retake.tries == 1 and (retake.seed, retake.steps) == (0, 4)
    assert retake.start_seconds == pytest.approx(SECOND[0], abs=0.15)
    assert retake.end_seconds == pytest.approx(SECOND[1], abs=0.15)
    assert retake.fault == "breathy" and retake.weak_seconds > 1.5 and retake.left_seconds == 0.0
    assert retake.after_db > retake.before_db + 10
    after, inside = sound(made), slice(retake.start_frame * HOP, retake.stop_frame * HOP)
    differs = np.flatnonzero(before != after)
    assert inside.start <= differs.min() and differs.max() < inside.stop
    middle = slice(inside.start + FADE_FRAMES * HOP, inside.stop - FADE_FRAMES * HOP)
    np.testing.assert_array_equal(after[middle], audio[middle])


def test_nothing_weak_is_not_sung_again(rendering, audio) -> None:
    sings = Sings(audio, {})
    made = rendering(sings)
    before = sound(made)
    assert made.sing_again() == () and not sings.calls
    np.testing.assert_array_equal(sound(made), before)


def test_the_best_of_several_tries_is_kept(rendering, audio) -> None:
    sings = Sings(audio, {(0, 4): 0.3, (1000, 4): 0.002, (2000, 4): 0.3}, FIRST)
    made = rendering(sings, retries=3)
    (retake,) = made.sing_again()
    assert (retake.replaced, retake.seed, retake.left_seconds) == (True, 1000, 0.0)
    assert retake.tries == 2  # the second leaves nothing to be better
    assert [call[2:] for call in sings.calls] == [(0, 4), (1000, 4)]


def test_no_better_take_leaves_the_first(rendering, audio) -> None:
    made = rendering(Sings(audio, {}, FIRST))
    before, (retake,) = sound(made), made.sing_again()
    assert not retake.replaced and retake.tries == 2
    assert (retake.left_seconds, retake.after_db) == (retake.weak_seconds, retake.before_db)
    assert (retake.seed, retake.steps) == (0, 1)
    np.testing.assert_array_equal(sound(made), before)


def test_the_budget_goes_to_the_weakest(rendering, audio, tiny_converter) -> None:
    made = rendering(Sings(audio, {(0, 4): 0.0}, FIRST, SECOND), retries=1)
    one_try = tiny_converter.renderer.work(round(2.3 * RATE / HOP), made.again(1))
    song = tiny_converter.renderer.work(round(60 * RATE / HOP), made.options)
    tight = replace(made, options=made.options.model_copy(update={"retry_budget": one_try / song}))
    first, second = tight.sing_again()
    assert (first.tries, second.tries) == (0, 1) and second.replaced and not first.replaced
    for change in ({"retry_budget": 0.0}, {"retries": 0}, {"steps": 0}):
        assert rendering(Sings(audio, {}, FIRST), **change).sing_again() == ()


def test_phrases_known_before_are_laid_and_not_judged(rendering, audio) -> None:
    made = rendering(Sings(audio, {(0, 4): 0.0}, FIRST, SECOND))
    kept = made.sing_again()
    sings = Sings(audio, {(0, 4): 0.0}, FIRST, SECOND)
    again = rendering(sings)
    assert again.sing_again(kept) == kept and len(sings.calls) == 2
    np.testing.assert_array_equal(sound(again), sound(made))
    laid = rendering(Sings(audio, {(0, 4): 0.0}, FIRST, SECOND))
    laid.lay(kept)
    np.testing.assert_array_equal(sound(laid), sound(made))
    assert Settled.of(asdict(Settled(None, kept))) == Settled(None, kept)


def test_a_phrase_is_sung_anew_because_somebody_wants_it(rendering, audio) -> None:
    sings = Sings(audio, {(0, 4): 0.0, (1000, 4): 0.1}, FIRST, SECOND)
    made = rendering(sings)
    kept = made.sing_again()
    again = rendering(sings)
    anew = again.sing_anew((SECOND[0] + 0.3, SECOND[1]), kept)
    assert anew[0] == kept[0] and (anew[1].start_frame, anew[1].stop_frame) == (
        kept[1].start_frame,
        kept[1].stop_frame,
    )
    assert anew[1].replaced and (anew[1].tries, anew[1].seed, anew[1].steps) == (2, 1000, 4)
    assert anew[1].weak_seconds == 0.0 < anew[1].left_seconds  # worse than before, and still put in
    differs = np.flatnonzero(sound(again) != sound(made))
    assert differs.min() >= anew[1].start_frame * HOP and differs.max() < anew[1].stop_frame * HOP
    laid = rendering(sings)
    laid.lay(anew)
    np.testing.assert_array_equal(sound(laid), sound(again))
    assert again.sing_anew(SECOND, anew)[1].seed == 2000
    with pytest.raises(AudioError, match=r"nothing is sung from 0\.0 to 0\.2 s"):
        again.sing_anew((0.0, 0.2), kept)


def test_changed_phrases_are_forgotten(rendering, audio) -> None:
    kept = rendering(Sings(audio, {(0, 4): 0.0}, FIRST, SECOND)).sing_again()
    changed = np.zeros(1000, bool)
    changed[round(3.0 * RATE / HOP)] = True
    assert Settled(None, kept).unchanged(changed).retakes == kept[:1]


def test_a_phrase_in_the_middle_of_singing_has_no_seam(tiny_converter, sung_vowel, tmp_path) -> None:
    audio = 0.3 * sung_vowel(220.0, 12.0, vibrato_cents=0.0)  # parted, for want of a pause
    soundfile.write(tmp_path / "song.wav", audio, RATE, subtype="FLOAT")
    voice, source = tiny_converter.voice, open_recording(tmp_path / "song.wav")
    heard = extract_recording(source, voice.audio, voice.features, tiny_converter.encoder)
    score, options, _ = arrange(heard, pitch.voice_range((110, 880), {}), OPTIONS)
    sings = Sings(audio, {(0, 1): 0.05, (0, 4): 0.0}, (1.0, 2.0))
    samples = io.BytesIO(sings(score, 0, len(score.f0), options).tobytes())
    made = Rendering(samples, score, heard, source, options, sings, tiny_converter.renderer.work)
    (retake,) = made.sing_again()
    assert retake.replaced and retake.stop_frame * HOP < len(audio) - RATE
    after = np.pad(audio, (0, HOP))[: len(sound(made))]
    np.testing.assert_allclose(sound(made)[3 * RATE :], after[3 * RATE :], atol=1e-6)


@pytest.fixture
def breathy(monkeypatch: pytest.MonkeyPatch, audio: np.ndarray) -> Sings:
    """The converter sings the source, breathily at first."""
    sings = Sings(audio, {(0, 4): 0.0}, FIRST, SECOND)
    monkeypatch.setattr(Renderer, "window", lambda self, *a: sings(*a))
    return sings


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int32")[0]


@pytest.fixture
def song(audio: np.ndarray, tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "song.wav", audio, RATE, subtype="FLOAT")
    return tmp_path / "song.wav"


def test_a_conversion_repeats_its_choices(tiny_converter, breathy, song, tmp_path, monkeypatch) -> None:
    record = tiny_converter.convert(song, tmp_path / "a.flac", OPTIONS)
    assert [retake["replaced"] for retake in record.retakes] == [True, True]
    plain = tiny_converter.convert(song, tmp_path / "p.flac", OPTIONS.model_copy(update={"retries": 0}))
    assert plain.retakes == [] and not np.array_equal(read(tmp_path / "a.flac"), read(tmp_path / "p.flac"))
    monkeypatch.setattr(conversion_reopen, "Converter", lambda voice: tiny_converter)
    breathy.calls.clear()
    again = repeat(tmp_path / "a.flac.json", tmp_path / "b.flac", tiny_converter.voice)
    assert again.retakes == record.retakes
    assert len(breathy.calls) == 3  # one window and two phrases: nothing is judged
    np.testing.assert_array_equal(read(tmp_path / "a.flac"), read(tmp_path / "b.flac"))


def test_an_output_is_made_again_with_another_take_of_a_phrase(
    tiny_converter, breathy, song, tmp_path
) -> None:
    tiny_converter.keeps = True
    record = tiny_converter.convert(song, tmp_path / "a.flac", OPTIONS)
    breathy.breath[1000, 4] = 0.001
    breathy.calls.clear()
    place = (SECOND[0] + 0.1, SECOND[1] - 0.1)
    made = repeat(tmp_path / "a.flac.json", tmp_path / "b.flac", tiny_converter, anew=place)
    assert made.sung_seconds == 0.0 and len(breathy.calls) == 3  # what was kept, and the new take
    assert made.retakes[0] == record.retakes[0] and made.retakes[1]["seed"] == 1000
    before, after = read(tmp_path / "a.flac"), read(tmp_path / "b.flac")
    start, stop = (round(RATE * made.retakes[1][edge]) for edge in ("start_seconds", "end_seconds"))
    differs = np.flatnonzero(before != after)
    margin = 0.3 * RATE  # the gain that follows loudness looks so far
    assert start - margin < differs.min() and differs.max() < stop + margin
    breathy.calls.clear()
    tiny_converter.keeps = False
    repeat(tmp_path / "b.flac.json", tmp_path / "c.flac", tiny_converter)
    assert len(breathy.calls) == 3 and np.array_equal(after, read(tmp_path / "c.flac"))
    tiny_converter.keeps = True
    again = tiny_converter.convert(song, tmp_path / "d.flac", OPTIONS)  # as at first, from what was kept
    assert again.sung_seconds == 0.0 and again.retakes == record.retakes
    assert np.array_equal(before, read(tmp_path / "d.flac"))


def test_an_edited_melody_keeps_the_other_phrases(tiny_converter, breathy, song, tmp_path) -> None:
    options = OPTIONS.model_copy(update={"window_seconds": 0.5})
    first = tiny_converter.convert(song, tmp_path / "a.flac", options, pitch_out=tmp_path / "p.csv")
    rows = [line.split(",") for line in (tmp_path / "p.csv").read_text().splitlines()]
    for row in rows[1:]:
        row[1] = repr(float(row[1]) * (1.01 if float(row[0]) > 4.0 else 1.0))
    (tmp_path / "edited.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    edited = options.model_copy(update={"pitch_file": str(tmp_path / "edited.csv")})
    breathy.breath[1000, 4] = 0.0
    breathy.breath[0, 4] = 0.3  # would be no better now: the first phrase must not be judged again
    second = tiny_converter.convert(song, tmp_path / "b.flac", edited)
    assert second.retakes[0] == first.retakes[0]
    assert (second.retakes[1]["seed"], first.retakes[1]["seed"]) == (1000, 0)
    cache.clear()


def test_a_retake_is_told_in_a_line() -> None:
    retake = Retake(0, 1, 41.0, 44.2, "breathy", 1.2, 0.4, 8.1, 12.4, 3, 0, 8, True)
    told = retake_text(asdict(retake))
    assert told == "0:41-0:44 tried again 3 times: breathy for 1.2 s, now 0.4 s; HNR 8.1 -> 12.4 dB"
    same = replace(retake, replaced=False, tries=1, fault="rough")
    assert retake_text(asdict(same)) == "0:41-0:44 tried again once: rough for 1.2 s, no better"


def test_a_place_to_be_sung_anew_is_read_from_the_command_line(monkeypatch, capsys) -> None:
    asked = []

    def made(*given: object, anew: tuple[float, float] | None) -> None:
        asked.append(anew)
        raise AudioError("enough")

    monkeypatch.setattr("resing.song.arrange.repeat", made)
    for text in ("1:12-1:15.5", "3-4"):
        assert run(["repeat", "a.json", "-o", "b.flac", "--anew", text]) == 2
    assert asked == [(72.0, 75.5), (3.0, 4.0)]
    for text in ("1:12", "4-3", "x-y"):
        assert run(["repeat", "a.json", "-o", "b.flac", "--anew", text]) == 2
        assert "expected a place in the song such as 1:12-1:15" in capsys.readouterr().err
    assert len(asked) == 2
