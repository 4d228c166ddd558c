"""What a voice's own recordings, which no model was trained on, sound like; for benchmarks/conversion.py."""

import contextlib
import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ears import EMBEDDERS, Ears, Heard, embed

from resing import cache, checkpoint
from resing.errors import VoiceError
from resing.scoring import metrics
from resing.scoring.clip import HEARING_RATE

HERE = Path(__file__).parent
DECIDING = (*sorted(Path(metrics.__file__).parent.glob("*.py")), HERE / "ears.py", HERE / "targets.py")
"""Whatever is changed in these files, targets are heard anew."""


@dataclass(frozen=True)
class Target:
    """A voice's recordings.

    Attributes:
        seconds: of sound that was heard.
        centroids: of the speaker's vectors of 10 s windows, of length one, by embedder.
        ceilings: mean cosine of each window with the centroid of the others, by embedder.
        spectrum: frequencies in Hz and mean power density.
        bandwidth_hz: up to where they hold sound.
        median_f0_hz: over their sure frames.
        quality: medians of HNR, HNR above 2 kHz and CPP in dB.
        melody: how well two trackers agree on them.
        speakers: the manifest's names of who is heard.
        clips: the recordings' files.
    """

    seconds: float
    centroids: dict[str, np.ndarray]
    ceilings: dict[str, float]
    spectrum: tuple[np.ndarray, np.ndarray]
    bandwidth_hz: float
    median_f0_hz: float
    quality: dict[str, float | None]
    melody: dict[str, float | None]
    speakers: frozenset[str]
    clips: tuple[Path, ...]

    def summary(self) -> dict[str, Any]:
        """Its figures as JSON, named as those of an output."""
        keys = ("seconds", "bandwidth_hz", "median_f0_hz")
        ceilings = {f"ceiling{suffix}": value for suffix, value in self.ceilings.items()}
        return (
            {key: getattr(self, key) for key in keys}
            | {"clips": len(self.clips)}
            | ceilings
            | self.quality
            | self.melody
        )


def recordings(data: Path, speaker: str, excluded: frozenset[str]) -> list[dict[str, str]]:
    """Manifest rows of a target's dev-test recordings; a bank's name means all its voices (kumi: every
    kumi_*)."""
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["use"] == "dev-test" and row["file"] not in excluded
        ]
    found = [row for row in rows if speaker in (row["speaker"], row["source"].removesuffix("_utau"))]
    if not found:
        raise SystemExit(
            f'no dev-test recording of {speaker!r} in {data}/manifest.csv: name one with "target"'
        )
    return found


def listen_to_target(rows: list[dict[str, str]], data: Path, ears: Ears) -> Target:
    """The target of its recordings; short clips are joined before they are cut into windows."""
    clips = [Heard(data / row["file"], ears) for row in rows]
    joined = np.concatenate([clip.audio_16k[clip.active] for clip in clips])
    vectors = {suffix: embed(speaker, joined) for suffix, speaker in ears.embedders.items()}
    weights = np.array([max(1, clip.active.sum()) for clip in clips], dtype=np.float64)
    sung = [clip.pitch.f0[clip.pitch.confidence >= metrics.CONFIDENT] for clip in clips]
    return Target(
        seconds=len(joined) / HEARING_RATE,
        centroids={suffix: metrics.unit(found.mean(axis=0)) for suffix, found in vectors.items()},
        ceilings={suffix: metrics.leave_one_out(found) for suffix, found in vectors.items()},
        spectrum=(clips[0].spectrum[0], np.average([c.density for c in clips], axis=0, weights=weights)),
        bandwidth_hz=float(np.median([float(row["bandwidth_hz"]) for row in rows])),
        median_f0_hz=float(np.median(np.concatenate(sung))),
        quality=_medians([clip.own_quality for clip in clips], np.array([len(f0) for f0 in sung])),
        melody=_means([clip.own_melody for clip in clips], weights),
        speakers=frozenset(row["speaker"] for row in rows),
        clips=tuple(clip.path for clip in clips),
    )


def remembered_target(rows: list[dict[str, str]], data: Path, ears: Ears) -> Target:
    """The target of its recordings as it was heard before; recordings and judge are the same in every run."""
    paths = tuple(data / row["file"] for row in rows)
    hashes = [checkpoint.file_hash(path) for path in (*paths, *DECIDING)]
    kept = cache.entry("judge", f"{cache.key(rows, hashes, sorted(ears.embedders))}.safetensors")
    with contextlib.suppress(VoiceError):
        return replace(_read(kept), clips=paths)
    target = listen_to_target(rows, data, ears)
    _write(kept, target)
    return target


FACTS = ("seconds", "ceilings", "bandwidth_hz", "median_f0_hz", "quality", "melody")


def _write(path: Path, target: Target) -> None:
    arrays = {f"centroid{suffix}": value for suffix, value in target.centroids.items()}
    arrays |= dict(zip(("hertz", "density"), target.spectrum, strict=True))
    facts = {name: getattr(target, name) for name in FACTS} | {"speakers": sorted(target.speakers)}
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    with contextlib.suppress(OSError):
        checkpoint.save(path, tensors, facts)


def _read(path: Path) -> Target:
    tensors, facts = checkpoint.load(path)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    centroids = {suffix: arrays[f"centroid{suffix}"] for suffix in EMBEDDERS if f"centroid{suffix}" in arrays}
    known = {name: facts[name] for name in FACTS}
    spectrum, speakers = (arrays["hertz"], arrays["density"]), frozenset(facts["speakers"])
    return Target(centroids=centroids, spectrum=spectrum, speakers=speakers, clips=(), **known)


def _medians(found: list[dict[str, float | None]], counts: np.ndarray) -> dict[str, float | None]:
    """Medians over clips, each counted by its frames."""
    return {key: metrics.weighted_median([clip[key] for clip in found], counts) for key in found[0]}


def _means(found: list[dict[str, float | None]], weights: np.ndarray) -> dict[str, float | None]:
    """Means over the clips that have a figure, each counted by how long it sounds."""
    means: dict[str, float | None] = {}
    for key in found[0]:
        known = np.array([clip[key] is not None for clip in found])
        values = [clip[key] for clip in found if clip[key] is not None]
        means[key] = float(np.average(values, weights=weights[known])) if values else None
    return means
