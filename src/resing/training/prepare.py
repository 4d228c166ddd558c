"""Recordings in, a prepared dataset out: one file of features per recording, and what the doctor says of them.

A dataset is a folder with one safetensors file per recording (16 digits of the recording's hash) and
dataset.json, which is written last. Running it again does only what is missing.
"""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soxr
import torch

from resing import checkpoint
from resing.audio import files
from resing.audio.slicing import slice_voiced
from resing.config import AudioConfig, FeaturesConfig, settings_hash
from resing.errors import AudioError, DatasetError, VoiceError
from resing.features import content
from resing.features.f0 import SWIFT_RATE, frame_times, track
from resing.features.loudness import REFERENCE_DB, a_weighted_level, relative_loudness, song_level
from resing.training import doctor
from resing.training.doctor import DatasetReport, Recording

FORMAT, VERSION = "resing-dataset", 1
SUFFIXES = frozenset(
    ".wav .w64 .flac .mp3 .m4a .m4b .aac .ogg .oga .opus .aiff .aif .aifc .wma .caf .wv .ape .au .amr .mka "
    ".mp4 .m4v .mkv .mov .webm .avi .ts".split()
)
LEVEL_CHUNK_FRAMES = 4096
HEADROOM = 0.98
PERTURBED = 2


@dataclass(frozen=True)
class Update:
    """What a progress callback is told; to cancel, raise from it: the same call later goes on from there.

    Attributes:
        stage: what is being done.
        done: recordings or steps done.
        total: of how many.
        seconds_left: an estimate for this stage, None while unknown.
        message: something to show to the user, mostly empty.
        figures: loss and the like.
        validation: figures on the held-out pieces, where they are new.
    """

    stage: Literal["prepare", "train", "package"]
    done: int
    total: int
    seconds_left: float | None = None
    message: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] | None = None


ProgressCallback = Callable[[Update], object]


def prepare(
    recordings: Path | str,
    out: Path | str,
    audio: AudioConfig = AudioConfig(),
    features: FeaturesConfig = FeaturesConfig(),
    progress: ProgressCallback | None = None,
    encoder: content.ContentEncoder | None = None,
) -> DatasetReport:
    """Prepare every audio file in a folder and report on them.

    Args:
        recordings: a folder, searched with its sub-folders, or one file.
        out: the dataset's folder.
        audio: the frame grid.
        features: pitch range and encoder.
        progress: told after each recording.
        encoder: of the units; by default the one that ships.

    Raises:
        DatasetError: no folder, no audio, or too little of it (see `doctor.require_enough`).
    """
    recordings, out = Path(recordings), Path(out)
    encoder = encoder or content.embedded()
    found, ignored = find_audio(recordings, out)
    out.mkdir(parents=True, exist_ok=True)
    stamp = {"settings_hash": settings_hash(audio, features), "encoder_id": encoder.encoder_id}
    done: dict[str, Recording] = {}
    unreadable: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    began = time.monotonic()
    for number, path in enumerate(found, 1):
        name = path.relative_to(recordings).as_posix() if recordings.is_dir() else path.name
        try:
            key = checkpoint.file_hash(path)
            if key in done:
                duplicates[name] = done[key].file
            else:
                done[key] = _reuse(out, key, name, stamp) or _prepare_one(
                    path, name, key, out, stamp, audio, features, encoder
                )
        except (AudioError, OSError) as error:
            unreadable[name] = str(error)
        if progress:
            left = (time.monotonic() - began) / number * (len(found) - number)
            progress(Update("prepare", number, len(found), left if number > 1 else None, message=name))
    for stale in out.glob("*.safetensors"):
        if re.fullmatch("[0-9a-f]{16}", stale.stem) and not any(k.startswith(stale.stem) for k in done):
            stale.unlink()
    report = doctor.summarise(
        str(out), stamp["settings_hash"], stamp["encoder_id"], list(done.values()), ignored, unreadable, duplicates
    )
    sections = {"audio": audio.model_dump(), "features": features.model_dump()}
    save_json(out / "dataset.json", {"format": FORMAT, "version": VERSION, **sections, "report": report.to_json()})
    doctor.require_enough(report)
    return report


def find_audio(folder: Path, out: Path | None = None) -> tuple[list[Path], list[str]]:
    """Audio files in order of name, and the names of those that are hidden or not audio.

    Args:
        folder: searched with its sub-folders; or one file.
        out: a folder to leave out.

    Raises:
        DatasetError: it does not exist or holds no audio file.
    """
    if folder.is_file():
        return [folder], []
    if not folder.is_dir():
        raise DatasetError(f"{folder} does not exist; expected a folder of recordings. Check the path.")
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and (out is None or out not in p.parents))
    names = {p: p.relative_to(folder) for p in paths}
    hidden = {p for p in paths if any(part.startswith(".") for part in names[p].parts)}
    found = [p for p in paths if p not in hidden and p.suffix.lower() in SUFFIXES]
    if not found:
        raise DatasetError(
            f"{folder} holds no audio file ({len(paths)} other files); expected {', '.join(sorted(SUFFIXES)[:8])}, ... "
            "Check the path."
        )
    return found, [names[p].as_posix() for p in paths if p not in found]


def read_report(dataset: Path | str) -> tuple[DatasetReport, AudioConfig, FeaturesConfig]:
    """What a prepared dataset holds and the settings it was made with.

    Raises:
        DatasetError: there is no dataset, or another version's.
    """
    path = Path(dataset) / "dataset.json"
    again = f"Run: resing prepare RECORDINGS {dataset}"
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT or record["version"] != VERSION:
            raise DatasetError(f"{path} is {record['format']} {record['version']}, expected {FORMAT} {VERSION}. {again}")
        report = DatasetReport.from_json(record["report"])
        return report, AudioConfig(**record["audio"]), FeaturesConfig(**record["features"])
    except OSError as error:
        raise DatasetError(f"{dataset} is not a prepared dataset ({error.strerror}: dataset.json). {again}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged ({error}). {again}") from error


def save_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record beside its place and move it there whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(record, file, indent=1, allow_nan=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _reuse(out: Path, key: str, name: str, stamp: dict[str, str]) -> Recording | None:
    """What is known of a recording already prepared with the same settings."""
    path = out / f"{key[:16]}.safetensors"
    if not path.exists():
        return None
    try:
        metadata = checkpoint.read_metadata(path)
        if any(metadata.get(k) != v for k, v in stamp.items()):
            return None
        return Recording(**(metadata["recording"] | {"file": name}))
    except (VoiceError, KeyError, TypeError):
        return None


def _prepare_one(
    path: Path,
    name: str,
    key: str,
    out: Path,
    stamp: dict[str, str],
    audio: AudioConfig,
    features: FeaturesConfig,
    encoder: content.ContentEncoder,
) -> Recording:
    """Write one recording's features; returns what was measured."""
    samples = files.read(path, audio.sample_rate, mono=True)[0][0]
    level = frame_levels(samples, audio)
    heard = song_level(level)
    gain_db = min(REFERENCE_DB - heard, 20 * np.log10(HEADROOM / (np.abs(samples).max(initial=0.0) + 1e-9)))
    clipped = doctor.measure_clipping(samples)
    samples = samples * np.float32(10 ** (gain_db / 20))
    slices = frame_slices(samples, audio)
    narrow = soxr.resample(samples, audio.sample_rate, SWIFT_RATE)
    f0, _ = track(narrow, len(level), audio, features, threads=torch.get_num_threads())
    kept = np.concatenate([np.arange(a, b) for a, b in slices]) if slices else np.zeros(0, int)
    used = np.concatenate([samples[a * audio.hop_length : b * audio.hop_length] for a, b in slices] or [samples[:0]])
    recording = Recording(
        file=name,
        content_hash=key,
        seconds=len(samples) / audio.sample_rate,
        usable_seconds=len(kept) / audio.frame_rate,
        level_db=heard,
        snr_db=doctor.measure_snr(level, f0),
        clipped_share=clipped,
        bandwidth_hz=min(doctor.measure_bandwidth(used, audio), files.probe(path).sample_rate / 2),
        notes=doctor.count_notes(f0[kept], audio.frame_rate),
    )
    units = perturbed_units(narrow, len(level), audio, encoder, int(key[:8], 16)) if slices else np.zeros((3, 1, 0))
    tensors = {
        "audio": torch.from_numpy(np.round(used * 32767).astype(np.int16)),
        "units": torch.from_numpy(units[:, :, kept].astype(np.float16)),
        "f0": torch.from_numpy(f0[kept]),
        "loudness": torch.from_numpy(relative_loudness(level, heard)[kept]),
    }
    slice_frames = [b - a for a, b in slices]
    checkpoint.save(
        out / f"{key[:16]}.safetensors", tensors, stamp | {"recording": asdict(recording), "slices": slice_frames}
    )
    return recording


def frame_levels(samples: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """A-weighted level in dB of each house frame of (N,) samples, in bounded memory, (T,)."""
    frames, hop = audio.frame_count(len(samples)), audio.hop_length
    halo = -(-audio.n_fft // hop)
    pieces = []
    for start in range(0, frames, LEVEL_CHUNK_FRAMES):
        stop = min(start + LEVEL_CHUNK_FRAMES, frames)
        first = max(0, start - halo)
        chunk = torch.from_numpy(samples[first * hop : (stop + halo) * hop])[None]
        pieces.append(a_weighted_level(chunk, audio)[0, start - first : stop - first].numpy())
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def frame_slices(samples: np.ndarray, audio: AudioConfig) -> list[tuple[int, int]]:
    """First frame, and the one after the last, of each piece with singing in it; whole frames only."""
    whole, hop = len(samples) // audio.hop_length, audio.hop_length
    slices: list[tuple[int, int]] = []
    for first, last in slice_voiced(samples, audio.sample_rate):
        start = max(first // hop, slices[-1][1] if slices else 0)
        stop = min(-(-last // hop), whole)
        if stop > start:
            slices.append((start, stop))
    return slices


def perturbed_units(
    narrow: np.ndarray, frames: int, audio: AudioConfig, encoder: content.ContentEncoder, seed: int
) -> np.ndarray:
    """Units of a recording, and of two copies that sound like others, on the house grid.

    The copies are resampled (pitch and formants move together) and heard through a warped filter bank
    (formants alone), one down and one up, so that a voice learns to sing from anybody's units.

    Args:
        narrow: samples at 16 kHz, (N,).
        frames: T.
        audio: the frame grid.
        encoder: of the units.
        seed: of the copies.

    Returns:
        (3, C, T) float32; the first is unperturbed.
    """
    times = frame_times(frames, audio)
    versions = [content.to_grid(encoder(narrow), times)]
    random = np.random.default_rng(seed)
    for direction in (-1, 1)[:PERTURBED]:
        warp = float(np.exp(direction * random.uniform(0.06, 0.2)))
        ratio = float(np.exp(random.uniform(-0.25, 0.25)))
        copy = soxr.resample(narrow, ratio * content.SAMPLE_RATE, content.SAMPLE_RATE)
        versions.append(content.to_grid(encoder(copy, warp), times / ratio))
    return np.stack(versions)


