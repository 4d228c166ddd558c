"""Tags go from a source to an output, and the sound stays as it is."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from resing.audio import files
from resing.audio.tags import Tags, read_tags, write_tags
from resing.errors import AudioError

TEXTS = {"title": "Ångström, 夜", "artist": "A & B", "album": "C", "date": "1999", "comment": "live"}


def png(size: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([200, 30, 30]) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tone(path: Path) -> np.ndarray:
    sound = 0.3 * np.sin(2 * np.pi * 440 * np.arange(50123) / 44100)
    files.write(path, np.stack([sound, sound]).astype(np.float32), 44100)
    return files.read(path)[0]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_tags_come_back_and_no_sample_changes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"song{suffix}"
    before = tone(path)
    write_tags(path, Tags(TEXTS, png(24), "png"))
    found = read_tags(path)
    assert {name: found.texts.get(name) for name in TEXTS} == TEXTS
    assert (found.cover, found.cover_codec) == ((None, "mjpeg") if suffix == ".wav" else (png(24), "png"))
    np.testing.assert_array_equal(files.read(path)[0], before)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tags_move_from_one_format_to_another(tmp_path: Path) -> None:
    source, out = tmp_path / "song.mp3", tmp_path / "song.flac"
    tone(source)
    tone(out)
    write_tags(source, Tags(TEXTS, png(24), "png"))
    write_tags(out, read_tags(source).saying("Sung by kumi."))
    found = read_tags(out)
    assert found.texts["comment"] == "live | Sung by kumi."
    assert found.texts["title"] == TEXTS["title"] and found.cover == png(24)


def test_a_sentence_is_said_once() -> None:
    once = Tags().saying("Sung by kumi.")
    assert once.texts == {"comment": "Sung by kumi."}
    assert once.saying("Sung by kumi.") == once


def test_what_describes_the_file_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    tone(path)
    write_tags(path, Tags({"title": "T", "replaygain_track_gain": "-3 dB"}))
    assert read_tags(path).texts == {"title": "T"}


def test_a_file_that_is_no_audio_is_named(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    path.write_text("no")
    with pytest.raises(AudioError, match=r"song\.flac: holds no sound"):
        write_tags(path, Tags(TEXTS))
    assert path.read_text() == "no"
