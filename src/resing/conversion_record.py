"""What a conversion decided, kept beside its output: enough to make the same file again."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from resing.config import ConvertOptions
from resing.conversion_retakes import Settled
from resing.errors import AudioError, ConfigError
from resing.whole import whole

RENDERING = 3
"""Counts up when the same options and models give other samples."""


@dataclass(frozen=True)
class ConversionRecord:
    """Everything that was decided, written beside the output as OUT.json.

    Attributes:
        resing: version of the package.
        source: the file that was sung again, and its SHA-256.
        out: the file made.
        voice: name or path of the voice, and the hash of its weights.
        encoder_id, base_hash, vocoder_id: the models used.
        options: as given, with what was automatic filled in.
        transpose: the key in semitones.
        range: shares of singing time below, inside and above the voice's range, and the notes moved into it.
        seconds: duration.
        gain_db: applied after rendering to be as loud as the source.
        limited_db: how much of that was held back so that nothing clips.
        times: seconds spent on each stage.
        real_time_factor: seconds spent per second of audio.
        rendering: RENDERING of the Resing that made it; 1 before there was one.
        pitch_sha256: of the pitch file that was sung, None without one.
        doubts: where the note that was heard is not sure: start_seconds, end_seconds, reason.
        reverberant: a long reverb was heard in the source.
        levels: exact, as `conversion_output.Levels`; of a song of which a phrase was sung anew, those kept.
        retakes: weak phrases that were sung again, as `conversion_retakes.Retake`.
        sung_seconds: how much was sung; less than `seconds` where the rest was kept from the last time.
        song: of `song/arrange.py`: its options, what was asked, and what separation and mix did.
    """

    resing: str
    source: str
    source_sha256: str
    out: str
    voice: str
    voice_hash: str
    encoder_id: str
    base_hash: str
    vocoder_id: str
    options: dict[str, Any]
    transpose: float
    range: dict[str, Any]
    seconds: float
    gain_db: float
    limited_db: float
    times: dict[str, float]
    real_time_factor: float
    rendering: int = 1
    pitch_sha256: str | None = None
    doubts: list[dict[str, Any]] = field(default_factory=list)
    reverberant: bool = False
    levels: dict[str, float] = field(default_factory=dict)
    retakes: list[dict[str, Any]] = field(default_factory=list)
    sung_seconds: float | None = None
    song: dict[str, Any] | None = None

    @property
    def settled(self) -> Settled:
        """What makes the same again beside the options."""
        settled = Settled.of({"levels": self.levels, "retakes": self.retakes})
        return replace(settled, mix=(self.song or {}).get("mix"))

    def save(self) -> Path:
        """Write OUT.json beside the output, whole or not at all.

        Raises:
            AudioError: it cannot be written.
        """
        path = Path(self.out + ".json")
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        try:
            with whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise AudioError(f"{path}: cannot be written ({error.strerror}); free some space") from error
        return path

    @classmethod
    def load(cls, path: Path | str) -> "tuple[ConversionRecord, ConvertOptions]":
        """A record and the options in it.

        Raises:
            ConfigError: the file is none.
        """
        try:
            record = cls(**json.loads(Path(path).read_text(encoding="utf-8")))
            return record, ConvertOptions(**record.options)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{path} is no record of a conversion ({error}); give the OUT.json beside an output"
            ) from error
