"""Late reverb is predicted and taken away; what is dry stays; nothing depends on the blocks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from resing import cache, conversion_reopen
from resing.config import ConvertOptions
from resing.conversion import Converter
from resing.features import dereverb
from resing.features.dereverb import DELAY, TAPS, dried, dry_copy, prediction, without_reverb
from resing.song.arrange import repeat

RATE = 16000
ONE = np.ones(1, np.float32)
NOTES = [(220.0, 0.7), (0.0, 0.4), (330.0, 0.5), (262.0, 0.6), (0.0, 0.4), (294.0, 0.8), (0.0, 0.6)]

Singer = Callable[..., np.ndarray]


def room(audio: np.ndarray, t60: float, rate: int = RATE) -> np.ndarray:
    """Audio in a room whose late part is as loud as what comes directly."""
    times = np.arange(round(t60 * rate)) / rate
    late = np.random.default_rng(0).standard_normal(len(times)) * 10 ** (-3 * times / t60)
    late[: round(0.02 * rate)] = 0.0
    late /= np.sqrt(np.sum(late**2))
    late[0] = 1.0
    size = len(audio) + len(late)
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(late, size), size)[: len(audio)].astype(
        np.float32
    )


@pytest.fixture(scope="module")
def dry(sung_phrase: Singer) -> np.ndarray:
    return np.concatenate([0.3 * sung_phrase(NOTES, RATE), 0.2 * sung_phrase(NOTES[::-1], RATE)])


def power_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(audio**2) + 1e-12))


def test_the_filter_of_a_known_process_is_found(monkeypatch) -> None:
    monkeypatch.setattr(dereverb, "LOAD", 1e-6)
    rng = np.random.default_rng(1)
    taps = 0.03 * (rng.standard_normal((2, TAPS)) + 1j * rng.standard_normal((2, TAPS)))
    heard = rng.standard_normal((2, 20000)) + 1j * rng.standard_normal((2, 20000))
    heard *= 10 ** np.repeat(rng.uniform(-1, 0.5, (2, 200)), 100, axis=1)  # loud and soft
    for frame in range(DELAY + TAPS, heard.shape[1]):
        past = heard[:, frame - DELAY - TAPS + 1 : frame - DELAY + 1][:, ::-1]
        heard[:, frame] += np.sum(taps * past, axis=1)
    np.testing.assert_allclose(prediction(heard.astype(np.complex64)), taps, atol=0.02)


def test_late_reverb_is_taken_away() -> None:
    rng = np.random.default_rng(3)
    sounds = np.repeat(rng.random(80) < 0.5, RATE // 10)
    direct = (0.1 * rng.standard_normal(len(sounds)) * sounds).astype(np.float32)
    wet = room(direct, 1.0)
    out = without_reverb(wet[None], ONE, RATE)[0]
    fell = power_db(wet[~sounds]) - power_db(out[~sounds]), power_db(wet[sounds]) - power_db(out[sounds])
    assert fell[0] > fell[1] + 1.0
    assert power_db(out - direct) < power_db(wet - direct) - 1.0


def test_what_is_dry_stays(dry: np.ndarray) -> None:
    out = without_reverb(dry[None], ONE, RATE)[0]
    assert np.mean((out - dry) ** 2) < 0.05 * np.mean(dry**2)


def test_a_held_note_is_not_taken_for_a_room(sung_phrase: Singer) -> None:
    song = 0.3 * sung_phrase([*NOTES, (247.0, 4.0), *NOTES[::-1]], RATE, vibrato_cents=5.0)
    out, first = without_reverb(song[None], ONE, RATE)[0], sum(seconds for _, seconds in NOTES)
    held = slice(round((first + 0.3) * RATE), round((first + 3.7) * RATE))
    assert power_db(out[held]) == pytest.approx(power_db(song[held]), abs=0.5)


def test_silence_stays_silent() -> None:
    out = without_reverb(np.zeros((2, 5000), np.float32), np.full(2, 0.5), RATE)
    assert out.shape == (2, 5000) and not out.any()


def test_channels_share_one_filter(dry: np.ndarray) -> None:
    wet = room(dry, 0.5)
    both, weights = np.stack([wet, 0.5 * np.roll(wet, 7)]), np.array([0.7, 0.3], np.float32)
    mono = without_reverb((weights @ both)[None], ONE, RATE)[0]
    np.testing.assert_allclose(weights @ without_reverb(both, weights, RATE), mono, atol=1e-4)


@pytest.mark.parametrize("block", [999, 16000, 10**6])
def test_blocks_change_nothing_and_joins_are_not_heard(dry, block, monkeypatch) -> None:
    monkeypatch.setattr(dereverb, "SEGMENT_SECONDS", 2.0)
    sizes: list[int] = []
    real = dereverb.without_reverb
    monkeypatch.setattr(dereverb, "without_reverb", lambda a, *r: sizes.append(a.shape[1]) or real(a, *r))
    wet = room(dry, 0.5)
    pieces = [wet[None, at : at + block] for at in range(0, len(wet), block)]
    out = np.concatenate([*dried(pieces, ONE, RATE)], axis=1)[0]
    assert len(out) == len(wet) and len(sizes) == 4 and max(sizes) <= 5.1 * RATE
    joins = [slice(round((s - 0.05) * RATE), round((s + 0.15) * RATE)) for s in (2.0, 4.0)]
    for join in joins:
        assert np.abs(np.diff(out[join], 2)).max() < 1.5 * np.abs(np.diff(wet, 2)).max()
    whole = np.concatenate([*dried([wet[None]], ONE, RATE)], axis=1)[0]
    np.testing.assert_array_equal(out, whole)


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Singer) -> Path:
    wet = room(0.3 * sung_phrase(NOTES), 0.8, 44100)
    soundfile.write(tmp_path / "song.wav", np.stack([wet, 0.5 * wet], 1), 44100, subtype="FLOAT")
    return tmp_path / "song.wav"


def test_a_copy_is_made_once_and_of_the_part_that_is_asked_for(song: Path) -> None:
    shares: list[float] = []
    path = dry_copy(song, "hash", (0.5, 2.0), shares.append)
    about = soundfile.info(path)
    assert (about.samplerate, about.channels, about.frames) == (44100, 2, round(1.5 * 44100))
    assert shares[-1] == pytest.approx(1.0, abs=1e-3)
    assert dry_copy(song, "hash", (0.5, 2.0), shares.append) == path and len(shares) == 1
    assert dry_copy(song, "hash", (0.0, None)) != path


def test_a_conversion_hears_the_dry_copy(tiny_converter: Converter, song, tmp_path, monkeypatch) -> None:
    options = ConvertOptions(steps=0, dereverb=True, transpose=0.0, start_seconds=0.2)
    stages: list[str] = []
    record = tiny_converter.convert(song, tmp_path / "dry.flac", options, lambda s, *_: stages.append(s))
    tiny_converter.convert(song, tmp_path / "wet.flac", options.model_copy(update={"dereverb": False}))
    dry, wet = (soundfile.read(tmp_path / f"{name}.flac", dtype="int32")[0] for name in ("dry", "wet"))
    assert stages[0] == "dereverb" and dry.shape == wet.shape
    assert not np.array_equal(dry, wet)
    assert set(cache.size()) == {"dry", "heard"}
    cache.clear()
    monkeypatch.setattr(conversion_reopen, "Converter", lambda voice: tiny_converter)
    assert record.options["dereverb"]
    repeat(tmp_path / "dry.flac.json", tmp_path / "again.flac", tiny_converter.voice)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "again.flac", dtype="int32")[0], dry)
