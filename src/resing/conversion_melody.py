"""What is to be sung: the melody that was heard or is given in a file, in the voice's key and range."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from resing import pitch
from resing.config import ConvertOptions
from resing.errors import ConfigError
from resing.features.extract import Features
from resing.features.f0 import fill_unvoiced, frame_times
from resing.pitch_file import PitchTable, save_pitch
from resing.pitch_tune import tune
from resing.synthesis.vocoder import phase_of_phrases


@dataclass(frozen=True, eq=False)
class Score:
    """What is to be sung per frame: f0 in Hz, > 0 everywhere, and pulse cycles at the frame's start.

    `singer` is the vector of who sings in the source, (1, S), whom the voice is led away from; `articulation`
    what is added to the mel, (bands, T).
    """

    features: Features
    f0: np.ndarray
    phase: np.ndarray
    singer: Tensor | None = None
    articulation: np.ndarray | None = None

    @property
    def melody(self) -> dict[str, np.ndarray]:
        """What changes with the melody alone, as `conversion_take.MELODY` names it."""
        return {"f0": self.f0, "voiced": self.features.voiced, "phase": self.phase}


def arrange(
    heard: Features, limits: pitch.VoiceRange, options: ConvertOptions, table: PitchTable | None = None
) -> tuple[Score, ConvertOptions, pitch.RangeReport]:
    """The score, the options with the key filled in, and how the song lies in the voice's range.

    Args:
        heard: the song.
        limits: of the voice.
        options: key, tuning, and what becomes of notes outside the range.
        table: a melody to sing instead of the one heard; the automatic key follows what was heard.
    """
    rate = heard.audio.frame_rate
    notes = pitch.find_notes(heard.f0, rate)
    if isinstance(options.transpose, str):
        transpose = float(pitch.auto_transpose(notes, limits, options.transpose == "octaves"))
    else:
        transpose = options.transpose
    if table:
        heard = _with_melody(heard, table, options.start_seconds)
        notes = pitch.find_notes(heard.f0, rate)
    melody = heard.f0
    if options.tune:
        melody = tune(melody, notes, options.tune, options.tune_strength, rate)
        notes = pitch.find_notes(melody, rate)
    sung, report = pitch.sing_in_range(
        melody, notes, transpose, limits, options.out_of_range, rate, options.start_seconds
    )
    f0 = fill_unvoiced(sung)
    score = Score(heard, f0, phase_of_phrases(f0, heard.voiced, heard.audio))
    return score, options.model_copy(update={"transpose": transpose}), report


def _with_melody(heard: Features, table: PitchTable, start_seconds: float) -> Features:
    """What was heard with the melody of a table; what is silent stays silent."""
    f0, confidence = table.at(start_seconds + frame_times(len(heard.f0), heard.audio))
    f0[heard.silent] = 0.0
    return replace(heard, f0=f0, voiced=f0 > 0, confidence=confidence)


def check_pitch_out(pitch_out: Path | str | None, *others: Path | str | None) -> None:
    """Refuse to write a melody over another file of the conversion, or to what is no .csv.

    Raises:
        ConfigError: says what to choose.
    """
    taken = {Path(other).absolute() for other in others if other}
    if pitch_out and (Path(pitch_out).absolute() in taken or Path(pitch_out).suffix.lower() != ".csv"):
        raise ConfigError(f"--pitch-out: got {pitch_out}, expected a new .csv file; choose another name")


def save_melody(path: Path | str, features: Features, start_seconds: float) -> None:
    """Write the melody of features, its times counted from the start of the song."""
    times = start_seconds + frame_times(len(features.f0), features.audio)
    save_pitch(path, times, features.f0, features.confidence)
