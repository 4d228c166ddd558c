"""A prepared dataset in memory: random segments to train a voice on, fixed held-out ones to judge it by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resing import checkpoint
from resing.audio.mel import log_mel
from resing.config import AudioConfig, FeaturesConfig, settings_hash
from resing.errors import DatasetError
from resing.features.f0 import fill_unvoiced
from resing.training.acoustic import AcousticBatch
from resing.training.doctor import DatasetReport, require_enough
from resing.training.loop import Randomness
from resing.training.prepare import read_report

HELD_SHARE = 0.1
PERTURBED_SHARE = 0.6
GAIN_DB = 2.0
DB_TO_LOG = float(np.log(10) / 20)
HELD_ROWS, HELD_FRAMES = 12, 192
STRETCH_FRAMES = 256


@dataclass(frozen=True)
class Piece:
    """One slice of a recording.

    Attributes:
        recording: the file it comes from.
        mel: natural-log mel, (M, T).
        units: of the recording, of its perturbed copies and as strangers sing it, (V, C, T) float16.
        f0: Hz > 0 everywhere, (T,).
        voiced: 1 where f0 was heard, (T,).
        loudness: dB relative to the recording, (T,).
        bandwidth_hz: of the recording.
    """

    recording: str
    mel: Tensor
    units: Tensor
    f0: Tensor
    voiced: Tensor
    loudness: Tensor
    bandwidth_hz: float

    @property
    def frames(self) -> int:
        """T."""
        return self.mel.shape[1]


class VoiceData:
    """The pieces of one voice, some of them held out.

    Args:
        pieces: at least two.
        audio: the frame grid.
        report: what was found when the dataset was prepared.
        seed: of the choice of the held-out pieces.
        features: how the recordings were heard.
    """

    def __init__(
        self,
        pieces: list[Piece],
        audio: AudioConfig,
        report: DatasetReport,
        seed: int = 0,
        features: FeaturesConfig | None = None,
    ) -> None:
        if len(pieces) < 2:
            raise ValueError(f"expected at least two pieces, one of them to hold out, got {len(pieces)}")
        self.audio, self.report, self.features = audio, report, features or FeaturesConfig()
        held = _held_out(pieces, seed)
        self.train = [p for i, p in enumerate(pieces) if i not in held]
        self.held = [p for i, p in enumerate(pieces) if i in held]
        frames = np.array([p.frames for p in self.train], float)
        self.chance = frames / frames.sum()

    @classmethod
    def load(
        cls,
        folder: Path | str,
        audio: AudioConfig,
        features: FeaturesConfig,
        encoder_id: str,
        seed: int = 0,
        preset: str = "embedded",
    ) -> "VoiceData":
        """The dataset in `folder`.

        Args:
            folder: written by `prepare`.
            audio, features, encoder_id: what it must have been prepared with.
            seed: of the choice of the held-out pieces.
            preset: to be named where it must be prepared again.

        Raises:
            DatasetError: there is none, too little in it, or it was prepared with other settings.
        """
        report, _, _ = read_report(folder)
        require_enough(report)
        flag = "" if preset == "embedded" else f" --preset {preset}"
        again = f"Prepare the recordings again: resing prepare RECORDINGS {folder}{flag}"
        expected = (settings_hash(audio, features), encoder_id)
        for what, got, want in zip(
            ("settings", "encoder"), (report.settings_hash, report.encoder_id), expected, strict=True
        ):
            if got != want:
                raise DatasetError(
                    f"{folder} was prepared with {what} {got}, training expects {want}. {again}"
                )
        pieces: list[Piece] = []
        for recording in report.recordings:
            path = Path(folder) / f"{recording.content_hash[:16]}.safetensors"
            if not path.exists():
                raise DatasetError(f"{path}, the features of {recording.file}, is missing. {again}")
            pieces += read_pieces(path, audio)
        return cls(pieces, audio, report, seed, features)

    def batch(
        self, random: Randomness, rows: int, frames: int, perturbed_share: float = PERTURBED_SHARE
    ) -> AcousticBatch:
        """Random segments of the training pieces with some gain, many of them with perturbed units.

        Args:
            random: source of all chance.
            rows: B.
            frames: T.
            perturbed_share: how many of them.
        """
        chosen = []
        for number in random.numpy.choice(len(self.train), rows, p=self.chance):
            piece = self.train[number]
            start = int(random.numpy.integers(0, max(0, piece.frames - frames) + 1))
            perturbed = random.numpy.random() < perturbed_share
            version = int(random.numpy.integers(1, len(piece.units))) if perturbed else 0
            chosen.append(_segment(piece, start, frames, version, random.numpy.uniform(-GAIN_DB, GAIN_DB)))
        return _collate(chosen)

    def held_batch(self) -> AcousticBatch:
        """Segments spread over the held-out pieces, always the same, each with clean and perturbed units."""
        starts = [
            (p, s) for p in self.held for s in range(0, max(1, p.frames - HELD_FRAMES // 2), HELD_FRAMES)
        ]
        picks = np.linspace(0, len(starts) - 1, min(HELD_ROWS, len(starts))).round().astype(int)
        rows = []
        for number, pick in enumerate(picks):
            piece, start = starts[pick]
            frames = min(HELD_FRAMES, max(p.frames for p in self.held))
            rows.append(_segment(piece, start, frames, 0))
            rows.append(_segment(piece, start, frames, 1 + number % (len(piece.units) - 1)))
        return _collate(rows)

    def stretches(self, most: int = 200) -> Tensor:
        """Mels of stretches of the training pieces, to hear the voice by, (K, M, STRETCH_FRAMES).

        Args:
            most: how many at most, spread evenly.
        """
        return stretches_of(torch.cat([p.mel for p in self.train], dim=1), most)


def stretches_of(mel: Tensor, most: int) -> Tensor:
    """Stretches of natural-log mel (M, T), at most so many, spread evenly, (K, M, STRETCH_FRAMES)."""
    if mel.shape[1] < STRETCH_FRAMES:
        mel = mel.repeat(1, -(-STRETCH_FRAMES // mel.shape[1]))
    count = min(most, mel.shape[1] // STRETCH_FRAMES)
    starts = np.linspace(0, mel.shape[1] - STRETCH_FRAMES, count).round().astype(int)
    return torch.stack([mel[:, s : s + STRETCH_FRAMES] for s in starts.tolist()])


def read_pieces(path: Path, audio: AudioConfig) -> list[Piece]:
    """The slices of one prepared recording.

    Raises:
        VoiceError: the file is damaged.
    """
    tensors, metadata = checkpoint.load(path)
    recording, hop = metadata["recording"], audio.hop_length
    pieces, first = [], 0
    for frames in metadata["slices"]:
        part = slice(first, first + frames)
        samples = tensors["audio"][first * hop : (first + frames) * hop].float() * (metadata["scale"] / 32767)
        f0 = tensors["f0"][part]
        pieces.append(
            Piece(
                recording["file"],
                log_mel(samples[None], audio)[0],
                tensors["units"][:, :, part],
                torch.from_numpy(fill_unvoiced(f0.numpy())),
                (f0 > 0).float(),
                tensors["loudness"][part],
                recording["bandwidth_hz"],
            )
        )
        first += frames
    return pieces


def _held_out(pieces: list[Piece], seed: int) -> set[int]:
    """Numbers of pieces drawn until a tenth of the time is held out; one at least, and never all."""
    wanted = HELD_SHARE * sum(p.frames for p in pieces)
    held: set[int] = set()
    for number in np.random.default_rng([seed, 1]).permutation(len(pieces))[:-1].tolist():
        if held and sum(pieces[i].frames for i in held) >= wanted:
            break
        held.add(number)
    return held


def _segment(piece: Piece, start: int, frames: int, version: int, gain_db: float = 0.0) -> AcousticBatch:
    """Frames from `start` as one row, padded where the piece ends."""
    part = slice(start, min(start + frames, piece.frames))
    missing = frames - (part.stop - part.start)
    floor = float(piece.mel.min())
    return AcousticBatch(
        mel=F.pad((piece.mel[:, part] + gain_db * DB_TO_LOG).clamp_min(floor), (0, missing), value=floor),
        units=F.pad(piece.units[version, :, part].float(), (0, missing)),
        f0=F.pad(piece.f0[None, part], (0, missing), mode="replicate")[0],
        voiced=F.pad(piece.voiced[part], (0, missing)),
        loudness=F.pad(piece.loudness[part] + gain_db, (0, missing), value=-60.0),
        bandwidth=torch.tensor(piece.bandwidth_hz),
        valid=F.pad(torch.ones(part.stop - part.start), (0, missing)),
    )


def _collate(rows: list[AcousticBatch]) -> AcousticBatch:
    return AcousticBatch(
        **{name: torch.stack([getattr(row, name) for row in rows]) for name in vars(rows[0])}
    )
