"""What content units say, and what they should not: probes on recordings that no encoder was trained on.

    python benchmarks/encoder.py --data ../shared/data [--encoder NAME=FILE] [--whisper FOLDER] [--layer 4 6]

Prints a Markdown table, a column an encoder; by default the one that ships, with --whisper also its teacher,
a column a layer.
Words: a linear probe of phones, fitted to training clips, on held-out voices; sentences found again in
another speaker's mouth, by dynamic time warping. Speaker: who is heard in mean units. Pitch: log-f0 by linear
regression. Cosines are of units without their mean, whitened on training clips (ZCA).
"""

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyworld
import torch
from phone_probe import SEGMENT_SECONDS, fit_probe, phones_at
from tables import markdown_table

from resing.audio.files import read
from resing.config import FeaturesConfig
from resing.features.content import ContentEncoder
from resing.features.f0 import SWIFT_RATE, swift_frames

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
RATE = 16000
UNIT_SECONDS = 0.02
UNHEARD = ("af_sarah", "am_puck", "bf_emma", "bm_george", "ff_siwis", "zf_xiaoyi")
KEYS = (-12, -5, 5, 12)
SENTENCE_POOL = 5
"""Units that are averaged before sentences are compared."""
DIMENSIONS = 64
"""Largest components of the units that are kept when they are whitened."""
Encode = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Clip:
    """A recording: its name, who is heard, what is said, mono at 16 kHz (N,), phone segments if known."""

    file: str
    speaker: str
    text: str
    audio: np.ndarray
    segments: tuple[list, ...] = ()


class Data:
    """The recordings that the probes need."""

    def __init__(self, folder: Path) -> None:
        with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with open(folder / "kokoro_sung" / "alignment.jsonl", encoding="utf-8") as file:
            known = {f"kokoro_sung/{row['file']}.opus": row for row in map(json.loads, file)}

        def clips(source: str, use: str, every: int = 1) -> list[Clip]:
            chosen = [r for r in rows if r["source"] == source and r["use"] == use][::every]
            return [clip_of(folder, r, known.get(r["file"])) for r in chosen]

        self.train, self.sung = clips("kokoro_sung", "train", 4), clips("kokoro_sung", "dev-test")
        self.sentences = clips("vctk_parallel_16k", "parallel-speech")
        self.spoken = clips("speechocean762", "dev-test")
        self.heard_texts = {r["text"] for r in known.values() if r["use"] == "train"}


def clip_of(folder: Path, row: dict[str, str], known: dict | None) -> Clip:
    """A manifest's row with its sound."""
    audio = read(folder / row["file"], RATE, mono=True)[0][0]
    told = (known["text"], tuple(known["segments"])) if known else (row["text"], ())
    return Clip(row["file"], row["speaker"], told[0], audio, told[1])


class Probed:
    """An encoder under test: units of clips, kept, and their whitening by training clips."""

    def __init__(self, encode: Encode, data: Data) -> None:
        self.encode, self.data, self.kept = encode, data, dict[str, np.ndarray]()
        train = np.concatenate([self.units(c) for c in data.train])
        self.mean = train.mean(0)
        values, vectors = np.linalg.eigh(np.cov((train - self.mean).T))
        best = np.argsort(values)[::-1][:DIMENSIONS]
        self.whitening = vectors[:, best] / np.sqrt(values[best] + 1e-6)

    def units(self, clip: Clip) -> np.ndarray:
        """(U, C) of a recording."""
        if clip.file not in self.kept:
            self.kept[clip.file] = self.encode(clip.audio)
        return self.kept[clip.file]

    def white(self, units: np.ndarray) -> np.ndarray:
        """Units of length one, whitened, (U, 64)."""
        moved = (units - self.mean) @ self.whitening
        return moved / (np.linalg.norm(moved, axis=1, keepdims=True) + 1e-9)


def words(probed: Probed) -> dict[str, float]:
    """Share of frames whose phone a linear probe hears, for texts in training and for new ones."""

    def labelled(clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
        units = [probed.white(probed.units(c)) for c in clips]
        phones = [phones_at(list(c.segments), len(u)) for c, u in zip(clips, units, strict=True)]
        return np.concatenate(units).astype(np.float32), np.concatenate(phones)

    units, phones = labelled(probed.data.train)
    names = np.unique(phones[phones != ""])
    hear = fit_probe(units[phones != ""], phones[phones != ""])
    found = {}
    for name, new in (
        ("phones right, texts heard in training %", False),
        ("phones right, new texts %", True),
    ):
        held = [c for c in probed.data.sung if (c.text not in probed.data.heard_texts) == new]
        units, phones = labelled(held)
        right = names[hear(units.T).argmax(1)] == phones
        found[name] = 100 * float(right[phones != ""].mean())
    return found


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean cosine distance along the best path of dynamic time warping, (A, C) and (B, C)."""
    cost = 1 - one @ other.T
    total = np.full((len(one) + 1, len(other) + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(len(one)):
        for j in range(len(other)):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return float(total[-1, -1] / (len(one) + len(other)))


def sentences(probed: Probed) -> dict[str, float]:
    """How often the nearest sentence of another speaker is the same one."""
    pooled = []
    for clip in probed.data.sentences:
        units = probed.units(clip)
        n = len(units) // SENTENCE_POOL * SENTENCE_POOL
        pooled.append(probed.white(units[:n].reshape(-1, SENTENCE_POOL, units.shape[1]).mean(1)))
    clips = probed.data.sentences
    apart = np.full((len(clips), len(clips)), np.inf)
    for i, j in itertools.combinations(range(len(clips)), 2):
        if clips[i].speaker != clips[j].speaker:
            apart[i, j] = apart[j, i] = distance(pooled[i], pooled[j])
    right = []
    for i, clip in enumerate(clips):
        for speaker in sorted({c.speaker for c in clips} - {clip.speaker}):
            theirs = [j for j, c in enumerate(clips) if c.speaker == speaker]
            if any(clips[j].text == clip.text for j in theirs):
                right.append(clips[min(theirs, key=lambda j: apart[i, j])].text == clip.text)
    return {"same sentence found %": 100 * float(np.mean(right))}


def in_sync(clips: list[Clip]) -> Iterator[tuple[Clip, Clip]]:
    """Every two recordings in which two voices sing the same phrase frame by frame."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        if Path(clip.file).name.startswith("par"):
            groups.setdefault(Path(clip.file).name, []).append(clip)
    for group in groups.values():
        yield from itertools.combinations(group, 2)


def parallels(probed: Probed) -> dict[str, float]:
    """Cosine between voices that sing the same held-out frames, and with the frames of one shuffled."""
    rng, same, shuffled = np.random.default_rng(0), [], []
    for one, other in in_sync(probed.data.sung):
        a, b = (probed.white(probed.units(c)) for c in (one, other))
        n = min(len(a), len(b))
        sounding = phones_at(list(one.segments), n) != ""
        a, b = a[:n][sounding], b[:n][sounding]
        same.append((a * b).sum(1).mean())
        shuffled.append((a * b[rng.permutation(len(b))]).sum(1).mean())
    return {"two voices in sync, cosine": float(np.mean(same)), "shuffled": float(np.mean(shuffled))}


def told_apart(probed: Probed) -> dict[str, float]:
    """How often a phone is nearer another of its own singer than the same of another singer.

    ABX across speakers (Schatz et al. 2013) on the mean units of each phone: A and B of one voice, X what
    another sings where A is; equally near counts half.
    """

    def pooled(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        units, names, means = probed.units(clip), [], []
        ends = np.cumsum([frames for _, _, frames in clip.segments]) * SEGMENT_SECONDS / UNIT_SECONDS
        edges = np.round(np.concatenate([[0.0], ends])).astype(int)
        for (phone, _, _), first, last in zip(clip.segments, edges[:-1], edges[1:], strict=True):
            if phone and first < last <= len(units):
                names.append(phone)
                means.append(units[first:last].mean(0))
        return np.array(names), probed.white(np.array(means).reshape(-1, units.shape[1]))

    wrong = []
    for pair in in_sync(probed.data.sung):
        for (names, a), (heard, x) in itertools.permutations([pooled(clip) for clip in pair]):
            n = min(len(names), len(heard))
            near = x[:n] @ a[:n].T
            other = names[:n, None] != names[None, :n]
            closer = np.sign(near - np.diag(near)[:, None])  # 1 where B is nearer than A
            wrong.append(((closer[other] + 1) / 2).mean())
    return {"ABX across singers, wrong %": 100 * float(np.mean(wrong))}


def speaker(probed: Probed) -> dict[str, float]:
    """Speakers told from mean units: every second clip is learned from, the others are asked."""
    found = {}
    for name, clips in (("reader", probed.data.spoken), ("singer", probed.data.sung)):
        count = {s: sum(c.speaker == s for c in clips) for s in {c.speaker for c in clips}}
        clips = [c for c in clips if count[c.speaker] >= 6]
        names = sorted({c.speaker for c in clips})
        x = np.stack([probed.units(c).mean(0) for c in clips])
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
        y = np.array([names.index(c.speaker) for c in clips])
        order = {s: itertools.count() for s in names}
        asked = np.array([next(order[c.speaker]) % 2 == 1 for c in clips])
        for kind, width in (("linear", 0), ("MLP", 64)):
            right = learned(x[~asked], y[~asked], len(names), width)(x[asked]) == y[asked]
            found[f"{name} told, {kind} % (chance {100 / len(names):.0f})"] = 100 * float(right.mean())
    return found


def learned(x: np.ndarray, y: np.ndarray, classes: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
    """A classifier of (N, C), linear or with one hidden layer, trained to convergence with weight decay."""
    torch.manual_seed(0)
    size = x.shape[1]
    hidden = [torch.nn.Linear(size, width), torch.nn.ReLU()] if width else []
    net = torch.nn.Sequential(*hidden, torch.nn.Linear(width or size, classes))
    optimiser = torch.optim.AdamW(net.parameters(), 0.01, weight_decay=0.1)
    inputs, targets = torch.from_numpy(x).float(), torch.from_numpy(y)
    for _ in range(300):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), targets).backward()
        optimiser.step()
    return lambda asked: net(torch.from_numpy(asked).float()).argmax(1).numpy()


def pitch(probed: Probed) -> dict[str, float]:
    """R^2 on held-out clips of log-f0 regressed on units."""

    def sung(clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
        units, notes = [], []
        for clip in clips:
            f0, confidence = swift_frames(clip.audio, FeaturesConfig(), 1)
            at = np.arange(len(probed.units(clip))) * UNIT_SECONDS * SWIFT_RATE / 256
            at = np.minimum(np.round(at).astype(int), len(f0) - 1)
            sure = confidence[at] > 0.9
            units.append(probed.white(probed.units(clip))[sure])
            notes.append(np.log2(f0[at][sure]))
        return np.concatenate(units), np.concatenate(notes)

    (x, y), (asked, truth) = sung(probed.data.train), sung(probed.data.sung)
    weights = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    said = np.column_stack([asked, np.ones(len(asked))]) @ weights
    return {"log-f0, R^2": float(1 - np.square(truth - said).sum() / np.square(truth - truth.mean()).sum())}


def steadiness(probed: Probed) -> dict[str, float]:
    """Cosine to the clean recording's units after moving its pitch, and with noise or reverb."""
    rng, found = np.random.default_rng(0), dict[str, list[float]]()
    tail = rng.standard_normal(6400) * np.exp(-6.9 * np.arange(6400) / 6400) * 0.05
    for clip in [c for c in probed.data.sung if c.speaker in UNHEARD][::4]:
        audio = clip.audio.astype(np.float64)
        note, times = pyworld.harvest(audio, RATE)
        envelope, rough = pyworld.cheaptrick(audio, note, times, RATE), pyworld.d4c(audio, note, times, RATE)
        heard = {
            f"pitch {key:+d}": pyworld.synthesize(note * 2 ** (key / 12), envelope, rough, RATE)
            for key in KEYS
        }
        level = np.sqrt(np.square(audio).mean()) * 0.1
        heard["20 dB noise"] = audio + level * rng.standard_normal(len(audio))
        heard["reverb"] = audio + np.convolve(audio, tail)[: len(audio)]
        clean = probed.white(probed.units(clip))
        sounding = phones_at(list(clip.segments), len(clean)) != ""
        for name, sound in heard.items():
            other = probed.white(probed.encode(sound.astype(np.float32)))
            n = min(len(clean), len(other))
            cosine = (clean[:n] * other[:n]).sum(1)[sounding[:n]].mean()
            found.setdefault(f"cosine, {name}", []).append(float(cosine))
    return {name: float(np.mean(values)) for name, values in found.items()}


PROBES = (words, sentences, parallels, told_apart, speaker, pitch, steadiness)


def encoders(options: argparse.Namespace) -> dict[str, Encode]:
    """The encoders asked for, (N,) to (U, C)."""

    def ours(path: str | None) -> Encode:
        encoder = ContentEncoder.load(path) if path else ContentEncoder.load()
        return lambda audio: encoder(audio).T

    found = {name: ours(path) for name, path in (e.split("=", 1) for e in options.encoder)}
    found["ships"] = ours(None)
    if options.whisper:
        from whisper_teacher import WhisperEncoder

        teacher = WhisperEncoder.load(options.whisper)
        for layer in options.layer:
            found[f"teacher, layer {layer}"] = torch.inference_mode()(
                lambda audio, layer=layer: teacher.layer(audio, layer).numpy()
            )
    return found


def main() -> None:
    """Probe, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", action="append", default=[], help="NAME=FILE of another encoder")
    parser.add_argument("--whisper", type=Path, help="folder of the teacher")
    parser.add_argument("--layer", type=int, nargs="+", default=[4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, columns = Data(options.data), dict[str, dict[str, float]]()
    for name, encode in encoders(options).items():
        probed = Probed(encode, data)
        columns[name] = {k: v for probe in PROBES for k, v in probe(probed).items()}
        print(name, columns[name], file=sys.stderr)
    rows = [[key, *(f"{c[key]:.3g}" for c in columns.values())] for key in next(iter(columns.values()))]
    print(markdown_table(["probe", *columns], rows))


if __name__ == "__main__":
    main()
