"""Train the content encoder on the corpus from three teachers at once.

    python recipes/content.py --corpus CORPUS --run RUN --start START.safetensors --steps 12000
    ... --export src/resing/weights/content.safetensors

Begins with what recipes/content_start.py makes of Whisper. Teachers: what Whisper hears in the clean
recording (recipes/teacher_features.py), less each speaker's mean, which is what the units shall be; phones
(recipes/phones.py); and agreement between voices that sing the same phrase in sync: those of kokoro_sung, and
recordings beside their copies in other voices (recipes/copies.py, once there is a base to make them). What
the student hears is perturbed, speech mostly as singing (recipes/sung.py), and pieces are cut into each
other, so that it cannot learn whole sentences by heart.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from corpus import Corpus, Sung, Twins
from run import begin, read_options, train_or_export
from torch import Tensor, nn

from resing.features.content import FLOOR, UNIT_HOP, ContentConfig, build, content_mel, save_content
from resing.training.loop import LoopConfig, Randomness

SHARES = {
    "kokoro_sung": 0.12, "pjs": 0.08, "kumi_utau": 0.06, "scottpoid_utau": 0.04, "kathleen_rhasspy": 0.18,
    "librispeech_resemblyzer": 0.18, "speechocean762": 0.2, "asterisk_prompts": 0.14,
}  # fmt: skip
COPIED = 0.3
"""Share of pieces heard from the recording's copy in another voice, where it has one."""
SUNG = 0.75
"""Share of pieces of speech that are heard sung, where they are there so."""
SPLICED = 0.6
"""Share of pieces of which a stretch is of another piece."""
HISS_BANDS = 8
SILENT = float(np.log10(FLOOR)) / 4 + 1
NOISE = 0.3
ENOUGH_ROWS = 500
"""Rows of 20 ms after which a speaker's mean counts half."""


@dataclass
class Batch:
    """mel (B, 80, 2 U), teacher (B, U, C), phones (B, U), -1 = unknown; the last 2 * pairs are pairs."""

    mel: Tensor
    teacher: Tensor
    phones: Tensor
    weight: Tensor
    pairs: int


class Student(nn.Module):
    """The encoder with the head that only training needs."""

    def __init__(self, config: ContentConfig, phones: int) -> None:
        super().__init__()
        self.net = build(config)
        self.phones = nn.Linear(config.n_units, phones)


class ContentTask:
    """Perturbed pieces in, the clean audio's content out."""

    sung, spliced, phone_weight, pair_weight = SUNG, SPLICED, 0.5, 0.5

    def __init__(
        self, corpus: Corpus, config: ContentConfig, batch_size: int, pairs: int, units: int
    ) -> None:
        self.corpus, self.batch_size, self.pairs, self.units = corpus, batch_size, pairs, units
        about = json.loads((corpus.folder / "teacher.json").read_text())
        self.teacher = np.memmap(corpus.folder / "teacher.raw", np.float16, "r").reshape(-1, about["size"])
        self.teacher = self.teacher[:, : config.n_units]
        for clip, where in zip(corpus.clips, about["offsets"], strict=True):
            clip["teacher"] = where
        self.speaker_mean = self._speaker_means()
        phones = json.loads((corpus.folder / "phones.json").read_text())
        self.phones = np.memmap(corpus.folder / "phones.raw", np.int8, "r")
        self.copies, self.songs = Twins(corpus, "copies"), Sung(corpus)
        clips, self.held = corpus.split([c for c in corpus.clips if c["audio_16k"][1] >= 8000])
        self.copied = [c for c in clips if c in self.copies]
        self.by_source: dict[str, list[dict]] = {s: [c for c in clips if c["source"] == s] for s in SHARES}
        self.phrases = phrases_of(clips)
        self.model = Student(config, len(phones["names"]))
        self.held_batch = self._held_batch()

    def batch(self, random: Randomness) -> Batch:
        """Single pieces by source, then pairs of voices singing the same frames of a phrase."""
        rng = random.numpy
        pieces = []
        for _ in range(self.batch_size - 2 * self.pairs):
            source = rng.choice(list(SHARES), p=np.array(list(SHARES.values())) / sum(SHARES.values()))
            clip = self.by_source[source][rng.integers(len(self.by_source[source]))]
            if clip in self.songs and rng.random() < self.sung:
                heard = "sung"
            else:
                heard = "copied" if clip in self.copies and rng.random() < COPIED else "itself"
            pieces.append(self._piece(clip, rng, *self._where(clip, rng, heard), heard))
        pieces = spliced(pieces, rng, self.spliced)
        for _ in range(self.pairs):
            pieces += self._copy_pair(rng) if self.copied and rng.random() < 0.5 else self._sung_pair(rng)
        return self._collate(pieces, self.pairs)

    def narrow(self, units: Tensor) -> Tensor:
        """What the bottleneck lets through of units (B, U, C): all: they are few and of one norm."""
        return units

    def hear(self, audio: np.ndarray, rng: np.random.Generator) -> Tensor:
        """What the student hears of a piece (N,) in training, (80, 2 U)."""
        return perturbed_mel(audio, rng)

    def loss(self, batch: Batch, random: Randomness) -> tuple[Tensor, dict[str, float]]:
        """Teacher regression, phone cross-entropy and agreement of the pairs."""
        return self._loss(self.model, batch, random.torch)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The same figures on held-out clips, unperturbed, and the share of frames whose phone is right."""
        assert isinstance(model, Student)
        loss, figures = self._loss(model, self.held_batch, torch.Generator().manual_seed(1))
        units = model.net(self.held_batch.mel).transpose(1, 2)
        right = (model.phones(units).argmax(-1) == self.held_batch.phones).float()
        known, sung = self.held_batch.phones >= 0, (self.held_batch.weight < 1)[:, None]
        return {
            "score": float(loss),
            **figures,
            "phone_accuracy": float(right[known & sung].mean()),
            "phone_accuracy_others": float(right[known & ~sung].mean()),
        }

    def _loss(self, model: Student, batch: Batch, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        units = self.narrow(model.net(batch.mel).transpose(1, 2))  # (B, U, C)
        heard = units + NOISE * torch.randn(units.shape, generator=noise)
        error = (units - batch.teacher).square()
        teacher = (error.mean(-1) * batch.weight[:, None]).sum() / (batch.weight.sum() * error.shape[1])
        logits = model.phones(heard).float()
        wrong = F.cross_entropy(
            logits.flatten(0, 1), batch.phones.flatten(), ignore_index=-1, reduction="sum"
        )
        phones = wrong / (batch.phones >= 0).sum().clamp(min=1)
        pairs = units[len(units) - 2 * batch.pairs :]
        apart = (pairs[0::2] - pairs[1::2]).square().mean()
        loss = teacher + self.phone_weight * phones + self.pair_weight * apart
        return loss, {
            "teacher": float(teacher.detach()),
            "phones": float(phones.detach()),
            "apart": float(apart.detach()),
        }

    def _sung_pair(self, rng: np.random.Generator) -> list[dict]:
        voices = self.phrases[rng.integers(len(self.phrases))]
        first, second = rng.choice(len(voices), 2, replace=False)
        start, ratio = self._where(voices[first], rng)
        pair = [self._piece(voices[v], rng, start, ratio) for v in (first, second)]
        mean = (pair[0]["teacher"] + pair[1]["teacher"]) / 2
        return [p | {"teacher": mean} for p in pair]

    def _copy_pair(self, rng: np.random.Generator) -> list[dict]:
        clip = self.copied[rng.integers(len(self.copied))]
        start, ratio = self._where(clip, rng)
        return [self._piece(clip, rng, start, ratio, heard) for heard in ("itself", "copied")]

    def _where(self, clip: dict, rng: np.random.Generator, heard: str = "itself") -> tuple[int, float]:
        ratio = float(np.exp(rng.uniform(np.log(0.75), np.log(1.4)))) if rng.random() < 0.6 else 1.0
        need = int(np.ceil(self.units * ratio)) + 2
        total = len(self.songs.at(clip)) if heard == "sung" else clip["teacher"][1]
        return int(rng.integers(0, max(1, total - need))), ratio

    def _audio(self, clip: dict, start: int, need: int, heard: str) -> np.ndarray:
        where = start * UNIT_HOP, need * UNIT_HOP
        twins = {"sung": self.songs, "copied": self.copies}.get(heard)
        rows = twins.get(clip, *where) if twins else self.corpus.get(clip, "audio_16k", *where)
        return rows.astype(np.float32) / 32768

    def _piece(
        self, clip: dict, rng: np.random.Generator | None, start: int, ratio: float, heard: str = "itself"
    ) -> dict:
        audio = self._audio(clip, start, int(np.ceil(self.units * ratio)) + 2, heard)
        times = start + np.arange(self.units) * ratio
        offset, total = clip["teacher"]
        if heard == "sung":
            at = self.songs.at(clip)
            over, position = times >= len(at), np.interp(times, np.arange(len(at)), at)
        else:
            over, position = times >= total, times
        position = np.minimum(position, total - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, total - 1)
        share = (position - low)[:, None].astype(np.float32)
        rows = self.teacher[offset : offset + total]
        teacher = rows[low].astype(np.float32) * (1 - share) + rows[high].astype(np.float32) * share
        teacher -= self.speaker_mean[clip["speaker"]]
        teacher /= np.sqrt(np.square(teacher).mean(1, keepdims=True) + 1e-5)
        phones = self.phones[offset : offset + total][np.round(position).astype(int)].astype(np.int64)
        phones = np.where(over, -1, phones)
        if ratio != 1.0:
            audio = soxr.resample(audio, ratio * 16000, 16000)
        audio = audio[: self.units * UNIT_HOP]
        audio = np.pad(audio, (0, self.units * UNIT_HOP - len(audio)))
        mel = content_mel(torch.from_numpy(audio)[None])[0] if rng is None else self.hear(audio, rng)
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

    def _speaker_means(self) -> dict[str, np.ndarray]:
        """Who says it: each speaker's mean teacher row less that of all, near zero where there are few."""
        totals: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for clip in self.corpus.clips:
            offset, size = clip["teacher"]
            total = self.teacher[offset : offset + size].sum(0, dtype=np.float32)
            totals[clip["speaker"]] = totals.get(clip["speaker"], 0) + total
            counts[clip["speaker"]] = counts.get(clip["speaker"], 0) + size
        every = sum(totals.values()) / sum(counts.values())
        return {s: (total - every * counts[s]) / (counts[s] + ENOUGH_ROWS) for s, total in totals.items()}


def spliced(pieces: list[dict], rng: np.random.Generator, share: float) -> list[dict]:
    """The pieces, a share of them with .3 to 1.5 s of another one in the middle."""
    found = []
    for piece in pieces:
        if rng.random() < share:
            other, length = pieces[rng.integers(len(pieces))], int(rng.integers(16, 75))
            first = int(rng.integers(0, max(1, len(piece["phones"]) - length)))
            inside = torch.zeros(len(piece["phones"]), dtype=torch.bool)
            inside[first : first + length] = True
            piece = piece | {
                "mel": torch.where(inside.repeat_interleave(2), other["mel"], piece["mel"]),
                "teacher": torch.where(inside[:, None], other["teacher"], piece["teacher"]),
                "phones": torch.where(inside, other["phones"], piece["phones"]),
            }
        found.append(piece)
    return found


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
    knots = rng.standard_normal(6) * 0.15
    tone = np.interp(np.linspace(0, 5, mel.shape[0]), np.arange(6), knots).astype(np.float32)
    mel = mel + torch.from_numpy(tone)[:, None] * (rng.random() < 0.6)
    if rng.random() < 0.2:
        cut = int(rng.integers(50, 80))
        mel[cut:] = mel[cut:].clamp(max=SILENT + 0.02)
    if rng.random() < 0.3:
        begin = int(rng.integers(0, mel.shape[1] - 16))
        mel[:, begin : begin + int(rng.integers(4, 16))] = SILENT
    return mel


def main() -> None:
    """Train, or export the averaged weights of a run."""
    options = read_options(__doc__, steps=7500, batch_size=18, pairs=3, units=150)
    config = ContentConfig()
    task = ContentTask(Corpus(options.corpus), config, options.batch_size, options.pairs, options.units)
    begun = begin(task.model.net, options.start)
    if options.compile:
        task.model.net.compile(dynamic=False)
    loop = LoopConfig(
        steps=options.steps, learning_rate=4e-4, precision=options.precision, checkpoint_every=100
    )

    def export(path: Path, step: int) -> None:
        save_content(
            path,
            task.model.net,
            replace(config, hiss_bands=HISS_BANDS),
            trained_on=sorted(SHARES),
            steps=begun + step,
        )

    train_or_export(task, options, loop, export)


if __name__ == "__main__":
    main()
