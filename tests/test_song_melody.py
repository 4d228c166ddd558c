"""A corrected melody changes a song where it was corrected, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from middle_separator import Middle

from resing.audio import files
from resing.config import ConvertOptions, MixOptions, SongOptions
from resing.conversion import Converter
from resing.song import mix_kept
from resing.song.arrange import Arranger

RATE = 44100
FAST = ConvertOptions(steps=0)


def test_the_rest_of_the_mix_stays_bit_for_bit(
    tiny_converter: Converter, sung_phrase: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    sung = 0.13 * sung_phrase([(220.0, 0.9), (0.0, 0.6), (330.0, 0.9), (0.0, 0.6), (262.0, 0.9)])
    side = 0.02 * np.sin(2 * np.pi * 130.8 * np.arange(len(sung)) / RATE)
    song, notes = tmp_path / "song.flac", tmp_path / "notes.csv"
    files.write(song, np.stack([sung + side, sung - side]).astype(np.float32), RATE)
    arranger = Arranger(tiny_converter, SongOptions(a_cappella=False), Middle())
    first = arranger.convert(song, tmp_path / "a.flac", FAST, pitch_out=notes)
    lines = notes.read_text().splitlines()
    for number, line in enumerate(lines[1:], 1):
        second, hz, *rest = line.split(",")
        if 1.7 < float(second) < 2.2:
            lines[number] = ",".join([second, f"{float(hz) * 1.06:.3f}", *rest])
    notes.write_text("\n".join(lines))
    corrected = FAST.model_copy(update={"pitch_file": str(notes)})
    again = arranger.convert(song, tmp_path / "b.flac", corrected)
    before, after = (soundfile.read(tmp_path / name)[0] for name in ("a.flac", "b.flac"))
    differs = np.flatnonzero((before != after).any(axis=-1)) / RATE
    assert len(differs) > RATE / 4 and differs.min() > 1.2 and differs.max() < 3.4
    assert again.song["mix"]["tone_db"] == first.song["mix"]["tone_db"]
    assert mix_kept.find("unknown") is None
    other = Arranger(tiny_converter, SongOptions(a_cappella=False, mix=MixOptions(match_tone=0)), Middle())
    assert {db for _, db in other.convert(song, tmp_path / "c.flac", corrected).song["mix"]["tone_db"]} == {0}
