"""A voice from recordings, in one call: prepare, train, pick the best weights, package.

Everything about a run lies in one folder: what was asked (request.json), checkpoints, logs, the best
weights so far (best.safetensors) and the outcome (result.json). The same call after a crash goes on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError

from resing import checkpoint
from resing import config as settings
from resing.cache import home
from resing.config import FeaturesConfig, Settings, TrainingConfig
from resing.errors import ConfigError, DatasetError, VoiceError
from resing.features import content
from resing.synthesis import acoustic
from resing.synthesis.acoustic import AcousticModel
from resing.training import selection
from resing.training.board import Board
from resing.training.dataset import VoiceData
from resing.training.doctor import DatasetReport, several_voices
from resing.training.leads import leads_of
from resing.training.loop import Progress, Trainer
from resing.training.prepare import ProgressCallback, Update, find_audio, prepare, read_report, save_json
from resing.training.task import VoiceNet, VoiceTask, loop_config, mean_speaker, speaker_vectors
from resing.voice import Installed, Voice, VoiceCard, check_name, find, user_folder

REQUEST, RESULT, BEST = "request.json", "result.json", "best.safetensors"
CHECKPOINTS = "checkpoint-*.safetensors"
MEASURED_STEPS = 5
"""Steps after which the time left is told."""


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
    """

    facts: VoiceFacts
    training: TrainingConfig
    dataset: Path
    recordings: Path | None = None
    out: Path | None = None
    songs: bool = False

    def save(self, run: Path) -> None:
        """Write request.json."""
        run.mkdir(parents=True, exist_ok=True)
        named = {"dataset": self.dataset, "recordings": self.recordings, "out": self.out}
        paths = {k: v and str(v.absolute()) for k, v in named.items()}
        sections = {"facts": self.facts.model_dump(mode="json"), "training": self.training.model_dump()}
        save_json(run / REQUEST, sections | paths | {"songs": self.songs})

    @classmethod
    def load(cls, run: Path, changes: dict[str, Any]) -> "Request":
        """Read request.json, with changes to its training settings."""
        record = json.loads((run / REQUEST).read_text())
        facts, training = _facts(record.pop("facts")), record.pop("training")
        songs = record.pop("songs", False)
        try:
            config = TrainingConfig(**(training | changes))
        except ValidationError as error:
            raise ConfigError(f"training: {settings.explain(error, TrainingConfig)}") from error
        return cls(facts, config, **{k: v and Path(v) for k, v in record.items()}, songs=songs)


def runs_folder() -> Path:
    """Where the runs of `create_voice` lie, one folder per voice."""
    return home() / "runs"


def create_voice(
    name: str,
    recordings: Path | str,
    licence: str,
    consent: str,
    *,
    songs: bool = False,
    training: TrainingConfig | None = None,
    progress: ProgressCallback | None = None,
    **about: Any,
) -> Voice:
    """Make a voice of a folder of recordings; the same call after an interruption goes on where it was.

    Args:
        name: of the voice: letters, digits, - and _.
        recordings: a folder with audio files.
        licence: terms of the voice's use.
        consent: how the person agreed, or why nobody has to.
        songs: the recordings are songs; their leads are separated first.
        training: how to train.
        progress: told of every recording and step; raise from it to cancel.
        about: the other fields of `VoiceFacts`.

    Returns:
        The voice, saved among the user's voices.

    Raises:
        DatasetError: the recordings do not suffice.
        ConfigError: a fact is missing or wrong.
        VoiceError: the name is taken or cannot be one.
    """
    facts = _facts({"name": name, "licence": licence, "consent": consent, **about})
    run = runs_folder() / check_name(name)
    if not (run / RESULT).exists():
        _refuse_taken(name)
    find_audio(Path(recordings))
    Request(facts, training or TrainingConfig(), run / "dataset", Path(recordings), songs=songs).save(run)
    return resume(run, progress)


def train_voice(
    dataset: Path | str,
    run: Path | str,
    facts: VoiceFacts,
    training: TrainingConfig | None = None,
    *,
    features: FeaturesConfig | None = None,
    progress: ProgressCallback | None = None,
    out: Path | str | None = None,
) -> Voice:
    """Train a voice on a prepared dataset, or go on with it, and save it with the best weights.

    Args:
        dataset: folder written by `prepare`.
        run: folder for checkpoints and logs.
        facts: for the card.
        training: how to train; other settings than at the last call hold from here on.
        features: what the dataset must have been prepared with; None takes it as it is.
        progress: see `create_voice`.
        out: the voice file; by default it goes among the user's voices.

    Raises:
        DatasetError: the dataset is missing, or prepared with other settings or another encoder.
        ResingError: training diverged.
    """
    request = Request(facts, training or TrainingConfig(), Path(dataset), out=Path(out) if out else None)
    request.save(Path(run))
    return _train_request(request, Path(run), features, progress)


def resume(run: Path | str, progress: ProgressCallback | None = None, **changes: Any) -> Voice:
    """Go on with an interrupted run; a finished one is only packaged again.

    Args:
        run: its folder, or the name of a voice that `create_voice` was making.
        progress: see `create_voice`.
        changes: training settings to change from here on.

    Raises:
        DatasetError: there is no run.
    """
    folder = Path(run) if (Path(run) / REQUEST).exists() else runs_folder() / str(run)
    try:
        request = Request.load(folder, changes)
    except (OSError, ValueError, KeyError) as error:
        known = ", ".join(sorted(p.parent.name for p in runs_folder().glob(f"*/{REQUEST}"))) or "none"
        raise DatasetError(
            f"there is no run to resume at {folder}; known: {known}. Begin one: resing voice create"
        ) from error
    request.save(folder)
    if request.recordings is not None and request.recordings.exists():
        recordings = request.recordings
        if request.songs:
            recordings = leads_of(recordings, folder / "leads", progress)
        prepare(recordings, request.dataset, progress=progress)
    return _train_request(request, folder, None, progress)


def _train_request(
    request: Request, run: Path, features: FeaturesConfig | None, progress: ProgressCallback | None
) -> Voice:
    tell = progress or (lambda _: None)
    installed = Installed.read()
    _, _, prepared = read_report(request.dataset)
    data = VoiceData.load(
        request.dataset, installed.audio, features or prepared, installed.encoder_id, request.training.seed
    )
    _check_card(request.facts, data.report, installed)
    trainer, task = _open_run(run, data, installed, request.training, tell)
    _train(trainer, task, request.training, tell)
    voice = _package(run, request, data, installed, prepared)
    path = request.out or user_folder() / f"{request.facts.name}.safetensors"
    voice.save(path)
    tell(Update("package", 1, 1, 0.0, message=f"{path} is ready. {voice.card.training['summary']}"))
    return voice


def _open_run(
    run: Path,
    data: VoiceData,
    installed: Installed,
    training: TrainingConfig,
    tell: Callable[[Update], object],
) -> tuple[Trainer, VoiceTask]:
    """The trainer, resumed if the run's folder holds a training of the same recordings on the same models."""
    base = AcousticModel.load(acoustic.EMBEDDED)
    vectors = speaker_vectors(base, data.stretches())
    model = VoiceNet(base.net, mean_speaker(vectors), base.config.adapter_rank, training.seed)
    stamp = {
        "fingerprint": data.report.fingerprint,
        "base_hash": installed.base_hash,
        "adapter_rank": base.config.adapter_rank,
        "seed": training.seed,
    }
    steps = selection.planned_steps(data.report.minutes, training)
    if _forget_other_training(run, stamp):
        anew = "The recordings or the models have changed: training starts anew."
        tell(Update("train", 0, steps, message=anew))
    seconds = _newest_metadata(run).get("seconds", 0.0)
    task = VoiceTask(model, data, base.config, training)
    trainer = Trainer(task, run, loop_config(steps, training), {"stamp": stamp, "seconds": seconds})
    notes = [*trainer.warnings, *data.report.warnings, *filter(None, [several_voices(vectors.numpy())])]
    for note in notes:
        tell(Update("train", trainer.step, steps, message=note))
    return trainer, task


def _train(
    trainer: Trainer, task: VoiceTask, training: TrainingConfig, tell: Callable[[Update], object]
) -> None:
    """Run the loop to its end or to the plateau, keeping the best weights beside the checkpoints."""
    if trainer.step >= trainer.config.steps:
        return
    if trainer.step and selection.judge(selection.read_history(trainer.folder), training.patience).stop:
        return
    follow = _Follower(trainer, training, tell)
    with Board(trainer, task) as board:

        def callback(told: Progress) -> bool:
            board.step(told)
            return follow(told)

        try:
            trainer.run(callback)
        except SafetensorError as error:
            raise DatasetError(
                f"{trainer.folder}: a checkpoint cannot be written ({error}); free some space, then run the "
                "same command again: it goes on from the checkpoint before."
            ) from error


class _Follower:
    """Keeps the best weights, tells the caller how it goes, and says when to stop."""

    def __init__(self, trainer: Trainer, training: TrainingConfig, tell: Callable[[Update], object]) -> None:
        self.trainer, self.training, self.tell = trainer, training, tell
        self.first, self.began, self.before = trainer.step, time.monotonic(), trainer.metadata["seconds"]
        best = trainer.folder / BEST
        self.best_score = checkpoint.read_metadata(best)["score"] if best.exists() else float("inf")

    def __call__(self, told: Progress) -> bool:
        done = told.step - self.first
        self.trainer.metadata["seconds"] = round(self.before + time.monotonic() - self.began, 1)
        message = ""
        if done == MEASURED_STEPS:
            message = f"{told.steps} steps in all, at most {told.seconds_left / 60:.0f} min to go."
        left = told.seconds_left if done >= MEASURED_STEPS else None
        figures = {"loss": told.loss, **told.figures}
        stop = self._judge(told) if told.validation else False
        self.tell(Update("train", told.step, told.steps, left, message, figures, told.validation))
        return stop

    def _judge(self, told: Progress) -> bool:
        assert told.validation is not None
        run, score = self.trainer.folder, told.validation["score"]
        if score < self.best_score:
            self.best_score = score
            about = {"step": told.step, "score": score, **self.trainer.metadata}
            checkpoint.save(run / BEST, self.trainer.ema, about)
        return selection.judge(selection.read_history(run), self.training.patience).stop


def _package(
    run: Path, request: Request, data: VoiceData, installed: Installed, features: FeaturesConfig
) -> Voice:
    """The voice with the best weights and its card; the outcome is noted in the run's folder."""
    history, report = selection.read_history(run), data.report
    best = checkpoint.read_metadata(run / BEST)
    training = request.training
    steps = selection.planned_steps(report.minutes, training)
    figures: dict[str, Any] = {
        "steps": history[-1]["step"],
        "best_step": best["step"],
        "seconds": _newest_metadata(run).get("seconds", 0.0),
        "held_out_score": best["score"],
        "held_out_pieces": len(data.held),
        "settings": training.model_dump(),
        "summary": selection.explain(history, best, steps, training.patience, report),
    }
    save_json(run / RESULT, figures | {"report": report.to_json()})
    return _best(run, _card(request.facts, report, installed, figures), installed, features)


def _best(run: Path, card: VoiceCard, installed: Installed, features: FeaturesConfig) -> Voice:
    """A voice of that card with the best weights of a run."""
    tensors, _ = checkpoint.load(run / BEST)
    adapters = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
    return Voice(card, installed.model, installed.audio, tensors["speaker"], adapters, features=features)


def best_so_far(run: Path) -> tuple[Voice, int] | None:
    """The voice as a run has it at its best so far, and the step of its weights; None before the first."""
    if not (run / BEST).exists():
        return None
    request, installed = Request.load(run, {}), Installed.read()
    report, _, features = read_report(request.dataset)
    step = int(checkpoint.read_metadata(run / BEST)["step"])
    return _best(run, _card(request.facts, report, installed, {"step": step}), installed, features), step


def _card(
    facts: VoiceFacts, report: DatasetReport, installed: Installed, figures: dict[str, Any]
) -> VoiceCard:
    low, high = report.range_hz
    return VoiceCard(
        **facts.model_dump(exclude={"languages"}),
        languages=list(facts.languages),
        minutes=round(report.minutes, 2),
        range_hz=(low, high),
        f0_histogram={note: round(minutes, 4) for note, minutes in report.f0_histogram.items()},
        bandwidth_hz=report.bandwidth_hz,
        created=datetime.now(UTC).date().isoformat(),
        encoder_id=installed.encoder_id,
        encoder_hash=checkpoint.file_hash(content.EMBEDDED),
        base_hash=installed.base_hash,
        vocoder_id=installed.vocoder_id,
        recordings=len(report.recordings),
        training=figures,
    )


def _check_card(facts: VoiceFacts, report: DatasetReport, installed: Installed) -> None:
    """Refuse facts that the card will not take now, not after the training."""
    try:
        _card(facts, report, installed, {})
    except ValidationError as error:
        raise ConfigError(f"the voice's {settings.explain(error, VoiceCard)}") from error


def _facts(values: dict[str, Any]) -> VoiceFacts:
    for key in ("licence", "consent"):
        if not str(values.get(key, "")).strip():
            raise ConfigError(f'a voice needs its {key}, got nothing; add --{key} "..." in a few words.')
    try:
        return VoiceFacts(**values)
    except ValidationError as error:
        raise ConfigError(f"the voice's {settings.explain(error, VoiceFacts)}") from error


def _refuse_taken(name: str) -> None:
    try:
        path = find(name)
    except VoiceError:
        return
    raise VoiceError(
        f"a voice named {name} exists already ({path}); choose another name, or remove it first: "
        f"resing voice remove {name}"
    )


def _newest_metadata(run: Path, pattern: str = CHECKPOINTS) -> dict[str, Any]:
    """Settings of the newest file that can be read."""
    for path in sorted(run.glob(pattern), reverse=True):
        try:
            return checkpoint.read_metadata(path)
        except VoiceError:
            continue
    return {}


def _forget_other_training(run: Path, stamp: dict[str, Any]) -> bool:
    """Delete what a training of other recordings left, and torn files; whether there was such a training."""
    for torn in run.glob(".*.part"):
        torn.unlink()
    left = [_newest_metadata(run, pattern) for pattern in (CHECKPOINTS, BEST)]
    if all(not metadata or metadata.get("stamp") == stamp for metadata in left):
        return False
    for pattern in (CHECKPOINTS, BEST, RESULT, "losses.jsonl", "validation.jsonl", "events.out.tfevents.*"):
        for path in run.glob(pattern):
            path.unlink()
    return True
