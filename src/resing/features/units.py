"""Content units of a song of any length: few stay in memory, many lie in a file and are read where needed."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

MEMORY_BYTES = 2 << 20
"""Up to this much, some five minutes of units, is held in memory."""
BYTES = 2


class Units:
    """Units (C, U) in half precision, read like an array: `units[:, index]`, `units.shape`.

    Args:
        channels: C.
        file: units kept before, U after U; it is closed when no longer needed.
    """

    dtype = np.dtype(np.float16)

    def __init__(self, channels: int, file: IO[bytes] | None = None) -> None:
        self._file: IO[Any] = file or tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115
        self.channels = channels
        self._count = self._file.seek(0, os.SEEK_END) // (BYTES * channels) if file else 0

    @property
    def shape(self) -> tuple[int, int]:
        """C and U."""
        return self.channels, self._count

    def append(self, units: np.ndarray) -> None:
        """Add units, (C, n)."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(units.T.astype(np.float16).tobytes())
        self._count += units.shape[1]

    def __getitem__(self, key: tuple[slice, np.ndarray]) -> np.ndarray:
        """Units of all channels at some places, (C, n) float16; key: `:` and the places, (n,)."""
        channels, places = key
        if channels != slice(None):
            raise ValueError(f"units are read in all channels at once, as units[:, index]; got {channels}")
        first, last = (int(places.min()), int(places.max())) if len(places) else (0, -1)
        if first < 0 or last >= self._count:
            raise IndexError(f"units {first} to {last} of {self._count}")
        self._file.seek(BYTES * self.channels * first)
        data = self._file.read(BYTES * self.channels * (last + 1 - first))
        span = np.frombuffer(data, np.float16).reshape(-1, self.channels)
        return np.ascontiguousarray(span[places - first].T)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, (C, U)."""
        return self[:, np.arange(self._count)].astype(dtype or np.float16)

    def save(self, path: Path) -> None:
        """Write them to a file, to be given to another `Units`."""
        self._file.seek(0)
        with open(path, "wb") as file:
            shutil.copyfileobj(self._file, file)

    def __del__(self) -> None:
        self._file.close()
