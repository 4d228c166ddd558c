"""What a voice's own recordings, which no model was trained on, sound like; for benchmarks/conversion.py."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ears import Ears, Heard, embed

from resing.scoring import metrics
from resing.scoring.clip import HEARING_RATE


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
