"""Content units of the whole corpus by a trained encoder, clean and from two formant-shifted copies.

    python recipes/units.py --corpus CORPUS --encoder src/resing/weights/content.safetensors

Writes units.raw (float16, rows of C units every 20 ms: one block of rows a clip and variant) and units.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus

from resing.features.content import UNIT_HOP, ContentEncoder, content_mel

WARPS = (1.0, 0.88, 1.14)


@torch.inference_mode()
def main() -> None:
    """Write the units of every clip in every variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus, encoder = Corpus(options.corpus), ContentEncoder.load(options.encoder)
    offsets, position, began = [], 0, time.monotonic()
    with open(options.corpus / "units.raw", "wb") as file, torch.autocast("cpu", dtype=torch.bfloat16):
        for clip in corpus.clips:
            audio = torch.from_numpy(corpus.get(clip, "audio_16k").astype(np.float32) / 32768)[None]
            frames = -(-audio.shape[1] // UNIT_HOP)
            mels = torch.cat([content_mel(audio, warp) for warp in WARPS])
            units = encoder.net(mels).transpose(1, 2)  # (variants, U, C)
            file.write(units.half().numpy().tobytes())
            offsets.append([position, frames])
            position += frames * len(WARPS)
    about = {"offsets": offsets, "n_units": units.shape[2], "encoder": encoder.encoder_id, "warps": WARPS}
    (options.corpus / "units.json").write_text(json.dumps(about))
    print(
        json.dumps(
            {"rows": position, "seconds": round(time.monotonic() - began), "encoder": encoder.encoder_id}
        )
    )


if __name__ == "__main__":
    main()
