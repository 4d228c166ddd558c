"""What the source says and its units do not: differences in time count, those that stay and noise do not."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from resing import conversion_articulation
from resing.config import AudioConfig, ConvertOptions
from resing.conversion import Converter
from resing.conversion_articulation import BANDS, LARGEST, STRETCHES, Sung, articulation_of, stretch
from resing.conversion_singer import singer_of
from resing.features.extract import extract, open_recording
from resing.features.f0 import fill_unvoiced
from resing.voice import Voice

AUDIO = AudioConfig()
FRAMES = 200
BEFORE = slice(0, 60)
SPOKEN = slice(100, 120)


def spoken(seed: int = 0) -> np.ndarray:
    """Slow movements of every band."""
    steps = np.random.default_rng(seed).standard_normal((BANDS, FRAMES // 10))
    return np.repeat(steps, 10, axis=1).astype(np.float32)


def found(
    monkeypatch: pytest.MonkeyPatch,
    heard: np.ndarray,
    said: np.ndarray,
    voice: np.ndarray | None = None,
    quiet: slice = slice(0),
    up: float = 0.0,
) -> np.ndarray:
    """Articulation where the source is `heard` and the model sings `said`, all voiced, with a quiet part.

    The voice sings the same, or `voice`, some semitones up.
    """
    loudness = np.full(FRAMES, -10.0)
    loudness[quiet] = -50.0
    features = SimpleNamespace(loudness=loudness, silent=loudness < -90, voiced=np.ones(FRAMES, bool))
    mine = said if voice is None else voice
    monkeypatch.setattr(conversion_articulation, "_sung", lambda *_: Sung(heard, said, mine))
    features.audio, features.f0 = AUDIO, np.full(FRAMES, 220.0)
    f0, nobody = features.f0 * 2 ** (up / 12), torch.zeros(1, 4)
    more = articulation_of(None, features, f0, None, nobody, nobody)  # type: ignore[arg-type]
    return more.astype(np.float32)


def test_what_stays_the_same_is_the_singer_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken()
    colour = np.linspace(-1, 1, BANDS, dtype=np.float32)[:, None]
    assert np.abs(found(monkeypatch, said + colour, said)).max() < 1e-3


def test_a_sound_that_the_model_does_not_make_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken()
    heard = said.copy()
    heard[10:14, SPOKEN] += 0.5
    said_more = found(monkeypatch, heard, said)
    assert 0.3 < said_more[11:13, 103:117].min() < 0.5
    assert np.abs(said_more[20:]).max() < 1e-3
    assert np.abs(said_more[:, BEFORE]).max() < 0.06


def test_bands_of_noise_and_quiet_frames_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken()
    heard = said + 0.5 * spoken(1)
    heard[20:] = -said[20:] + spoken(2)[20:]
    more = found(monkeypatch, heard, said, quiet=BEFORE)
    assert np.abs(more[:18, 80:]).max() > 0.2
    assert np.abs(more[22:]).max() < 0.05
    assert np.abs(more[:, : BEFORE.stop - 4]).max() == 0


def test_it_moves_to_where_the_voice_has_its_formants(monkeypatch: pytest.MonkeyPatch) -> None:
    said, factor = np.zeros((BANDS, FRAMES), np.float32), STRETCHES[17]
    places = 11 + 4 * np.sin(np.arange(FRAMES) / 9)
    said += np.exp(-np.square(np.arange(BANDS)[:, None] - places) / 6).astype(np.float32)
    heard = said.copy()
    heard[12, SPOKEN] += 0.5
    more = found(monkeypatch, heard, said, voice=(stretch(factor, AUDIO) @ said).astype(np.float32))
    where = np.average(np.arange(BANDS), weights=np.abs(more[:, 110]))
    expected = np.average(np.arange(BANDS), weights=stretch(factor, AUDIO)[:, 12])
    assert expected > 12.8 and where == pytest.approx(expected, abs=0.25)


def test_it_fades_the_higher_a_note_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken()
    heard = said + 0.3 * spoken(4)
    as_it_is, down, up, octave = (found(monkeypatch, heard, said, up=up) for up in (0.0, -12.0, 8.5, 12.0))
    np.testing.assert_allclose(down, as_it_is)
    np.testing.assert_allclose(up, as_it_is / 2, atol=1e-3)
    assert np.abs(as_it_is).max() > 0.2 and not octave.any()


def test_what_lies_above_the_words_stays_the_voices_own(monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken()
    heard = said.copy()
    heard[26:, SPOKEN] += 0.5
    assert np.abs(found(monkeypatch, heard, said)).max() == 0


def test_it_is_never_larger_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken()
    assert np.abs(found(monkeypatch, said + 9 * spoken(3), said)).max() == pytest.approx(LARGEST, abs=1e-3)


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    sung = sung_phrase([(220.0, 0.8), (0.0, 0.3), (330.0, 0.9)])
    soundfile.write(tmp_path / "song.wav", 0.3 * sung, 44100, subtype="FLOAT")
    return tmp_path / "song.wav"


def test_windows_do_not_matter(
    tiny_converter: Converter, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, recording = tiny_converter.voice, open_recording(song)
    features = extract(song, voice.audio, voice.features, tiny_converter.encoder)
    singer = singer_of(recording, features, voice.base)
    assert singer is not None and voice.base is not None
    me, f0 = voice.speaker, fill_unvoiced(features.f0)
    whole = articulation_of(recording, features, f0, voice.base, singer, me)
    assert whole.shape == (BANDS, len(features.f0)) and np.abs(whole).max() > 0.01
    monkeypatch.setattr(conversion_articulation, "WINDOW_FRAMES", 37)
    np.testing.assert_allclose(
        articulation_of(recording, features, f0, voice.base, singer, me), whole, atol=2e-3
    )


def test_more_of_it_brings_the_output_further_from_what_the_units_say(
    tiny_converter: Converter, song: Path, tmp_path: Path
) -> None:
    outs = {}
    for share in (0.0, 0.5, 1.0):
        options = ConvertOptions(steps=1, retries=0, transpose=0, articulation=share)
        tiny_converter.convert(song, tmp_path / f"{share}.wav", options)
        outs[share] = soundfile.read(tmp_path / f"{share}.wav")[0]
    half, full = (np.square(outs[share] - outs[0.0]).mean() for share in (0.5, 1.0))
    assert 0 < half < full


def test_a_voice_that_is_no_change_of_a_base_sings_without_it(
    tiny_converter: Converter, song: Path, tmp_path: Path
) -> None:
    voice = tiny_converter.voice
    card = voice.card.model_copy(update={"base_hash": ""})
    alone = Voice(card, voice.model, voice.audio, voice.speaker, merged=voice.merged)
    assert alone.base is None
    converter = Converter(alone, tiny_converter.vocoder, tiny_converter.encoder)
    outs = []
    for share in (0.0, 1.0):
        options = ConvertOptions(steps=1, retries=0, transpose=0, articulation=share)
        converter.convert(song, tmp_path / f"{share}.wav", options)
        outs.append(soundfile.read(tmp_path / f"{share}.wav")[0])
    assert np.array_equal(*outs)
