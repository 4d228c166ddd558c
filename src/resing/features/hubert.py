"""Content units from the community's encoders, for voices that were made on them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from resing import hub
from resing.features.content import UNIT_HOP, ContentEncoder
from resing.nets.hubert import Hubert, fold_weight_norm, hubert_soft_names

PAD = 40
"""Samples on each side that centre a unit's 400 samples on its 320."""
MODELS = {"contentvec-256": "contentvec", "contentvec-768": "contentvec", "hubert-soft": "hubert-soft"}
"""The model of the catalogue that each kind of unit comes from."""
CONTENTVEC_LAYERS = {"contentvec-256": 9, "contentvec-768": 12}
NOT_USED = ("masked_spec_embed", "label_embedding.weight")


class HubertEncoder(ContentEncoder):
    """Units of mono audio at 16 kHz; attention hears each window with two seconds on both sides.

    Args:
        net: the network.
        encoder_id: kind of unit and hash.
    """

    net: Hubert  # type: ignore[assignment]
    warps = False

    @property
    def kind(self) -> str:
        """Which of MODELS its units are."""
        return next(kind for kind in MODELS if self.encoder_id.startswith(kind))

    def __init__(self, net: Hubert, encoder_id: str = "untrained") -> None:
        self.net, self.encoder_id = net.eval().requires_grad_(False), encoder_id

    def units(self, audio: Tensor, warp: float = 1.0) -> Tensor:
        """Units of one window, (B, C, U)."""
        if warp != 1.0:
            raise ValueError("this encoder hears a waveform and cannot warp its frequencies")
        missing = -audio.shape[-1] % UNIT_HOP
        return self.net(F.pad(audio, (PAD, PAD + missing)).to(self.device)).cpu()


def load(kind: str, device: str = "cpu") -> HubertEncoder:
    """The encoder for a kind of unit, where its model is here.

    Args:
        kind: a key of MODELS.
        device: where it computes.

    Raises:
        DownloadError: it is not here, or not what it should be; says how to get it.
    """
    net, digest = hub.build(MODELS[kind], lambda tensors: build(kind, tensors))
    return HubertEncoder(net.to(device), f"{kind}-{digest}")


def build(kind: str, tensors: dict[str, Tensor]) -> Hubert:
    """The network that fits published tensors, with them.

    Raises:
        KeyError, RuntimeError: tensors are missing or do not fit.
    """
    if kind == "hubert-soft":
        named = hubert_soft_names(tensors)
    else:
        named = {n.removeprefix("hubert."): t for n, t in tensors.items() if n not in NOT_USED}
        if kind == "contentvec-768":
            named = {n: t for n, t in named.items() if not n.startswith("final_proj.")}
    named = {n: t.float() for n, t in fold_weight_norm(named, kept=2).items()}
    there = 1 + max(int(n.split(".")[2]) for n in named if n.startswith("encoder.layers."))
    layers = CONTENTVEC_LAYERS.get(kind, there)
    beyond = tuple(f"encoder.layers.{i}." for i in range(layers, there))
    named = {n: t for n, t in named.items() if not n.startswith(beyond)} if beyond else named
    place = named["encoder.pos_conv_embed.conv.weight"]
    hidden, width = named["feature_projection.projection.weight"].shape
    projected = 0 if kind == "contentvec-768" else named["final_proj.weight"].shape[0]
    with torch.device("meta"):
        net = Hubert(
            width,
            hidden,
            named["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
            layers,
            projected,
            place.shape[2],
            hidden // place.shape[1],
        )
    net.load_state_dict(named, strict=True, assign=True)
    return net
