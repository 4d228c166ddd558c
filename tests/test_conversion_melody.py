"""A melody given back: it is sung as written, and only what changed is rendered again."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from resing import cache, conversion_reopen
from resing.config import AudioConfig, ConvertOptions, ModelConfig
from resing.conversion import Converter
from resing.conversion_record import ConversionRecord
from resing.conversion_windows import Renderer
from resing.errors import ConfigError
from resing.features import content, f0
from resing.features.content import ContentConfig, ContentEncoder
from resing.features.f0 import swift_frames
from resing.pitch_file import read_pitch
from resing.song.arrange import repeat
from resing.synthesis import acoustic, vocoder
from resing.synthesis.vocoder import Vocoder, VocoderConfig, phase_at_frames, phase_of_phrases
from resing.voice import Voice, VoiceCard

AUDIO, RATE = AudioConfig(), 44100
MODEL = ModelConfig(n_units=6, hidden=16, decoder_layers=1, denoiser_layers=1, speaker_dim=8)
OPTIONS = ConvertOptions(steps=1, window_seconds=0.7, transpose=0.0, retries=0)
PHRASES = [(220.0, 0.8), (0.0, 0.4), (330.0, 0.9), (0.0, 0.4), (262.0, 0.7), (294.0, 0.7), (0.0, 0.4)]


@pytest.fixture(scope="module")
def converter() -> Converter:
    torch.manual_seed(0)
    net = acoustic.build(MODEL, AUDIO)
    torch.nn.init.normal_(net.denoiser.leave.weight, std=0.05)
    card = VoiceCard(
        name="tiny",
        licence="mine",
        consent="mine",
        range_hz=(110, 880),
        encoder_id="untrained",
        base_hash="untrained",
    )
    voice = Voice(card, MODEL, AUDIO, torch.ones(8), merged=dict(net.state_dict()))
    shape = VocoderConfig(hidden=16, layers=1, points=24)
    encoder = ContentEncoder(content.build(ContentConfig(hidden=16, layers=2, n_units=6)))
    return Converter(voice, Vocoder(vocoder.build(shape, AUDIO), AUDIO), encoder)


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    audio = sung_phrase([*PHRASES, *PHRASES[::-1]])
    audio = audio + 1e-3 * np.random.default_rng(0).standard_normal(len(audio))  # a room: nothing is silent
    soundfile.write(tmp_path / "song.wav", 0.3 * audio, RATE, subtype="FLOAT")
    return tmp_path / "song.wav"


@pytest.fixture
def first(converter: Converter, song: Path, tmp_path: Path) -> ConversionRecord:
    """The song sung as it was heard to first.flac, its melody written to pitch.csv."""
    return converter.convert(song, tmp_path / "first.flac", OPTIONS, pitch_out=tmp_path / "pitch.csv")


def edit(path: Path, change: Callable[[float, float], float], out: str = "edited.csv") -> ConvertOptions:
    """The options to sing a melody whose rows at `time` with `hz` become `change(time, hz)`."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        hz = change(float(row[0]), float(row[1]))
        row[1:3] = [repr(hz), str(int(hz > 0))]
    path.with_name(out).write_text("\n".join(map(",".join, rows)) + "\n")
    return OPTIONS.model_copy(update={"pitch_file": str(path.with_name(out))})


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int32")[0]


# -- phase


def test_each_phrase_begins_its_own_phase() -> None:
    f0 = np.linspace(200, 300, 100).astype(np.float32)
    voiced = np.ones(100, bool)
    voiced[:5] = voiced[20:40] = voiced[60:69] = voiced[80:88] = False  # rests of 20 and 9 frames, and 8
    phase = phase_of_phrases(f0, voiced, AUDIO)
    assert phase.shape == (100,) and np.flatnonzero(phase == 0).tolist() == [0, 40, 69]
    np.testing.assert_array_equal(phase[40:69], phase_at_frames(f0[40:69], AUDIO)[:-1])
    f0[:30] *= 1.1
    np.testing.assert_array_equal(phase_of_phrases(f0, voiced, AUDIO)[40:], phase[40:])


# -- as it is written


def test_the_melody_that_was_heard_sings_the_same(converter, first, song, tmp_path) -> None:
    options = OPTIONS.model_copy(update={"pitch_file": str(tmp_path / "pitch.csv")})
    again = converter.convert(song, tmp_path / "again.flac", options)
    np.testing.assert_array_equal(read(tmp_path / "again.flac"), read(tmp_path / "first.flac"))
    assert again.sung_seconds == 0.0 and first.sung_seconds == pytest.approx(first.seconds, abs=0.02)
    cache.clear()
    converter.convert(song, tmp_path / "anew.flac", options)
    np.testing.assert_array_equal(read(tmp_path / "anew.flac"), read(tmp_path / "first.flac"))


def test_the_edited_note_is_what_is_sung(converter, first, song, tmp_path) -> None:
    heard = read_pitch(tmp_path / "pitch.csv")
    options = edit(tmp_path / "pitch.csv", lambda t, hz: 1.25 * hz if 1.2 < t < 2.1 else hz)
    converter.convert(song, tmp_path / "out.flac", options, pitch_out=tmp_path / "sung.csv")
    sung = read_pitch(tmp_path / "sung.csv")
    inside = (heard.times > 1.2) & (heard.times < 2.1)
    np.testing.assert_allclose(sung.f0[inside], 1.25 * heard.f0[inside], rtol=1e-6)
    np.testing.assert_array_equal(sung.f0[~inside], heard.f0[~inside])


def test_what_is_silent_stays_silent(converter, tmp_path, sung_vowel) -> None:
    audio = np.concatenate([0.3 * sung_vowel(220.0, 0.8), np.zeros(RATE, np.float32)])
    soundfile.write(tmp_path / "in.wav", audio, RATE, subtype="FLOAT")
    converter.convert(tmp_path / "in.wav", tmp_path / "a.wav", OPTIONS, pitch_out=tmp_path / "pitch.csv")
    options = edit(tmp_path / "pitch.csv", lambda t, hz: 300.0)
    converter.convert(tmp_path / "in.wav", tmp_path / "out.wav", options)
    assert not soundfile.read(tmp_path / "out.wav")[0][RATE:].any()


def test_the_key_is_that_of_the_song_heard(converter, first, song, tmp_path) -> None:
    auto = edit(tmp_path / "pitch.csv", lambda t, hz: 4 * hz).model_copy(update={"transpose": "auto"})
    plain = converter.convert(song, tmp_path / "a.wav", OPTIONS.model_copy(update={"transpose": "auto"}))
    assert converter.convert(song, tmp_path / "b.wav", auto).transpose == plain.transpose


def test_a_tuned_melody_lies_on_the_scale(converter, song, tmp_path) -> None:
    options = OPTIONS.model_copy(update={"tune": "C# major"})
    heard = converter.convert(song, tmp_path / "a.wav", OPTIONS, pitch_out=tmp_path / "a.csv")
    tuned = converter.convert(song, tmp_path / "b.wav", options, pitch_out=tmp_path / "b.csv")
    assert tuned.sung_seconds == pytest.approx(heard.seconds, abs=0.02)  # E4 and A3 are not in C# major
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()  # what was heard
    with pytest.raises(ConfigError, match="tune: got"):
        converter.convert(song, tmp_path / "c.wav", options.model_copy(update={"tune": "loud"}))


# -- only what changed


def test_only_the_phrase_that_changed_is_sung_anew(converter, first, song, tmp_path, monkeypatch) -> None:
    options = edit(tmp_path / "pitch.csv", lambda t, hz: 1.1 * hz if 2.4 < t < 4.0 else hz)
    rendered = []
    real = Renderer.window
    monkeypatch.setattr(
        Renderer,
        "window",
        lambda self, score, a, b, o: rendered.append(a) or real(self, score, a, b, o),
    )
    record = converter.convert(song, tmp_path / "edited.flac", options)
    reach = (converter.acoustic.halo_frames("heun", 1) + converter.vocoder.halo_frames) / AUDIO.frame_rate
    before, after = read(tmp_path / "first.flac"), read(tmp_path / "edited.flac")
    differs = np.flatnonzero(before != after) / RATE
    assert 2.1 - reach - 0.7 < differs.min() < 2.6 and 3.8 < differs.max() < 4.3 + reach + 0.7
    assert 1 <= len(rendered) <= 6 and record.sung_seconds <= 4.2 < first.seconds / 2
    cache.clear()  # what is sung anew is what all of it would be
    whole = converter.convert(song, tmp_path / "whole.flac", options)
    assert whole.sung_seconds == pytest.approx(first.seconds, abs=0.02)
    apart = np.abs(read(tmp_path / "whole.flac") - after) / 2**31
    assert apart.max() < 0.05  # only by the loudness of the whole, see the next test


def test_it_repeats_bit_for_bit_without_what_was_kept(converter, first, song, tmp_path, monkeypatch) -> None:
    options = edit(tmp_path / "pitch.csv", lambda t, hz: 1.5 * hz if 2.5 < t < 3.2 else hz)
    record = converter.convert(song, tmp_path / "edited.flac", options)
    assert record.levels == first.levels
    cache.clear()
    monkeypatch.setattr(conversion_reopen, "Converter", lambda voice: converter)
    repeat(tmp_path / "edited.flac.json", tmp_path / "again.flac", converter.voice)
    np.testing.assert_array_equal(read(tmp_path / "again.flac"), read(tmp_path / "edited.flac"))


def test_an_edit_is_undone_by_the_first_melody(converter, first, song, tmp_path) -> None:
    converter.convert(
        song, tmp_path / "edited.flac", edit(tmp_path / "pitch.csv", lambda t, hz: hz * (1 + (t > 4)))
    )
    options = OPTIONS.model_copy(update={"pitch_file": str(tmp_path / "pitch.csv")})
    converter.convert(song, tmp_path / "undone.flac", options)
    np.testing.assert_array_equal(read(tmp_path / "undone.flac"), read(tmp_path / "first.flac"))


@pytest.mark.parametrize("change", [{"seed": 3}, {"steps": 0}, {"window_seconds": 0.9}, {"transpose": 1.0}])
def test_other_options_sing_everything(converter, first, song, tmp_path, change) -> None:
    options = OPTIONS.model_copy(update={"pitch_file": str(tmp_path / "pitch.csv"), **change})
    record = converter.convert(song, tmp_path / "other.flac", options)
    assert record.sung_seconds == pytest.approx(first.seconds, abs=0.02)


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-4]), lambda p: p.unlink()])
def test_a_damaged_take_is_sung_again(converter, first, song, tmp_path, damage) -> None:
    for path in sorted((cache.folder() / "takes").iterdir()):
        damage(path)
    options = OPTIONS.model_copy(update={"pitch_file": str(tmp_path / "pitch.csv")})
    assert converter.convert(song, tmp_path / "again.flac", options).sung_seconds > 0
    np.testing.assert_array_equal(read(tmp_path / "again.flac"), read(tmp_path / "first.flac"))


def test_nothing_is_kept_of_a_conversion_without_a_pitch_file(converter, song, tmp_path) -> None:
    converter.convert(song, tmp_path / "out.flac", OPTIONS)
    assert set(cache.size()) == {"heard"}


def test_a_take_too_large_for_the_cache_is_not_kept(converter, song, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cache, "LARGEST_BYTES", 300_000)
    converter.convert(song, tmp_path / "out.flac", OPTIONS, pitch_out=tmp_path / "pitch.csv")
    assert "takes" not in cache.size()


# -- a song heard before


def test_a_song_is_heard_once(converter, song, tmp_path, monkeypatch) -> None:
    calls: list[int] = []
    counted = dataclasses.replace(f0.SWIFT, hear=lambda *a: calls.append(1) or swift_frames(*a))
    monkeypatch.setattr(f0, "SWIFT", counted)
    for name, seed in (("a.wav", 0), ("b.wav", 1)):
        converter.convert(song, tmp_path / name, OPTIONS.model_copy(update={"seed": seed}))
    heard = len(calls)
    assert heard > 0
    converter.convert(song, tmp_path / "c.wav", OPTIONS)
    assert len(calls) == heard
    np.testing.assert_array_equal(read(tmp_path / "c.wav"), read(tmp_path / "a.wav"))
    converter.convert(song, tmp_path / "d.wav", OPTIONS.model_copy(update={"start_seconds": 1.0}))
    assert len(calls) > heard
    for path in (cache.folder() / "heard").iterdir():
        path.write_bytes(b"damaged")
    converter.convert(song, tmp_path / "e.wav", OPTIONS)
    np.testing.assert_array_equal(read(tmp_path / "e.wav"), read(tmp_path / "a.wav"))


# -- refusals


def test_mistakes_are_told_before_anything_is_heard(converter, song, tmp_path) -> None:
    (tmp_path / "bad.csv").write_text("time,hz,voiced\n0,-1,1\n")
    with pytest.raises(ConfigError, match="line 2: hz"):
        converter.convert(
            song, tmp_path / "o.wav", OPTIONS.model_copy(update={"pitch_file": str(tmp_path / "bad.csv")})
        )
    for name in ("song.wav", "pitch.txt", "o.csv"):
        with pytest.raises(ConfigError, match=r"--pitch-out: got .* expected a new \.csv"):
            converter.convert(
                song,
                tmp_path / "o.wav",
                OPTIONS.model_copy(update={"pitch_file": str(tmp_path / "o.csv")}),
                pitch_out=tmp_path / name,
            )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv", "song.wav"]


def test_repeating_needs_the_same_pitch_file_and_rendering(
    converter, first, song, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(conversion_reopen, "Converter", lambda voice: converter)
    converter.convert(song, tmp_path / "e.flac", edit(tmp_path / "pitch.csv", lambda t, hz: hz))
    (tmp_path / "edited.csv").write_text("time,hz,voiced\n")
    with pytest.raises(ConfigError, match=r"edited.csv is gone or has changed since .*e.flac.json"):
        repeat(tmp_path / "e.flac.json", tmp_path / "o.flac", converter.voice)
    record = json.loads((tmp_path / "first.flac.json").read_text())
    for key in ("rendering", "pitch_sha256", "levels", "sung_seconds"):
        del record[key]
    (tmp_path / "old.json").write_text(json.dumps(record))
    with pytest.raises(
        ConfigError, match=r"old.json was made by an earlier Resing.*convert .*song.wav again"
    ):
        repeat(tmp_path / "old.json", tmp_path / "o.flac", converter.voice)
    assert not (tmp_path / "o.flac").exists()
