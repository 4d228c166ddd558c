"""Content units of the whole corpus by a trained encoder: clean, formants shifted down and up, of the copies.

    python recipes/units.py --corpus CORPUS --encoder src/resing/weights/content.safetensors

Writes units.raw (float16, rows of C units every 20 ms: one block of rows a clip and variant, the copy's last
where recipes/copies.py made one) and units.json.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus, Twins

from resing.features.content import ContentEncoder

WARPS = (1.0, 0.88, 1.14)


@lru_cache(maxsize=1)
def opened(folder: Path, encoder: Path) -> tuple[Corpus, Twins, ContentEncoder]:
    """What a process hears with."""
    torch.set_num_threads(1)
    corpus = Corpus(folder)
    return corpus, Twins(corpus, "copies"), ContentEncoder.load(encoder)


@torch.inference_mode()
def hear(job: tuple[Path, Path, int]) -> np.ndarray:
    """Units of one recording in every variant, (variants, U, C) float16."""
    *where, number = job
    corpus, copies, encoder = opened(*where)
    clip = corpus.clips[number]
    audio = torch.from_numpy(corpus.get(clip, "audio_16k").astype(np.float32) / 32768)[None]
    copy = copies.get(clip) if clip in copies else None
    units = [encoder.units(audio, warp) for warp in WARPS]
    if copy is not None:
        units.append(encoder.units(torch.from_numpy(copy.astype(np.float32) / 32768)[None]))
    return torch.cat(units).transpose(1, 2).half().numpy()


def main() -> None:
    """Write the units of every clip in every variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    corpus, began = Corpus(options.corpus), time.monotonic()
    jobs = [(options.corpus, options.encoder, number) for number in range(len(corpus.clips))]
    offsets, copied, position = [], [], 0
    with open(options.corpus / "units.raw", "wb") as file, ProcessPoolExecutor(options.workers) as pool:
        for units in pool.map(hear, jobs, chunksize=8):
            file.write(units.tobytes())
            offsets.append([position, units.shape[1]])
            copied.append(len(units) > len(WARPS))
            position += units.shape[0] * units.shape[1]
    about = {"offsets": offsets, "copied": copied, "n_units": units.shape[2]}
    encoder = ContentEncoder.load(options.encoder)
    about |= {"encoder": encoder.encoder_id, "hiss_bands": encoder.hiss_bands, "warps": WARPS}
    (options.corpus / "units.json").write_text(json.dumps(about))
    print(json.dumps({"rows": position, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
