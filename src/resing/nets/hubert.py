"""HuBERT-base: the network behind ContentVec and HuBERT-Soft, for inference.

W.-N. Hsu et al., "HuBERT" (arXiv 2106.07447); K. Qian et al., "ContentVec" (2204.09224); B. van Niekerk et
al., "A comparison of discrete and soft speech units for improved voice conversion" (2111.02392).
Parameters bear the names of the published ContentVec; `hubert_soft_names` translates those of HuBERT-Soft.
"""

import torch.nn.functional as F
from torch import Tensor, nn

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HEAD_WIDTH = 64
CONTEXT_UNITS = 100
"""Attention hears all it is given; this much context on each side makes windows alike."""


class _ConvLayer(nn.Module):
    def __init__(self, before: int, width: int, kernel: int, stride: int, normed: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, width, kernel, stride, bias=False)
        self.layer_norm = nn.GroupNorm(width, width) if normed else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.gelu(x if self.layer_norm is None else self.layer_norm(x))


class _Attention(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = hidden // HEAD_WIDTH
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(hidden, hidden) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        split = [
            project(x).unflatten(-1, (self.heads, HEAD_WIDTH)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        ]  # each (B, heads, U, 64)
        return self.out_proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(hidden, inner), nn.Linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class _Layer(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.attention, self.feed_forward = _Attention(hidden), _FeedForward(hidden, inner)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.feed_forward(x))


class Hubert(nn.Module):
    """Content units from a waveform, 50 a second.

    Args:
        width: channels of the convolutions.
        hidden: of the transformer, a multiple of 64.
        inner: of its feed-forward parts.
        layers: how many are run; deeper ones of a checkpoint are left out.
        projected: C, of a last projection; 0 for none.
        position_kernel, position_groups: of the convolution that tells the place.
    """

    left_frames = right_frames = CONTEXT_UNITS

    def __init__(
        self,
        width: int,
        hidden: int,
        inner: int,
        layers: int,
        projected: int = 0,
        position_kernel: int = 128,
        position_groups: int = 16,
    ) -> None:
        super().__init__()
        before = (1, *[width] * (len(KERNELS) - 1))
        self.feature_extractor = nn.ModuleDict(
            {
                "conv_layers": nn.ModuleList(
                    _ConvLayer(b, width, k, s, normed=i == 0)
                    for i, (b, k, s) in enumerate(zip(before, KERNELS, STRIDES, strict=True))
                )
            }
        )
        self.feature_projection = nn.ModuleDict(
            {"layer_norm": nn.LayerNorm(width), "projection": nn.Linear(width, hidden)}
        )
        place = nn.Conv1d(
            hidden, hidden, position_kernel, padding=position_kernel // 2, groups=position_groups
        )
        self.encoder = nn.ModuleDict(
            {
                "pos_conv_embed": nn.ModuleDict({"conv": place}),
                "layer_norm": nn.LayerNorm(hidden),
                "layers": nn.ModuleList(_Layer(hidden, inner) for _ in range(layers)),
            }
        )
        self.final_proj = nn.Linear(hidden, projected) if projected else None

    def forward(self, audio: Tensor) -> Tensor:
        """Units.

        Args:
            audio: at 16 kHz, 320 samples for each unit and 80 more, half of them before, (B, N).

        Returns:
            (B, C, (N - 80) / 320).
        """
        x = audio.unsqueeze(1)
        for layer in self.feature_extractor["conv_layers"].children():
            x = layer(x)
        x = self.feature_projection["layer_norm"](x.transpose(1, 2))  # (B, U, width)
        x = self.feature_projection["projection"](x)
        place = self.encoder["pos_conv_embed"]["conv"](x.transpose(1, 2))  # type: ignore[index]
        x = x + F.gelu(place[..., : x.shape[1]]).transpose(1, 2)
        x = self.encoder["layer_norm"](x)
        for layer in self.encoder["layers"].children():
            x = layer(x)
        if self.final_proj is not None:
            x = self.final_proj(x)
        return x.transpose(1, 2)


def fold_weight_norm(tensors: dict[str, Tensor], kept: int) -> dict[str, Tensor]:
    """Weights g v / |v| in place of their two parts, under either name that torch has given these.

    Args:
        tensors: by name.
        kept: the dimension along which each entry has a length g of its own.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, part = name.rpartition(".")
        if part in ("weight_v", "original1"):
            stem = stem.removesuffix(".parametrizations.weight")
            names = {"weight_v": f"{stem}.weight_g", "original1": name.replace("original1", "original0")}
            others = [d for d in range(tensor.dim()) if d != kept]
            length = tensor.float().pow(2).sum(others, keepdim=True).sqrt()
            out[f"{stem}.weight"] = tensor.float() * tensors[names[part]].float() / length
        elif part not in ("weight_g", "original0"):
            out[name] = tensor
    return out


def hubert_soft_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """HuBERT-Soft's tensors under the names of `Hubert`; those for its training are left out."""
    changes = {
        "feature_extractor.norm0": "feature_extractor.conv_layers.0.layer_norm",
        "feature_projection.norm": "feature_projection.layer_norm",
        "positional_embedding.conv": "encoder.pos_conv_embed.conv",
        "norm": "encoder.layer_norm",
        "proj": "final_proj",
    } | {f"feature_extractor.conv{i}": f"feature_extractor.conv_layers.{i}.conv" for i in range(len(KERNELS))}
    inside = {
        "self_attn.out_proj": "attention.out_proj",
        "linear1": "feed_forward.intermediate_dense",
        "linear2": "feed_forward.output_dense",
        "norm1": "layer_norm",
        "norm2": "final_layer_norm",
    }
    out: dict[str, Tensor] = {}
    for full, tensor in tensors.items():
        stem, _, part = full.removeprefix("module.").rpartition(".")
        layer = stem.split(".")[:3] if stem.startswith("encoder.layers.") else []
        rest = stem.removeprefix(".".join(layer)).removeprefix(".")
        if layer and part.startswith("in_proj_"):
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{'.'.join(layer)}.attention.{letter}_proj.{part.removeprefix('in_proj_')}"] = third
        elif layer:
            out[f"{'.'.join(layer)}.{inside.get(rest, rest)}.{part}"] = tensor
        elif stem in changes or stem == "feature_projection.projection":
            out[f"{changes.get(stem, stem)}.{part}"] = tensor
    return out
