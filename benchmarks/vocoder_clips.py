"""What benchmarks/vocoder.py judges the vocoder on: recordings it never heard, and sounds that are made."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 44100
HOP = 512
CLIPS = (
    ("kumi_utau", 3), ("scottpoid_utau", 3), ("kathleen_rhasspy", 3), ("pjs", 3), ("kokoro_sung", 4),
    ("nathalie_rhasspy", 2), ("vocadito", 1),
)  # fmt: skip
UNHEARD_SINGERS = ("bm_george", "af_sarah", "am_puck", "bf_emma")
UNHEARD = ("nathalie_rhasspy", "vocadito", "kokoro_sung")
SPEECH = ("kathleen_rhasspy", "nathalie_rhasspy")
HIGH_HZ = 260.0
"""Median pitch from which a sung clip counts as high."""
SWEEP_HZ = 50.0 * 30.0 ** (np.arange(18) / 17)
"""Sustained notes of the sweep, 50 to 1500 Hz."""
VOWEL_HZ = ((700.0, 90.0), (1150.0, 110.0), (2700.0, 160.0), (3600.0, 220.0))
"""Formants and bandwidths of a sung a."""


@dataclass
class Sound:
    """A clip to copy: mono audio (N,) at 44.1 kHz, whole frames, and what is known of it."""

    name: str
    source: str
    audio: np.ndarray
    bandwidth_hz: float
    f0: np.ndarray | None = None
    """Hz at each frame where it was made, 0 in silence; None where a tracker has to find it."""

    def groups(self, median_hz: float) -> list[str]:
        """Tables it counts in, given the median of its pitch."""
        if self.f0 is not None:
            return [self.source]
        if "Whisper" in self.name:
            return ["all", "breath", self.source]
        kind = "speech" if self.source in SPEECH else "sung high" if median_hz >= HIGH_HZ else "sung low"
        unheard = ["voices never heard"] if self.source in UNHEARD else ["voices heard"]
        return ["all", kind, *unheard, self.source]


def recordings(data: Path) -> list[Sound]:
    """The dev-test clips, the longest of each source under 40 s first, and a whispered one."""
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["use"] == "dev-test" and float(r["seconds"]) < 40]
    chosen = []
    for source, count in CLIPS:
        mine = sorted(
            (r for r in rows if r["source"] == source), key=lambda r: (-float(r["seconds"]), r["file"])
        )
        unheard = [r for r in mine if r["speaker"] in UNHEARD_SINGERS]
        chosen += (unheard or mine)[:count]
    chosen += [r for r in rows if "Whisper" in r["speaker"] and r not in chosen][:2]
    return [recording(data, row) for row in chosen]


def recording(data: Path, row: dict[str, str]) -> Sound:
    """One row of the manifest."""
    audio, rate = soundfile.read(data / row["file"], dtype="float32", always_2d=True)
    audio = soxr.resample(audio.mean(1), rate, RATE)
    audio = audio[: len(audio) // HOP * HOP] * min(1.0, 0.9 / np.abs(audio).max())
    name = row["file"].replace("/", "_").rsplit(".", 1)[0]
    return Sound(name, row["source"], audio, float(row["bandwidth_hz"]))


def made() -> list[Sound]:
    """A vowel on sustained notes from 50 to 1500 Hz, and a note between digital silences."""
    note, rest = 86, 17  # frames: a second, a fifth
    sweep = np.concatenate([np.r_[np.full(note, f), np.zeros(rest)] for f in SWEEP_HZ])
    alone = np.r_[np.zeros(2 * note), np.full(note, 220.0), np.zeros(2 * note)]
    return [
        Sound(name, name, vowel(f0), RATE / 2, f0)
        for name, f0 in (("sustained notes", sweep), ("digital silence", alone))
    ]


def vowel(f0: np.ndarray) -> np.ndarray:
    """A sung a with a little breath at the given pitch, digital silence where that is 0, (T * HOP,)."""
    hz = np.repeat(f0, HOP)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    sung = np.zeros(len(hz))
    for k in range(1, int(0.5 * RATE / f0[f0 > 0].min()) + 1):
        sung += np.cos(k * phase) * resonance(k * hz) * (k * hz < 0.5 * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(len(hz)))
    breath = np.fft.irfft(spectrum * resonance(np.fft.rfftfreq(len(hz), 1.0 / RATE)), len(hz))
    edges = np.convolve(hz > 0, np.hanning(441) / np.hanning(441).sum(), "same") * (hz > 0)
    sung = (sung + 0.05 * breath) * edges
    return (0.5 * sung / np.abs(sung).max()).astype(np.float32)


def resonance(hz: np.ndarray) -> np.ndarray:
    """Gain of the vowel's formants at frequencies in Hz, falling by 6 dB an octave above 500 Hz."""
    peaks = [1.0 / np.sqrt((1 - (hz / c) ** 2) ** 2 + (hz * w / c**2) ** 2) for c, w in VOWEL_HZ]
    return sum(0.5**n * p for n, p in enumerate(peaks)) / np.maximum(hz / 500.0, 1.0)
