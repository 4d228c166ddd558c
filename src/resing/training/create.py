"""A voice from recordings, in one call: prepare, train, pick the best weights, package.

Everything about a run lies in one folder: what was asked (request.json), checkpoints, logs, the best
weights so far (best.safetensors) and the outcome (result.json). The same call after a crash goes on.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from resing import checkpoint
from resing import config as settings
from resing.config import PRESETS, FeaturesConfig, PresetName, TrainingConfig
from resing.errors import ConfigError, DatasetError, VoiceError
from resing.training import learning, machine, selection
from resing.training.audition import Audition, why_none
from resing.training.board import Board
from resing.training.dataset import VoiceData
from resing.training.doctor import DatasetReport
from resing.training.leads import leads_of
from resing.training.learning import AnyTask
from resing.training.loop import Progress, Trainer
from resing.training.machine import Machine
from resing.training.prepare import ProgressCallback, Update, find_audio, prepare, read_report, save_json
from resing.training.request import REQUEST, Request, VoiceFacts, facts_of, runs_folder
from resing.training.task import VoiceNet, VoiceTask, loop_config
from resing.voice import Installed, Voice, VoiceCard, check_name, find, user_folder

RESULT, BEST = "result.json", "best.safetensors"
BEFORE = "before.safetensors"
"""What a voice had learnt when its recordings changed: where its training goes on."""
CHECKPOINTS = "checkpoint-*.safetensors"
WHOLE = "There are no auditions of voices that are whole models: the held-out error decides."
MEASURED_STEPS = 5
"""Steps after which the time left is told."""


def create_voice(
    name: str,
    recordings: Path | str,
    licence: str,
    consent: str,
    *,
    songs: bool = False,
    preset: PresetName = "embedded",
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
        preset: what the voice is made with, a key of `config.PRESETS`.
        training: how to train; by default as the preset says.
        progress: told of every recording and step; raise from it to cancel.
        about: the other fields of `VoiceFacts`.

    Returns:
        The voice, saved among the user's voices.

    Raises:
        DatasetError: the recordings do not suffice.
        ConfigError: a fact is missing or wrong.
        VoiceError: the name is taken or cannot be one.
        DownloadError: the preset needs models that are not here; says how to get them.
    """
    learning.models(preset)
    facts = facts_of({"name": name, "licence": licence, "consent": consent, **about})
    run = runs_folder() / check_name(name)
    if not (run / RESULT).exists():
        refuse_taken(name)
    find_audio(Path(recordings))
    training = training or PRESETS[preset].training
    Request(facts, training, run / "dataset", Path(recordings), songs=songs, preset=preset).save(run)
    return resume(run, progress)


def train_voice(
    dataset: Path | str,
    run: Path | str,
    facts: VoiceFacts,
    training: TrainingConfig | None = None,
    *,
    preset: PresetName = "embedded",
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
        preset: see `create_voice`.
        features: what the dataset must have been prepared with; None takes it as it is.
        progress: see `create_voice`.
        out: the voice file; by default it goes among the user's voices.

    Raises:
        DatasetError: the dataset is missing, or prepared with other settings or another encoder.
        ResingError: training diverged.
    """
    training = training or PRESETS[preset].training
    request = Request(facts, training, Path(dataset), out=Path(out) if out else None, preset=preset)
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
        prepare(recordings, request.dataset, features=PRESETS[request.preset].features, progress=progress)
    return _train_request(request, folder, None, progress)


def _train_request(
    request: Request, run: Path, features: FeaturesConfig | None, progress: ProgressCallback | None
) -> Voice:
    tell = progress or (lambda _: None)
    installed = learning.models(request.preset)
    _, _, prepared = read_report(request.dataset)
    heard, seed = features or prepared, request.training.seed
    data = VoiceData.load(request.dataset, installed.audio, heard, installed.encoder_id, seed, request.preset)
    _check_card(request.facts, data, installed)
    trainer, task = _open_run(run, request, data, installed, tell)
    _train(trainer, task, request, installed, tell)
    voice = _package(run, request, task, installed)
    path = request.out or user_folder() / f"{request.facts.name}.safetensors"
    voice.save(path)
    tell(Update("package", 1, 1, 0.0, message=f"{path} is ready. {voice.card.training['summary']}"))
    return voice


def _open_run(
    run: Path, request: Request, data: VoiceData, installed: Installed, tell: Callable[[Update], object]
) -> tuple[Trainer, AnyTask]:
    """The trainer, resumed if the run's folder holds a training of the same recordings on the same models."""
    here, training = Machine.find(request.training.device), request.training
    begun = learning.begin(request.preset, data, installed, training)
    task, stamp = begun.task, begun.stamp
    steps = selection.planned_steps(data.report.minutes, training)
    changed = _forget_other_training(run, stamp)
    if changed:
        tell(Update("train", 0, steps, message=changed))
    known = _newest_metadata(run)
    if not known and (run / BEFORE).exists():
        _take_up(task, checkpoint.load(run / BEFORE)[0])
    task.model.to(here.device)
    task.config = training = machine.settle(training, task, here, known.get("batch_size"))
    about = {"stamp": stamp, "seconds": known.get("seconds", 0.0), "batch_size": training.batch_size}
    trainer = Trainer(task, run, loop_config(steps, training), about)
    for note in [*trainer.warnings, *data.report.warnings, *begun.notes]:
        tell(Update("train", trainer.step, steps, message=note))
    return trainer, task


def _train(
    trainer: Trainer, task: AnyTask, request: Request, installed: Installed, tell: Callable[[Update], object]
) -> None:
    """Run the loop to its end or to the plateau, keeping the best weights beside the checkpoints."""
    training = request.training
    if trainer.step >= trainer.config.steps:
        return
    if trainer.step and selection.judge(selection.read_history(trainer.folder), training.patience).stop:
        return
    _add_auditions(trainer, task, request, installed, tell)
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


def _add_auditions(
    trainer: Trainer, task: AnyTask, request: Request, installed: Installed, tell: Callable[[Update], object]
) -> None:
    """Have the weights judged by how they sing; where that is not to be, say why."""
    adapts = isinstance(task, VoiceTask) and isinstance(task.voice, VoiceNet)
    none = why_none(task.config, trainer.config.steps, trainer.device) if adapts else WHOLE
    if none or not isinstance(task, VoiceTask):
        tell(Update("train", trainer.step, trainer.config.steps, message=none))
        return
    features = task.data.features
    card = card_of(request.facts, task.data.report, features, installed, {})
    start: dict[str, Tensor] = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    audition = Audition(learning.adapted(start, card, installed, features), task.data)
    task.audition = lambda weights: audition(learning.adapted(weights, card, installed, features))


class _Follower:
    """Keeps the best weights, tells the caller how it goes, and says when to stop."""

    def __init__(self, trainer: Trainer, training: TrainingConfig, tell: Callable[[Update], object]) -> None:
        self.trainer, self.training, self.tell = trainer, training, tell
        self.first, self.began, self.before = trainer.step, time.monotonic(), trainer.metadata["seconds"]
        best = trainer.folder / BEST
        self.best = checkpoint.read_metadata(best) if best.exists() else {}

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
        run, history = self.trainer.folder, selection.read_history(self.trainer.folder)
        if selection.is_better(told.validation, self.best):
            known = {name: told.validation[name] for name in selection.DECIDING if name in told.validation}
            self.best = {"step": told.step, **known, **self.trainer.metadata}
            checkpoint.save(run / BEST, self.trainer.ema, self.best)
        return selection.judge(history, self.training.patience).stop


def _package(run: Path, request: Request, task: AnyTask, installed: Installed) -> Voice:
    """The voice with the best weights and its card; the outcome is noted in the run's folder."""
    history, data = selection.read_history(run), task.data
    tensors, best = checkpoint.load(run / BEST)
    report, training = data.report, task.config
    steps = selection.planned_steps(report.minutes, training)
    figures: dict[str, Any] = {
        "preset": request.preset,
        "steps": history[-1]["step"],
        "best_step": best["step"],
        "seconds": _newest_metadata(run).get("seconds", 0.0),
        "held_out_score": best["score"],
        "audition": {name: round(value, 4) for name, value in selection.heard(history, best["step"]).items()},
        "held_out_pieces": len(data.held),
        "settings": training.model_dump(),
        "summary": selection.explain(history, best, steps, training.patience, report),
    }
    save_json(run / RESULT, figures | {"report": report.to_json()})
    card = card_of(request.facts, report, data.features, installed, figures)
    return learning.voice(task, tensors, card, installed)


def best_so_far(run: Path) -> tuple[Voice, int] | None:
    """The voice as a run has it at its best so far, and the step of its weights.

    None before the first weights are kept, and for presets whose voices are whole models.
    """
    if not (run / BEST).exists():
        return None
    request, installed = Request.load(run, {}), Installed.read()
    if request.preset != "embedded":
        return None
    report, _, features = read_report(request.dataset)
    weights, best = checkpoint.load(run / BEST)
    card = card_of(request.facts, report, features, installed, {"step": best["step"]})
    return learning.adapted(weights, card, installed, features), int(best["step"])


def card_of(
    facts: VoiceFacts,
    report: DatasetReport,
    features: FeaturesConfig,
    installed: Installed,
    figures: dict[str, Any],
) -> VoiceCard:
    """The card of a voice: what its owner says, what was heard in its recordings, how it was made."""
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
        encoder_hash=learning.encoder_hash(features),
        base_hash=installed.base_hash,
        vocoder_id=installed.vocoder_id,
        recordings=len(report.recordings),
        training=figures,
    )


def _check_card(facts: VoiceFacts, data: VoiceData, installed: Installed) -> None:
    """Refuse facts that the card will not take now, not after the training."""
    try:
        card_of(facts, data.report, data.features, installed, {})
    except ValidationError as error:
        raise ConfigError(f"the voice's {settings.explain(error, VoiceCard)}") from error


def refuse_taken(name: str) -> None:
    """Refuse the name of a voice that is here already.

    Raises:
        VoiceError: it is.
    """
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


def _forget_other_training(run: Path, stamp: dict[str, Any]) -> str:
    """Put aside what was learnt from other recordings, delete what other models or a torn file left.

    Returns:
        What has changed, in a sentence; empty if nothing has.
    """
    for torn in run.glob(".*.part"):
        torn.unlink()
    left = [_newest_metadata(run, pattern) for pattern in (CHECKPOINTS, BEST)]
    if all(not metadata or metadata.get("stamp") == stamp for metadata in left):
        return ""
    known = left[1].get("stamp", {})
    learns_on = bool(known) and known | {"fingerprint": stamp["fingerprint"]} == stamp
    if learns_on:
        (run / BEST).replace(run / BEFORE)
    else:
        (run / BEFORE).unlink(missing_ok=True)
    for pattern in (CHECKPOINTS, BEST, RESULT, "losses.jsonl", "validation.jsonl", "events.out.tfevents.*"):
        for path in run.glob(pattern):
            path.unlink()
    if learns_on:
        return "The recordings have changed: the voice learns on from what it knew."
    return "The models or settings have changed: training starts anew."


def _take_up(task: AnyTask, learnt: dict[str, Tensor]) -> None:
    """Put what a voice had learnt into what is about to learn."""
    for name, parameter in task.model.named_parameters():
        if name in learnt:
            parameter.data.copy_(learnt[name])
