"""The child that looks at a file that was sent: one decoding within limits, one JSON record on its output.

It imports little, since it is started for every file.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from resing.errors import ResingError

PEAKS = 600
STEP = 4096
ENOUGH_FILES = 64


class TooMuchError(ResingError):
    """The sound is longer, or has more channels, than may be."""


def look(path: Path, limits: dict[str, float]) -> dict[str, Any]:
    """Seconds, rate, channels and peaks of a file.

    Args:
        path: the file.
        limits: `channels`, `sample_rate` and `sound_seconds` of `limits.Limits`.

    Raises:
        AudioError: it is no sound.
        TooMuchError: there is too much of it.
    """
    import numpy as np

    from resing.audio import decoding

    heights: list[float] = []
    rate, channels, samples, rest = 0, 0, 0, np.zeros(0, np.float32)
    with contextlib.closing(decoding.chunks(path)) as chunks:
        for rate, chunk in chunks:
            channels, samples = chunk.shape[0], samples + chunk.shape[1]
            if channels > limits["channels"] or rate > limits["sample_rate"]:
                most = f"{limits['channels']:.0f} at {limits['sample_rate']:.0f} Hz"
                raise TooMuchError(
                    f"{path}: has {channels} channels at {rate} Hz, expected up to {most}; "
                    "export it as stereo at 48000 Hz"
                )
            if samples > limits["sound_seconds"] * rate:
                raise TooMuchError(
                    f"{path}: lasts longer than {limits['sound_seconds'] / 60:g} minutes; cut it into parts"
                )
            rest = np.concatenate([rest, np.abs(chunk).max(axis=0)])
            whole = len(rest) // STEP * STEP
            heights += rest[:whole].reshape(-1, STEP).max(axis=1).tolist()
            rest = rest[whole:]
    if len(rest):
        heights.append(float(rest.max()))
    pool = -(-len(heights) // PEAKS)
    peaks = [round(min(1.0, max(heights[i : i + pool])), 3) for i in range(0, len(heights), pool)]
    return {"seconds": samples / rate, "sample_rate": rate, "channels": channels, "peaks": peaks}


def confine(limits: dict[str, float]) -> None:
    """Bound memory and processor time, and forbid writing, where the system can (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    caps = {
        resource.RLIMIT_AS: int(limits["check_bytes"]),
        resource.RLIMIT_CPU: max(1, round(limits["check_seconds"])),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: ENOUGH_FILES,
    }
    for kind, most in caps.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def main(path: str, limits: str) -> int:
    """Print the record; returns the exit status."""
    caps = json.loads(limits)
    confine(caps)
    try:
        told = look(Path(path), caps)
    except ResingError as error:
        told = {"error": str(error), "large": isinstance(error, TooMuchError)}
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
