"""Train the embedded vocoder on the corpus.

python recipes/vocoder.py --corpus CORPUS --run RUN --steps 20000 [--precision bf16] [--threads 1]
... --export src/resing/weights/vocoder.safetensors
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from corpus import Corpus, Twins
from run import begin, read_options, train_or_export
from torch import Tensor

from resing.audio.mel import log_mel
from resing.config import AudioConfig
from resing.features.f0 import fill_unvoiced
from resing.nets.source_filter import pulse_train
from resing.synthesis.vocoder import VocoderConfig, build, phase_at_frames, save_vocoder
from resing.training.loop import LoopConfig, Randomness
from resing.training.spectral import energy_distance, mel_distance

SHARES = {
    "kumi_utau": 0.24,
    "scottpoid_utau": 0.15,
    "kathleen_rhasspy": 0.2,
    "kokoro_sung": 0.21,
    "pjs": 0.14,
}
OTHER_SHARE = 0.06
FFT_SIZES = (256, 512, 1024, 2048, 4096)
BENT = 0.5
"""Share of the pieces whose mel is that of the recording moved to another pitch (recipes/bent.py)."""
SILENCED = 0.15
"""Share of the pieces with a stretch of digital silence."""
CONTEXT = 4
"""Frames at each end whose audio is not judged: the network's context is cut there."""


@dataclass
class Batch:
    """Audio (B, N), mel (B, M, T) of it or of its twin at another pitch; f0 in Hz > 0, voiced, phase
    in cycles (B, T), bandwidth in Hz (B,)."""

    audio: Tensor
    mel: Tensor
    f0: Tensor
    voiced: Tensor
    phase: Tensor
    bandwidth: Tensor


class VocoderTask:
    """Copy-synthesis of random pieces of the corpus."""

    def __init__(self, corpus: Corpus, config: VocoderConfig, batch_size: int, frames: int) -> None:
        self.audio_config, self.config = AudioConfig(), config
        self.batch_size, self.frames = batch_size, frames
        self.corpus, self.bent = corpus, Twins(corpus, "bent")
        clips = [c for c in corpus.clips if c["use"] == "train" and c["audio"][1] >= 8 * 512]
        self.clips, held = corpus.split(clips)
        self.pools = {False: pools(self.clips), True: pools([c for c in self.clips if c in self.bent])}
        self.vocoder, self.begun = build(config, self.audio_config), 0
        self.model: torch.nn.Module = self.vocoder
        picks = np.random.default_rng(0)
        self.held = {
            kind: self._collate(
                [self._piece(some[i % len(some)], picks, 160, 1.0, 0.0, kind == "bent") for i in range(24)]
            )
            for kind, some in (("plain", held), ("bent", [c for c in held if c in self.bent]))
            if some
        }

    def batch(self, random: Randomness) -> Batch:
        """Pieces drawn by source and length, a third of them resampled, all with random gain."""
        shares = SHARES | {"other": OTHER_SHARE}
        pieces = []
        for _ in range(self.batch_size):
            source = random.numpy.choice(list(shares), p=np.array(list(shares.values())))
            bent = source in self.pools[True] and random.numpy.random() < BENT
            clips, by_length = self.pools[bent][source]
            clip = clips[random.numpy.choice(len(clips), p=by_length)]
            ratio = 1.0
            if random.numpy.random() < 0.35:
                ratio = float(np.exp(random.numpy.uniform(np.log(0.6), np.log(2.5))))
            gain_db = random.numpy.uniform(-12, 6)
            pieces.append(self._piece(clip, random.numpy, self.frames, ratio, gain_db, bent))
        return self._collate(pieces)

    def loss(self, batch: Batch, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """Energy distance at two of the resolutions, and mel distance."""
        loss, figures, _ = self._loss(batch, random.torch, self._sizes(random))
        return loss, figures

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """The same distances at all resolutions on held-out pieces, by their own mel and by their twin's.

        The vocoder is part of `model`, and is heard with the weights that it holds.
        """
        found = {}
        for kind, batch in self.held.items():
            noise = torch.Generator().manual_seed(1)
            loss, figures, _ = self._loss(batch, noise, list(FFT_SIZES))
            found |= {kind: float(loss)} | {f"{kind}_{name}": value for name, value in figures.items()}
        return {"score": sum(found[kind] for kind in self.held), **found}

    @staticmethod
    def _sizes(random: Randomness) -> list[int]:
        """Two of the resolutions."""
        return [int(size) for size in random.numpy.choice(FFT_SIZES, 2, replace=False)]

    def _loss(
        self, batch: Batch, noise: torch.Generator, sizes: list[int]
    ) -> tuple[Tensor, dict[str, float], tuple[Tensor, Tensor]]:
        """The loss, its parts, and the rendering beside the recording, each (B, N) where it is judged."""
        rate, hop = self.audio_config.sample_rate, self.audio_config.hop_length
        filters = self.vocoder.filters(batch.mel, batch.f0, batch.voiced)
        with torch.autocast("cpu", enabled=False):
            pulses = pulse_train(batch.f0, batch.phase, hop, rate)
            cut = slice(CONTEXT * hop, -CONTEXT * hop)
            draws = [torch.randn(batch.audio.shape, generator=noise) for _ in range(2)]
            first, second = (self.vocoder.synthesise(filters, pulses, draw)[:, cut] for draw in draws)
            target = batch.audio[:, cut]
            parts = [energy_distance(first, second, target, batch.bandwidth, size, rate) for size in sizes]
            mel = mel_distance(first, target, batch.bandwidth, 1024, 100, rate)
            spectral = sum(parts[1:], parts[0]) / len(parts)
        figures = {"spectral": float(spectral.detach()), "mel": float(mel.detach())}
        return spectral + 0.5 * mel, figures, (first, target)

    def _piece(
        self,
        clip: dict,
        random: np.random.Generator,
        frames: int,
        ratio: float,
        gain_db: float,
        bent: bool,
    ) -> dict:
        config = self.audio_config
        hop = config.hop_length
        need = int(np.ceil(frames * ratio)) + 2
        total = clip["f0"][1]
        start = int(random.integers(0, max(1, total - need)))
        audio = self.corpus.get(clip, "audio", start * hop, need * hop).astype(np.float32) / 32768
        f0 = self.corpus.get(clip, "f0", start, need)
        heard = audio
        if bent:
            heard = self.bent.get(clip, start * hop, need * hop).astype(np.float32) / 32768
            heard = heard * np.clip(np.std(audio) / (np.std(heard) + 1e-5), 0.3, 3.0)
        if ratio != 1.0:
            audio, heard = (
                soxr.resample(x, ratio * config.sample_rate, config.sample_rate) for x in (audio, heard)
            )
            times = (np.arange(frames) + 0.5) * ratio - 0.5
            f0 = f0[np.minimum(np.round(times).astype(int), len(f0) - 1)] * ratio
        audio, heard = (np.pad(x[: frames * hop], (0, max(0, frames * hop - len(x)))) for x in (audio, heard))
        f0 = np.pad(f0[:frames], (0, max(0, frames - len(f0))))
        gain = np.full(frames * hop, min(10 ** (gain_db / 20), 0.99 / (np.abs(audio).max() + 1e-5)))
        if random.random() < SILENCED:
            first, behind = np.sort(random.integers(0, frames + 1, 2))
            gain[first * hop : behind * hop] = 0.0
            f0[first:behind] = 0.0
        filled = fill_unvoiced(f0)
        return {
            "audio": audio * gain,
            "heard": heard * gain,
            "f0": filled,
            "voiced": f0 > 0,
            "phase": phase_at_frames(filled, config)[:-1],
            "bandwidth": min(clip["bandwidth_hz"] * ratio, config.sample_rate / 2),
        }

    def _collate(self, pieces: list[dict]) -> Batch:
        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([np.asarray(p[name], np.float32) for p in pieces]))

        return Batch(
            stack("audio"),
            log_mel(stack("heard"), self.audio_config),
            stack("f0"),
            stack("voiced"),
            stack("phase"),
            stack("bandwidth"),
        )

    def export(self, path: Path, step: int) -> None:
        """Write the model's weights."""
        sources = sorted({c["source"] for c in self.clips})
        save_vocoder(
            path, self.vocoder, self.config, self.audio_config, trained_on=sources, steps=self.begun + step
        )


def pools(clips: list[dict]) -> dict[str, tuple[list[dict], np.ndarray]]:
    """Clips by the source they are drawn for, each with its share of that source's length."""
    by_source: dict[str, list[dict]] = {}
    for clip in clips:
        by_source.setdefault(clip["source"] if clip["source"] in SHARES else "other", []).append(clip)
    lengths = {s: np.array([c["audio"][1] for c in cs], float) for s, cs in by_source.items()}
    return {s: (cs, lengths[s] / lengths[s].sum()) for s, cs in by_source.items()}


def main() -> None:
    """Train, or export the averaged weights of a run."""
    options = read_options(__doc__, steps=20000, batch_size=8, frames=72)
    task = VocoderTask(Corpus(options.corpus), VocoderConfig(), options.batch_size, options.frames)
    task.begun = begin(task.vocoder, options.start)
    loop = LoopConfig(
        steps=options.steps, learning_rate=8e-4, precision=options.precision, checkpoint_every=250
    )
    train_or_export(task, options, loop, task.export)


if __name__ == "__main__":
    main()
