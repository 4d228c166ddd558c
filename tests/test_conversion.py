"""The Converter: exact length, no seams, silence stays silent, and the same again from the record."""

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from resing import conversion, conversion_output, conversion_reopen
from resing.config import AudioConfig, ConvertOptions, ModelConfig
from resing.conversion import Converter
from resing.conversion_record import ConversionRecord
from resing.errors import AudioError, ConfigError
from resing.features.loudness import a_weighted_level, song_level
from resing.song.arrange import repeat
from resing.synthesis.acoustic import AcousticModel

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=6, hidden=16, decoder_layers=1, denoiser_layers=1, speaker_dim=8)
FAST = ConvertOptions(steps=1, window_seconds=0.7, retries=0)


@pytest.fixture
def converter(tiny_converter: Converter) -> Converter:
    return tiny_converter


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    sung = sung_phrase([(220.0, 0.8), (330.0, 0.7)])
    audio = np.concatenate([np.zeros(20000, np.float32), 0.3 * sung, np.zeros(30001, np.float32)])
    path = tmp_path / "song.wav"
    soundfile.write(path, audio, 44100, subtype="FLOAT")
    return path


def test_the_output_is_as_long_as_the_source_and_silent_where_it_is(converter, song, tmp_path) -> None:
    record = converter.convert(song, tmp_path / "out.wav", FAST)
    before, after = soundfile.read(song)[0], soundfile.read(tmp_path / "out.wav")[0]
    assert len(after) == len(before)
    assert np.abs(after[:17000]).max() == 0 and np.abs(after[-27000:]).max() == 0
    assert 0 < np.abs(after).max() <= 0.99
    assert record.seconds == pytest.approx(len(before) / 44100, abs=1e-3)
    assert not list(tmp_path.glob(".resing-*"))


@pytest.mark.parametrize("window", [0.2, 0.5, 30.0])
def test_windows_leave_no_seam(converter, song, tmp_path, window: float) -> None:
    outs = []
    for seconds in (1.1, window):
        out = tmp_path / f"{seconds}.wav"
        converter.convert(song, out, ConvertOptions(steps=2, window_seconds=seconds, transpose=0))
        outs.append(soundfile.read(out)[0])
    assert np.abs(outs[0] - outs[1]).max() < 1e-4


@pytest.mark.parametrize(
    ("rate", "channels", "samples"),
    [(44100, 2, 50001), (48000, 1, 60007), (8000, 1, 9001), (22050, 8, 30000)],
)
def test_rates_channels_and_length(converter, tmp_path, sung_vowel, rate, channels, samples) -> None:
    sung = sung_vowel(220.0, samples / rate + 0.1, sample_rate=rate)[:samples]
    audio = np.stack([sung * (0.2 + 0.1 * c) for c in range(channels)], axis=1)
    soundfile.write(tmp_path / "in.wav", audio, rate, subtype="FLOAT")
    converter.convert(tmp_path / "in.wav", tmp_path / "out.wav", FAST)
    after, out_rate = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert out_rate == (rate if rate in (44100, 48000) else 44100)
    assert after.shape == (round(samples * out_rate / rate), channels)
    levels = np.sqrt(np.mean(after**2, axis=0))
    np.testing.assert_allclose(
        levels / levels[0], [(0.2 + 0.1 * c) / 0.2 for c in range(channels)], rtol=0.02
    )


def test_opposite_phase_stereo_is_not_lost(converter, tmp_path, sung_vowel) -> None:
    sung = 0.3 * sung_vowel(220.0, 1.0)
    soundfile.write(tmp_path / "in.wav", np.stack([sung, -sung], 1), 44100, subtype="FLOAT")
    converter.convert(tmp_path / "in.wav", tmp_path / "out.wav", FAST)
    assert np.abs(soundfile.read(tmp_path / "out.wav")[0]).max() > 0.01


def test_the_same_again_from_the_record_bit_for_bit(converter, song, tmp_path, monkeypatch) -> None:
    options = ConvertOptions(steps=1, seed=5, start_seconds=0.3, end_seconds=1.7)
    record = converter.convert(song, tmp_path / "a.flac", options)
    kept = json.loads((tmp_path / "a.flac.json").read_text())
    assert kept["transpose"] == record.transpose and kept["options"]["sampler"] == "heun"
    assert {"below", "inside", "above", "moved"} <= set(kept["range"])
    monkeypatch.setattr(conversion_reopen, "Converter", lambda voice: converter)
    repeat(tmp_path / "a.flac.json", tmp_path / "b.flac", converter.voice)
    first, second = (soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("a.flac", "b.flac"))
    assert np.array_equal(first, second)
    assert len(first) == round(1.7 * 44100) - round(0.3 * 44100)
    other = converter.convert(song, tmp_path / "c.flac", options.model_copy(update={"seed": 6}))
    assert other.transpose == record.transpose
    assert not np.array_equal(first, soundfile.read(tmp_path / "c.flac", dtype="int32")[0])


def test_repeating_refuses_what_is_not_the_same(converter, song, tmp_path, monkeypatch) -> None:
    converter.convert(song, tmp_path / "a.wav", FAST)
    monkeypatch.setattr(conversion_reopen, "Converter", lambda voice: converter)
    path = tmp_path / "a.wav.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"base_hash": "other"}))
    with pytest.raises(ConfigError, match="another version of the voice tiny"):
        repeat(path, tmp_path / "b.wav", converter.voice)
    path.write_text(json.dumps(kept))
    soundfile.write(song, np.zeros(50000), 44100)
    with pytest.raises(ConfigError, match="has changed since"):
        repeat(path, tmp_path / "b.wav", converter.voice)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="no record of a conversion"):
        ConversionRecord.load(path)
    assert not (tmp_path / "b.wav").exists()


def test_notes_outside_the_range_are_told_and_moved(converter, tmp_path, sung_phrase) -> None:
    audio = sung_phrase([(220.0, 0.8), (1100.0, 0.8)])
    soundfile.write(tmp_path / "in.wav", 0.3 * audio, 44100, subtype="FLOAT")
    record = converter.convert(
        tmp_path / "in.wav", tmp_path / "out.wav", FAST.model_copy(update={"transpose": 0.0})
    )
    assert record.range["above"] == pytest.approx(0.5, abs=0.1)
    sung = {note["note"]: note["sung"] for note in record.range["moved"]}
    assert sung == {"A3": "A2", "C#6": "C#5"}  # the phrase as a whole


def test_the_output_is_as_loud_as_the_source(converter, song, tmp_path) -> None:
    record = converter.convert(song, tmp_path / "out.wav", FAST)
    sung = [soundfile.read(p, dtype="float32")[0][20000:-30001] for p in (song, tmp_path / "out.wav")]
    levels = [song_level(a_weighted_level(torch.from_numpy(x)[None], AUDIO)[0].numpy()) for x in sung]
    assert levels[1] == pytest.approx(levels[0] - record.limited_db, abs=0.7)


def test_it_swells_as_the_source_does(converter, tmp_path, sung_vowel) -> None:
    swell = np.interp(np.arange(4 * 44100) / 44100, [0, 1, 2, 3, 4], [-24, -24, -6, -15, -15])
    soundfile.write(tmp_path / "in.wav", sung_vowel(220.0, 4.0) * 10 ** (swell / 20), 44100, subtype="FLOAT")
    errors = []
    for dynamics in (1.0, 0.0):
        out = tmp_path / f"{dynamics}.wav"
        record = converter.convert(
            tmp_path / "in.wav", out, FAST.model_copy(update={"dynamics": dynamics, "transpose": 0.0})
        )
        levels = [
            a_weighted_level(torch.from_numpy(soundfile.read(p, dtype="float32")[0])[None], AUDIO)[0].numpy()
            for p in (tmp_path / "in.wav", out)
        ]
        errors.append(np.std((levels[1] - levels[0])[20:-20]))
        assert record.options["dynamics"] == dynamics
    assert errors[0] < 1.5 < 3 < errors[1]


def test_a_loud_voice_is_held_below_full_scale(converter, tmp_path, sung_vowel) -> None:
    sung = sung_vowel(220.0, 1.0)
    soundfile.write(tmp_path / "in.wav", sung / np.abs(sung).max(), 44100, subtype="FLOAT")
    converter.convert(tmp_path / "in.wav", tmp_path / "out.wav", FAST)
    assert np.abs(soundfile.read(tmp_path / "out.wav")[0]).max() <= 0.981


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: soundfile.write(s, np.zeros(44100), 44100), "holds no singing"),
        (lambda s: soundfile.write(s, np.ones(4000) * 0.1, 44100), "expected at least 0.3 s"),
        (lambda s: s.write_text("la la la"), "song.wav"),
        (lambda s: s.write_bytes(b""), "song.wav"),
        (lambda s: s.unlink(), "song.wav"),
        (lambda s: soundfile.write(s, np.full(44100, np.nan), 44100, subtype="FLOAT"), "finite"),
    ],
)
def test_bad_sources_are_refused_and_nothing_is_left(converter, song, tmp_path, change, message) -> None:
    change(song)
    before = song.read_bytes() if song.exists() else None
    with pytest.raises(AudioError, match=message):
        converter.convert(song, tmp_path / "out.wav", FAST)
    assert (song.read_bytes() if song.exists() else None) == before
    assert [p.name for p in tmp_path.iterdir()] == (["song.wav"] if before is not None else [])


def test_bad_options_are_refused(converter, song, tmp_path) -> None:
    with pytest.raises(ConfigError, match="swap --from and --to"):
        converter.convert(song, tmp_path / "o.wav", ConvertOptions(start_seconds=2, end_seconds=1))
    with pytest.raises(ConfigError, match="does not fit a flow model"):
        converter.convert(song, tmp_path / "o.wav", ConvertOptions(sampler="ddim"))
    with pytest.raises(ConfigError, match="transpose"):
        converter.convert(song, tmp_path / "o.wav", ConvertOptions(transpose=200))
    with pytest.raises(AudioError, match="the input itself"):
        converter.convert(song, song, FAST)
    with pytest.raises(AudioError, match="no such folder"):
        converter.convert(song, tmp_path / "nowhere" / "o.wav", FAST)
    assert [p.name for p in tmp_path.iterdir()] == ["song.wav"]


def test_cancelling_leaves_nothing(converter, song, tmp_path) -> None:
    def cancel(stage: str, done: float, total: float) -> None:
        if stage == "sing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converter.convert(song, tmp_path / "out.wav", FAST, progress=cancel)
    assert [p.name for p in tmp_path.iterdir()] == ["song.wav"]


def test_a_model_that_is_not_finite_writes_nothing(converter, song, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        AcousticModel, "sample", lambda self, units, *a, **k: torch.full((1, 128, units.shape[-1]), torch.nan)
    )
    with pytest.raises(AudioError, match="not finite"):
        converter.convert(song, tmp_path / "out.wav", FAST)
    assert [p.name for p in tmp_path.iterdir()] == ["song.wav"]


def test_opus_has_its_own_rate_and_the_exact_length(converter, tmp_path, sung_vowel) -> None:
    soundfile.write(tmp_path / "in.wav", sung_vowel(220.0, 1.0, sample_rate=96000)[:95001], 96000)
    converter.convert(tmp_path / "in.wav", tmp_path / "out.opus", FAST)
    after, rate = soundfile.read(tmp_path / "out.opus")
    assert rate == 48000 and len(after) == round(95001 / 2)


def test_silence_costs_no_network(converter, tmp_path, sung_vowel, monkeypatch) -> None:
    audio = np.concatenate([0.3 * sung_vowel(220.0, 0.6), np.zeros(5 * 44100, np.float32)])
    soundfile.write(tmp_path / "in.wav", audio, 44100, subtype="FLOAT")
    calls = []
    sample = AcousticModel.sample
    monkeypatch.setattr(AcousticModel, "sample", lambda *a, **k: calls.append(1) or sample(*a, **k))
    converter.convert(tmp_path / "in.wav", tmp_path / "out.wav", FAST)
    assert len(calls) == 1
    assert not soundfile.read(tmp_path / "out.wav")[0][44100:].any()


def test_a_full_disk_is_told_and_nothing_is_left(converter, song, tmp_path, monkeypatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(
        AudioError, match=r"out\.wav: cannot be written \(No space left on device\); free some"
    ):
        converter.convert(song, tmp_path / "out.wav", FAST)
    assert [p.name for p in tmp_path.iterdir()] == ["song.wav"]


def test_an_output_that_was_there_survives_an_interrupted_one(converter, song, tmp_path, monkeypatch) -> None:
    def interrupt(self: object, audio: np.ndarray) -> None:
        raise KeyboardInterrupt

    converter.convert(song, tmp_path / "out.wav", FAST)
    before = (tmp_path / "out.wav").read_bytes()
    monkeypatch.setattr(conversion.files.AudioWriter, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        converter.convert(song, tmp_path / "out.wav", FAST.model_copy(update={"seed": 9}))
    assert (tmp_path / "out.wav").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.wav", "out.wav.json", "song.wav"]


def test_memory_does_not_grow_with_the_song(converter, tmp_path, sung_phrase, monkeypatch) -> None:
    """Longest arrays that the networks and the writer ever see are those of one window."""
    longest: dict[str, int] = {}
    sample, write = AcousticModel.sample, conversion.files.AudioWriter.write

    def watched(self: AcousticModel, units: torch.Tensor, *a: object, **k: object) -> torch.Tensor:
        longest["frames"] = max(longest.get("frames", 0), units.shape[-1])
        return sample(self, units, *a, **k)

    def written(self: object, audio: np.ndarray) -> None:
        longest["samples"] = max(longest.get("samples", 0), audio.shape[1])
        write(self, audio)

    monkeypatch.setattr(AcousticModel, "sample", watched)
    monkeypatch.setattr(conversion.files.AudioWriter, "write", written)
    monkeypatch.setattr(conversion_output, "BLOCK_FRAMES", 20)
    soundfile.write(tmp_path / "in.wav", 0.3 * sung_phrase([(220.0, 1.0)] * 8), 44100)
    converter.convert(tmp_path / "in.wav", tmp_path / "out.wav", FAST)
    reach = converter.acoustic.halo_frames("heun", 1) + converter.vocoder.halo_frames
    assert longest["frames"] <= round(0.7 * AUDIO.frame_rate) + 2 * reach
    assert longest["samples"] <= 20 * AUDIO.hop_length
