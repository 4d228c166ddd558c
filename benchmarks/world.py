"""The WORLD baseline: f0 and formants moved by signal processing alone; for benchmarks/conversion.py."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from ears import Ears, Heard
from targets import listen_to_target, recordings
from words import write_text

from resing.scoring import metrics

Row = dict[str, Any]


def world_shift(source: Path, output: Path, transpose: float, target_f0_hz: float, ears: Ears) -> None:
    """Write the WORLD baseline: f0 shifted, formants moved by the cube root of the ratio of median f0.

    Morise et al., WORLD: a vocoder-based high-quality speech synthesis system, IEICE 2016 (harvest,
    cheaptrick, d4c).
    """
    import pyworld

    clip = Heard(source, ears)
    audio, rate = clip.audio.astype(np.float64), clip.sample_rate
    f0, times = pyworld.harvest(audio, rate, f0_floor=50.0, f0_ceil=1100.0)
    envelope = pyworld.cheaptrick(audio, f0, times, rate)  # (T, bins)
    aperiodicity = pyworld.d4c(audio, f0, times, rate)
    sung = clip.pitch.f0[clip.pitch.confidence >= metrics.CONFIDENT]
    ratio = (target_f0_hz / float(np.median(sung))) ** (1.0 / 3.0) if len(sung) else 1.0
    bins = np.arange(envelope.shape[1])
    warped = np.stack([np.exp(np.interp(bins / ratio, bins, frame)) for frame in np.log(envelope)])
    noise = np.stack([np.interp(bins / ratio, bins, frame) for frame in aperiodicity])
    shifted = pyworld.synthesize(f0 * 2.0 ** (transpose / 12.0), warped, noise, rate)
    shifted = np.pad(shifted, (0, max(0, len(audio) - len(shifted))))[: len(audio)]
    shifted /= max(1.0, float(np.max(np.abs(shifted))) / 0.99)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.part")
    soundfile.write(temporary, shifted, rate, format="FLAC", subtype="PCM_24")
    os.replace(temporary, output)


def write_baseline(rows: list[Row], data: Path, ears: Ears, out: Path, excluded: frozenset[str]) -> None:
    """Write the WORLD baseline of every row and the clips file that judges it."""
    medians: dict[str, float] = {}
    made = []
    for row in rows:
        name, source = str(row["target"]), Path(str(row["source"]))
        if name not in medians:
            medians[name] = listen_to_target(recordings(data, name, excluded), data, ears).median_f0_hz
        output = out / f"{source.parent.name}_{source.stem}_{row['voice']}.flac"
        world_shift(source, output, float(row["transpose"]), medians[name], ears)
        made.append(row | {"system": "WORLD shift", "output": str(output)})
    write_text(out / "clips.json", json.dumps(made, indent=1))
