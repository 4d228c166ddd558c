"""The child process that opens a foreign torch checkpoint: run as a script, with nothing of Resing loaded.

    python checkpoint_child.py SOURCE OUT PLACES

Answers with one line of JSON, {"error": null} or what is wrong in a few words. PLACES is a JSON list of keys
under which the weights may lie. torch unpickles with `weights_only=True`, under limits on memory and time.
"""

import json
import os
import re
import sys
import zipfile
from typing import Any

MOST_ENTRIES = 20_000
MOST_TENSORS = 5_000
MOST_DIMENSIONS = 8
LONGEST_NAME = 200
LARGEST_PICKLE = 64 << 20
LOCAL_HEADER_BYTES = 30
SPARE_BYTES = 512 << 20
"""Memory allowed beside four copies of the file."""
CPU_SECONDS = 240


class RefusedError(Exception):
    """The file is not what it should be."""


def check_zip(path: str) -> None:
    """Refuse an archive that torch would not have written: compressed, overlapping, larger than its file."""
    size = os.path.getsize(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise RefusedError(f"holds {len(entries)} entries, expected at most {MOST_ENTRIES}")
    if any(e.compress_type != zipfile.ZIP_STORED or e.flag_bits & 1 for e in entries):
        raise RefusedError("holds compressed or encrypted entries, which torch never writes")
    names = [e.filename for e in entries]
    if len(set(names)) != len(names):
        raise RefusedError("holds two entries of one name")
    end = 0
    for e in sorted(entries, key=lambda e: e.header_offset):
        if e.header_offset < end or e.file_size != e.compress_size:
            raise RefusedError("holds entries that overlap")
        end = e.header_offset + LOCAL_HEADER_BYTES + e.file_size
    if end > size:
        raise RefusedError("is cut off")
    pickles = [e for e in entries if e.filename.rsplit("/", 1)[-1] == "data.pkl"]
    if len(pickles) != 1 or pickles[0].file_size > LARGEST_PICKLE:
        raise RefusedError("is a zip without the one data.pkl of a torch checkpoint")


def limit(size: int) -> None:
    """Bound what this process takes from here on; where the system has no such limits, time alone counts."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + SPARE_BYTES, 2 * size + SPARE_BYTES))
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        most = used + 4 * size + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def weights(loaded: Any, places: list[str]) -> dict[str, Any]:
    """The mapping of names to tensors, at the first of the places that there is."""
    if not isinstance(loaded, dict):
        raise RefusedError(f"holds a {type(loaded).__name__}, expected a mapping of names to tensors")
    for place in places:
        if isinstance(loaded.get(place), dict):
            return loaded[place]
    return loaded


def check(name: Any, tensor: Any, size: int) -> None:
    """Refuse anything but a plain, finite tensor that the file has bytes for."""
    import torch

    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise RefusedError("holds a tensor whose name is no plain text")
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise RefusedError(f"holds a {type(tensor).__name__} under {name!r}, expected tensors only")
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise RefusedError(f"holds a tensor {name!r} that is not dense")
    if tensor.dtype.is_complex or tensor.dim() > MOST_DIMENSIONS:
        raise RefusedError(f"holds a tensor {name!r} of {tensor.dtype} and {tensor.dim()} dimensions")
    if tensor.numel() * tensor.element_size() > size:
        raise RefusedError(
            f"holds a tensor {name!r} of shape {list(tensor.shape)}, more than the file has bytes"
        )
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise RefusedError(f"holds NaN or infinity in {name!r}")


def convert(source: str, out: str, places: list[str]) -> None:
    """Write the plain tensors of `source` to the safetensors file `out`."""
    import torch
    from safetensors.torch import save_file

    check_zip(source)
    size = os.path.getsize(source)
    limit(size)
    found = weights(torch.load(source, map_location="cpu", weights_only=True), places)
    if not found or len(found) > MOST_TENSORS:
        raise RefusedError(f"holds {len(found)} tensors, expected 1 to {MOST_TENSORS}")
    total = 0
    for name, tensor in found.items():
        check(name, tensor, size)
        total += tensor.numel() * tensor.element_size()
        if total > size:
            raise RefusedError("holds more tensors than the file has bytes")
    save_file({name: t.detach().contiguous().clone() for name, t in found.items()}, out)


def told(error: Exception) -> str:
    """What is wrong, in a few words on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, RefusedError):
        return text
    if isinstance(error, MemoryError) or "allocate" in text or "memory" in text:
        return "asks for more memory than it is given"
    if named := re.search(r"GLOBAL (\S+)", text):
        return f"asks to run {named[1]:.80}, which no voice needs"
    return f"is not read safely by torch ({type(error).__name__}: {text[:120]})"


def answer(source: str, out: str, places: list[str]) -> str | None:
    """Convert; returns what is wrong with the file, None where nothing is."""
    try:
        convert(source, out, places)
    except Exception as error:  # noqa: BLE001 - whatever an evil file raises is the answer
        return told(error)
    return None


def main() -> None:
    """Convert what the command line names."""
    source, out, places = sys.argv[1:4]
    sys.stdout.write(json.dumps({"error": answer(source, out, json.loads(places))}) + "\n")


if __name__ == "__main__":
    main()
