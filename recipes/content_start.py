"""Where the content encoder's training begins: Whisper-base's first layers, made small and near-sighted.

    python recipes/content_start.py --corpus CORPUS --whisper FOLDER --out START.safetensors

The student has Whisper's convolutions and four of its six layers with a quarter of their feed-forward width,
hears only its neighbourhood and knows no positions. Each linear layer is fitted in turn, by least squares, to
make of what the student hears what the teacher makes of the whole (as in He, Zhang and Sun, Channel Pruning,
2017, section 3.1), its bottleneck to what the units shall be (recipes/teacher_features.py).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from corpus import Corpus
from torch import Tensor, nn
from whisper_teacher import WhisperEncoder

from resing.features.content import ContentConfig, build, content_mel, save_content
from resing.nets.content import Block, ContentNet

CLIPS, SECONDS, HELD = 420, 8, 40
"""Recordings to fit on, how much of each, and how many more to tell the fit by."""
RIDGE = 1e-3


class Fit:
    """Least squares from rows of X to rows of Y with a bias, gathered clip by clip.

    Args:
        inputs: width of X.
        outputs: width of Y.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.square = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64)
        self.cross = torch.zeros(inputs + 1, outputs, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows (N, inputs) and (N, outputs)."""
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        self.square += (x.T @ x).double()
        self.cross += (x.T @ y).double()

    def into(self, linear: nn.Linear, rows: slice = slice(None)) -> None:
        """Set a layer's weight and bias to the solution."""
        ridge = RIDGE * self.square.diagonal().mean() * torch.eye(len(self.square))
        solved = torch.linalg.solve(self.square + ridge, self.cross).float()
        linear.weight.data[rows], linear.bias.data[rows] = solved[:-1].T, solved[-1]


def explained(found: list[Tensor], true: list[Tensor]) -> float:
    """R^2 of `found` for `true`, over all rows and columns."""
    rest = sum(float((f - t).square().sum()) for f, t in zip(found, true, strict=True))
    mean = torch.cat(true).mean(0)
    return 1 - rest / sum(float((t - mean).square().sum()) for t in true)


def logits_by_distance(query: Tensor, key: Tensor, left: int, right: int) -> Tensor:
    """Mean attention logit of each head at each distance, (heads, left + 1 + right)."""
    heads = query.shape[1] // 64
    q, k = (x.view(len(x), heads, 64).transpose(0, 1) for x in (query, key))
    logits = q @ k.mT / 8.0
    return torch.stack([logits.diagonal(d, 1, 2).mean(1) for d in range(-left, right + 1)], 1)


def fit_block(
    block: Block, teacher: WhisperEncoder, index: int, true: list[Tensor], own: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Fit one block; returns what teacher and student make of it, clip by clip, (T, H) each."""
    name = f"layer_{index}"
    weights, attention = teacher.weights, block.attention
    hidden = teacher.width
    for norm, part in ((block.hear, "self_attention"), (block.think, "ffn")):
        norm.weight.data = weights[f"{name}/{part}/layer_norm/gamma"].clone()
        norm.bias.data = weights[f"{name}/{part}/layer_norm/beta"].clone()
    # queries, keys and values; then the bias of each distance
    project = [
        teacher._linear(
            teacher._norm(t, f"{name}/self_attention/layer_norm"), f"{name}/self_attention/linear_0"
        )
        for t in true
    ]
    fit = Fit(hidden, 3 * hidden)
    for o, p in zip(own, project, strict=True):
        fit.add(block.hear(o), p)
    fit.into(attention.enter)
    apart = []
    for o, p in zip(own, project, strict=True):
        mine = attention.enter(block.hear(o))
        wanted = logits_by_distance(p[:, :hidden], p[:, hidden : 2 * hidden], attention.left, attention.right)
        apart.append(
            wanted
            - logits_by_distance(
                mine[:, :hidden], mine[:, hidden : 2 * hidden], attention.left, attention.right
            )
        )
    bias = torch.stack(apart).nanmean(0)
    attention.distance.data = bias - bias.mean(1, keepdim=True)
    # what attention adds
    middle = [t + teacher._attention(t, f"{name}/self_attention") for t in true]
    fit = Fit(hidden, hidden)
    mixed = [attention.mix(*attention.enter(block.hear(o))[None].chunk(3, -1))[0] for o in own]
    for m, o, t in zip(mixed, own, middle, strict=True):
        fit.add(m, t - o)
    fit.into(attention.leave)
    own = [o + attention.leave(m) for o, m in zip(own, mixed, strict=True)]
    # the feed-forward layer: the channels that matter most, then what they add
    out = weights[f"{name}/ffn/linear_1/weight"]
    before = [
        teacher._linear(teacher._norm(m, f"{name}/ffn/layer_norm"), f"{name}/ffn/linear_0") for m in middle
    ]
    spread = torch.stack([F.gelu(b).var(0) for b in before]).mean(0)
    best = (spread * out.square().sum(0)).topk(block.widen.out_features).indices
    fit = Fit(hidden, len(best))
    for o, b in zip(own, before, strict=True):
        fit.add(block.think(o), b[:, best])
    fit.into(block.widen)
    true = [m + teacher._feed_forward(m, f"{name}/ffn") for m in middle]
    fit = Fit(len(best), hidden)
    inner = [F.gelu(block.widen(block.think(o))) for o in own]
    for i, o, t in zip(inner, own, true, strict=True):
        fit.add(i, t - o)
    fit.into(block.narrow)
    return true, [o + block.narrow(i) for o, i in zip(own, inner, strict=True)]


def units_of(corpus: Corpus, clips: list[dict], frames: list[int], n_units: int) -> list[Tensor]:
    """What the bottleneck shall say of the first frames of each clip (recipes/teacher_features.py)."""
    about = json.loads((corpus.folder / "teacher.json").read_text())
    rows = np.memmap(corpus.folder / "teacher.raw", np.float16, "r").reshape(-1, n_units)
    where = {c["file"]: o[0] for c, o in zip(corpus.clips, about["offsets"], strict=True)}
    found = [
        torch.from_numpy(rows[where[c["file"]] :][:n].astype(np.float32))
        for c, n in zip(clips, frames, strict=True)
    ]
    return [f * torch.rsqrt(f.square().mean(1, keepdim=True) + 1e-5) for f in found]


@torch.inference_mode()
def main() -> None:
    """Fit the student layer by layer and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus, teacher, config = Corpus(options.corpus), WhisperEncoder.load(options.whisper), ContentConfig()
    net: ContentNet = build(config)
    rng = np.random.default_rng(0)
    by_source: dict[str, list[dict]] = {}
    for clip in corpus.clips:
        by_source.setdefault(clip["source"], []).append(clip)
    each = -(-(CLIPS + HELD) // len(by_source))
    clips = [c for s in by_source.values() for c in rng.permutation(s)[:each]]
    clips = [clips[i] for i in rng.permutation(len(clips))]
    for layer, name in ((net.enter, "conv1"), (net.halve, "conv2")):
        layer.weight.data, layer.bias.data = (
            teacher.weights[f"{name}/weight"],
            teacher.weights[f"{name}/bias"],
        )
    true, own = [], []
    for clip in clips:
        audio = corpus.get(clip, "audio_16k", 0, SECONDS * 16000).astype(np.float32) / 32768
        mel = content_mel(torch.from_numpy(audio)[None])
        own.append(F.gelu(net.halve(F.gelu(net.enter(mel))))[0].T)
        # anywhere in the teacher's half minute, so that no position is fitted
        at = int(rng.integers(0, len(teacher.positions) - len(own[-1])))
        true.append(own[-1] + teacher.positions[at : at + len(own[-1])])
    for index, block in enumerate(net.blocks):
        true, own = fit_block(block, teacher, index, true, own)
        print(json.dumps({"layer": index + 1, "explained": round(explained(own, true), 3)}), flush=True)
    wanted = units_of(corpus, clips, [len(t) for t in true], config.n_units)
    heard = [net.norm(o) for o in own]
    fit = Fit(teacher.width, config.n_units)
    for h, w in list(zip(heard, wanted, strict=True))[HELD:]:
        fit.add(h, w)
    fit.into(net.leave)
    print(json.dumps({"units": round(explained([net.leave(h) for h in heard[:HELD]], wanted[:HELD]), 3)}))
    save_content(options.out, net, config, trained_on=sorted(by_source), steps=0)


if __name__ == "__main__":
    main()
