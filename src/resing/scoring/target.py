"""The voice that an output is held against: its file, and its own recordings where they are given."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from resing.errors import DatasetError, VoiceError
from resing.scoring import metrics
from resing.scoring.clip import HEARING_RATE, Clip, speaker_vectors
from resing.synthesis import acoustic
from resing.synthesis.acoustic import AcousticModel
from resing.voice import Voice

LEAST_SECONDS = 60.0
MOST_SECONDS = 300.0
Measure = Callable[..., np.ndarray]
SOUNDS = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aiff", ".aif"}


@dataclass(frozen=True, eq=False)
class Recordings:
    """What a voice's own recordings sound like.

    Attributes:
        seconds: of sound that was heard.
        centroid: of the speaker vectors of 10 s windows, of length one, (S,).
        ceiling: mean cosine of each window with the centroid of the others: no output can be expected above.
        spectrum: frequencies in Hz and mean power density.
        bandwidth_hz: up to where they hold sound.
        hnr_db, hnr_high_db, cpp_db: medians over their sure frames; None without one.
    """

    seconds: float
    centroid: np.ndarray
    ceiling: float
    spectrum: tuple[np.ndarray, np.ndarray]
    bandwidth_hz: float
    hnr_db: float | None
    hnr_high_db: float | None
    cpp_db: float | None

    @classmethod
    def listen(cls, folder: Path | str, model: AcousticModel) -> "Recordings":
        """The recordings in a folder, up to five minutes of them, taken evenly.

        Raises:
            DatasetError: there are none, or less than a minute.
            AudioError: one cannot be read or holds no singing.
        """
        clips = _read_some(find_recordings(folder))
        seconds = float(sum(clip.active.sum() for clip in clips) / HEARING_RATE)
        if seconds < LEAST_SECONDS:
            raise DatasetError(
                f"{folder}: {seconds:.0f} s of singing or speech, expected at least {LEAST_SECONDS:.0f} s; "
                "add recordings of the voice that it was not made from"
            )
        found = cls.of(clips, model)
        for clip in clips:
            clip.keep()
        return found

    @classmethod
    def of(cls, clips: list[Clip], model: AcousticModel) -> "Recordings":
        """What some clips sound like, with the speaker encoder of a model."""
        weights = np.array([clip.active.sum() for clip in clips], dtype=np.float64)
        vectors = speaker_vectors(model, np.concatenate([clip.house_audio(clip.active) for clip in clips]))
        spectrum = clips[0].spectrum[0], np.average([clip.density for clip in clips], axis=0, weights=weights)
        return cls(
            seconds=float(weights.sum() / HEARING_RATE),
            centroid=metrics.unit(vectors.mean(axis=0)),
            ceiling=metrics.leave_one_out(vectors),
            spectrum=spectrum,
            bandwidth_hz=metrics.bandwidth(*spectrum),
            hnr_db=_median(clips, weights, metrics.hnr),
            hnr_high_db=_median(clips, weights, metrics.hnr_high),
            cpp_db=_median(clips, weights, metrics.cpp),
        )


@dataclass(frozen=True, eq=False)
class Target:
    """A voice to be held against.

    Attributes:
        name: of the voice.
        voice: as it was opened.
        recordings: of the same singer, not used in training; None where none were given.
    """

    voice: Voice
    recordings: Recordings | None = None

    @classmethod
    def load(cls, voice: Voice | Path | str, recordings: Path | str | None = None) -> "Target":
        """The voice of that name or in that file, and the recordings in a folder.

        Raises:
            VoiceError: the voice is unknown or cannot be opened.
            DatasetError: the recordings do not suffice.
        """
        opened = voice if isinstance(voice, Voice) else Voice.load(voice)
        target = cls(opened)
        return cls(opened, Recordings.listen(recordings, target.model)) if recordings else target

    @property
    def name(self) -> str:
        """Of the voice."""
        return self.voice.card.name

    @cached_property
    def model(self) -> AcousticModel:
        """The model whose speaker encoder listens: the one that the voice was made with."""
        own = self.voice.acoustic if self.voice.full else None
        return own if isinstance(own, AcousticModel) else AcousticModel.load(acoustic.EMBEDDED)

    @property
    def reference(self) -> np.ndarray:
        """The vector that stands for the voice, of length one, (S,): its recordings' or the voice file's."""
        if self.recordings is not None:
            return self.recordings.centroid
        if self.voice.card.imported:
            raise VoiceError(
                f"the voice {self.name} comes from another system and says nothing about its sound; give its "
                "recordings to compare with"
            )
        return metrics.unit(self.voice.speaker[0].numpy())

    def vectors(self, clip: Clip, active: np.ndarray) -> np.ndarray:
        """Speaker vectors of 10 s windows of a clip where `active`, bool (N16,), says so, (W, S)."""
        return speaker_vectors(self.model, clip.house_audio(active))


def find_recordings(folder: Path | str) -> list[Path]:
    """The audio files in a folder and its folders, by name.

    Raises:
        DatasetError: the folder is missing or holds none.
    """
    if not Path(folder).is_dir():
        raise DatasetError(f"{folder}: no such folder; give the folder with the voice's own recordings")
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SOUNDS)
    if not found:
        raise DatasetError(
            f"{folder}: no audio files, expected {', '.join(sorted(SOUNDS))}; give the folder with the "
            "voice's own recordings"
        )
    return found


def _read_some(paths: list[Path]) -> list[Clip]:
    """Clips of files spread evenly over the list until there is enough to know a voice by."""
    order = np.argsort([_bit_reversed(number) for number in range(len(paths))], kind="stable")
    clips, seconds = [], 0.0
    for number in order:
        clip = Clip.remembered(paths[number])
        clips.append(clip)
        seconds += clip.active.sum() / HEARING_RATE
        if seconds >= MOST_SECONDS:
            break
    return clips


def _bit_reversed(number: int) -> float:
    """Van der Corput's sequence, 0 to 1: its order visits a list evenly, however early one stops."""
    return int(f"{number:032b}"[::-1], 2) / 2.0**32


def _median(clips: list[Clip], weights: np.ndarray, measure: Measure) -> float | None:
    values = [metrics.median_at(measure, clip.audio_16k, HEARING_RATE, clip.pitch) for clip in clips]
    return metrics.weighted_median(values, weights)
