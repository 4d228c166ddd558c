"""The last rendering of a song, kept so that after a change of its melody only what changed is sung again."""

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from resing import cache
from resing.conversion_retakes import Settled
from resing.whole import whole

MELODY = ("f0", "voiced", "phase")
"""What of a score a melody decides; the rest follows from source and options, which name the take."""


@dataclass(frozen=True, eq=False)
class Take:
    """A rendering and the melody it sings.

    Attributes:
        melody: the score's arrays by the names of MELODY, each (T,).
        samples: file of mono float32 samples at the house rate, before any gain.
        settled: levels of its gain, and the phrases that were replaced in it afterwards.
    """

    melody: dict[str, np.ndarray]
    samples: Path
    settled: Settled

    @classmethod
    def find(cls, name: str, frames: int, hop_length: int) -> Self | None:
        """The take kept under a name, if it is of so many frames and undamaged."""
        path, samples = _places(name)
        try:
            with safe_open(str(path), framework="np") as file:
                melody = {key: file.get_tensor(key) for key in MELODY}
                settled = Settled.of(json.loads((file.metadata() or {})["settled"]))
            if samples.stat().st_size != 4 * frames * hop_length or len(melody["f0"]) != frames:
                return None
        except (OSError, KeyError, TypeError, ValueError, SafetensorError):
            return None
        cache.used(path)
        cache.used(samples)
        return cls(melody, samples, settled)

    def changed(self, melody: dict[str, np.ndarray], reach: int) -> np.ndarray:
        """Frames that sound different with another melody, seen from `reach` frames away, bool (T,)."""
        differs = np.zeros(len(self.melody["f0"]), bool)
        for key in MELODY:
            differs |= self.melody[key] != melody[key]
        passed = np.concatenate([[0], np.cumsum(differs)])
        frames = np.arange(len(differs))
        stop = np.minimum(frames + reach + 1, len(differs))
        return passed[stop] > passed[np.maximum(frames - reach, 0)]

    def read(self, start: int, count: int) -> np.ndarray:
        """So many samples from a place on, (n,) float32."""
        return np.fromfile(self.samples, np.float32, count, offset=4 * start)


def keep_samples(name: str, rendered: BinaryIO) -> None:
    """Keep a rendering as it was sung first; `keep` then completes the take.

    Where it is too large or cannot be written nothing is kept.

    Args:
        name: hash of all that decides it except its melody.
        rendered: its samples, read from the start.
    """
    path, samples = _places(name)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        samples.unlink(missing_ok=True)
        if rendered.seek(0, os.SEEK_END) <= cache.LARGEST_BYTES // 2:
            rendered.seek(0)
            with whole(samples) as temporary, open(temporary, "wb") as file:
                shutil.copyfileobj(rendered, file, 1 << 20)


def keep(name: str, melody: dict[str, np.ndarray], settled: Settled) -> None:
    """Keep the rest of a take, if its samples are there; see `Take`."""
    path, samples = _places(name)
    with contextlib.suppress(OSError, SafetensorError):
        if samples.exists():
            with whole(path) as temporary:
                save_file(melody, temporary, {"settled": json.dumps(asdict(settled))})
            cache.trim()


def _places(name: str) -> tuple[Path, Path]:
    return cache.entry("takes", f"{name}.safetensors"), cache.entry("takes", f"{name}.f32")
