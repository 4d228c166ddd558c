"""A song heard before is not heard again: its features are kept by what decides them."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from resing import cache
from resing.config import AudioConfig, FeaturesConfig
from resing.features import ears
from resing.features.content import ContentEncoder
from resing.features.extract import Features, extract_recording, open_recording
from resing.features.melody_tracking import Doubt
from resing.features.units import Units
from resing.whole import whole

VERSION = 2
"""Counts up when the same song would be heard, or kept, differently."""


def hear(
    source: Path | str,
    source_hash: str,
    part: tuple[float, float | None],
    audio_config: AudioConfig,
    features_config: FeaturesConfig,
    encoder: ContentEncoder,
    progress: Callable[[float], object] | None = None,
) -> Features:
    """Features of a file or a part of it, remembered where that file was heard before.

    Args:
        source: the file.
        source_hash: SHA-256 of its bytes.
        part: first and last second; None: to its end.
        audio_config: the frame grid.
        features_config: pitch range and voicing threshold.
        encoder: of the content units.
        progress: told the share that is done.

    Raises:
        AudioError: see `extract_recording`.
    """
    kept = _place(source_hash, part, audio_config, features_config, encoder)
    known = _load(kept, audio_config)
    if known is None:
        known = extract_recording(
            open_recording(source, *part), audio_config, features_config, encoder, progress
        )
        _keep(kept, known)
    for path in (kept, _units_beside(kept)):
        cache.used(path)
    return known


def was_heard(
    source_hash: str,
    part: tuple[float, float | None],
    audio_config: AudioConfig,
    features_config: FeaturesConfig,
    encoder: ContentEncoder,
) -> bool:
    """Whether a file's features are remembered; see `hear`."""
    return _place(source_hash, part, audio_config, features_config, encoder).exists()


def _place(
    source_hash: str,
    part: tuple[float, float | None],
    audio_config: AudioConfig,
    features_config: FeaturesConfig,
    encoder: ContentEncoder,
) -> Path:
    """Where features are kept."""
    models = encoder.encoder_id, ears.tracker(features_config, encoder.device).tracker_id
    facts = (VERSION, source_hash, part, repr(audio_config), repr(features_config), *models)
    return cache.entry("heard", f"{cache.key(*facts)}.safetensors")


def _keep(path: Path, features: Features) -> None:
    """Write features; where that cannot be done, nothing is kept."""
    names = [field.name for field in fields(features) if field.name not in {"audio", "doubts", "units50"}]
    values = {name: np.array(getattr(features, name), order="C") for name in names}
    about = {
        "doubts": json.dumps([asdict(doubt) for doubt in features.doubts]),
        "units": json.dumps(features.units50.shape),
    }
    with contextlib.suppress(OSError, SafetensorError):
        with whole(_units_beside(path)) as temporary:
            features.units50.save(temporary)
        with whole(path) as temporary:
            save_file(values, temporary, about)
    cache.trim()


def _load(path: Path, audio_config: AudioConfig) -> Features | None:
    """What was written; None where nothing was or it is damaged."""
    try:
        with safe_open(str(path), framework="np") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}
            about = file.metadata() or {}
        doubts = tuple(Doubt(**doubt) for doubt in json.loads(about["doubts"]))
        shape = tuple(json.loads(about["units"]))
        units = Units(shape[0], open(_units_beside(path), "rb"))  # noqa: SIM115 - closed by Units
        if units.shape != shape:
            return None
        single = {name: value.item() for name, value in values.items() if value.ndim == 0}
        return Features(**(values | single), units50=units, audio=audio_config, doubts=doubts)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError):
        return None


def _units_beside(path: Path) -> Path:
    """Where the units of the features kept at `path` lie."""
    return path.with_suffix(".units")
