"""What the content encoder shall say of the corpus: Whisper's fourth layer, as far as a decoder uses it.

    python recipes/teacher_features.py --corpus CORPUS --whisper FOLDER

Writes teacher.raw (float16, one row of 64 numbers per 20 ms) and teacher.json (offsets) into the corpus
folder. The numbers are 64 directions of the 512 states of Whisper-base's layer 4, in
recipes/teacher_directions.safetensors: a decoder was trained to sing the layer's 96 strongest principal
components, and these are the first singular vectors of its first layer, 98 % of what it took from them
("Where words are lost" in docs/log.md).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus
from safetensors.torch import load_file
from whisper_teacher import WhisperEncoder

LAYER = 4
DIRECTIONS = Path(__file__).with_name("teacher_directions.safetensors")
"""mean (512,) and directions (512, 64)."""


@torch.inference_mode()
def main() -> None:
    """Write the teacher's features of every clip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus, encoder, known = (
        Corpus(options.corpus),
        WhisperEncoder.load(options.whisper),
        load_file(DIRECTIONS),
    )
    offsets, position, began = [], 0, time.monotonic()
    with open(options.corpus / "teacher.raw", "wb") as file:
        for clip in corpus.clips:
            audio = corpus.get(clip, "audio_16k").astype(np.float32) / 32768
            rows = (encoder.layer(audio, LAYER) - known["mean"]) @ known["directions"]
            file.write(rows.half().numpy().tobytes())
            offsets.append([position, len(rows)])
            position += len(rows)
    about = {"offsets": offsets, "size": rows.shape[1], "layer": LAYER}
    (options.corpus / "teacher.json").write_text(json.dumps(about))
    print(json.dumps({"frames": position, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
