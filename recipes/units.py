"""Content units of the whole corpus by a trained encoder: clean, formants shifted down and up, of the copies.

    python recipes/units.py --corpus CORPUS --encoder src/resing/weights/content.safetensors

Writes units.raw (float16, rows of C units every 20 ms: one block of rows a clip and variant, the copy's last
where recipes/copies.py made one) and units.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from corpus import Copies, Corpus

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
    offsets, copied, position, began = [], [], 0, time.monotonic()
    copies = Copies(corpus)
    with open(options.corpus / "units.raw", "wb") as file, torch.autocast("cpu", dtype=torch.bfloat16):
        for clip in corpus.clips:
            audio = torch.from_numpy(corpus.get(clip, "audio_16k").astype(np.float32) / 32768)[None]
            frames = -(-audio.shape[1] // UNIT_HOP)
            mels = torch.cat([content_mel(audio, warp) for warp in WARPS])
            copy = copies.get(clip)
            if copy is not None:
                mels = torch.cat([mels, content_mel(torch.from_numpy(copy.astype(np.float32) / 32768)[None])])
            units = encoder.net(mels).transpose(1, 2)  # (variants, U, C)
            file.write(units.half().numpy().tobytes())
            offsets.append([position, frames])
            copied.append(copy is not None)
            position += frames * len(mels)
    about = {"offsets": offsets, "copied": copied, "n_units": units.shape[2]}
    about |= {"encoder": encoder.encoder_id, "warps": WARPS}
    (options.corpus / "units.json").write_text(json.dumps(about))
    print(
        json.dumps(
            {"rows": position, "seconds": round(time.monotonic() - began), "encoder": encoder.encoder_id}
        )
    )


if __name__ == "__main__":
    main()
