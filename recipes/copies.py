"""Copies of training recordings in other voices, made by the models that ship: same words, another singer.

    python recipes/copies.py --corpus CORPUS [--workers 2]

Only kokoro_sung has voices that sing the same frames. For the other sources a copy stands for the second
singer: the encoder learns to say the same of both (recipes/content.py), the base to sing the original from
the copy's units (recipes/acoustic.py); the copy itself is never a target. Writes copies.raw (int16 at 16 kHz,
as long as the original) and copies.json (offsets, null where there is none).
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from acoustic import REFERENCE_FRAMES
from acoustic import SHARES as SINGERS
from corpus import Corpus

from resing.audio.mel import log_mel
from resing.config import AudioConfig
from resing.features.content import ContentEncoder, to_grid
from resing.features.f0 import frame_times
from resing.features.loudness import relative_loudness, song_level
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.vocoder import Vocoder
from resing.training.strangers import Line, Strangers

SHARES = {
    "kumi_utau": 0.8, "scottpoid_utau": 1.0, "pjs": 1.0, "kathleen_rhasspy": 0.8, "iona_utsu": 1.0,
    "librispeech_resemblyzer": 0.5, "speechocean762": 0.3,
}  # fmt: skip
"""Share of each source's recordings that are copied."""


class Copier:
    """Sings training recordings in the voices of others."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.audio = corpus, AudioConfig()
        self.acoustic = AcousticModel.load()
        self.strangers = Strangers(self.acoustic, Vocoder.load(), ContentEncoder.load(), self.audio)
        long = [c for c in corpus.clips if c["f0"][1] >= REFERENCE_FRAMES]
        self.singers = {s: [c for c in long if c["source"] == s] for s in SINGERS}

    def other(self, clip: dict, rng: np.random.Generator) -> dict:
        """A recording of somebody else."""
        while True:
            clips = self.singers[rng.choice(list(SINGERS), p=np.array(list(SINGERS.values())))]
            found = clips[rng.integers(len(clips))]
            if found["speaker"] != clip["speaker"]:
                return found

    @torch.inference_mode()
    def copy(self, clip: dict, singer: dict, rng: np.random.Generator) -> np.ndarray:
        """`clip` sung by the voice heard in `singer`, as long as `audio_16k`, int16."""
        f0, level, heard = (self.corpus.get(*x) for x in ((clip, "f0"), (clip, "level"), (singer, "f0")))
        said = self.corpus.get(clip, "audio_16k").astype(np.float32) / 32768
        units = to_grid(self.strangers.encoder(said), frame_times(len(f0), self.audio))
        start, hop = int(rng.integers(0, len(heard) - REFERENCE_FRAMES + 1)), self.audio.hop_length
        reference = self.corpus.get(singer, "audio", start * hop, REFERENCE_FRAMES * hop)
        reference = torch.from_numpy(reference.astype(np.float32) / 32768)[None]
        speaker = self.acoustic.speaker_vector(log_mel(reference, self.audio))
        usual = float(np.median(heard[heard > 0])) if (heard > 0).any() else 0.0
        line = Line(units, f0, relative_loudness(level, song_level(level)))
        sung = self.strangers.sing(line, speaker, usual, rng)
        sung = sung * min(1.0, 0.98 / (np.abs(sung).max() + 1e-9))
        length = clip["audio_16k"][1]
        sung = np.pad(sung[:length], (0, max(0, length - len(sung))))
        return np.round(sung * 32767).astype(np.int16)


@lru_cache(maxsize=1)
def copier_of(folder: Path) -> Copier:
    """The copier of a corpus folder, one a process."""
    torch.set_num_threads(1)
    return Copier(Corpus(folder))


def copy_chosen(job: tuple[Path, int]) -> np.ndarray | None:
    """The copy of one recording, or None where chance, which is its own, does not choose it."""
    folder, number = job
    copier, rng = copier_of(folder), np.random.default_rng([3, number])
    clip = copier.corpus.clips[number]
    if rng.random() >= SHARES.get(clip["source"], 0.0) or clip["f0"][1] < 40:
        return None
    return copier.copy(clip, copier.other(clip, rng), rng)


def main() -> None:
    """Write the copies of a random choice of recordings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    jobs = [(options.corpus, number) for number in range(len(Corpus(options.corpus).clips))]
    offsets, position, began = [], 0, time.monotonic()
    with open(options.corpus / "copies.raw", "wb") as file, ProcessPoolExecutor(options.workers) as pool:
        for rows in pool.map(copy_chosen, jobs, chunksize=8):
            if rows is None:
                offsets.append(None)
                continue
            file.write(rows.tobytes())
            offsets.append([position, len(rows)])
            position += len(rows)
    (options.corpus / "copies.json").write_text(json.dumps({"offsets": offsets}))
    print(json.dumps({"minutes": round(position / 960000, 1), "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
