"""What a file that was sent holds, found out by a child that may neither take long nor much memory.

The child decodes the whole file once: what breaks a decoder breaks the child, and nothing else.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from resing.errors import AudioError, ResingError
from resing.server.limits import Limits

PATIENCE = 3.0
"""On a busy machine a child waits longer for the processor than it uses it."""


class TooLargeError(ResingError):
    """A body or a song is larger than this server takes."""

    code = "too_large"
    http_status = 413


class NotAudioError(AudioError):
    """A file that was sent is no sound."""

    code = "audio"
    http_status = 415


class UnreadableError(AudioError):
    """A file that was sent breaks the decoder or keeps it busy for too long."""

    code = "audio"
    http_status = 422


def examine(path: Path, name: str, limits: Limits) -> dict[str, Any]:
    """Seconds, rate, channels and peaks of a file.

    Args:
        path: the file.
        name: what messages call it.
        limits: on time, memory, seconds, channels and rate.

    Raises:
        NotAudioError: it is none.
        TooLargeError: it lasts too long, or has too many channels.
        UnreadableError: the decoder broke or took too long.
    """
    command = [sys.executable, "-m", "resing.server.look", str(path), limits.model_dump_json()]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE * limits.check_seconds,
            env={**os.environ, **alone},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnreadableError(
            f"{name}: could not be decoded in time; convert it to wav or flac first"
        ) from error
    with contextlib.suppress(ValueError):
        told: dict[str, Any] = json.loads(done.stdout)
        if done.returncode == 0 and "seconds" in told:
            return told
        if "error" in told:
            kind = TooLargeError if told["large"] else NotAudioError
            raise kind(told["error"].replace(str(path), name))
    raise UnreadableError(f"{name}: the decoder broke on it; convert it to wav or flac first")
