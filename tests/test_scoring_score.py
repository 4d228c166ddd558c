"""A scorecard: every figure is there, the record beside the output counts, and bad input is refused."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import resing
from resing import cache
from resing.audio import files
from resing.errors import AudioError, ConfigError, DatasetError, VoiceError
from resing.features import f0
from resing.scoring.card import KINDS, Scorecard
from resing.scoring.clip import Clip, Part
from resing.scoring.figures import ROWS, limit_text, row
from resing.scoring.pair import Made, Pair, guess_transpose, semitones
from resing.scoring.score import score

RATE = 44100
MELODY = [(0.0, 0.2), (330.0, 0.9), (0.0, 0.4), (440.0, 0.9), (0.0, 0.4), (392.0, 0.6), (294.0, 0.7)]
SPEC = """
similarity_of_ceiling leak_margin f0_rmse_cents f0_median_cents coverage f0_correlation gross_share
octave_share voicing_error units_distance phone_distance hnr_db_change cpp_ratio worst_band_db
silence_floor_db loudness_change_lu clipped_runs true_peak_dbtp length_difference_samples lag_ms
drift_ms_per_minute clicks_ratio dips_db not_finite words_cer
opinion_change
"""

Singer = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Singer) -> Path:
    """Four seconds in three phrases, with a little noise as every room has."""
    path = tmp_path / "song.wav"
    save(path, sung_phrase(MELODY))
    return path


def save(path: Path, audio: np.ndarray) -> Path:
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(audio))
    files.write(path, (0.9 * audio + noise).astype(np.float32)[None], RATE)
    return path


def shifted(factor: float, melody: list[tuple[float, float]] = MELODY) -> list[tuple[float, float]]:
    return [(note * factor, seconds) for note, seconds in melody]


def record(output: Path, **changes: object) -> None:
    """An OUT.json as `convert` writes it."""
    facts: dict[str, object] = {
        "transpose": 12.0,
        "options": {"start_seconds": 0.0, "end_seconds": None},
        "range": {"moved": []},
        "voice": "kumi",
        "source_sha256": "0" * 64,
    }
    Path(f"{output}.json").write_text(json.dumps(facts | changes))


def flagged(card: Scorecard) -> set[str]:
    return {figure.name for figure in card.figures if figure.flagged}


# -- what a card says


def test_a_song_against_itself_has_no_fault(song: Path):
    card = score(song, song)
    zero = "f0_rmse_cents f0_median_cents gross_share octave_share units_distance phone_distance"
    for name in zero.split():
        assert card.figure(name).value == pytest.approx(0.0, abs=1e-3), name
    assert card.figure("coverage").value == pytest.approx(1.0)
    assert card.figure("cpp_ratio").value == pytest.approx(1.0)
    assert card.figure("hnr_db_change").value == pytest.approx(0.0, abs=1e-6)
    assert flagged(card) == set() and card.findings == ()
    assert (card.transpose, card.voice, card.seconds) == (0.0, None, pytest.approx(4.1))
    assert [phrase.weak for phrase in card.phrases] == [0.0, 0.0, 0.0]


def test_every_figure_of_the_scorecard_is_there_or_says_what_it_needs(song: Path):
    card = score(song, song)
    names = [figure.name for figure in card.figures]
    assert set(SPEC.split()) <= set(names) <= set(ROWS) and len(set(names)) == len(names)
    for figure in card.figures:
        assert figure.heading and (figure.value is not None or figure.note), figure
    assert "--voice" in card.figure("leak_margin").note
    for name in ("words_cer", "opinion_change"):
        assert "needs more than the base install: scripts/judge-env" in card.figure(name).note
    assert json.loads(json.dumps(asdict(card)))["figures"][0]["name"] == names[0]
    with pytest.raises(KeyError):
        card.figure("beauty")


def test_phrases_lie_between_the_pauses(song: Path):
    edges = [(p.start_seconds, p.end_seconds) for p in score(song, song).phrases]
    expected = [(0.2, 1.1), (1.5, 2.4), (2.8, 4.1)]
    assert np.allclose(edges, expected, atol=0.05)


def test_a_long_phrase_is_parted_where_it_is_quietest(tmp_path: Path, sung_phrase: Singer):
    audio = sung_phrase([(330.0, 12.0)])
    audio[round(5.0 * RATE) : round(5.2 * RATE)] *= 0.2
    parts = Pair(*[Clip.read(save(tmp_path / "long.wav", audio))] * 2, 0.0).edges
    assert len(parts) == 2
    assert parts[0][1] == pytest.approx(5.1, abs=0.15) and parts[0][1] == parts[1][0]


def test_noise_before_the_song_is_no_phrase(tmp_path: Path, sung_phrase: Singer):
    audio = sung_phrase([(0.0, 2.0), (330.0, 1.0), (0.0, 1.0)])
    noise = 0.004 * np.random.default_rng(1).standard_normal(len(audio))
    clip = Clip.read(save(tmp_path / "room.wav", audio + noise))
    assert np.allclose(Pair(clip, clip, 0.0).edges, [(2.0, 3.0)], atol=0.1)


def test_the_key_of_the_record_is_removed(song: Path, tmp_path: Path, sung_phrase: Singer):
    out = save(tmp_path / "out.wav", sung_phrase(shifted(2.0)))
    record(out)
    card = score(out, song)
    assert (card.transpose, card.voice) == (12.0, "kumi")
    assert card.figure("f0_rmse_cents").value < 5.0
    record(out, transpose=11.0)
    assert score(out, song).figure("f0_median_cents").value == pytest.approx(100.0, abs=3.0)
    assert score(out, song, transpose=12.0).figure("f0_median_cents").value < 5.0


def test_without_a_record_the_key_is_read_off_and_told(song: Path, tmp_path: Path, sung_phrase: Singer):
    out = save(tmp_path / "out.wav", sung_phrase(shifted(2.0 ** (-5.2 / 12))))
    card = score(out, song)
    assert card.transpose == -5.0
    assert "-5 semitones" in card.figure("f0_rmse_cents").note
    assert card.figure("f0_median_cents").value == pytest.approx(20.0, abs=5.0)
    noise = save(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(4 * RATE))
    assert guess_transpose(Clip.read(noise), Clip.read(noise)) == 0


def test_moved_notes_are_no_wrong_notes(song: Path, tmp_path: Path, sung_phrase: Singer):
    folded = [(note / 2 if note == 440.0 else note, seconds) for note, seconds in MELODY]
    out = save(tmp_path / "out.wav", sung_phrase(folded))
    note = {"start_seconds": 1.5, "end_seconds": 2.4, "note": "A4", "sung": "A3"}
    record(out, transpose=0.0, range={"moved": [note]})
    card = score(out, song)
    assert card.figure("f0_rmse_cents").value < 5.0 and card.moved == (note,)
    assert "octave_share" not in flagged(card)
    told = [f for f in card.findings if "A4" in f.text]
    assert told[0].text == (
        "the melody breaks: the note A4 is above this voice's range and is sung an octave lower, as A3"
    )
    assert (told[0].start_seconds, told[0].end_seconds) == (1.5, 2.4)
    record(out, transpose=0.0)
    assert "octave_share" in flagged(score(out, song))


def test_a_part_of_the_source_is_held_against_that_part(song: Path, tmp_path: Path):
    audio, _ = files.read(song)
    out = tmp_path / "part.wav"
    files.write(out, audio[:, round(1.4 * RATE) :], RATE)
    note = {"start_seconds": 1.5, "end_seconds": 2.4, "note": "A4", "sung": "A4"}
    part = {"start_seconds": 1.4, "end_seconds": None}
    record(out, transpose=0.0, options=part, range={"moved": [note]})
    card = score(out, song)
    assert flagged(card) <= {"leak_margin"}
    assert card.moved[0]["start_seconds"] == pytest.approx(0.1)
    assert card.phrases[0].start_seconds == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"transpose": "x"}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str):
    (tmp_path / "out.wav.json").write_text(text)
    assert Made.beside(tmp_path / "out.wav") is None
    assert Made.beside(tmp_path / "none.wav") is None


def test_a_whole_song_is_refused_with_what_to_judge_instead(song: Path):
    record(song, song={"a_cappella": False})
    with pytest.raises(AudioError, match=r"FOLDER/converted\.flac with --source FOLDER/lead\.flac"):
        score(song, song)
    record(song, transpose=0.0, song={"a_cappella": True})
    assert score(song, song).transpose == 0.0


def test_a_voice_that_is_gone_is_not_held_against(song: Path):
    record(song, transpose=0.0, voice="nobody-of-that-name")
    assert score(song, song).voice is None


def test_names_of_notes():
    assert [semitones(name) for name in ("A4", "C4", "C#-1", "B9")] == [69, 60, 1, 131]
    with pytest.raises(ValueError, match="name of a note"):
        semitones("H4")


# -- the voice


def test_likeness_without_recordings_says_what_it_is(song: Path):
    card = score(song, song, "kumi")
    likeness = card.figure("similarity")
    assert likeness.value == pytest.approx(likeness.source) and -1 <= likeness.value <= 1
    assert "vector in the voice file" in likeness.note and "flatters" in likeness.note
    assert card.figure("similarity_of_ceiling").value is None
    assert "--recordings" in card.figure("similarity_of_ceiling").note
    assert card.figure("leak_margin").value == pytest.approx(likeness.value - 1.0, abs=1e-4)


def test_recordings_give_a_ceiling_and_references(song: Path, tmp_path: Path, sung_phrase: Singer):
    own = tmp_path / "own" / "deeper"
    own.mkdir(parents=True)
    for number in range(7):
        save(own / f"{number}.wav", np.tile(sung_phrase(shifted(0.9 + 0.03 * number, MELODY[1:])), 3))
    (own / "notes.txt").write_text("not audio")
    card = score(song, song, "kumi", recordings=tmp_path / "own")
    assert 0.8 < card.figure("similarity_of_ceiling").value < 1.1
    assert card.figure("similarity").target <= 1.0
    assert card.figure("hnr_db").target is not None
    assert "lack of recordings" not in card.figure("hnr_db_change").note
    for figure in card.figures:
        assert "--recordings" not in figure.note


def test_recordings_that_do_not_suffice(song: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="no such folder"):
        score(song, song, "kumi", recordings=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no audio files"):
        score(song, song, "kumi", recordings=tmp_path / "empty")
    with pytest.raises(DatasetError, match="at least 60 s"):
        score(song, song, "kumi", recordings=tmp_path)
    with pytest.raises(ConfigError, match="recordings of which voice"):
        score(song, song, recordings=tmp_path)


# -- what was heard is kept


def test_the_source_is_heard_once(song: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch):
    first = score(song, song)
    heard: list[int] = []
    real = f0.swift_frames
    monkeypatch.setattr(f0, "swift_frames", lambda *args: heard.append(1) or real(*args))
    assert score(song, song) == first
    assert len(heard) == 1  # the output
    assert [path.suffix for path in (own_home / "cache" / "scoring").iterdir()] == [".safetensors"]


def test_another_part_or_file_is_heard_anew(song: Path, tmp_path: Path):
    Clip.remembered(song).keep()
    whole = Clip.remembered(song)
    whole.swift  # noqa: B018
    whole.keep()
    assert "swift" in Clip.remembered(song).__dict__
    assert "swift" not in Clip.remembered(song, Part(1.0)).__dict__
    audio, _ = files.read(song)
    files.write(song, audio * 0.5, RATE)
    assert "swift" not in Clip.remembered(song).__dict__


@pytest.mark.parametrize("content", [b"", b"damaged", b"PK\x03\x04 cut off"])
def test_a_damaged_cache_is_made_again(song: Path, content: bytes):
    score(song, song)
    (file,) = (cache.folder() / "scoring").iterdir()
    file.write_bytes(content)
    assert "swift" not in Clip.remembered(song).__dict__
    score(song, song)
    assert "swift" in Clip.remembered(song).__dict__


def test_a_cache_that_cannot_be_written_is_done_without(song: Path, own_home: Path):
    own_home.write_text("a file where the folder should be")
    assert score(song, song).findings == ()


def test_the_cache_stays_small(song: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "LARGEST_BYTES", 3000)
    monkeypatch.setattr(cache, "NEWEST", 1)
    for end in (1.5, 2.0, 2.5):
        clip = Clip.remembered(song, Part(0.0, end))
        clip.swift  # noqa: B018
        clip.keep()
    assert sum(held.files for held in cache.size().values()) < 3


# -- refusals


def test_bad_files_are_refused(song: Path, tmp_path: Path, sung_phrase: Singer):
    (tmp_path / "text.wav").write_text("words")
    save(tmp_path / "short.wav", sung_phrase([(330.0, 0.1)]))
    save(tmp_path / "other.wav", sung_phrase([(330.0, 2.0)]))
    files.write(tmp_path / "silence.wav", np.zeros((1, 4 * RATE), np.float32), RATE)
    for name, text in (
        ("none.wav", "no such file"),
        ("text.wav", "is not audio"),
        ("short.wav", "0.10 s of sound"),
        ("silence.wav", "holds no singing"),
    ):
        for pair in ((tmp_path / name, song), (song, tmp_path / name)):
            with pytest.raises(AudioError, match=f"{name}.*{text}"):
                score(*pair)
    with pytest.raises(AudioError, match=r"other.wav lasts 2.0 s, its source .*song.wav 4.1 s"):
        score(tmp_path / "other.wav", song)


def test_bad_settings_are_refused(song: Path):
    with pytest.raises(VoiceError, match="no voice named 'nobody'"):
        score(song, song, "nobody")
    with pytest.raises(ConfigError, match="transpose"):
        score(song, song, transpose=float("nan"))


def test_progress_is_told_and_may_cancel(song: Path):
    told: list[tuple[str, float, float]] = []
    score(song, song, progress=lambda *stage: told.append(stage))
    assert told[0] == ("score", 0, 4) and told[-1] == ("score", 4, 4)

    def cancel(stage: str, done: float, total: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(song, song, progress=cancel)


# -- figures


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (None, None, ""),
        (0.9, None, ">= 0.9"),
        (None, 15.0, "<= 15"),
        (0.8, 1.5, "0.8 to 1.5"),
        (0.0, 0.0, "0"),
        (None, -42.1581, "<= -42.2"),
    ],
)
def test_limits_in_figures(low: float | None, high: float | None, text: str):
    assert limit_text(low, high) == text


def test_a_figure_is_flagged_beyond_its_limits():
    assert row("coverage", 0.74).flagged and not row("coverage", 0.75).flagged
    assert row("cpp_ratio", 1.6).flagged and row("cpp_ratio", 0.7).flagged
    assert row("silence_floor_db", -40.0, limits=(None, -45.0)).flagged
    assert not row("coverage", None).flagged and row("hnr_db", 3.0).limit == ""
    assert row("octave_share", 0.6).flagged and row("octave_share", 0.6).unit == "%"


def test_the_package_exports_its_verbs():
    assert resing.score is score and len(set(KINDS)) == len(KINDS)
