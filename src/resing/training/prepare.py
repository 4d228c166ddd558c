"""Recordings in, a prepared dataset out: a file of features per recording, and what the doctor says of them.

A dataset is a folder with one safetensors file per recording (16 digits of the recording's hash) and
dataset.json, which is written last. Running it again does only what is missing.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soxr
import torch
from safetensors import SafetensorError

from resing import checkpoint
from resing.audio import files
from resing.audio.decoding import SUFFIXES
from resing.audio.slicing import slice_voiced
from resing.config import AudioConfig, FeaturesConfig, settings_hash
from resing.errors import AudioError, DatasetError, VoiceError
from resing.features import content, ears, hubert
from resing.features.extract import Features, extract_array
from resing.features.f0 import frame_times
from resing.synthesis import acoustic, vocoder
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.vocoder import Vocoder
from resing.training import doctor
from resing.training.doctor import DatasetReport, Recording
from resing.training.machine import Machine
from resing.training.strangers import Line, Strangers
from resing.whole import whole

FORMAT, VERSION = "resing-dataset", 1
WARP = (0.06, 0.2)
RESAMPLE = 0.25
"""How far copies are perturbed, as natural logarithms of frequency ratios."""


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

    stage: Literal["separate", "prepare", "train", "package"]
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
    audio: AudioConfig | None = None,
    features: FeaturesConfig | None = None,
    progress: ProgressCallback | None = None,
    encoder: content.ContentEncoder | None = None,
    strangers: Strangers | None = None,
) -> DatasetReport:
    """Prepare every audio file in a folder and report on them.

    Args:
        recordings: a folder, searched with its sub-folders, or one file.
        out: the dataset's folder.
        audio: the frame grid.
        features: pitch range and encoder.
        progress: told after each recording.
        encoder: of the units; by default the one that `features` name.
        strangers: who sing the copies; by default those of the base that ships.

    Raises:
        DatasetError: no folder, no audio, or too little of it (see `doctor.require_enough`).
        DownloadError: a model that `features` name is not here.
    """
    recordings, out = Path(recordings), Path(out)
    audio, features = audio or AudioConfig(), features or FeaturesConfig()
    foreign = features.content_encoder in hubert.MODELS
    own = None if encoder and strangers else content.ContentEncoder.load(content.EMBEDDED)
    encoder = encoder or (ears.encoder(features, Machine.find().device) if foreign else own)
    assert encoder is not None
    if strangers is None:
        base, sound = AcousticModel.load(acoustic.EMBEDDED), Vocoder.load(vocoder.EMBEDDED)
        strangers = Strangers(base, sound, encoder, audio, own if foreign else None)
    job = _Job(out, audio, features, encoder, strangers)
    found, ignored = find_audio(recordings, out)
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
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
                done[key] = _reuse(job, key, name) or _prepare_one(job, path, key, name)
        except (AudioError, PermissionError) as error:
            unreadable[name] = str(error)
        if progress:
            left = (time.monotonic() - began) / number * (len(found) - number)
            progress(Update("prepare", number, len(found), left if number > 1 else None, message=name))
    report = doctor.summarise(
        str(out),
        job.stamp["settings_hash"],
        job.stamp["encoder_id"],
        list(done.values()),
        ignored,
        unreadable,
        duplicates,
    )
    _write_dataset(job, report)
    doctor.require_enough(report)
    return report


@dataclass(frozen=True)
class _Job:
    """Where prepared recordings go and how they are heard."""

    out: Path
    audio: AudioConfig
    features: FeaturesConfig
    encoder: content.ContentEncoder
    strangers: Strangers

    @property
    def stamp(self) -> dict[str, str]:
        """What a prepared recording must match to be used again."""
        return {
            "settings_hash": settings_hash(self.audio, self.features),
            "encoder_id": self.encoder.encoder_id,
        }

    def path(self, key: str) -> Path:
        """The file of the recording with this hash."""
        return self.out / f"{key[:16]}.safetensors"


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DatasetError(
            f"{folder} cannot be written ({error}); free some space or choose another folder, then run the "
            "same command again: it goes on from here."
        ) from error


def _write_dataset(job: _Job, report: DatasetReport) -> None:
    """Write dataset.json and delete what belongs to recordings that are gone."""
    sections = {"audio": job.audio.model_dump(), "features": job.features.model_dump()}
    record = {"format": FORMAT, "version": VERSION, **sections, "report": report.to_json()}
    with _writing(job.out):
        save_json(job.out / "dataset.json", record)
    used = {job.path(r.content_hash) for r in report.recordings}
    for path in job.out.glob("*.safetensors"):
        if path not in used and re.fullmatch("[0-9a-f]{16}", path.stem):
            path.unlink()


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
    found = [p for p in paths if p not in hidden and SUFFIXES.fullmatch(p.suffix)]
    if not found:
        raise DatasetError(
            f"{folder} holds no audio file ({len(paths)} other files); expected wav, flac, mp3, m4a, ogg, "
            "opus, aiff or videos with sound. Check the path."
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
            raise DatasetError(
                f"{path} is {record['format']} {record['version']}, expected {FORMAT} {VERSION}. {again}"
            )
        report = DatasetReport.from_json(record["report"])
        return report, AudioConfig(**record["audio"]), FeaturesConfig(**record["features"])
    except OSError as error:
        raise DatasetError(
            f"{dataset} is not a prepared dataset ({error.strerror}: dataset.json). {again}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged ({error}). {again}") from error


def save_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record beside its place and move it there whole."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False))


def _reuse(job: _Job, key: str, name: str) -> Recording | None:
    """What is known of a recording already prepared with the same settings."""
    if not job.path(key).exists():
        return None
    try:
        metadata = checkpoint.read_metadata(job.path(key))
        if any(metadata.get(k) != v for k, v in job.stamp.items()):
            return None
        return Recording(**(metadata["recording"] | {"file": name}))
    except (VoiceError, KeyError, TypeError):
        return None


@dataclass(frozen=True, eq=False)
class Measured:
    """A recording, listened to once.

    Attributes:
        recording: what was measured.
        heard: what is sung in it, from start to end.
        level: samples at the reference level, (N,).
        slices: first frame, and the one after the last, of each piece with singing in it.
    """

    recording: Recording
    heard: Features
    level: np.ndarray
    slices: list[tuple[int, int]]

    @property
    def kept(self) -> np.ndarray:
        """Frames of the slices, (K,)."""
        return np.concatenate([np.arange(a, b) for a, b in self.slices] or [np.zeros(0, int)])

    def used(self, hop_length: int) -> np.ndarray:
        """Samples of the slices, joined, (K * hop_length,)."""
        frames = self.level[: len(self.level) // hop_length * hop_length].reshape(-1, hop_length)
        return frames[self.kept].reshape(-1)


def measure(
    path: Path,
    key: str,
    name: str,
    audio: AudioConfig,
    features: FeaturesConfig,
    encoder: content.ContentEncoder,
) -> Measured:
    """Listen to one recording.

    Args:
        path: an audio file.
        key: its hash.
        name: what reports call it.
        audio: the frame grid.
        features: pitch range.
        encoder: of the units.

    Raises:
        AudioError: it cannot be read.
    """
    samples = files.read(path, audio.sample_rate, mono=True)[0][0]
    heard = extract_array(samples, audio.sample_rate, audio, features, encoder, name)
    level = samples * np.float32(heard.reference_gain)
    slices = frame_slices(level, audio)
    kept = sum(b - a for a, b in slices)
    blank = Recording(
        name, key, heard.seconds, kept / audio.frame_rate, heard.song_level_db, None, 0.0, 0.0, {}
    )
    found = Measured(blank, heard, level, slices)
    band = doctor.measure_bandwidth(found.used(audio.hop_length), audio)
    recording = replace(
        blank,
        snr_db=doctor.measure_snr(heard.loudness, heard.f0),
        clipped_share=doctor.measure_clipping(samples),
        bandwidth_hz=min(band, files.probe(path).sample_rate / 2),
        notes=doctor.count_notes(heard.f0[found.kept], audio.frame_rate),
    )
    return replace(found, recording=recording)


def _prepare_one(job: _Job, path: Path, key: str, name: str) -> Recording:
    """Write one recording's features; returns what was measured."""
    audio, encoder = job.audio, job.encoder
    found = measure(path, key, name, audio, job.features, encoder)
    heard, slices, kept, used = found.heard, found.slices, found.kept, found.used(audio.hop_length)
    recording = found.recording
    narrow = soxr.resample(found.level, audio.sample_rate, content.SAMPLE_RATE)
    whole = [heard.window(0, len(heard.f0)), *perturbed_units(narrow, len(heard.f0), audio, encoder, key)]
    sung = whole[0]
    if job.strangers.ears is not None:
        sung = content.to_grid(job.strangers.ears(narrow), frame_times(len(heard.f0), audio))
    units = [*np.stack(whole)[:, :, kept], *strangers_units(sung, heard, slices, job.strangers, key)]
    scale = max(1.0, float(np.abs(used).max(initial=0.0)))  # int16 must not clip
    tensors = {
        "audio": torch.from_numpy(np.round(used / scale * 32767).astype(np.int16)),
        "units": torch.from_numpy(np.stack(units).astype(np.float16)),
        "f0": torch.from_numpy(heard.f0[kept]),
        "loudness": torch.from_numpy(heard.loudness[kept]),
    }
    about = {"recording": asdict(recording), "scale": scale, "slices": [b - a for a, b in slices]}
    with _writing(job.out):
        checkpoint.save(job.path(key), tensors, job.stamp | about)
    return recording


def strangers_units(
    units: np.ndarray, heard: Features, slices: list[tuple[int, int]], strangers: Strangers, key: str
) -> list[np.ndarray]:
    """Units of the slices, each sung by a stranger, joined to one (C, T); nothing where there are none.

    Args:
        units: from which the base sings, (C, T).
        heard: melody and loudness.
        slices: first frame of each, and the one after the last.
        strangers: who sing.
        key: of the recording; decides who.
    """
    if not len(strangers) or not slices:
        return []
    random = np.random.default_rng([int(key[:8], 16), 1])
    lines = [Line(units[:, a:b], heard.f0[a:b], heard.loudness[a:b]) for a, b in slices]
    return [np.concatenate([strangers.units(line, random) for line in lines], axis=1)]


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
    narrow: np.ndarray, frames: int, audio: AudioConfig, encoder: content.ContentEncoder, key: str
) -> list[np.ndarray]:
    """Units of two copies of a recording that sound like other voices, on the house grid, each (C, T).

    The copies are resampled (pitch and formants move together) and heard through a warped filter bank
    (formants alone), one down and one up, so that a voice learns to sing from anybody's units. An encoder
    that hears a waveform has no filter bank: then resampling alone goes one down and one up.

    Args:
        narrow: samples at 16 kHz and the reference level, (N,).
        frames: T.
        audio: the frame grid.
        encoder: of the units.
        key: of the recording; decides by how much.
    """
    times, copies = frame_times(frames, audio), []
    random = np.random.default_rng(int(key[:8], 16))
    for direction in (-1, 1):
        warp = float(np.exp(direction * random.uniform(*WARP)))
        ratio = float(np.exp(random.uniform(-RESAMPLE, RESAMPLE)))
        if not encoder.warps:
            ratio, warp = warp, 1.0
        copy = soxr.resample(narrow, ratio * content.SAMPLE_RATE, content.SAMPLE_RATE)
        copies.append(content.to_grid(encoder(copy, warp), times / ratio))
    return copies
