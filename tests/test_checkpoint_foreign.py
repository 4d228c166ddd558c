"""Evil checkpoints: each refused with one clear line, no code run, memory bounded.

Most are put to the reader in this process, where a canary would show as well; what the child process adds
(limits, an end of its own, time) is shown by a few.
"""

import contextlib
import io
import os
import pickle
import random
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from resing import checkpoint, checkpoint_child, checkpoint_foreign
from resing.errors import VoiceError

GOOD = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path, module: str = "os", name: str = "system") -> None:
        self.canary, self.module, self.name = canary, module, name

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        calls = {"system": os.system, "eval": eval, "open": open}
        texts = {"system": f"touch {self.canary}", "eval": f"open({str(self.canary)!r}, 'w')"}
        if self.name == "open":
            return open, (str(self.canary), "w")
        return calls[self.name], (texts[self.name],)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def zipped(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, **options: Any) -> Path:
    """A checkpoint's zip with a pickle of ours."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for name, content in (storages or {}).items():
            archive.writestr(f"archive/data/{name}", content)
        archive.writestr("archive/version", "3\n")
    return path


class _Storage:
    """Stands for a tensor whose shape and stride are ours to choose."""

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...], numel: int, offset: int = 0) -> None:
        self.facts = shape, stride, numel, offset


def lying(path: Path, shape: tuple[int, ...], stride: tuple[int, ...], numel: int, offset: int = 0) -> Path:
    """A checkpoint of one tensor that says it is of that shape over a storage of 4 floats."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(obj, _Marker) else None

    class _Marker:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            facts = _Marker(), offset, shape, stride, False, OrderedDict()
            return torch._utils._rebuild_tensor_v2, facts

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"x": Tensor()})
    return zipped(path, buffer.getvalue(), {"0": struct.pack("<4f", 1, 2, 3, 4)})


def nested(content: Any, depth: int) -> Any:
    for _ in range(depth):
        content = [content]
    return content


def rezipped(path: Path, change: Callable[[bytes], bytes]) -> Path:
    saved(path, GOOD)
    path.write_bytes(change(path.read_bytes()))
    return path


def overlapping(data: bytes) -> bytes:
    """The central directory's second entry made to begin where the first does."""
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    return data[: second + 42] + data[first + 42 : first + 46] + data[second + 46 :]


def poisoned(path: Path, value: float) -> Path:
    return saved(path, {"state_dict": {"a": torch.tensor([1.0, value])}})


def bomb(path: Path) -> Path:
    return zipped(path, pickle.dumps({}), {"0": bytes(50 << 20)}, compression=zipfile.ZIP_DEFLATED)


class Custom:
    """A class that no voice needs."""


SAFE = "is not read safely by torch"
RUNS = "asks to run"
CORPUS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "calls out at the top": (lambda p, c: saved(p, Evil(c)), f"{RUNS} posix.system"),
    "calls out as a value": (lambda p, c: saved(p, GOOD | {"x": Evil(c)}), RUNS),
    "calls out as a key": (lambda p, c: saved(p, {(Evil(c),): 1}), RUNS),
    "calls out in the weights": (lambda p, c: saved(p, {"state_dict": GOOD | {"x": Evil(c)}}), RUNS),
    "calls out beside the weights": (lambda p, c: saved(p, {"state_dict": GOOD, "epoch": Evil(c)}), RUNS),
    "calls out in a list": (lambda p, c: saved(p, {"optimizer_states": [{"s": (Evil(c),)}]}), RUNS),
    "calls out in an OrderedDict": (lambda p, c: saved(p, OrderedDict(x=Evil(c))), RUNS),
    "calls out in a set": (lambda p, c: saved(p, {"x": frozenset([Evil(c)])}), RUNS),
    "calls out deep inside": (lambda p, c: saved(p, {"x": nested(Evil(c), 200)}), RUNS),
    "eval": (lambda p, c: saved(p, {"x": Evil(c, name="eval")}), f"{RUNS} eval"),
    "opens a file": (lambda p, c: saved(p, {"x": Evil(c, name="open")}), f"{RUNS} io.open"),
    "calls out by protocol 0": (
        lambda p, c: zipped(p, f"cposix\nsystem\n(S'touch {c}'\ntR.".encode()),
        f"{RUNS} posix.system",
    ),
    "a class of its own": (lambda p, c: saved(p, {"x": Custom()}), RUNS),
    "a plain pickle": (lambda p, c: written(p, pickle.dumps({"x": Evil(c)})), "no checkpoint in torch's zip"),
    "torch's old format": (
        lambda p, c: written(p, old_format({"x": Evil(c)})),
        "no checkpoint in torch's zip",
    ),
    "a huge shape": (lambda p, c: lying(p, (1 << 40,), (1,), 4), ""),
    "a huge shape of stride 0": (lambda p, c: lying(p, (1 << 40,), (0,), 4), "more than the file has bytes"),
    "a negative shape": (lambda p, c: lying(p, (-4,), (1,), 4), SAFE),
    "a negative stride": (lambda p, c: lying(p, (4,), (-1,), 4), SAFE),
    "an offset beyond its storage": (lambda p, c: lying(p, (4,), (1,), 4, 1 << 40), ""),
    "a storage larger than its file": (lambda p, c: lying(p, (4,), (1,), 1 << 40), ""),
    "many dimensions": (
        lambda p, c: saved(p, {"x": torch.ones([1] * 20)}),
        "20 dimensions",
    ),
    "NaN": (lambda p, c: poisoned(p, float("nan")), "NaN or infinity in 'a'"),
    "infinity": (lambda p, c: poisoned(p, float("inf")), "NaN or infinity in 'a'"),
    "complex numbers": (lambda p, c: saved(p, {"x": torch.ones(2, dtype=torch.complex64)}), "complex64"),
    "a sparse tensor": (lambda p, c: saved(p, {"x": torch.eye(3).to_sparse()}), "not dense"),
    "no tensors": (lambda p, c: saved(p, {"x": 3}), "holds a int under 'x'"),
    "nothing": (lambda p, c: saved(p, {}), "holds 0 tensors"),
    "a list": (lambda p, c: saved(p, [torch.ones(2)]), "holds a list"),
    "a name of control characters": (lambda p, c: saved(p, {"\x1b[2J": torch.ones(2)}), "no plain text"),
    "a name that is a number": (lambda p, c: saved(p, {7: torch.ones(2)}), "no plain text"),
    "many names for one storage": (
        lambda p, c: saved(p, dict.fromkeys(map(str, range(3000)), torch.ones(30_000))),
        "more tensors than the file has bytes",
    ),
    "truncated": (lambda p, c: rezipped(p, lambda d: d[: len(d) // 2]), "not read safely by torch"),
    "overlapping entries": (lambda p, c: rezipped(p, overlapping), "overlap"),
    "a zip bomb": (lambda p, c: bomb(p), "compressed or encrypted"),
    "a zip without a pickle": (
        lambda p, c: written(p, zip_of({"x": b"y"})),
        "without the one data.pkl",
    ),
    "two pickles": (
        lambda p, c: written(p, zip_of({"a/data.pkl": pickle.dumps({}), "b/data.pkl": pickle.dumps({})})),
        "without the one data.pkl",
    ),
    "no file of torch": (lambda p, c: written(p, b"RIFF" + bytes(100)), "no checkpoint in torch's zip"),
    "an empty file": (lambda p, c: written(p, b""), "no checkpoint in torch's zip"),
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def zip_of(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def old_format(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def refusal(path: Path, canary: Path) -> str:
    """The one line that a file is refused with; nothing was run."""
    with pytest.raises(VoiceError) as caught:
        checkpoint_foreign.read(path, ("state_dict",))
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 500, message
    assert "do not use it" in message and not canary.exists()
    return message


def test_a_good_file_in_a_child_of_its_own(tmp_path: Path):
    path = saved(tmp_path / "good.ckpt", {"state_dict": GOOD, "epoch": 3, "global_step": 100})
    before = path.read_bytes()
    read = checkpoint_foreign.read(path, ("state_dict",))
    assert read.keys() == GOOD.keys() and path.read_bytes() == before
    for name, tensor in GOOD.items():
        assert torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype


@pytest.mark.usefixtures("reader_in_process")
@pytest.mark.parametrize("name", CORPUS)
def test_evil_files(name: str, tmp_path: Path):
    canary = tmp_path / "canary"
    make, told = CORPUS[name]
    path = make(tmp_path / "evil.ckpt", canary)
    assert told in refusal(path, canary)


@pytest.mark.usefixtures("reader_in_process")
def test_the_canary_sings_where_files_are_unpickled(tmp_path: Path):
    canary = tmp_path / "canary"
    path = saved(tmp_path / "evil.ckpt", Evil(canary))
    torch.load(path, weights_only=False)
    assert canary.exists()


@pytest.mark.usefixtures("reader_in_process")
def test_random_damage_never_runs_or_breaks_anything(tmp_path: Path):
    good = saved(tmp_path / "good.ckpt", {"state_dict": GOOD}).read_bytes()
    dice, path = random.Random(0), tmp_path / "evil.ckpt"
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(4, len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(VoiceError):
            read = checkpoint_foreign.read(path, ("state_dict",))
            assert all(torch.isfinite(t).all() for t in read.values())


def test_memory_is_bounded_in_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A tensor over 8 GB of zeros that the file does not hold, and a reader that would ask for them."""
    path = lying(tmp_path / "evil.ckpt", (1 << 31,), (0,), 4)
    greedy = tmp_path / "greedy.py"
    source = Path(checkpoint_child.__file__).read_text()
    greedy.write_text(source.replace("        check(name, tensor, size)\n", "        tensor.contiguous()\n"))
    assert greedy.read_text() != source
    monkeypatch.setattr(checkpoint_child, "__file__", str(greedy))
    assert "asks for more memory than it is given" in refusal(path, tmp_path / "canary")


def test_a_child_that_stops_or_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, script = saved(tmp_path / "good.ckpt", GOOD), tmp_path / "child.py"
    monkeypatch.setattr(checkpoint_child, "__file__", str(script))
    script.write_text("import os; os.kill(os.getpid(), 11)")
    assert "made its reader stop (status -11)" in refusal(path, tmp_path / "canary")
    monkeypatch.setattr(checkpoint_foreign, "SECONDS", 0.2)
    script.write_text("import time; time.sleep(20)")
    assert "was not read within 0.2 s" in refusal(path, tmp_path / "canary")


def test_files_that_are_not_there_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(VoiceError, match="does not exist"):
        checkpoint_foreign.read(tmp_path / "none.ckpt")
    monkeypatch.setattr(checkpoint_foreign, "LARGEST_BYTES", 100)
    with pytest.raises(VoiceError, match="expected at most"):
        checkpoint_foreign.read(saved(tmp_path / "good.ckpt", GOOD))


def test_nothing_else_unpickles():
    package = Path(checkpoint.__file__).parent
    unpicklers = re.compile(
        r"torch\.load\(|import pickle|pickle\.load|torch\.jit\.load|allow_pickle=True|joblib"
    )
    found = [p.name for p in package.rglob("*.py") if unpicklers.search(p.read_text(encoding="utf-8"))]
    assert found == ["checkpoint_child.py"]
    child = Path(checkpoint_child.__file__).read_text()
    assert child.count("torch.load(") == child.count("weights_only=True)") == 1


# -- safetensors with lying headers, which need no child: nothing in them can run


@pytest.mark.parametrize(
    "header",
    [
        '{"x": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 16]}}',
        '{"x": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}',
        '{"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4398046511104]}}',
        '{"x": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}',
        '{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
        '"y": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}',
        '{"x": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}',
        '{"x": 5}',
        "[" * 5000,
        "{}",
    ],
)
def test_safetensors_with_lying_headers(header: str, tmp_path: Path):
    path = written(
        tmp_path / "evil.safetensors", struct.pack("<Q", len(header)) + header.encode() + bytes(16)
    )
    with pytest.raises(VoiceError) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1 << 20, 1 << 62, (1 << 64) - 1])
def test_safetensors_with_lying_lengths(length: int, tmp_path: Path):
    path = written(tmp_path / "evil.safetensors", struct.pack("<Q", length) + b"{}" + bytes(16))
    with pytest.raises(VoiceError):
        checkpoint.load(path)
    with pytest.raises(Exception, match=r"[Hh]eader|invalid"):
        load_file(path)
