"""What is asked of a training, kept in the folder of its run so that it can be taken up again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from resing import config as settings
from resing.cache import home
from resing.config import PresetName, Settings, TrainingConfig
from resing.errors import ConfigError
from resing.training.prepare import save_json

REQUEST = "request.json"


class VoiceFacts(Settings):
    """What only the user can say about a voice; see `VoiceCard` for each."""

    name: str
    licence: str
    consent: str
    whose: str = ""
    source: str = ""
    credit: str = ""
    languages: tuple[str, ...] = ()
    sex: Literal["female", "male", "unstated"] = "unstated"
    kind: Literal["singing", "speech", "synthetic singing"] = "singing"


def facts_of(values: dict[str, Any]) -> VoiceFacts:
    """What the user says of a voice.

    Raises:
        ConfigError: licence or consent is missing, or a fact is wrong.
    """
    for key in ("licence", "consent"):
        if not str(values.get(key, "")).strip():
            raise ConfigError(f'a voice needs its {key}, got nothing; add --{key} "..." in a few words.')
    try:
        return VoiceFacts(**values)
    except ValidationError as error:
        raise ConfigError(f"the voice's {settings.explain(error, VoiceFacts)}") from error


@dataclass(frozen=True)
class Request:
    """What was asked for, kept in the run's folder so that it can be taken up again.

    Attributes:
        facts: for the card.
        training: how to train.
        dataset: folder of the prepared dataset.
        recordings: where it is prepared from; None if that is not our business.
        out: the voice file; None puts it among the user's voices.
        songs: the recordings are songs, of which only the leads are wanted.
        preset: what the voice is made with.
    """

    facts: VoiceFacts
    training: TrainingConfig
    dataset: Path
    recordings: Path | None = None
    out: Path | None = None
    songs: bool = False
    preset: PresetName = "embedded"

    def save(self, run: Path) -> None:
        """Write request.json."""
        run.mkdir(parents=True, exist_ok=True)
        named = {"dataset": self.dataset, "recordings": self.recordings, "out": self.out}
        paths = {k: v and str(v.absolute()) for k, v in named.items()}
        sections = {"facts": self.facts.model_dump(mode="json"), "training": self.training.model_dump()}
        save_json(run / REQUEST, sections | paths | {"songs": self.songs, "preset": self.preset})

    @classmethod
    def load(cls, run: Path, changes: dict[str, Any]) -> "Request":
        """Read request.json, with changes to its training settings."""
        record = json.loads((run / REQUEST).read_text())
        facts, training = facts_of(record.pop("facts")), record.pop("training")
        songs, preset = record.pop("songs", False), record.pop("preset", "embedded")
        try:
            config = TrainingConfig(**(training | changes))
        except ValidationError as error:
            raise ConfigError(f"training: {settings.explain(error, TrainingConfig)}") from error
        return cls(facts, config, **{k: v and Path(v) for k, v in record.items()}, songs=songs, preset=preset)


def runs_folder() -> Path:
    """Where the runs of `create_voice` lie, one folder per voice."""
    return home() / "runs"
