"""A voice from songs: their leads are separated once, voices alone are taken as they are."""

from pathlib import Path

import numpy as np
import pytest
from middle_separator import Middle

from resing.audio import files
from resing.errors import DatasetError
from resing.training.leads import WARNING, leads_of
from resing.training.prepare import Update

RATE = 44100


@pytest.fixture
def songs(tmp_path: Path, sung_phrase) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    sung = 0.4 * sung_phrase([(220.0, 0.9), (0.0, 0.4), (330.0, 0.9)])
    band = 0.2 * np.sin(2 * np.pi * 150 * np.arange(len(sung)) / RATE)
    files.write(folder / "song.flac", np.stack([sung + band, sung - band]).astype(np.float32), RATE)
    files.write(folder / "alone.wav", sung[None], RATE)
    (folder / "bad.mp3").write_text("no")
    return folder


def test_leads_are_separated_once(songs: Path, tmp_path: Path) -> None:
    told: list[Update] = []
    before = {path: path.read_bytes() for path in songs.iterdir()}
    out = leads_of(songs, tmp_path / "leads", told.append, Middle())
    lead, alone = next(out.glob("*_song.flac")), next(out.glob("*_alone.wav"))
    assert sorted(p.name for p in out.iterdir()) == sorted([lead.name, alone.name])
    sound = files.read(lead)[0]
    assert np.abs(sound[0] - sound[1]).max() < 1e-6  # nothing of the band
    assert alone.resolve() == (songs / "alone.wav").resolve()
    assert any("bad.mp3" in u.message for u in told) and told[-1].message == WARNING
    stamp = lead.stat().st_mtime_ns
    leads_of(songs, tmp_path / "leads", separator=Middle())
    assert lead.stat().st_mtime_ns == stamp
    assert {path: path.read_bytes() for path in songs.iterdir()} == before


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no audio"):
        leads_of(tmp_path, tmp_path / "leads", separator=Middle())
