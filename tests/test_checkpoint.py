"""Weights on disk: what goes in comes out, whole or not at all; what is damaged says so."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from resing import checkpoint
from resing.errors import VoiceError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    checkpoint.save(path, TENSORS, {"shape": [2, 3], "name": "ü"})
    return path


def damaged(path: Path, text: str) -> None:
    with pytest.raises(VoiceError, match=text) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_was_saved_is_loaded(saved: Path):
    tensors, metadata = checkpoint.load(saved)
    assert metadata == {"shape": [2, 3], "name": "ü"} == checkpoint.read_metadata(saved)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[n], t) and tensors[n].dtype == t.dtype for n, t in TENSORS.items())


def test_saving_makes_the_folder_and_leaves_no_temporary_file(tmp_path: Path):
    path = tmp_path / "new" / "w.safetensors"
    checkpoint.save(path, TENSORS, {})
    checkpoint.save(path, TENSORS, {"again": True})
    assert os.listdir(path.parent) == [path.name]
    assert checkpoint.read_metadata(path) == {"again": True}
    assert path.stat().st_mode & 0o444 == 0o444  # others may read it


def test_a_save_that_fails_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch):
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(saved, {"a": torch.zeros(9)}, {})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_tensors_that_are_views_are_saved_whole(tmp_path: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    checkpoint.save(tmp_path / "w.safetensors", {"t": whole.T, "row": whole[1]}, {})
    tensors, _ = checkpoint.load(tmp_path / "w.safetensors")
    assert torch.equal(tensors["t"], whole.T) and torch.equal(tensors["row"], whole[1])


def test_a_missing_file_is_named(tmp_path: Path):
    damaged(tmp_path / "none.safetensors", "does not exist")
    damaged(tmp_path, "does not exist")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\xff" * 64, b"{}", b"not a model, but text\n" * 9])
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    damaged(path, "not a Resing file or is damaged")


def test_a_truncated_file_is_refused(saved: Path):
    whole = saved.read_bytes()
    for size in (4, 8, 40, len(whole) - 1):
        saved.write_bytes(whole[:size])
        damaged(saved, "damaged")


def test_bytes_after_the_end_are_refused(saved: Path):
    saved.write_bytes(saved.read_bytes() + b"more")
    damaged(saved, "damaged")


@pytest.mark.parametrize(
    "lie",
    [{"shape": [200, 3]}, {"data_offsets": [0, 1 << 40]}, {"dtype": "F99"}, {"shape": [1 << 62, 1 << 62]}],
)
def test_a_header_that_lies_is_refused(saved: Path, lie: dict[str, object]):
    whole = saved.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["a"] |= lie
    text = json.dumps(header).encode()
    saved.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + size :])
    damaged(saved, "damaged")


def test_an_endless_header_is_refused(saved: Path):
    saved.write_bytes((1 << 60).to_bytes(8, "little") + saved.read_bytes()[8:])
    damaged(saved, "damaged")


@pytest.mark.parametrize("settings", [None, "no json", "[1, 2]", "3", "[" * 100_000])
def test_a_file_without_our_settings_is_refused(tmp_path: Path, settings: str | None):
    path = tmp_path / "other.safetensors"
    save_file(TENSORS, path, None if settings is None else {checkpoint.METADATA_KEY: settings})
    damaged(path, "not a Resing file")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float):
    path = tmp_path / "w.safetensors"
    checkpoint.save(path, {"fine": torch.ones(2), "bad": torch.tensor([1.0, value])}, {})
    damaged(path, "tensor bad holds NaN or infinity")


def test_a_file_past_the_limit_is_refused_unread(saved: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 64)
    damaged(saved, "larger than")


def test_the_hash_of_tensors_sees_every_change():
    known = checkpoint.tensors_hash(TENSORS)
    assert known == checkpoint.tensors_hash(dict(reversed(TENSORS.items())))
    changed = [
        TENSORS | {"a": TENSORS["a"] + 1e-6},
        TENSORS | {"a": TENSORS["a"].reshape(3, 2)},
        TENSORS | {"a": TENSORS["a"].double()},
        TENSORS | {"c": torch.zeros(0)},
        {"a": TENSORS["a"], "B": TENSORS["b"]},
    ]
    hashes = {known, *map(checkpoint.tensors_hash, changed)}
    assert len(hashes) == 1 + len(changed)


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checkpoint.file_hash(tmp_path / "x") == known
