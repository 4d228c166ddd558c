"""Train the content encoder on the corpus from three teachers at once.

    python recipes/content.py --corpus CORPUS --data ../shared/data --run RUN --steps 4000
    ... --export src/resing/weights/content.safetensors

Teachers: Whisper's hidden states (recipes/teacher_features.py), the commanded phones of kokoro_sung, and
agreement between voices that sing the same phrase in sync. The student hears a perturbed copy.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from corpus import Corpus
from torch import Tensor, nn
from vocoder import report

from resing.features.content import UNIT_HOP, ContentConfig, build, content_mel, save_content
from resing.training.loop import LoopConfig, Randomness, Trainer

SHARES = {
    "kokoro_sung": 0.2, "pjs": 0.08, "kumi_utau": 0.06, "scottpoid_utau": 0.06, "kathleen_rhasspy": 0.12,
    "librispeech_resemblyzer": 0.2, "speechocean762": 0.12, "asterisk_prompts": 0.12,
}  # fmt: skip
PHONE_SECONDS = 0.025
UNIT_SECONDS = 0.02


@dataclass
class Batch:
    """mel (B, 80, 2 U), teacher (B, U, 96), phones (B, U), -1 = unknown; the last 2 * pairs are pairs."""

    mel: Tensor
    teacher: Tensor
    phones: Tensor
    weight: Tensor
    pairs: int


class Student(nn.Module):
    """The encoder with the heads that only training needs."""

    def __init__(self, config: ContentConfig, teacher_size: int, phones: int, noise: float) -> None:
        super().__init__()
        self.net, self.noise = build(config), noise
        self.teacher = nn.Sequential(nn.Linear(config.n_units, 384), nn.GELU(), nn.Linear(384, teacher_size))
        self.phones = nn.Linear(config.n_units, phones)


class ContentTask:
    """Perturbed pieces in, the clean audio's content out."""

    def __init__(
        self, corpus: Corpus, data: Path, config: ContentConfig, batch_size: int, pairs: int, units: int
    ) -> None:
        self.corpus, self.batch_size, self.pairs, self.units = corpus, batch_size, pairs, units
        about = json.loads((corpus.folder / "teacher.json").read_text())
        self.teacher = np.memmap(corpus.folder / "teacher.raw", np.float16, "r").reshape(-1, about["size"])
        spread = torch.tensor(about["spread"])
        self.dim_weight = spread / spread.mean()
        for clip, where in zip(corpus.clips, about["offsets"], strict=True):
            clip["teacher"] = where
        self.phone_names = self._read_phones(data)
        clips, self.held = corpus.split([c for c in corpus.clips if c["audio_16k"][1] >= 8000])
        self.by_source: dict[str, list[dict]] = {s: [c for c in clips if c["source"] == s] for s in SHARES}
        self.phrases = phrases_of(clips)
        self.model = Student(config, about["size"], len(self.phone_names), noise=0.3)
        self.held_batch = self._held_batch()

    def batch(self, random: Randomness) -> Batch:
        """Single pieces by source, then pairs of voices singing the same frames of a phrase."""
        rng = random.numpy
        pieces = []
        for _ in range(self.batch_size - 2 * self.pairs):
            source = rng.choice(list(SHARES), p=np.array(list(SHARES.values())) / sum(SHARES.values()))
            clip = self.by_source[source][rng.integers(len(self.by_source[source]))]
            pieces.append(self._piece(clip, rng, *self._where(clip, rng)))
        for _ in range(self.pairs):
            voices = self.phrases[rng.integers(len(self.phrases))]
            first, second = rng.choice(len(voices), 2, replace=False)
            start, ratio = self._where(voices[first], rng)
            pair = [self._piece(voices[v], rng, start, ratio) for v in (first, second)]
            mean = (pair[0]["teacher"] + pair[1]["teacher"]) / 2
            pieces += [p | {"teacher": mean} for p in pair]
        return self._collate(pieces, self.pairs)

    def loss(self, batch: Batch, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """Teacher regression, phone cross-entropy and agreement of the pairs."""
        return self._loss(self.model, batch, random.torch, self.model.noise)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The same figures on held-out clips, unperturbed, and the share of frames whose phone is right."""
        assert isinstance(model, Student)
        loss, figures = self._loss(model, self.held_batch, torch.Generator().manual_seed(1), model.noise)
        units = model.net(self.held_batch.mel).transpose(1, 2)
        known = self.held_batch.phones >= 0
        right = (model.phones(units).argmax(-1) == self.held_batch.phones)[known].float().mean()
        return {"score": float(loss), **figures, "phone_accuracy": float(right)}

    def _loss(
        self, model: Student, batch: Batch, noise: torch.Generator, sigma: float
    ) -> tuple[Tensor, dict[str, float]]:
        units = model.net(batch.mel).transpose(1, 2)  # (B, U, C)
        heard = units + sigma * torch.randn(units.shape, generator=noise)
        error = (model.teacher(heard).float() - batch.teacher).square() * self.dim_weight
        teacher = (error.mean(-1) * batch.weight[:, None]).sum() / (batch.weight.sum() * error.shape[1])
        logits = model.phones(heard).float()
        phones = F.cross_entropy(logits.flatten(0, 1), batch.phones.flatten(), ignore_index=-1)
        pairs = units[len(units) - 2 * batch.pairs :]
        apart = (pairs[0::2] - pairs[1::2]).square().mean()
        loss = teacher + 0.3 * phones + 0.5 * apart
        return loss, {
            "teacher": float(teacher.detach()),
            "phones": float(phones.detach()),
            "apart": float(apart.detach()),
        }

    def _where(self, clip: dict, rng: np.random.Generator) -> tuple[int, float]:
        ratio = float(np.exp(rng.uniform(np.log(0.75), np.log(1.4)))) if rng.random() < 0.6 else 1.0
        need = int(np.ceil(self.units * ratio)) + 2
        return int(rng.integers(0, max(1, clip["teacher"][1] - need))), ratio

    def _piece(self, clip: dict, rng: np.random.Generator | None, start: int, ratio: float) -> dict:
        need = int(np.ceil(self.units * ratio)) + 2
        audio = (
            self.corpus.get(clip, "audio_16k", start * UNIT_HOP, need * UNIT_HOP).astype(np.float32) / 32768
        )
        times = np.arange(self.units) * ratio
        offset, total = clip["teacher"]
        position = np.minimum(start + times, total - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, total - 1)
        share = (position - low)[:, None].astype(np.float32)
        rows = self.teacher[offset : offset + total]
        teacher = rows[low].astype(np.float32) * (1 - share) + rows[high].astype(np.float32) * share
        labels = self.labels.get(clip["file"])
        phones = np.full(self.units, -1)
        if labels is not None:
            at = np.minimum(((start + times) * UNIT_SECONDS / PHONE_SECONDS).astype(int), len(labels) - 1)
            phones = labels[at]
        valid = start + times < total
        phones = np.where(valid, phones, -1)
        if ratio != 1.0:
            audio = soxr.resample(audio, ratio * 16000, 16000)
        audio = audio[: self.units * UNIT_HOP]
        audio = np.pad(audio, (0, self.units * UNIT_HOP - len(audio)))
        mel = perturbed_mel(audio, rng) if rng is not None else content_mel(torch.from_numpy(audio)[None])[0]
        weight = 0.5 if clip["source"] == "kokoro_sung" else 1.0
        return {
            "mel": mel,
            "teacher": torch.from_numpy(teacher),
            "phones": torch.from_numpy(phones),
            "weight": weight,
        }

    def _collate(self, pieces: list[dict], pairs: int) -> Batch:
        stacked = {k: torch.stack([p[k] for p in pieces]) for k in ("mel", "teacher", "phones")}
        return Batch(**stacked, weight=torch.tensor([p["weight"] for p in pieces]), pairs=pairs)

    def _held_batch(self) -> Batch:
        pieces = [self._piece(c, None, 0, 1.0) for c in self.held[:48]]
        for voices in phrases_of(self.held) or self.phrases[:1]:
            pieces += [self._piece(c, None, 0, 1.0) for c in voices[:2]]
        singles = 48 if len(self.held) >= 48 else len(self.held)
        return self._collate(pieces, (len(pieces) - singles) // 2)

    def _read_phones(self, data: Path) -> list[str]:
        lines = [json.loads(line) for line in (data / "kokoro_sung" / "alignment.jsonl").open()]
        lines = [line for line in lines if line["use"] == "train"]
        names = sorted({s[0] for line in lines for s in line["segments"]} - {""})
        number = {name: i for i, name in enumerate(names)} | {"": -1}
        self.labels = {
            f"kokoro_sung/{line['file']}.opus": np.concatenate(
                [np.full(s[2], number[s[0]]) for s in line["segments"]]
            )
            for line in lines
        }
        return names


def phrases_of(clips: list[dict]) -> list[list[dict]]:
    """Groups of clips in which several voices sing the same phrase in sync."""
    groups: dict[str, list[dict]] = {}
    for clip in clips:
        name = Path(clip["file"]).stem
        if clip["source"] == "kokoro_sung" and name.startswith("par"):
            groups.setdefault(name, []).append(clip)
    return [g for _, g in sorted(groups.items()) if len(g) >= 2]


def perturbed_mel(audio: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Log-mel of a copy with random level, reverb, noise, formants, tone and band, partly masked."""
    signal = torch.from_numpy(audio)[None]
    if rng.random() < 0.25:
        length = int(rng.uniform(0.03, 0.25) * 16000)
        tail = (
            rng.standard_normal(length).astype(np.float32)
            * np.exp(-6 * np.arange(length) / length)
            * rng.uniform(0.02, 0.15)
        )
        size = signal.shape[1] + length
        wet = torch.fft.irfft(
            torch.fft.rfft(signal, size) * torch.fft.rfft(torch.from_numpy(tail.astype(np.float32)), size),
            size,
        )
        signal = signal + wet[:, : signal.shape[1]]
    signal = signal * 10 ** (rng.uniform(-10, 6) / 20)
    if rng.random() < 0.4:
        level = signal.square().mean().sqrt() * 10 ** (-rng.uniform(12, 40) / 20)
        noise = (
            np.cumsum(rng.standard_normal(signal.shape[1]))
            if rng.random() < 0.3
            else rng.standard_normal(signal.shape[1])
        )
        noise = (noise - noise.mean()) / (noise.std() + 1e-6)
        signal = signal + level * torch.from_numpy(noise.astype(np.float32))
    warp = round(float(np.exp(rng.uniform(-0.16, 0.16))), 2) if rng.random() < 0.6 else 1.0
    mel = content_mel(signal, warp)[0]
    knots = rng.standard_normal(6) * 0.35
    tone = np.interp(np.linspace(0, 5, mel.shape[0]), np.arange(6), knots).astype(np.float32)
    mel = mel + torch.from_numpy(tone)[:, None] * (rng.random() < 0.6)
    if rng.random() < 0.2:
        cut = int(rng.integers(50, 80))
        mel[cut:] = mel[cut:].clamp(max=-2.5)
    if rng.random() < 0.3:
        begin = int(rng.integers(0, mel.shape[1] - 16))
        mel[:, begin : begin + int(rng.integers(4, 16))] = -2.6
    return mel


def main() -> None:
    """Train, or export the averaged weights of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--until", type=int)
    parser.add_argument("--batch-size", type=int, default=18)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--units", type=int, default=150)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = ContentConfig()
    task = ContentTask(
        Corpus(options.corpus), options.data, config, options.batch_size, options.pairs, options.units
    )
    loop = LoopConfig(
        steps=options.steps, learning_rate=1e-3, precision=options.precision, checkpoint_every=250
    )
    trainer = Trainer(task, options.run, loop)
    if options.export:
        with trainer.averaged():
            sources = sorted({c["source"] for cs in task.by_source.values() for c in cs})
            save_content(options.export, task.model.net, config, trained_on=sources, steps=trainer.step)
        return
    trainer.run(report, options.until)


if __name__ == "__main__":
    main()
