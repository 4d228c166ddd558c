"""PITCH.csv: the same again, other grids, what spreadsheets make of it, and each mistake by its line."""

from pathlib import Path

import numpy as np
import pytest

from resing.config import AudioConfig
from resing.errors import ConfigError
from resing.features.f0 import frame_times
from resing.pitch_file import read_pitch, save_pitch

HEADER = "time,hz,voiced,confidence\n"
TIMES = frame_times(400, AudioConfig())


@pytest.fixture
def melody() -> np.ndarray:
    rng = np.random.default_rng(0)
    f0 = 220.0 * 2 ** (0.1 * np.cumsum(rng.standard_normal(400)) / 12)
    f0[100:130] = 0.0
    return f0.astype(np.float32)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pitch.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_bit_for_bit(tmp_path: Path, melody: np.ndarray) -> None:
    path, sure = tmp_path / "pitch.csv", np.linspace(0, 1, 400)
    save_pitch(path, TIMES, melody, sure)
    lines = path.read_text().splitlines()
    assert lines[0] == "time,hz,voiced,confidence" and len(lines) == 401
    assert lines[1].startswith("0.005805,") and lines[101].split(",")[1:3] == ["0", "0"]
    f0, confidence = read_pitch(path).at(TIMES)
    np.testing.assert_array_equal(f0, melody)
    np.testing.assert_allclose(confidence, sure, atol=5e-4)


def test_a_part_of_the_song_finds_its_own_frames(tmp_path: Path, melody: np.ndarray) -> None:
    save_pitch(tmp_path / "pitch.csv", TIMES, melody, np.ones(400))
    f0, _ = read_pitch(tmp_path / "pitch.csv").at(TIMES[250:300] + 1e-5)  # --from lies on a sample
    np.testing.assert_array_equal(f0, melody[250:300])


@pytest.mark.parametrize("period", [0.005, 0.01, 0.05])
def test_another_grid_is_interpolated_and_silence_not_crossed(tmp_path: Path, period: float) -> None:
    seconds = np.arange(0, 4.7, period)
    f0 = np.where((seconds > 1) & (seconds < 1.5), 0.0, 200.0 * 2 ** (seconds / 12)).astype(np.float32)
    save_pitch(tmp_path / "pitch.csv", seconds, f0, np.ones(len(seconds)))
    heard, _ = read_pitch(tmp_path / "pitch.csv").at(TIMES)
    voiced, at = heard > 0, TIMES
    np.testing.assert_allclose(heard[voiced], 200.0 * 2 ** (at[voiced] / 12), rtol=2e-3)
    assert not voiced[(at > 1 + period) & (at < 1.5 - period)].any()
    assert voiced[(at < 1 - period) | (at > 1.5 + period)].all()


def test_a_jump_is_no_glide_and_missing_rows_are_a_rest(tmp_path: Path) -> None:
    rows = [(t / 50, 200 if t < 50 else 400) for t in range(100) if not 70 <= t < 85]
    text = HEADER + "".join(f"{t},{hz},1,1\n" for t, hz in rows)
    f0, _ = read_pitch(written(tmp_path, text)).at(np.arange(0.0, 1.98, 0.003))
    assert set(f0.tolist()) == {0.0, 200.0, 400.0}
    silent = np.arange(0.0, 1.98, 0.003)[f0 == 0]
    assert 1.38 < silent.min() < 1.49 and 1.58 < silent.max() < 1.7


def test_what_a_spreadsheet_makes_of_it(tmp_path: Path) -> None:
    text = "\ufeffTime;Hz;Voiced;note\r\n0,01;220,5;TRUE;my own\r\n0,02;0;FALSE;\r\n\r\n0,03;230;TRUE;\r\n"
    path = tmp_path / "pitch.csv"
    path.write_bytes(text.encode("utf-8"))
    table = read_pitch(path)
    np.testing.assert_allclose(table.times, [0.01, 0.02, 0.03])
    np.testing.assert_array_equal(table.f0, np.float32([220.5, 0, 230]))
    np.testing.assert_array_equal(table.confidence, 1)


def test_an_unvoiced_row_is_not_sung_whatever_its_pitch(tmp_path: Path) -> None:
    table = read_pitch(written(tmp_path, HEADER + "0,220,0,1\n0.01,0,1,1\n"))
    assert not table.f0.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: no column time, hz, voiced; got nothing, expected time,hz,voiced,confidence"),
        ("time,hz\n0,1\n", r"line 1: no column voiced; got time, hz"),
        (HEADER, r"holds 0 rows"),
        (
            HEADER + "0,220,1,1\n0.01,hello,1,1\n",
            r"line 3: hz: got 'hello', expected 0 or a pitch from 20 to",
        ),
        (HEADER + "0,220,1,1\n0.01,-5,1,1\n", r"line 3: hz: got '-5', expected 0 or a pitch"),
        (HEADER + "0,220,1,1\n0.01,3,1,1\n", r"line 3: hz: got 3, expected 0 or a pitch"),
        (HEADER + "0,nan,1,1\n", r"line 2: hz: got 'nan'"),
        (HEADER + "\n0,220,perhaps,1\n", r"line 3: voiced: got 'perhaps', expected 1 or 0"),
        (HEADER + "0,220,1,7\n", r"line 2: confidence: got '7', expected 0 to 1"),
        (HEADER + "x,220,1,1\n", r"line 2: time: got 'x', expected seconds"),
        (HEADER + "0.5,220,1,1\n0.5,220,1,1\n", r"line 3: time 0.500000, expected over 0.500000.*in order"),
    ],
)
def test_mistakes_are_told_by_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_pitch(written(tmp_path, text))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.csv: cannot be read \(No such file or directory\); give a"):
        read_pitch(tmp_path / "none.csv")
    (tmp_path / "sound.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_pitch(tmp_path / "sound.csv")
    with pytest.raises(ConfigError, match=r"cannot be written .*--pitch-out"):
        save_pitch(tmp_path / "none" / "pitch.csv", TIMES, np.ones(400), np.ones(400))


def test_a_table_that_ends_before_the_song_is_refused(tmp_path: Path) -> None:
    table = read_pitch(written(tmp_path, HEADER + "0,220,1,1\n0.5,220,1,1\n1,220,1,1\n"))
    with pytest.raises(ConfigError, match=r"goes from 0.00 to 1.00 s, expected at least 0.01 to 4.64 s"):
        table.at(TIMES)
