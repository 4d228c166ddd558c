"""The community's NSF-HiFiGAN as a vocoder, where it has been fetched."""

import math

import torch
from torch import Tensor

from resing import hub
from resing.config import AudioConfig
from resing.nets.hubert import fold_weight_norm
from resing.nets.nsf_hifigan import NSFHiFiGAN
from resing.synthesis.vocoder import Vocoder

NAME = "nsf-hifigan"


def load() -> Vocoder:
    """The vocoder, where it is here.

    Raises:
        DownloadError: it is not here, or not what it should be; says how to get it.
    """
    net, digest = hub.build(NAME, lambda tensors: build(tensors, AudioConfig()))
    return Vocoder(net, AudioConfig(), f"{NAME}-{digest}")


def for_voice(vocoder_id: str) -> Vocoder:
    """The vocoder a voice was made for, if it is here, else the one that ships; both take the same mel."""
    return load() if vocoder_id == NAME and hub.look(NAME).here else Vocoder.load()


def missing(vocoder_id: str) -> bool:
    """Whether a voice was made for this vocoder and it is not here."""
    return vocoder_id == NAME and not hub.look(NAME).here


def advice() -> str:
    """What to tell where it is missing."""
    return f"It sounds through the vocoder that ships; for the one it was made for: {hub.command(NAME)}"


def build(tensors: dict[str, Tensor], audio: AudioConfig) -> NSFHiFiGAN:
    """The network that fits published tensors, with them.

    Raises:
        KeyError, RuntimeError, ValueError: tensors are missing or do not fit the frame grid.
    """
    named = {n: t.float() for n, t in fold_weight_norm(tensors, kept=0).items()}
    stages = 1 + max(int(n.split(".")[1]) for n in named if n.startswith("ups."))
    rates = tuple(named[f"ups.{i}.weight"].shape[2] // 2 for i in range(stages))
    blocks = 1 + max(int(n.split(".")[1]) for n in named if n.startswith("resblocks."))
    kernels = tuple(named[f"resblocks.{i}.convs1.0.weight"].shape[2] for i in range(blocks // stages))
    channels, n_mels, _ = named["conv_pre.weight"].shape
    if math.prod(rates) != audio.hop_length or n_mels != audio.n_mels:
        raise ValueError(
            f"hop {math.prod(rates)} and {n_mels} mels, expected {audio.hop_length} and {audio.n_mels}"
        )
    with torch.device("meta"):
        net = NSFHiFiGAN(n_mels, channels, rates, kernels, audio.sample_rate)
    net.load_state_dict(named, strict=True, assign=True)
    return net
