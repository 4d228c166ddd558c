"""Checkpoints that others wrote with torch: opened in a child process, and taken over as plain tensors.

A pickle can run code when it is opened. So nothing here opens one: `checkpoint_child` does, in a process of
its own with limits on memory and time, through torch's `weights_only=True`, and hands back safetensors.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from resing import checkpoint_child
from resing.errors import VoiceError

SECONDS = 300.0
LARGEST_BYTES = 2 << 30
ZIP_MAGIC = b"PK\x03\x04"
ADVICE = "do not use it; get the voice from its maker again"


def read(path: Path | str, places: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """The tensors of a torch checkpoint by name, each dense, finite and no larger than the file.

    Args:
        path: the file; it is not changed.
        places: keys under which the tensors may lie, tried in order; the top level comes last.

    Raises:
        VoiceError: it is no such checkpoint, or holds more than plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise VoiceError(f"{path} does not exist. Check the path.")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise VoiceError(f"{path} has {size >> 20} MB, expected at most {LARGEST_BYTES >> 20} MB; {ADVICE}")
    with open(path, "rb") as file:
        if file.read(4) != ZIP_MAGIC:
            raise VoiceError(
                f"{path} is no checkpoint in torch's zip format; expected what torch.save has written since "
                f"version 1.6; {ADVICE}"
            )
    with tempfile.TemporaryDirectory(prefix="resing-") as scratch:
        out = Path(scratch) / "tensors.safetensors"
        problem = _run(path, out, places)
        if problem:
            raise VoiceError(f"{path} is refused: it {problem}; {ADVICE}")
        try:
            return {name: tensor.clone() for name, tensor in load_file(out).items()}
        except (OSError, SafetensorError) as error:
            raise VoiceError(f"{path} is refused: it could not be converted ({error}); {ADVICE}") from error


def _run(path: Path, out: Path, places: tuple[str, ...]) -> str:
    """What is wrong with the file; "" where nothing is."""
    script = str(Path(checkpoint_child.__file__).resolve())
    command = [
        sys.executable,
        "-P",
        "-W",
        "ignore",
        script,
        str(path.resolve()),
        str(out),
        json.dumps(places),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SECONDS,
            cwd=out.parent,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return f"was not read within {SECONDS:g} s"
    try:
        return str(json.loads(done.stdout)["error"] or "")
    except (ValueError, KeyError, TypeError):
        return f"made its reader stop (status {done.returncode})"
