"""Weights on disk: safetensors with settings as JSON metadata, written whole or not at all."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from resing.errors import VoiceError
from resing.whole import whole

MAX_BYTES = 1 << 30
METADATA_KEY = "resing"


def save(path: Path | str, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and metadata to `path` by way of a temporary file in the same folder.

    Args:
        path: the .safetensors file to write.
        tensors: by name.
        metadata: JSON-serialisable settings.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole(path) as temporary:
        save_file(plain, temporary, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})
        os.chmod(temporary, 0o644)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())


def load(path: Path | str, device: str = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of a file written by `save`, checked before use.

    Args:
        path: the .safetensors file.
        device: where the tensors go.

    Raises:
        VoiceError: the file is missing, too large, damaged, or holds NaN or infinity.
    """
    metadata = read_metadata(path)
    try:
        with safe_open(str(path), framework="pt", device=device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise VoiceError(f"{path} is damaged: {error}. Get the file again or restore a copy.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise VoiceError(f"{path} is damaged: tensor {name} holds NaN or infinity. Get the file again.")
    return tensors, metadata


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The settings stored in a file, without reading its tensors.

    Raises:
        VoiceError: the file is missing, too large, damaged, or was not written by Resing.
    """
    path = Path(path)
    if not path.is_file():
        raise VoiceError(f"{path} does not exist. Check the path.")
    if path.stat().st_size > MAX_BYTES:
        raise VoiceError(f"{path} is larger than {MAX_BYTES >> 20} MB: not a Resing file.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
        metadata = json.loads(header[METADATA_KEY])
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise VoiceError(
            f"{path} is not a Resing file or is damaged ({error}). Get the file again."
        ) from error
    if not isinstance(metadata, dict):
        raise VoiceError(f"{path} has no settings in its header: not a Resing file.")
    return metadata


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_hash(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
