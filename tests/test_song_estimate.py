"""What is said before a song begins: how much work is left, what cannot be done, and the time to wait."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from middle_separator import Middle

from resing.audio import files
from resing.cli import run
from resing.cli_output import _Pace
from resing.config import ConvertOptions, SongOptions
from resing.conversion import Converter
from resing.song.arrange import Arranger

RATE = 44100
FAST = ConvertOptions(steps=0)


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    sung = 0.13 * sung_phrase([(220.0, 0.9), (330.0, 0.8), (0.0, 0.3), (262.0, 0.9)])
    side = 0.02 * np.sin(2 * np.pi * 130.8 * np.arange(len(sung)) / RATE)
    files.write(tmp_path / "song.flac", np.stack([sung + side, sung - side]).astype(np.float32), RATE)
    return tmp_path / "song.flac"


@pytest.mark.parametrize("part", [(0.0, None), (0.5, 2.0)])
def test_what_is_kept_is_no_work_any_more(
    tiny_converter: Converter, song: Path, tmp_path: Path, part
) -> None:
    options = FAST.model_copy(update={"start_seconds": part[0], "end_seconds": part[1]})
    seconds = (part[1] or files.probe(song).seconds) - part[0]
    arranger = Arranger(tiny_converter, SongOptions(a_cappella=False), Middle())
    all_of_it = dict.fromkeys(("separate", "listen", "sing", "mix"), pytest.approx(seconds))
    assert arranger.stages(song, options) == all_of_it
    arranger.convert(song, tmp_path / "out.flac", options)
    assert arranger.stages(song, options) == all_of_it | {"separate": 0.0, "listen": 0.0}
    reverberant = options.model_copy(update={"dereverb": True})
    assert arranger.stages(song, reverberant) == all_of_it | {"separate": 0.0}
    assert arranger.stages(song, options, song) == all_of_it | {"separate": 0.0}


def test_a_voice_alone_is_neither_separated_nor_mixed(tiny_converter: Converter, song: Path) -> None:
    stages = Arranger(tiny_converter, SongOptions(a_cappella=True), Middle()).stages(song, FAST)
    assert (stages["separate"], stages["mix"]) == (0.0, 0.0) and stages["listen"] == stages["sing"] > 2


@pytest.mark.parametrize("wanted", ["keep", "drop", "louder"])
def test_backing_vocals_cannot_be_told_from_the_lead(wanted: str, song: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.flac"
    assert run(["convert", str(song), "--voice", "kumi", "-o", str(out), "--backing", wanted]) == 2
    said = capsys.readouterr().err
    assert f"--backing {wanted}" in said and "--accompaniment REST" in said and not out.exists()


def test_the_time_left_begins_anew_with_each_song(monkeypatch) -> None:
    clock = iter([0.0, 10.0, 100.0, 110.0])
    monkeypatch.setattr("resing.cli_output.time.monotonic", lambda: next(clock))
    pace = _Pace()
    assert pace.left("sing", 0, 100) is None and pace.left("sing", 50, 100) == pytest.approx(10.0)
    assert pace.left("sing", 10, 100) is None and pace.left("sing", 20, 100) == pytest.approx(80.0)
