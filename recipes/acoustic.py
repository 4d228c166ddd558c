"""Train the multi-voice base model on the corpus.

    python recipes/acoustic.py --corpus CORPUS --run RUN --steps 6000 [--start WEIGHTS]
    ... --export src/resing/weights/base.safetensors

A third of the pieces are conversions: units and loudness of one voice singing a phrase, f0 and mel of
another singing it in exact sync. Most of the others take their units from the recording's copy in another
voice, and half of all units are moved from their speaker's mean to another's, so that only the reference
says whose voice it is. The voice is heard from a different stretch of the same speaker.
"""

import json
from pathlib import Path

import numpy as np
import soxr
import torch
from content import ENOUGH_ROWS, phrases_of
from corpus import Corpus
from run import begin, read_options, train_or_export
from torch import Tensor, nn

from resing.audio.mel import log_mel, mel_centres
from resing.config import AudioConfig, ModelConfig
from resing.features.content import to_grid
from resing.features.f0 import fill_unvoiced, frame_times
from resing.features.loudness import relative_loudness, song_level
from resing.nets.acoustic import AcousticNet
from resing.synthesis.acoustic import AcousticModel, build, normalise, save_base
from resing.training.acoustic import AcousticBatch, acoustic_loss
from resing.training.loop import LoopConfig, Randomness

SHARES = {
    "kokoro_sung": 0.25, "kumi_utau": 0.18, "kathleen_rhasspy": 0.18, "pjs": 0.15, "scottpoid_utau": 0.04,
    "librispeech_resemblyzer": 0.08, "speechocean762": 0.05, "asterisk_prompts": 0.05, "iona_utsu": 0.02,
}  # fmt: skip
CONVERSIONS = 0.33
COPIED = 0.6
"""Share of the other pieces whose units come from the copy, where there is one."""
MOVED = 0.5
"""Share of all pieces whose units are moved to the mean of a random speaker."""
REFERENCE_FRAMES = 192
EDGE = 2
"""Extra frames cut on each side, whose mel would see the cut."""
UNIT_NOISE = 0.12


class BaseTask:
    """Pieces of every voice, and one voice's words sung by another."""

    conversions = CONVERSIONS

    def __init__(self, corpus: Corpus, config: ModelConfig, batch_size: int, frames: int) -> None:
        self.corpus, self.config, self.audio = corpus, config, AudioConfig()
        self.batch_size, self.frames = batch_size, frames
        about = json.loads((corpus.folder / "units.json").read_text())
        self.units = np.memmap(corpus.folder / "units.raw", np.float16, "r").reshape(-1, about["n_units"])
        self.variants, self.hiss_bands = len(about["warps"]), about["hiss_bands"]
        copied = about.get("copied", [False] * len(corpus.clips))
        for clip, where, with_copy in zip(corpus.clips, about["offsets"], copied, strict=True):
            clip["units"], clip["copied"] = where, with_copy
            clip["song_level"] = song_level(corpus.get(clip, "level"))
        clips, held = corpus.split([c for c in corpus.clips if c["f0"][1] >= 60])
        self.by_source = {s: [c for c in clips if c["source"] == s] for s in SHARES}
        self.by_speaker: dict[str, list[dict]] = {}
        for clip in clips:
            self.by_speaker.setdefault(clip["speaker"], []).append(clip)
        self.means = self._unit_means(clips)
        self.phrases = phrases_of(clips)
        self.centres = torch.from_numpy(
            mel_centres(self.audio.n_mels, self.audio.f_min, self.audio.f_max)
        ).float()
        self.model: AcousticNet = build(config, self.audio)
        self.held = self._held_batch(held)

    def batch(self, random: Randomness) -> tuple[AcousticBatch, Tensor]:
        """What to sing, and reference mel (B, M, R) of who sings it."""
        rng, speakers = random.numpy, list(self.means.values())
        rows = []
        for _ in range(self.batch_size):
            if rng.random() < self.conversions:
                voices = self.phrases[rng.integers(len(self.phrases))]
                source, target = (voices[i] for i in rng.choice(len(voices), 2, replace=False))
            else:
                clips = self.by_source[rng.choice(list(SHARES), p=np.array(list(SHARES.values())))]
                source = target = clips[rng.integers(len(clips))]
            ratio = float(np.exp(rng.uniform(-0.22, 0.22))) if rng.random() < 0.3 else 1.0
            if source["copied"] and rng.random() < COPIED:
                variant = self.variants
            else:
                variant = int(rng.integers(self.variants)) if rng.random() < 0.6 else 0
            row = self._row(source, target, rng, ratio, variant)
            if rng.random() < MOVED:
                stranger = speakers[rng.integers(len(speakers))]
                row["units"] = row["units"] + (stranger - self.means[source["speaker"]])[:, None]
            rows.append(row)
        return self._collate(rows, rng)

    def loss(
        self, batch: tuple[AcousticBatch, Tensor], random: Randomness
    ) -> tuple[Tensor, dict[str, float]]:
        """The acoustic loss with the voice heard from the reference."""
        sung, reference = batch
        sung.units = sung.units + UNIT_NOISE * torch.randn(sung.units.shape, generator=random.torch)
        speaker = self.model.speaker_encoder(normalise(reference))
        return acoustic_loss(self.model, sung, speaker, self.config, self.audio, random)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss on held-out pieces, on held-out conversions and on units of held-out copies."""
        assert isinstance(model, AcousticNet)
        figures: dict[str, float] = {}
        for name, (sung, reference) in self.held.items():
            speaker = model.speaker_encoder(normalise(reference))
            loss, parts = acoustic_loss(model, sung, speaker, self.config, self.audio, Randomness.at(1, 1))
            figures |= {name: float(loss)} | {f"{name}_{k}": v for k, v in parts.items()}
        return {"score": sum(figures[name] for name in self.held), **figures}

    @torch.inference_mode()
    def strangers(self) -> tuple[Tensor, Tensor]:
        """Vectors (K, S) and median f0 in Hz (K,) of every singer and of one reader in ten."""
        sung = [s for s, clips in self.by_speaker.items() if clips[0]["kind"] == "sing"]
        read = sorted(set(self.by_speaker) - set(sung), key=lambda s: (-len(self.by_speaker[s]), s))
        vectors, pitches = [], []
        for speaker in [*sorted(sung), *read[::10]]:
            rng, clips = np.random.default_rng(4), self.by_speaker[speaker]
            stretches = [self._reference(clips[i % len(clips)], rng, 1.0) for i in range(8)]
            heard = self.model.speaker_encoder(
                normalise(log_mel(torch.from_numpy(np.stack(stretches)), self.audio))
            )
            vectors.append(heard.mean(0) * torch.rsqrt(heard.mean(0).square().mean() + 1e-5))
            f0 = np.concatenate([self.corpus.get(c, "f0") for c in clips])
            pitches.append(float(np.median(f0[f0 > 0])) if (f0 > 0).any() else 0.0)
        return torch.stack(vectors), torch.tensor(pitches)

    def _unit_means(self, clips: list[dict]) -> dict[str, np.ndarray]:
        """Mean units (C,) of each speaker, where there is little drawn towards that of all; 0 for hiss."""
        totals: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for clip in clips:
            offset, size = clip["units"]
            total = self.units[offset : offset + size].sum(0, dtype=np.float32)
            totals[clip["speaker"]] = totals.get(clip["speaker"], 0) + total
            counts[clip["speaker"]] = counts.get(clip["speaker"], 0) + size
        middle = sum(totals.values()) / sum(counts.values())
        middle[len(middle) - self.hiss_bands :] = 0.0
        for total in totals.values():
            total[len(total) - self.hiss_bands :] = 0.0
        return {s: (total + ENOUGH_ROWS * middle) / (counts[s] + ENOUGH_ROWS) for s, total in totals.items()}

    def _held_batch(self, held: list[dict]) -> dict[str, tuple[AcousticBatch, Tensor]]:
        rng = np.random.default_rng(2)
        same = [c for c in held if c["source"] in SHARES and c["speaker"] in self.by_speaker][:32]
        sung = {Path(v["file"]).name: group for group in self.phrases for v in group}
        pairs = [(c, sung[Path(c["file"]).name][0]) for c in held if Path(c["file"]).name in sung]
        copied = [
            c for c in held if c["copied"] and c["source"] in SHARES and c["speaker"] in self.by_speaker
        ]
        batches = {
            "same": [self._row(c, c, rng, 1.0, 0) for c in same],
            "convert": [self._row(a, b, rng, 1.0, 0) for a, b in pairs],
            "copied": [self._row(c, c, rng, 1.0, self.variants) for c in copied[:32]],
        }
        return {name: self._collate(rows, rng) for name, rows in batches.items() if rows}

    def _row(self, source: dict, target: dict, rng: np.random.Generator, ratio: float, variant: int) -> dict:
        frames, hop = self.frames + 2 * EDGE, self.audio.hop_length
        need = int(np.ceil(frames * ratio)) + 2
        total = min(source["f0"][1], target["f0"][1])
        start = int(rng.integers(0, max(1, total - need)))
        at = np.minimum(start + np.round((np.arange(frames) + 0.5) * ratio - 0.5).astype(int), total - 1)
        f0 = self.corpus.get(target, "f0")[at] * ratio
        level = self.corpus.get(source, "level")[at]
        offset, size = source["units"]
        units = self.units[offset + variant * size : offset + (variant + 1) * size].T.astype(np.float32)
        times = (
            frame_times(1, self.audio, start)[0] + np.arange(frames) * ratio * hop / self.audio.sample_rate
        )
        speakers = self.by_speaker[target["speaker"]]
        return {
            "audio": self._audio(target, start, need, ratio, frames),
            "units": to_grid(units, times),
            "f0": fill_unvoiced(f0),
            "voiced": (f0 > 0).astype(np.float32),
            "loudness": relative_loudness(level, source["song_level"]),
            "bandwidth": np.float32(min(target["bandwidth_hz"] * ratio, 22050.0)),
            "valid": (start + np.arange(frames) * ratio < total).astype(np.float32),
            "reference": self._reference(speakers[rng.integers(len(speakers))], rng, ratio),
        }

    def _reference(self, clip: dict, rng: np.random.Generator, ratio: float) -> np.ndarray:
        need = int(np.ceil(REFERENCE_FRAMES * ratio)) + 2
        start = int(rng.integers(0, max(1, clip["f0"][1] - need)))
        audio = self._audio(clip, start, need, ratio, REFERENCE_FRAMES)
        real = min(REFERENCE_FRAMES, int((clip["f0"][1] - start) / ratio)) * self.audio.hop_length
        return np.resize(audio[: max(real, self.audio.hop_length)], len(audio))

    def _audio(self, clip: dict, start: int, need: int, ratio: float, frames: int) -> np.ndarray:
        hop, rate = self.audio.hop_length, self.audio.sample_rate
        audio = self.corpus.get(clip, "audio", start * hop, need * hop).astype(np.float32) / 32768
        if ratio != 1.0:
            audio = soxr.resample(audio, ratio * rate, rate)
        audio = audio[: frames * hop]
        return np.pad(audio, (0, frames * hop - len(audio)))

    def _collate(self, rows: list[dict], rng: np.random.Generator) -> tuple[AcousticBatch, Tensor]:
        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([r[name] for r in rows]).astype(np.float32))

        cut = slice(EDGE, -EDGE)
        sung = AcousticBatch(
            mel=log_mel(stack("audio"), self.audio)[:, :, cut],
            **{k: stack(k)[..., cut] for k in ("units", "f0", "voiced", "loudness", "valid")},
            bandwidth=stack("bandwidth"),
        )
        reference = log_mel(stack("reference"), self.audio)
        narrow = torch.from_numpy(
            np.where(rng.random(len(rows)) < 0.5, rng.uniform(6e3, 16e3, len(rows)), 3e4)
        ).float()
        above = self.centres[None] > narrow[:, None]
        return sung, reference.masked_fill(above.unsqueeze(-1), float(np.log(self.audio.mel_floor)))


def main() -> None:
    """Train, or export the averaged weights of a run."""
    options = read_options(__doc__, steps=9000, batch_size=12, frames=128)
    task = BaseTask(Corpus(options.corpus), ModelConfig(), options.batch_size, options.frames)
    begun = begin(task.model, options.start)
    if options.compile:
        for part in (task.model.decoder, task.model.denoiser, task.model.speaker_encoder):
            part.compile(dynamic=False)
    loop = LoopConfig(
        steps=options.steps, learning_rate=8e-4, precision=options.precision, checkpoint_every=250
    )

    def export(path: Path, step: int) -> None:
        model = AcousticModel(task.model, task.config, strangers=task.strangers())
        save_base(path, model, task.audio, trained_on=sorted(SHARES), steps=begun + step)

    train_or_export(task, options, loop, export)


if __name__ == "__main__":
    main()
