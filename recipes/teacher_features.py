"""Whisper-base hidden states of the whole corpus, reduced by PCA: the content encoder's first teacher.

    python recipes/teacher_features.py --corpus CORPUS --whisper FOLDER [--layer 4] [--size 96]

Writes teacher.raw (float16, one row of `size` whitened components per 20 ms) and teacher.json (offsets and
the projection's spread) into the corpus folder.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus
from whisper_teacher import WhisperEncoder

HOP_16K = 320


def hidden(encoder: WhisperEncoder, corpus: Corpus, clip: dict, layer: int) -> torch.Tensor:
    """States of one clip, (ceil(N / 320), 512)."""
    audio = corpus.get(clip, "audio_16k").astype(np.float32) / 32768
    return encoder.layer(audio, layer)


def projection(encoder: WhisperEncoder, corpus: Corpus, layer: int, size: int) -> tuple[torch.Tensor, ...]:
    """Mean (512,), directions (512, size) and standard deviations (size,) over one clip in twelve."""
    order = np.random.default_rng(0).permutation(len(corpus.clips))[: len(corpus.clips) // 12]
    states = torch.cat([hidden(encoder, corpus, corpus.clips[i], layer) for i in order])
    mean = states.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((states - mean).T.double()))
    best = values.argsort(descending=True)[:size]
    print(
        json.dumps({"variance_kept": float(values[best].sum() / values.sum()), "frames": len(states)}),
        flush=True,
    )
    return mean, vectors[:, best].float(), values[best].sqrt().float()


@torch.inference_mode()
def main() -> None:
    """Write the teacher's features of every clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus, encoder = Corpus(options.corpus), WhisperEncoder.load(options.whisper)
    mean, directions, spread = projection(encoder, corpus, options.layer, options.size)
    offsets, position, began = [], 0, time.monotonic()
    with open(options.corpus / "teacher.raw", "wb") as file:
        for clip in corpus.clips:
            rows = (
                ((hidden(encoder, corpus, clip, options.layer) - mean) @ directions / spread).half().numpy()
            )
            file.write(rows.tobytes())
            offsets.append([position, len(rows)])
            position += len(rows)
    about = {"offsets": offsets, "size": options.size, "layer": options.layer, "spread": spread.tolist()}
    (options.corpus / "teacher.json").write_text(json.dumps(about))
    print(json.dumps({"frames": position, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
