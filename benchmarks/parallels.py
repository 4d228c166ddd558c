"""Phrases that several voices sang in exact sync: what a converted clip should have sounded like.

kokoro_sung's parNNN_LANG recordings have the same phones for the same durations, each transposed into its
singer's range. A dev-test voice's recording is sung by a target that has one of the same phrase (train or
dev-test: only the source must be unheard, and the target's is what training aims at), in the key of that
recording. So pitch, words and times are the same, and what differs frame by frame is the voice.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from resing.audio.mel import log_mel, mel_centres
from resing.config import AudioConfig
from resing.scoring import metrics

PARALLEL = "a phrase it sang itself"
"""Heading of their rows."""
UNHEARD = ("af_sarah", "am_puck", "bf_emma", "bm_george", "ff_siwis", "zf_xiaoyi")
"""Voices that are in no training."""
HIGHEST_HZ = 10500.0
"""What lies above is beyond some of the recordings' real band."""
COEFFICIENTS = 20
"""Of the cosine transform over mel bands that are kept: ripples of 350 Hz and wider, none that harmonics of
these voices make, which sing up to 300 Hz. A whole tone still makes half the difference of formants moved by
a fifth: so an output's key is that of the target's recording, and the others' are those nearest to it."""
OTHERS = 3
QUIET_DB = 35.0
"""Frames quieter than the loudest by more are not compared."""
DB = 20.0 / np.log(10.0)


@dataclass(frozen=True)
class Parallel:
    """A source, the target's own recording of its phrase, those of others, and the semitones between."""

    source: str
    own: str
    others: tuple[str, ...]
    transpose: float


def find_parallels(data: Path, voice: str, most: int) -> list[Parallel]:
    """Up to `most` phrases that a voice sang and an unheard one too, spread over the list of phrases."""
    with open(data / "kokoro_sung" / "alignment.jsonl", encoding="utf-8") as file:
        hertz = {row["file"]: float(row["base_hz"]) for row in map(json.loads, file)}
    phrases: dict[str, list[str]] = {}
    for name in sorted(hertz):
        phrase = name.split("/")[1]
        if phrase.startswith("par"):
            phrases.setdefault(phrase, []).append(name)
    found = []
    for phrase, sung in phrases.items():
        own = f"{voice}/{phrase}"
        sources = [name for name in sung if name.split("/")[0] in UNHEARD and name != own]
        if own not in sung or not sources:
            continue
        away = {name: 12.0 * math.log2(hertz[own] / hertz[name]) for name in sung}
        others = sorted((n for n in sung if n not in (own, sources[0])), key=lambda n: abs(away[n]))[:OTHERS]
        files = [f"kokoro_sung/{name}.opus" for name in (sources[0], own, *others)]
        found.append(Parallel(files[0], files[1], tuple(files[2:]), round(away[sources[0]], 3)))
    found.sort(key=lambda parallel: parallel.source.split("/")[-1])
    return found[:: max(1, -(-len(found) // most))] if most else []


def envelope(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voice's colour, log-mel without harmonics and level in dB, (M, T), and where it sounds, bool (T,).

    Args:
        audio: mono at the house rate, (N,).

    The first cosine coefficients of each frame's log-mel but the zeroth, turned back (cf. mel-cepstral
    distortion: Kubichek, IEEE Pacific Rim 1993).
    """
    config = AudioConfig()
    bands = mel_centres(config.n_mels, config.f_min, config.f_max) < HIGHEST_HZ
    mel = log_mel(torch.from_numpy(audio.astype(np.float32))[None], config)[0].numpy()[bands]  # (M, T)
    order = np.arange(1, COEFFICIENTS + 1)[:, None]
    cosines = np.cos(np.pi * order * (np.arange(len(mel)) + 0.5) / len(mel)) * np.sqrt(2.0 / len(mel))
    level = metrics.decibels(np.mean(np.exp(2.0 * mel), axis=0))
    return DB * cosines.T @ (cosines @ mel), level > level.max() - QUIET_DB


def envelope_distance(first: np.ndarray, second: np.ndarray) -> float | None:
    """Mean absolute difference of two envelopes in dB, frame by frame, where both sound; (N,) each."""
    (before, sounds), (after, also) = envelope(first), envelope(second)
    n = min(len(sounds), len(also))
    both = sounds[:n] & also[:n]
    return float(np.abs(before[:, :n] - after[:, :n])[:, both].mean()) if both.any() else None
