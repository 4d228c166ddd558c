"""Features of files and arrays: read in blocks = heard as a whole, silence, levels, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from resing.audio.resampling import resample
from resing.config import AudioConfig, FeaturesConfig
from resing.errors import AudioError
from resing.features import content, extract, f0
from resing.features.content import ContentConfig, ContentEncoder
from resing.features.extract import Features, extract_array, open_recording, overlapping
from resing.features.loudness import FLOOR_DB, REFERENCE_DB, a_weighted_level, relative_loudness, song_level

AUDIO, FEATURES = AudioConfig(), FeaturesConfig()
RATE = AUDIO.sample_rate
MELODY = [(220.0, 1.3), (0.0, 0.9), (330.0, 1.1), (262.0, 1.7), (0.0, 0.6), (196.0, 1.4)]


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    torch.manual_seed(0)
    return ContentEncoder(content.build(ContentConfig(hidden=16, layers=2, n_units=6)))


@pytest.fixture(scope="module")
def song(sung_phrase: Callable[..., np.ndarray]) -> np.ndarray:
    return 0.2 * sung_phrase(MELODY)


def heard(path: Path, encoder: ContentEncoder, *part: float) -> Features:
    return extract.extract(path, AUDIO, FEATURES, encoder, *part)


@pytest.mark.parametrize("sizes", [[1000], [7, 90, 3, 1, 400, 499], [100] * 10])
@pytest.mark.parametrize(("size", "left", "right"), [(64, 32, 16), (100, 0, 0), (10, 300, 5), (5000, 10, 10)])
def test_windows_over_a_stream_adjoin_and_keep_their_context(sizes, size, left, right) -> None:
    stream = np.arange(1000, dtype=np.float32)
    blocks = np.split(stream, np.cumsum(sizes)[:-1])
    start = 0
    for skip, piece in overlapping(iter(blocks), size, left, right):
        assert skip == min(left, start)
        np.testing.assert_array_equal(piece, stream[start - skip : start + size + right])
        start += size
    assert start - size < 1000 <= start


def test_reading_in_blocks_leaves_no_trace(encoder, song, monkeypatch) -> None:
    whole = extract_array(song, RATE, AUDIO, FEATURES, encoder)
    monkeypatch.setattr(extract, "BLOCK_SECONDS", 0.37)
    monkeypatch.setattr(extract, "LEVEL_WINDOW_FRAMES", 23)
    monkeypatch.setattr(content, "CHUNK_UNITS", 90)  # windows of less than a second
    parts = extract_array(song, RATE, AUDIO, FEATURES, encoder)
    np.testing.assert_allclose(parts.loudness, whole.loudness, atol=1e-3)
    np.testing.assert_allclose(parts.f0, whole.f0, rtol=1e-4)
    np.testing.assert_allclose(parts.confidence, whole.confidence, atol=1e-4)
    np.testing.assert_allclose(parts.units50, whole.units50, atol=2e-3)  # one step of float16
    np.testing.assert_array_equal(parts.silent, whole.silent)


def test_features_are_those_of_the_whole_song_at_the_reference_level(encoder, song) -> None:
    features = extract_array(song, RATE, AUDIO, FEATURES, encoder)
    level = a_weighted_level(torch.from_numpy(song)[None], AUDIO)[0].numpy()
    narrow = resample(song[None], RATE, f0.SWIFT_RATE)[0] * np.float32(features.reference_gain)
    notes, _ = f0.track(narrow, AUDIO.frame_count(len(song)), AUDIO, FEATURES)
    np.testing.assert_allclose(features.units50, encoder(narrow), atol=2e-3)
    np.testing.assert_allclose(features.f0, np.where(features.silent, 0, notes), rtol=1e-4)
    np.testing.assert_allclose(features.loudness, relative_loudness(level, features.song_level_db), atol=1e-3)
    brought = a_weighted_level(torch.from_numpy(song * features.reference_gain)[None], AUDIO)[0].numpy()
    assert song_level(brought[~features.silent]) == pytest.approx(REFERENCE_DB, abs=0.05)


def test_every_array_lies_on_the_one_grid(encoder, song) -> None:
    features = extract_array(song[:99999], RATE, AUDIO, FEATURES, encoder)
    frames = AUDIO.frame_count(99999)
    for values in (features.f0, features.voiced, features.loudness, features.confidence, features.silent):
        assert values.shape == (frames,)
    assert features.samples == features.source_samples == 99999
    assert features.units50.dtype == np.float16 and features.f0.dtype == np.float32
    np.testing.assert_array_equal(features.voiced, features.f0 > 0)


def test_units_of_a_window_are_those_of_the_song(encoder, song) -> None:
    features = extract_array(song, RATE, AUDIO, FEATURES, encoder)
    whole = features.window(0, 300)
    assert whole.shape == (6, 300) and whole.dtype == np.float32
    np.testing.assert_array_equal(features.window(117, 203), whole[:, 117:203])


def test_notes_are_heard_where_they_are_sung(encoder, song) -> None:
    features = extract_array(song, RATE, AUDIO, FEATURES, encoder)
    seconds = f0.frame_times(len(features.f0), AUDIO)
    begin = 0.0
    for note, length in MELODY:
        inside = (seconds > begin + 0.1) & (seconds < begin + length - 0.1)
        begin += length
        if note:
            cents = 1200 * np.log2(np.median(features.f0[inside]) / note)
            assert features.voiced[inside].mean() > 0.95 and abs(cents) < 12
        else:
            assert features.silent[inside].all() and not features.voiced[inside].any()
            assert (features.loudness[inside] <= -60).all() and (features.loudness >= FLOOR_DB).all()


@pytest.mark.parametrize("gain", [0.02, 0.1, 5.0])
def test_a_quiet_song_is_heard_like_a_loud_one(encoder, song, gain: float) -> None:
    usual, other = (extract_array(x, RATE, AUDIO, FEATURES, encoder) for x in (song, song * np.float32(gain)))
    assert other.song_level_db - usual.song_level_db == pytest.approx(20 * np.log10(gain), abs=0.1)
    sung = usual.voiced & other.voiced
    assert sung.sum() > 0.98 * usual.voiced.sum()
    np.testing.assert_allclose(other.f0[sung], usual.f0[sung], rtol=1e-2)
    np.testing.assert_allclose(other.loudness[sung], usual.loudness[sung], atol=0.1)


def test_minutes_of_silence_do_not_make_a_song_quiet(encoder, song) -> None:
    alone = extract_array(song, RATE, AUDIO, FEATURES, encoder)
    padded = np.concatenate([song, np.zeros(40 * len(song), np.float32)])
    among = extract_array(padded, RATE, AUDIO, FEATURES, encoder)
    assert among.song_level_db == pytest.approx(alone.song_level_db, abs=0.5)
    assert among.silent[len(alone.silent) + 3 :].all()


def test_the_noise_of_a_microphone_is_not_silence(encoder, song) -> None:
    noise = np.random.default_rng(0).standard_normal(len(song)).astype(np.float32) * 10 ** (-60 / 20)
    assert not extract_array(song + noise, RATE, AUDIO, FEATURES, encoder).silent.any()


@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000])
def test_other_rates_come_to_the_same_grid(encoder, sung_phrase, tmp_path, rate: int) -> None:
    audio = 0.2 * sung_phrase(MELODY[:3], sample_rate=rate)
    soundfile.write(tmp_path / "in.wav", audio, rate, subtype="FLOAT")
    features = heard(tmp_path / "in.wav", encoder)
    assert (features.source_rate, features.source_samples) == (rate, len(audio))
    assert features.samples == round(len(audio) * RATE / rate)
    assert len(features.f0) == AUDIO.frame_count(features.samples)
    assert abs(1200 * np.log2(np.median(features.f0[20:90]) / 220.0)) < 12


def test_a_file_is_heard_as_the_same_samples_in_memory(encoder, song, tmp_path) -> None:
    soundfile.write(tmp_path / "in.wav", song, RATE, subtype="FLOAT")
    file, array = heard(tmp_path / "in.wav", encoder), extract_array(song, RATE, AUDIO, FEATURES, encoder)
    np.testing.assert_allclose(file.f0, array.f0, rtol=1e-5)
    np.testing.assert_allclose(file.loudness, array.loudness, atol=1e-4)
    np.testing.assert_allclose(file.units50, array.units50, atol=2e-3)


def test_channels_keep_their_balance(encoder, song, tmp_path) -> None:
    soundfile.write(tmp_path / "in.wav", np.stack([song, 0.5 * song], 1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(heard(tmp_path / "in.wav", encoder).balance, [4 / 3, 2 / 3], atol=1e-3)
    soundfile.write(tmp_path / "in.wav", np.stack([song, 0.5 * song, 0 * song], 1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(heard(tmp_path / "in.wav", encoder).balance, [1.0, 0.5, 0.0], atol=1e-3)


def test_opposite_channels_are_both_heard(encoder, song, tmp_path) -> None:
    soundfile.write(tmp_path / "in.wav", np.stack([song, -song], 1), RATE, subtype="FLOAT")
    features = heard(tmp_path / "in.wav", encoder)
    np.testing.assert_allclose(features.balance, [1.0, 1.0], atol=1e-3)
    assert features.voiced.any()


def test_a_part_of_a_file(encoder, song, tmp_path) -> None:
    soundfile.write(tmp_path / "in.wav", song, RATE, subtype="FLOAT")
    part = heard(tmp_path / "in.wav", encoder, 2.3, 4.1)
    assert part.source_samples == round(4.1 * RATE) - round(2.3 * RATE)
    assert part.seconds == pytest.approx(1.8)
    assert abs(1200 * np.log2(np.median(part.f0[10:60]) / 330.0)) < 12


def test_progress_rises_to_one(encoder, song, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(content, "CHUNK_UNITS", 90)
    soundfile.write(tmp_path / "in.wav", song, RATE)
    told: list[float] = []
    extract.extract(tmp_path / "in.wav", AUDIO, FEATURES, encoder, progress=told.append)
    assert len(told) > 3 and told == sorted(told) and told[-1] == 1.0


def test_refusals(encoder, song, tmp_path) -> None:
    def hear(samples: np.ndarray) -> None:
        extract_array(samples, RATE, AUDIO, FEATURES, encoder, "take 3")

    with pytest.raises(
        AudioError, match=r"take 3: 0\.10 s of sound, expected at least 0\.3 s; give a longer"
    ):
        hear(song[:4410])
    with pytest.raises(AudioError, match=r"0\.00 s of sound"):
        hear(song[:0])
    with pytest.raises(
        AudioError, match=r"take 3: holds no singing: .* -100 dB, expected over -70 dB; check"
    ):
        hear(np.zeros(RATE, np.float32))
    with pytest.raises(AudioError, match="holds no singing"):
        hear(song * np.float32(1e-5))
    with pytest.raises(ValueError, match="mono"):
        hear(song[None])
    with pytest.raises(AudioError, match="no such file"):
        open_recording(tmp_path / "nothing.wav")
    soundfile.write(tmp_path / "in.wav", song, RATE)
    with pytest.raises(AudioError, match="nothing after 60 s"):
        heard(tmp_path / "in.wav", encoder, 60.0)
