"""`resing voice create`, and the same step by step: `prepare`, `train`, `resume`."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import ValidationError

from resing.cli_output import Json, Progress, clock, progress, say, show_json
from resing.config import PRESETS, PresetName, TrainingConfig, explain
from resing.errors import ConfigError

if TYPE_CHECKING:
    from resing.training.doctor import DatasetReport
    from resing.training.prepare import Update
    from resing.voice import Voice

_SETTINGS = ", ".join(f"{name}={field.default}" for name, field in TrainingConfig.model_fields.items())
Preset = Annotated[
    PresetName,
    Parameter(
        help="what the voice is made with: embedded, what ships; big, the community's models, for a GPU "
        "(resing models list); classic, the networks of Diff-SVC."
    ),
]
Settings = Annotated[
    list[str] | None,
    Parameter("--set", negative="", help=f"training setting, may be repeated. Defaults: {_SETTINGS}."),
]


@Parameter(name="*")
@dataclass
class Facts:
    """What the card will say that no recording tells.

    Attributes:
        licence: terms of the voice's use, such as "CC BY 4.0" or "private".
        consent: how the person agreed, such as "my own voice".
        whose: the person, character or synthesiser heard.
        source: where the recordings come from.
        credit: line to print where the voice is used.
        languages: heard in the recordings, such as en,fr.
        sex: female, male or unstated.
        kind: singing, speech or synthetic singing.
    """

    licence: str
    consent: str
    whose: str | None = None
    source: str | None = None
    credit: str | None = None
    languages: str | None = None
    sex: str | None = None
    kind: str | None = None

    def given(self) -> dict[str, Any]:
        """The facts that were stated."""
        facts: dict[str, Any] = {name: value for name, value in asdict(self).items() if value is not None}
        if "languages" in facts:
            facts["languages"] = tuple(part.strip() for part in facts["languages"].split(",") if part.strip())
        return facts


def create(
    name: str,
    recordings: Path,
    /,
    *,
    facts: Facts,
    songs: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="the recordings are songs: separate their leads."),
    ] = False,
    preset: Preset = "embedded",
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Make a voice of recordings: prepare, train, pick the best weights, package.

    Interrupted, the same command goes on where it was.

    Args:
        name: of the voice: letters, digits, - and _.
        recordings: folder of audio files of one singer; ten minutes are plenty, one is the least.
    """
    from resing.training.create import create_voice

    training = training_config(settings, preset)
    with progress() as bars, _hint(f"resing resume {name}"):
        about = {"songs": songs, "preset": preset, "training": training, **facts.given()}
        voice = create_voice(name, recordings, progress=follow(bars), **about)
    _finish(voice, json)


def clone(name: str, clip: Path, /, *, facts: Facts, json: Json = False) -> None:
    """Make a preview of a voice from one clip, in seconds and without training.

    Args:
        name: of the voice: letters, digits, - and _.
        clip: 10 to 30 seconds of one singer or speaker, with nothing else in it.
    """
    from resing.training.clone import clone_voice

    voice = clone_voice(name, clip, **facts.given())
    say(f"Wrote {name}. {voice.card.training['summary']}")
    _finish(voice, json)


def prepare(
    recordings: Path,
    out: Annotated[Path, Parameter(["--out", "-o"])],
    *,
    preset: Preset = "embedded",
    json: Json = False,
) -> None:
    """Prepare recordings for training and say how good they are.

    Args:
        recordings: folder of audio files, or one file.
        out: folder for the dataset.
    """
    from resing.training.prepare import prepare as prepare_recordings

    features = PRESETS[preset].features
    with progress() as bars:
        report = prepare_recordings(recordings, out, features=features, progress=follow(bars))
    if json:
        show_json(report)
    _describe(report)
    flag = "" if preset == "embedded" else f"--preset {preset} "
    say(f"Wrote {out}. Next: resing train {out} --out RUN {flag}--name NAME --licence ... --consent ...")


def train(
    dataset: Path,
    run: Annotated[Path, Parameter(["--out", "-o"])],
    *,
    name: str,
    facts: Facts,
    preset: Preset = "embedded",
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Train a voice on a prepared dataset and add it to your voices.

    Args:
        dataset: folder that `resing prepare` wrote.
        run: folder for checkpoints, logs and pictures (TensorBoard shows it).
        name: of the voice.
    """
    from resing.training.create import train_voice
    from resing.training.request import VoiceFacts

    training = training_config(settings, preset)
    try:
        about = VoiceFacts(name=name, **facts.given())
    except ValidationError as error:
        raise ConfigError(f"the voice's {explain(error, VoiceFacts)}") from error
    with progress() as bars, _hint(f"resing resume {run}"):
        voice = train_voice(dataset, run, about, training, preset=preset, progress=follow(bars))
    _finish(voice, json)


def resume(run: str, /, *, settings: Settings = None, json: Json = False) -> None:
    """Go on with an interrupted training.

    Args:
        run: its folder, or the name of the voice that `resing voice create` was making.
    """
    from resing.training.create import resume as resume_run

    changes = _changes(settings)
    with progress() as bars, _hint(f"resing resume {run}"):
        voice = resume_run(run, progress=follow(bars), **changes)
    _finish(voice, json)


def training_config(settings: list[str] | None, preset: PresetName = "embedded") -> TrainingConfig:
    """The training settings of a preset with the changes of `--set`.

    Raises:
        ConfigError: a setting is unknown or has the wrong type.
    """
    try:
        given = TrainingConfig.model_validate_strings(_changes(settings))
        changes = {name: getattr(given, name) for name in given.model_fields_set}
        return PRESETS[preset].training.model_copy(update=changes)
    except ValidationError as error:
        raise ConfigError(f"--set {explain(error, TrainingConfig)}") from error


def _changes(settings: list[str] | None) -> dict[str, str]:
    changes = {}
    for setting in settings or []:
        key, sign, value = setting.partition("=")
        if not sign:
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as --set batch_size=4")
        changes[key.strip().removeprefix("training.")] = value.strip()
    return changes


def follow(bars: Progress) -> "Callable[[Update], None]":
    """A callback for `prepare` and the trainings that shows what it is told."""
    from resing.training.selection import in_words

    def told(update: "Update") -> None:
        file = update.stage in ("separate", "prepare")
        if update.message and not file:
            bars.say(update.message)
        loss = update.figures.get("loss")
        remark = update.message if file else f"loss {loss:.3f}" if loss is not None else ""
        bars.report(update.stage, update.done, update.total, update.seconds_left, remark)
        if update.validation and "score" in update.validation:
            bars.say(f"step {update.done}: {in_words(update.validation)}")

    return told


@contextlib.contextmanager
def _hint(command: str) -> Iterator[None]:
    """On Ctrl-C, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped; what is done is kept. Go on with: {command}")
        raise


def _describe(report: "DatasetReport") -> None:
    """The doctor's findings, in sentences."""
    used = len(report.recordings)
    say(f"{used} recording{'s' * (used != 1)}, {clock(report.minutes * 60)} of singing or speech.")
    if report.range_hz:
        low, high = report.range_hz
        say(f"Notes from {low:.0f} to {high:.0f} Hz; sound up to {report.bandwidth_hz / 1000:.1f} kHz.")
    for file, reason in report.unreadable.items():
        say(f"Left out {file}: {reason}")
    for file, other in report.duplicates.items():
        say(f"Left out {file}: the same as {other}")
    for warning in report.warnings:
        say(f"Note: {warning}")


def _finish(voice: "Voice", json: bool) -> None:
    if json:
        show_json(voice.card)
    say(f"Try it: resing convert SONG.flac --voice {voice.card.name} -o OUT.flac")
