"""Recordings to a dataset: what is kept, what is refused, what the doctor measures and says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from resing import checkpoint
from resing.audio import files
from resing.audio.mel import log_mel
from resing.config import AudioConfig, FeaturesConfig, ModelConfig
from resing.errors import DatasetError
from resing.features import content
from resing.features.loudness import REFERENCE_DB, a_weighted_level, song_level
from resing.synthesis import acoustic, vocoder
from resing.training import doctor, prepare
from resing.training.dataset import VoiceData, read_pieces
from resing.training.doctor import DatasetReport
from resing.training.prepare import Update, read_report
from resing.training.strangers import Strangers

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6)
THIN = vocoder.VocoderConfig(hidden=8, layers=1)
RATE = AUDIO.sample_rate
SCALE = [220.0 * 2 ** (step / 12) for step in (0, 2, 4, 5, 7, 9, 11, 12)]


@pytest.fixture(scope="module")
def encoder() -> content.ContentEncoder:
    torch.manual_seed(0)
    return content.ContentEncoder(
        content.build(content.ContentConfig(hidden=8, layers=1, n_units=4)), "tiny-1"
    )


@pytest.fixture(scope="module")
def phrase(sung_phrase: Callable[..., np.ndarray]) -> np.ndarray:
    """Twelve seconds: an octave up, a rest, an octave down."""
    return sung_phrase([(f0, 0.7) for f0 in SCALE] + [(0.0, 0.8)] + [(f0, 0.7) for f0 in SCALE[::-1]])


@pytest.fixture
def folder(tmp_path: Path, phrase: np.ndarray) -> Path:
    """Two recordings, one of them quieter, and what else lies about in people's folders."""
    folder = tmp_path / "recordings"
    (folder / "more" / ".hidden").mkdir(parents=True)
    files.write(folder / "one.wav", phrase[None], RATE)
    files.write(folder / "more" / "two.flac", 0.1 * np.stack([phrase, phrase])[:, ::-1], RATE)
    (folder / "more" / "same.wav").write_bytes((folder / "one.wav").read_bytes())
    (folder / "more" / ".hidden" / "x.wav").write_bytes((folder / "one.wav").read_bytes())
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "notes.txt").write_text("take 2 is better")
    (folder / "broken.wav").write_text("not a wav")
    return folder


def run(
    folder: Path, encoder: content.ContentEncoder, out: Path | None = None, **settings: object
) -> DatasetReport:
    out, alone = out or folder.parent / "set", {"strangers": strangers(encoder, 0)}
    return prepare.prepare(folder, out, encoder=encoder, **(alone | settings))  # type: ignore[arg-type]


def strangers(encoder: content.ContentEncoder, count: int) -> Strangers:
    """So many voices of an untrained base."""
    torch.manual_seed(2)
    vectors, pitches = torch.randn(count, MODEL.speaker_dim), torch.full((count,), 150.0)
    model = acoustic.AcousticModel(acoustic.build(MODEL, AUDIO), MODEL, strangers=(vectors, pitches))
    return Strangers(model, vocoder.Vocoder(vocoder.build(THIN, AUDIO), AUDIO), encoder, AUDIO)


def test_strangers_sing_every_slice_for_one_more_version_of_its_units(
    folder: Path, encoder: content.ContentEncoder
):
    report = run(folder, encoder, strangers=strangers(encoder, 3))
    again = run(folder, encoder, folder.parent / "again", strangers=strangers(encoder, 3))
    for recording in report.recordings:
        name = f"{recording.content_hash[:16]}.safetensors"
        units = checkpoint.load(folder.parent / "set" / name)[0]["units"]
        frames = sum(checkpoint.read_metadata(folder.parent / "set" / name)["slices"])
        assert units.shape == (4, 4, frames)
        assert not torch.equal(units[3], units[0])
        assert torch.equal(units, checkpoint.load(folder.parent / "again" / name)[0]["units"])
    assert again.fingerprint == report.fingerprint


def test_the_report_says_what_was_found(folder: Path, encoder: content.ContentEncoder):
    told: list[Update] = []
    report = run(folder, encoder, progress=told.append)
    assert sorted(r.file for r in report.recordings) == ["more/same.wav", "more/two.flac"]
    assert report.duplicates == {"one.wav": "more/same.wav"}
    assert report.ignored == [".DS_Store", "more/.hidden/x.wav", "notes.txt"]
    assert list(report.unreadable) == ["broken.wav"] and "is not audio" in report.unreadable["broken.wav"]
    assert 0.33 < report.minutes < 0.42
    assert report.range_hz == pytest.approx([220, 440], rel=0.03)
    assert sum(report.f0_histogram.values()) > 0.8 * report.minutes
    assert report.bandwidth_hz == RATE / 2
    assert any("broken.wav" in warning for warning in report.warnings)
    assert any("same recording" in warning for warning in report.warnings)
    assert [u.done for u in told] == [1, 2, 3, 4] and {u.total for u in told} == {4}
    stored = json.loads((folder.parent / "set" / "dataset.json").read_text())
    assert stored["report"] == json.loads(json.dumps(report.to_json()))
    assert read_report(folder.parent / "set")[0] == report


def test_every_recording_is_stored_at_the_reference_level(folder: Path, encoder: content.ContentEncoder):
    report = run(folder, encoder)
    loud, quiet = sorted(report.recordings, key=lambda r: -r.level_db)
    assert loud.level_db - quiet.level_db == pytest.approx(20, abs=0.3)
    for recording in report.recordings:
        path = folder.parent / "set" / f"{recording.content_hash[:16]}.safetensors"
        tensors, metadata = checkpoint.load(path)
        audio = tensors["audio"].float() * metadata["scale"] / 32767
        level = a_weighted_level(audio[None], AUDIO)[0].numpy()
        assert song_level(level) == pytest.approx(REFERENCE_DB, abs=1.0)
        frames = sum(metadata["slices"])
        assert len(audio) == frames * AUDIO.hop_length and len(metadata["slices"]) >= 2
        assert tensors["units"].shape == (3, 4, frames) and tensors["units"].dtype == torch.float16
        assert tensors["f0"].shape == tensors["loudness"].shape == (frames,)
        assert np.percentile(tensors["loudness"], 95) == pytest.approx(0, abs=0.5)


def test_pieces_hold_the_mel_of_their_audio(folder: Path, encoder: content.ContentEncoder):
    report = run(folder, encoder)
    path = folder.parent / "set" / f"{report.recordings[0].content_hash[:16]}.safetensors"
    tensors, metadata = checkpoint.load(path)
    pieces = read_pieces(path, AUDIO)
    assert [p.frames for p in pieces] == metadata["slices"]
    first = tensors["audio"][: pieces[0].frames * AUDIO.hop_length].float() * metadata["scale"] / 32767
    torch.testing.assert_close(pieces[0].mel, log_mel(first[None], AUDIO)[0], atol=1e-3, rtol=0)
    assert (pieces[0].f0 > 0).all() and pieces[0].voiced.mean() > 0.8


def test_running_again_does_only_what_is_missing(
    folder: Path, encoder: content.ContentEncoder, phrase: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    real = prepare._prepare_one

    def watched(*arguments: object) -> doctor.Recording:
        recording = real(*arguments)  # type: ignore[arg-type]
        done.append(Path(str(arguments[1])).name)
        return recording

    monkeypatch.setattr(prepare, "_prepare_one", watched)
    first = run(folder, encoder)
    assert sorted(done) == ["same.wav", "two.flac"]
    done.clear()
    assert run(folder, encoder) == first and done == []
    files.write(folder / "three.wav", 0.9 * phrase[None], RATE)
    assert len(run(folder, encoder).recordings) == 3 and done == ["three.wav"]
    done.clear()
    (folder / "more" / "two.flac").unlink()
    assert len(run(folder, encoder).recordings) == 2 and done == []
    assert len(list((folder.parent / "set").glob("*.safetensors"))) == 2
    assert run(folder, encoder, features=FeaturesConfig(f0_max=900.0)).settings_hash != first.settings_hash
    assert sorted(done) == ["same.wav", "three.wav"]
    torn = next((folder.parent / "set").glob("*.safetensors"))
    torn.write_bytes(torn.read_bytes()[:40])
    done.clear()
    run(folder, encoder, features=FeaturesConfig(f0_max=900.0))
    assert len(done) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.rmdir(), "does not exist"),
        (lambda folder: (folder / ".DS_Store").write_bytes(b"x"), "holds no audio file"),
        (lambda folder: put(folder, np.zeros(30 * RATE)), "holds no singing"),
        (lambda folder: put(folder, np.zeros(0)), "no usable audio file"),
        (
            lambda folder: put(folder, tone(6.0)),
            r"hold 6\.\d s of singing or speech, at least 20 s are needed",
        ),
        (lambda folder: put(folder, noise(30.0)), "s with a pitch, at least 5 s are needed"),
    ],
)
def test_what_no_voice_can_be_made_of_is_refused(
    make: Callable[[Path], object], message: str, tmp_path: Path, encoder: content.ContentEncoder
):
    folder = tmp_path / "recordings"
    folder.mkdir()
    make(folder)
    with pytest.raises(DatasetError, match=message) as caught:
        run(folder, encoder)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_told_and_leaves_no_parts(
    folder: Path, encoder: content.ContentEncoder, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(DatasetError, match=r"set cannot be written .*No space left.*free some space"):
        run(folder, encoder)
    assert list((folder.parent / "set").iterdir()) == []


def test_training_refuses_other_settings_or_another_encoder(folder: Path, encoder: content.ContentEncoder):
    run(folder, encoder)
    dataset = folder.parent / "set"
    data = VoiceData.load(dataset, AUDIO, FeaturesConfig(), "tiny-1")
    assert len(data.train) + len(data.held) >= 4
    with pytest.raises(DatasetError, match=r"with encoder tiny-1, training expects other-2.*resing prepare"):
        VoiceData.load(dataset, AUDIO, FeaturesConfig(), "other-2")
    with pytest.raises(DatasetError, match="with settings"):
        VoiceData.load(dataset, AUDIO, FeaturesConfig(f0_min=60.0), "tiny-1")
    with pytest.raises(DatasetError, match=r"is not a prepared dataset.*resing prepare"):
        VoiceData.load(folder, AUDIO, FeaturesConfig(), "tiny-1")
    (dataset / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="is damaged"):
        VoiceData.load(dataset, AUDIO, FeaturesConfig(), "tiny-1")


@pytest.mark.parametrize("warping", [True, False])
def test_perturbed_units_keep_the_time_of_what_is_sung(warping: bool, phrase: np.ndarray):
    class Loudness:
        """Stands for an encoder: one unit, the log energy of each 20 ms."""

        warps = warping

        def __call__(self, audio: np.ndarray, warp: float = 1.0) -> np.ndarray:
            assert warping or warp == 1.0
            frames = np.pad(audio, (0, -len(audio) % content.UNIT_HOP)).reshape(-1, content.UNIT_HOP)
            return np.log10(np.square(frames).mean(1, keepdims=True).T + 1e-6).astype(np.float32)

    narrow = soxr.resample(phrase, RATE, content.SAMPLE_RATE)
    frames = AUDIO.frame_count(len(phrase))
    times = (np.arange(frames) + 0.5) / AUDIO.frame_rate
    clean = content.to_grid(Loudness()(narrow), times)
    copies = prepare.perturbed_units(narrow, frames, AUDIO, Loudness(), "5a5a5a5a5a5a")  # type: ignore[arg-type]
    assert len(copies) == 2
    for copy in copies:
        assert copy.shape == clean.shape
        assert np.corrcoef(copy[0], clean[0])[0, 1] > 0.97


def test_perturbed_units_differ_from_the_clean_ones(phrase: np.ndarray, encoder: content.ContentEncoder):
    narrow = soxr.resample(phrase, RATE, content.SAMPLE_RATE)
    frames = AUDIO.frame_count(len(phrase))
    one, two = prepare.perturbed_units(narrow, frames, AUDIO, encoder, "00aa00aa00aa")
    again, _ = prepare.perturbed_units(narrow, frames, AUDIO, encoder, "00aa00aa00aa")
    assert np.array_equal(one, again) and np.abs(one - two).max() > 0.1


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 32000])
def test_bandwidth_of_resampled_material(rate: int, sung_phrase: Callable[..., np.ndarray]):
    hiss = 1e-3 * np.random.default_rng(0).standard_normal(8 * rate).astype(np.float32)
    audio = sung_phrase([(220.0, 4.0), (330.0, 4.0)], rate) + hiss
    found = doctor.measure_bandwidth(soxr.resample(audio, rate, RATE), AUDIO)
    assert 0.8 * rate / 2 <= found <= 1.02 * rate / 2


def test_bandwidth_of_a_full_band_recording_and_of_a_dark_voice():
    random = np.random.default_rng(0)
    white = 0.01 * random.standard_normal(6 * RATE).astype(np.float32)
    assert doctor.measure_bandwidth(white, AUDIO) == RATE / 2
    spectrum = np.fft.rfft(white)
    frequency = np.linspace(1, RATE / 2, len(spectrum))
    slope = 10 ** (-12 * np.log2(np.maximum(frequency, 200) / 200) / 20)  # 12 dB per octave, as voices fall
    dark = 10 * np.fft.irfft(spectrum * slope).astype(np.float32)
    assert doctor.measure_bandwidth(dark, AUDIO) == RATE / 2


def test_clipping_is_told_from_loud_sound():
    sound = tone(2.0, peak=1.0)
    assert doctor.measure_clipping(sound) == 0.0
    assert doctor.measure_clipping(np.clip(1.5 * sound, -0.8, 0.8)) > 0.01
    assert doctor.measure_clipping(np.zeros(100, np.float32)) == 0.0


def test_noise_is_measured_where_there_is_no_pitch():
    f0 = np.where(np.arange(300) % 3 == 0, 0.0, 220.0)
    loudness = np.where(f0 > 0, 0.0, -37.0)
    assert doctor.measure_snr(loudness, f0) == pytest.approx(37.0)
    assert doctor.measure_snr(loudness, np.full(300, 220.0)) is None
    assert doctor.measure_snr(np.where(f0 > 0, 0.0, -80.0), f0) is None  # digital silence tells nothing


def test_notes_are_counted_and_gaps_named():
    f0 = np.concatenate([np.zeros(50), np.full(500, 220.0), np.full(10, 311.1), np.full(500, 440.0)])
    histogram = doctor.count_notes(f0, 100.0)
    assert histogram == pytest.approx({"57": 5 / 60, "63": 0.1 / 60, "69": 5 / 60})
    low, high = doctor.note_range(histogram)
    assert low == pytest.approx(220, rel=0.03) and high == pytest.approx(440, rel=0.03)
    assert doctor.rare_notes(histogram) == [(58, 68)]
    assert [doctor.note_name(n) for n in (21, 60, 69, 70)] == ["A0", "C4", "A4", "A#4"]
    assert doctor.note_range({}) == [] and doctor.rare_notes({}) == []


def test_two_voices_are_noticed():
    random = np.random.default_rng(0)
    one, other = random.standard_normal((2, 32))
    spread = 0.2 * random.standard_normal((40, 32))
    assert doctor.several_voices(one + spread) is None
    mixed = np.where(np.arange(40)[:, None] % 4 == 0, other, one) + spread
    assert "25% of the time" in str(doctor.several_voices(mixed))
    assert doctor.several_voices(mixed[:4]) is None


def test_the_doctor_warns_in_plain_words(tmp_path: Path):
    recording = doctor.Recording(
        "a.wav", "00", 70.0, 65.0, -60.0, 18.0, 0.01, 7900.0, {"60": 0.5, "61": 0.001, "63": 0.5}
    )
    report = doctor.summarise(str(tmp_path), "s", "e", [recording], [], {"b.wav": "is not audio"}, {})
    text = " ".join(report.warnings)
    for part in (
        "clipped",
        "very quiet",
        "18 dB below",
        "7.9 kHz",
        "1.1 minutes",
        "C#4 to D4",
        "b.wav is not used",
    ):
        assert part in text
    assert DatasetReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def put(folder: Path, audio: np.ndarray) -> None:
    path = folder / "one.wav"
    if len(audio):
        files.write(path, audio.astype(np.float32)[None], RATE)
    else:
        path.touch()


def tone(seconds: float, peak: float = 0.5) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return sum(peak / 2 / h * np.sin(2 * np.pi * 220.5 * h * times) for h in (1, 2, 3)).astype(np.float32)  # type: ignore[union-attr]


def noise(seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
