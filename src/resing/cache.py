"""What was worked out before and can be worked out again: one folder, a limit, the oldest go first.

    folder() / kind / name        "heard/3f2a....safetensors"

A name is made from a hash of everything that decides the content, so a file is right or it is not there.
Readers treat a damaged or missing file alike and work the thing out again.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_dir, user_data_dir

LARGEST_BYTES = 4 << 30
NEWEST = 16
"""Files that stay whatever their size: those used last, which a song needs until it is done."""


@dataclass(frozen=True)
class Held:
    """Files of one kind and their bytes."""

    files: int
    bytes: int


def home() -> Path:
    """The user's folder for what stays: RESING_HOME, or the system's place for application data."""
    return Path(os.environ.get("RESING_HOME") or user_data_dir("resing", appauthor=False))


def folder() -> Path:
    """Where everything kept lies: RESING_HOME/cache, or the system's place for caches."""
    own = os.environ.get("RESING_HOME")
    return Path(own) / "cache" if own else Path(user_cache_dir("resing", appauthor=False))


def key(*facts: object) -> str:
    """A name for what follows from these facts, 40 hexadecimal digits.

    Args:
        facts: values whose `repr` says all there is to them: texts, numbers, dataclasses of such.
    """
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:40]


def entry(kind: str, name: str) -> Path:
    """The file of one kind with a name, there or not; its folder is made if that can be done."""
    path = folder() / kind / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def used(path: Path) -> None:
    """Note that a file was of use just now, so that it is among the last to go."""
    with contextlib.suppress(OSError):
        os.utime(path)


def size() -> dict[str, Held]:
    """How much is kept, by kind."""
    kinds: dict[str, list[int]] = {}
    for path, about in _files():
        kinds.setdefault(path.parent.name, []).append(about.st_size)
    return {kind: Held(len(sizes), sum(sizes)) for kind, sizes in sorted(kinds.items())}


def trim() -> None:
    """Delete the files used longest ago until no more than LARGEST_BYTES are kept, or the newest alone."""
    held = sorted(_files(), key=lambda file: file[1].st_mtime)
    left = sum(about.st_size for _, about in held)
    for path, about in held[:-NEWEST]:
        if left <= LARGEST_BYTES:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            left -= about.st_size


def clear() -> None:
    """Delete everything kept; a file that cannot be deleted stays."""
    for path, _ in _files():
        with contextlib.suppress(OSError):
            path.unlink()


def _files() -> list[tuple[Path, os.stat_result]]:
    """Every file kept, as it is now."""
    found = []
    for path in folder().glob("*/*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                found.append((path, path.stat()))
    return found
