"""The whole mix: level, length, silence, blocks, channels, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from resing.audio import files
from resing.config import MixOptions
from resing.errors import AudioError
from resing.scoring.metrics import EMPTY_DB, loudness_lufs, true_peak_dbtp
from resing.song import mix as mixing
from resing.song.mix import MixReport, mix

RATE, SAMPLES = 44100, 6 * 44100 + 77
NOTHING = MixOptions(
    match_loudness=False, match_tone=0, match_reverb=0, match_width=0, de_ess=False, limit=False
)


@pytest.fixture(scope="module")
def song(tmp_path_factory, sung_phrase):
    """Files of a stereo song: a lead to the left with a side of its own, another singer, an accompaniment."""
    folder, rng = tmp_path_factory.mktemp("song"), np.random.default_rng(0)
    notes = [(220.0, 0.7), (0.0, 0.4), (262.0, 0.9), (0.0, 0.8), (196.0, 1.2), (0.0, 0.5), (220.0, 0.6)]
    lead = np.pad(sung_phrase(notes), (0, SAMPLES))[:SAMPLES]
    other = np.pad(sung_phrase(notes, formant_shift=1.2, peak=0.9), (0, SAMPLES))[:SAMPLES]
    band = 0.05 * rng.standard_normal((2, SAMPLES))
    audio = {"lead": 0.4 * np.stack([0.8 * lead, 0.6 * lead]), "other": 0.3 * other[None], "band": band}
    audio |= {"mono": audio["lead"][:1], "mono_band": band[:1]}
    for name, samples in audio.items():
        files.write(folder / f"{name}.wav", samples.astype(np.float32), RATE)
    return folder


def mixed(
    song: Path, out: Path, options: MixOptions | None = None, lead="other", own="lead", band="band"
) -> tuple[np.ndarray, MixReport]:
    paths = [song / f"{name}.wav" if name else None for name in (lead, own, band)]
    channels = files.probe(paths[2] or paths[1]).channels
    report = mix(*paths, files.AudioWriter(out, RATE, channels), options)
    return files.read(out)[0], report


def lufs(audio: np.ndarray) -> float:
    power = [10 ** (loudness_lufs(channel, RATE) / 10) for channel in audio]
    return float(10 * np.log10(np.sum(power)))


def test_the_lead_is_as_loud_and_stands_where_the_original_did(song: Path, tmp_path: Path):
    out, report = mixed(song, tmp_path / "a.wav", MixOptions(limit=False))
    band, _ = files.read(song / "band.wav")
    placed, (own, _) = out - band, files.read(song / "lead.wav")
    assert out.shape == own.shape
    assert report.samples == SAMPLES
    assert lufs(placed) == pytest.approx(lufs(own), abs=0.1)
    assert report.original_lufs == pytest.approx(lufs(own), abs=0.1)
    left, right = np.sqrt(np.mean(placed**2, axis=1))
    assert left / right == pytest.approx(0.8 / 0.6, rel=0.03)
    assert report.placement.axis == pytest.approx((0.8, 0.6), abs=0.01)
    assert report.original_reverb is None


def test_where_nobody_sings_the_accompaniment_is_untouched(song: Path, tmp_path: Path):
    out, report = mixed(song, tmp_path / "a.wav")
    band, _ = files.read(song / "band.wav")
    rest = slice(round(2.3 * RATE), round(2.6 * RATE))  # in the middle of a rest, past the filters' ends
    assert np.array_equal(out[:, rest], band[:, rest])
    assert not np.array_equal(out, band)
    assert report.limited_db == 0


def test_a_silent_lead_leaves_the_accompaniment_bit_for_bit(song: Path, tmp_path: Path):
    files.write(song / "silent.wav", np.zeros((1, SAMPLES), np.float32), RATE)
    for options in (MixOptions(), NOTHING):
        out, report = mixed(song, tmp_path / "a.wav", options, lead="silent")
        assert np.array_equal(out, files.read(song / "band.wav")[0])
        assert report.gain_db == 0
    out, report = mixed(song, tmp_path / "a.wav", lead="silent", own="silent", band=None)
    assert not out.any()
    assert (report.mix_lufs, report.true_peak_dbtp) == (EMPTY_DB, EMPTY_DB)
    assert report.words()


def test_with_everything_off_the_lead_is_added_as_it_is(song: Path, tmp_path: Path):
    out, _ = mixed(song, tmp_path / "a.wav", NOTHING)
    band, other = (files.read(song / f"{name}.wav")[0] for name in ("band", "other"))
    np.testing.assert_allclose(out, band + other, atol=2e-6)
    louder, _ = mixed(song, tmp_path / "a.wav", NOTHING.model_copy(update={"lead_gain_db": 6.0}))
    np.testing.assert_allclose(louder, band + 10 ** (6 / 20) * other, atol=4e-6)


def test_the_sum_is_limited(song: Path, tmp_path: Path):
    out, report = mixed(song, tmp_path / "a.wav", MixOptions(lead_gain_db=24))
    assert report.limited_db > 3
    assert max(true_peak_dbtp(channel, RATE) for channel in out) <= -0.95
    assert report.true_peak_dbtp == pytest.approx(-1.0, abs=0.05)


def test_blocks_do_not_change_the_mix(song: Path, tmp_path: Path, monkeypatch):
    whole, _ = mixed(song, tmp_path / "a.wav", MixOptions(lead_gain_db=12))
    monkeypatch.setattr(mixing, "BLOCK_SECONDS", 0.37)
    parts, _ = mixed(song, tmp_path / "b.wav", MixOptions(lead_gain_db=12))
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_mono_songs_and_leads_without_accompaniment(song: Path, tmp_path: Path):
    out, report = mixed(song, tmp_path / "a.wav", own="mono", band="mono_band")
    assert out.shape == (1, SAMPLES)
    assert report.placement.axis == (1.0,)
    alone, _ = mixed(song, tmp_path / "a.wav", own="mono", band=None)
    assert lufs(alone) == pytest.approx(lufs(files.read(song / "mono.wav")[0]), abs=0.1)
    central, _ = mixed(song, tmp_path / "a.wav", MixOptions(), own="mono")
    placed = central - files.read(song / "band.wav")[0]
    np.testing.assert_allclose(placed[0], placed[1], atol=1e-6)


def test_what_was_done_is_said(song: Path, tmp_path: Path):
    heard = []
    paths = [song / f"{name}.wav" for name in ("other", "lead", "band")]
    writer = files.AudioWriter(tmp_path / "a.flac", RATE, 2)
    report = mix(*paths, writer, progress=lambda stage, done, total: heard.append((stage, done / total)))
    assert heard[0] == ("mix", 0.0)
    assert heard[-1] == ("mix", 1.0)
    assert "LUFS" in report.words()[0]
    assert any("dry" in sentence for sentence in report.words())


def test_files_that_do_not_fit_are_refused(song: Path, tmp_path: Path):
    files.write(tmp_path / "short.wav", np.zeros((1, RATE), np.float32), RATE)
    files.write(tmp_path / "slow.wav", np.zeros((2, SAMPLES), np.float32), 48000)
    writer = files.AudioWriter(tmp_path / "a.wav", RATE, 2)
    with pytest.raises(AudioError, match=r"1\.0 s long, expected 6\.0 s"):
        mix(tmp_path / "short.wav", song / "lead.wav", song / "band.wav", writer)
    with pytest.raises(AudioError, match="2 channels at 48000 Hz; expected 2 at 44100 Hz"):
        mix(song / "other.wav", tmp_path / "slow.wav", song / "band.wav", writer)
    assert not (tmp_path / "a.wav").exists()
