"""Copies of training recordings in other voices, made by the models that ship: same words, another singer.

    python recipes/copies.py --corpus CORPUS

Only kokoro_sung has voices that sing the same frames. For the other sources a copy stands for the second
singer: the encoder learns to say the same of both (recipes/content.py), the base to sing the original from
the copy's units (recipes/acoustic.py); the copy itself is never a target. Writes copies.raw (int16 at 16 kHz,
as long as the original) and copies.json (offsets, null where there is none). Needs units.raw of the encoder
that ships.
"""

import argparse
import json
import time
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
        about = json.loads((corpus.folder / "units.json").read_text())
        if about["encoder"] != self.strangers.encoder.encoder_id:
            raise SystemExit("units.raw is of another encoder: run recipes/units.py first")
        self.units = np.memmap(corpus.folder / "units.raw", np.float16, "r").reshape(-1, about["n_units"])
        self.where = {c["file"]: o for c, o in zip(corpus.clips, about["offsets"], strict=True)}
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
        offset, size = self.where[clip["file"]]
        units = to_grid(
            self.units[offset : offset + size].T.astype(np.float32), frame_times(len(f0), self.audio)
        )
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


def main() -> None:
    """Write the copies of a random choice of recordings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus, rng = Corpus(options.corpus), np.random.default_rng(3)
    copier, offsets, position, began = Copier(corpus), [], 0, time.monotonic()
    with open(options.corpus / "copies.raw", "wb") as file:
        for clip in corpus.clips:
            if rng.random() >= SHARES.get(clip["source"], 0.0) or clip["f0"][1] < 40:
                offsets.append(None)
                continue
            rows = copier.copy(clip, copier.other(clip, rng), rng)
            file.write(rows.tobytes())
            offsets.append([position, len(rows)])
            position += len(rows)
    (options.corpus / "copies.json").write_text(json.dumps({"offsets": offsets}))
    print(json.dumps({"minutes": round(position / 960000, 1), "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
