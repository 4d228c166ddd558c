"""A whole song in, a whole song out, with an untrained voice and a separator that cannot be wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from middle_separator import Middle

from resing.audio import files
from resing.audio.tags import Tags, read_tags, write_tags
from resing.config import ConvertOptions, MixOptions, SongOptions
from resing.conversion import Converter
from resing.errors import AudioError, ConfigError
from resing.song import arrange
from resing.song.arrange import Arranger, repeat
from resing.song.batch import convert_folder
from resing.song.pace import USUAL, Pace
from resing.song.passage import loudest_sung
from resing.song.stems import stems_of

RATE = 44100
FAST = ConvertOptions(steps=0)


@pytest.fixture
def band() -> np.ndarray:
    """Four seconds of chords at the sides, (2, N)."""
    times = np.arange(4 * RATE + 77) / RATE
    chord = sum(np.sin(2 * np.pi * hz * times) for hz in (130.8, 196.0, 311.1))
    return np.stack([0.02 * chord, -0.02 * chord]).astype(np.float32)


@pytest.fixture
def song(tmp_path: Path, band: np.ndarray, sung_phrase: Callable[..., np.ndarray]) -> Path:
    sung = np.zeros(band.shape[1], np.float32)
    phrase = 0.13 * sung_phrase([(220.0, 0.9), (330.0, 0.8), (0.0, 0.5), (262.0, 0.9)])
    sung[20000 : 20000 + len(phrase)] = phrase
    path = tmp_path / "song.flac"
    files.write(path, band + sung, RATE)
    return path


@pytest.fixture
def arranger(tiny_converter: Converter) -> Arranger:
    return Arranger(tiny_converter, separator=Middle())


def sides(path: Path) -> np.ndarray:
    audio = soundfile.read(path)[0].T
    return (audio[0] - audio[1]) / 2


def test_a_song_becomes_a_song_of_the_same_length_over_the_same_band(arranger, song, band, tmp_path) -> None:
    record = arranger.convert(song, tmp_path / "out.flac", FAST)
    before, after = soundfile.read(song)[0], soundfile.read(tmp_path / "out.flac")[0]
    assert after.shape == before.shape
    assert np.abs(sides(tmp_path / "out.flac") - band[0]).max() < 1e-3  # the lead stays in the middle
    assert not np.allclose(after, before, atol=1e-2)
    np.testing.assert_array_equal(after[:15000], before[:15000])  # before the singing: bit for bit
    assert record.song["a_cappella"] is False and record.song["separator"] == "middle"
    assert set(record.times) == {"recognise", "separate", "listen", "sing", "write", "mix"}
    assert json.loads((tmp_path / "out.flac.json").read_text())["source"] == str(song.absolute())
    assert not list(tmp_path.glob(".resing-*"))


def test_stems_line_up_and_add_up(arranger, song, tmp_path) -> None:
    arranger.convert(song, tmp_path / "out.flac", FAST, stems=tmp_path / "stems")
    found = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "stems").iterdir()}
    assert set(found) == {"lead", "accompaniment", "converted", "mix"}
    assert np.abs(found["lead"] + found["accompaniment"] - soundfile.read(song)[0]).max() < 1e-6
    assert np.abs(found["converted"] + found["accompaniment"] - found["mix"]).max() < 1e-6


def test_another_take_of_a_phrase_leaves_the_rest_of_the_mix(
    tiny_converter, arranger, song, tmp_path, monkeypatch
) -> None:
    tiny_converter.keeps = True
    monkeypatch.setattr(arrange, "embedded", Middle)
    first = arranger.convert(song, tmp_path / "a.flac", FAST, stems=tmp_path / "stems")
    how = {"anew": (2.6, 3.5), "stems": tmp_path / "again"}  # the second of two phrases
    made = repeat(tmp_path / "a.flac.json", tmp_path / "b.flac", tiny_converter, **how)
    (retake,) = made.retakes
    assert retake["replaced"] and made.sung_seconds == 0.0 and 2.3 < retake["start_seconds"] < 2.8
    for name in ("gain_db", "tone_db", "placement", "added_reverb"):
        kept = json.loads(json.dumps(first.song["mix"][name]))
        assert json.loads(json.dumps(made.song["mix"][name])) == kept, name
    for one, other in (("a.flac", "b.flac"), ("stems/converted.flac", "again/converted.flac")):
        before, after = (soundfile.read(tmp_path / path)[0] for path in (one, other))
        differs = np.flatnonzero((before != after).any(axis=-1)) / RATE
        assert differs.min() > retake["start_seconds"] - 0.5 and len(differs) > RATE / 2
    again = repeat(tmp_path / "b.flac.json", tmp_path / "c.flac", tiny_converter)
    assert json.dumps(again.song["mix"]) == json.dumps(made.song["mix"])
    assert np.array_equal(*(soundfile.read(tmp_path / name)[0] for name in ("b.flac", "c.flac")))


def test_a_second_key_does_not_separate_again(arranger, song, tmp_path) -> None:
    arranger.convert(song, tmp_path / "a.flac", FAST)
    calls = arranger.separator.calls
    again = arranger.convert(song, tmp_path / "b.flac", FAST.model_copy(update={"transpose": -12.0}))
    assert (
        again.song["stems_kept"] and arranger.separator.calls <= calls + 3
    )  # to hear whether it is a cappella


def test_a_damaged_cache_is_made_again(arranger, song) -> None:
    first = stems_of(song, arranger.separator)
    whole = first.lead.read_bytes()
    first.lead.unlink()
    again = stems_of(song, arranger.separator)
    assert not again.kept and again.lead.read_bytes() == whole


def test_a_voice_alone_is_not_separated(arranger, tmp_path, sung_phrase) -> None:
    files.write(
        tmp_path / "alone.wav", 0.4 * sung_phrase([(220.0, 0.9), (0.0, 0.4), (330.0, 0.8)])[None], RATE
    )
    record = arranger.convert(tmp_path / "alone.wav", tmp_path / "out.wav", FAST)
    assert record.song["a_cappella"] is True and "separate" not in record.times
    with pytest.raises(ConfigError, match="leave out --stems"):
        arranger.convert(tmp_path / "alone.wav", tmp_path / "no.wav", FAST, stems=tmp_path / "stems")
    assert not (tmp_path / "no.wav").exists()


def test_the_key_moves_by_octaves_unless_the_band_follows(tiny_converter, song, tmp_path) -> None:
    low = tiny_converter.voice.card.model_copy(update={"range_hz": (70.0, 150.0)})
    tiny_converter.voice.card = low
    own = Arranger(tiny_converter, separator=Middle()).convert(song, tmp_path / "own.flac", FAST)
    assert own.transpose % 12 == 0
    options = SongOptions(shift_accompaniment=True)
    keyed = FAST.model_copy(update={"transpose": -5.0})
    Arranger(tiny_converter, options, Middle()).convert(song, tmp_path / "down.flac", keyed)
    spectrum = np.abs(np.fft.rfft(sides(tmp_path / "down.flac")[: 4 * RATE] * np.hanning(4 * RATE)))
    loudest = np.argsort(-spectrum)[:40] / 4
    for hz in (130.8, 196.0, 311.1):
        assert np.abs(loudest - hz * 2 ** (-5 / 12)).min() < 1.0


def test_what_can_be_refused_is_before_anything_is_heard(arranger, song, tmp_path) -> None:
    for wrong in ({"tune": "H major"}, {"pitch_file": str(tmp_path / "none.csv")}, {"transpose": 99.0}):
        with pytest.raises(ConfigError):
            arranger.convert(song, tmp_path / "no.flac", FAST.model_copy(update=wrong))
    with pytest.raises(ConfigError, match="--pitch-out"):
        arranger.convert(song, tmp_path / "no.flac", FAST, pitch_out=tmp_path / "notes.txt")
    assert arranger.separator.calls == 0


def test_tags_come_along_and_say_that_the_voice_is_converted(arranger, song, tmp_path) -> None:
    write_tags(song, Tags({"title": "T", "artist": "A"}))
    arranger.convert(song, tmp_path / "out.mp3", FAST)
    texts = read_tags(tmp_path / "out.mp3").texts
    assert texts["title"] == "T" and texts["artist"] == "A" and "tiny, a converted voice" in texts["comment"]


def test_the_same_song_again_from_its_record(arranger, song, tmp_path, monkeypatch) -> None:
    options = FAST.model_copy(update={"start_seconds": 0.4, "end_seconds": 2.9, "seed": 3})
    arranger.options = SongOptions(mix=MixOptions(match_tone=0.5))
    arranger.convert(song, tmp_path / "a.flac", options)
    monkeypatch.setattr(arrange, "embedded", Middle)
    monkeypatch.setattr(arrange, "reopen", _reopened(arranger.converter))
    again = arrange.repeat(tmp_path / "a.flac.json", tmp_path / "b.flac")
    first, second = (soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("a.flac", "b.flac"))
    np.testing.assert_array_equal(first, second)
    assert again.song["options"]["mix"]["match_tone"] == 0.5
    assert len(first) == round(2.9 * RATE) - round(0.4 * RATE)


def _reopened(converter: Converter) -> Callable[..., object]:
    from resing.conversion_record import ConversionRecord

    return lambda record, voice=None: (*ConversionRecord.load(record), converter)


def test_a_folder_goes_on_where_it_was_and_past_a_bad_file(arranger, song, tmp_path) -> None:
    folder, out = tmp_path / "songs", tmp_path / "out"
    (folder / "more").mkdir(parents=True)
    (folder / "a.flac").write_bytes(song.read_bytes())
    (folder / "more" / "b.flac").write_bytes(song.read_bytes())
    (folder / "bad.mp3").write_text("no")
    (folder / ".hidden.flac").write_text("no")
    (folder / "notes.txt").write_text("no")
    done = convert_folder(arranger, folder, out, FAST)
    assert {Path(d.source).name: d.outcome for d in done} == {
        "a.flac": "made", "bad.mp3": "failed", "b.flac": "made",
    }  # fmt: skip
    assert (out / "a_tiny.flac").is_file() and (out / "more" / "b_tiny.flac").is_file()
    assert "bad.mp3" in next(d.message for d in done if d.outcome == "failed")
    again = convert_folder(arranger, folder, out, FAST)
    assert [d.outcome for d in again] == ["kept", "failed", "kept"]
    other = convert_folder(arranger, folder, out, FAST.model_copy(update={"seed": 9}))
    assert [d.outcome for d in other] == ["made", "failed", "made"]


def test_the_preview_is_where_the_singing_is_loudest(tmp_path, sung_vowel) -> None:
    sound = np.zeros((2, 40 * RATE), np.float32)
    sound[:, 22 * RATE : 26 * RATE] += 0.5 * sung_vowel(300.0, 4.0)
    sound[:, 5 * RATE : 8 * RATE] += 0.05 * sung_vowel(300.0, 3.0)
    sound[:, 32 * RATE : 39 * RATE] += np.array([[0.7], [-0.7]], np.float32) * sung_vowel(500.0, 7.0)
    files.write(tmp_path / "song.wav", sound, RATE)
    middle = Middle()
    start, end = loudest_sung(tmp_path / "song.wav", middle, seconds=6.0)
    assert end - start == 6.0 and start <= 23 and end >= 25
    assert stems_of(tmp_path / "song.wav", middle, (start, end)).kept  # not separated again to be sung
    alone = loudest_sung(tmp_path / "song.wav", None, seconds=6.0)
    assert 31 <= alone[0] <= 33 and alone[1] == alone[0] + 6.0  # the loudest of all


def test_the_pace_is_learnt_and_kept() -> None:
    assert Pace.known().per_second == USUAL
    times = {"separate": 50.0, "listen": 0.001, "sing": 10.0, "other": 9.0}
    learnt = Pace.known().learn(100.0, times)
    assert learnt.per_second["separate"] == pytest.approx((USUAL["separate"] + 0.5) / 2)
    assert learnt.per_second["listen"] == USUAL["listen"]  # remembered, so it says nothing
    assert Pace.known() == learnt
    assert Pace.known().learn(5.0, times) == learnt  # too short to tell


def test_stems_that_are_given_are_not_separated(arranger, song, band, tmp_path) -> None:
    lead, rest = tmp_path / "lead.flac", tmp_path / "rest.flac"
    files.write(lead, soundfile.read(song)[0].T.astype(np.float32) - band, RATE)
    files.write(rest, band, RATE)
    options = FAST.model_copy(update={"start_seconds": 0.5, "end_seconds": 3.0})
    record = arranger.convert(lead, tmp_path / "out.flac", options, accompaniment=rest)
    assert arranger.separator.calls == 0 and record.song["separator"] is None
    part = slice(round(0.5 * RATE), round(3.0 * RATE))
    assert np.abs(sides(tmp_path / "out.flac") - band[0][part]).max() < 1e-3
    files.write(rest, band[:, :-RATE], RATE)
    with pytest.raises(AudioError, match=r"rest\.flac: 3\.00 s .* expected 4\.00 s"):
        arranger.convert(lead, tmp_path / "no.flac", FAST, accompaniment=rest)
