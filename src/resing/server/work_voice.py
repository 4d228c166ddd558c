"""What the two jobs that make a voice do: look at the recordings, then train on them."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from resing.audio.decoding import SUFFIXES
from resing.config import PRESETS
from resing.conversion import Converter
from resing.errors import ResingError, VoiceError
from resing.server import schema
from resing.server.task import Task
from resing.server.work import sing_sample
from resing.training.create import best_so_far, train_voice
from resing.training.doctor import note_name
from resing.training.leads import leads_of
from resing.training.prepare import Update, prepare
from resing.training.request import runs_folder
from resing.training.selection import in_words
from resing.voice import find

BEST = "best.flac"
UNSAFE = re.compile(r"[^\w .()-]+")
LONGEST_NAME = 80
SHARES = {"separate": (0.0, 0.7), "prepare": (0.7, 0.3)}
"""Where each stage begins in a preparation and how much of it it is, if leads are separated."""


def recordings(task: Task) -> dict[str, Any]:
    """A report on recordings; the prepared dataset stays with the job, for `create_voice`."""
    request, folder = schema.Recordings(**task.entry.request), task.folder
    sources = folder / "recordings"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir()
    for number, upload in enumerate(request.uploads, 1):
        name = safe_name(task.store.upload(upload)["name"], number)
        _link(task.places.upload(upload), sources / name)

    def told(update: Update) -> None:
        first, size = SHARES[update.stage] if request.songs else (0.0, 1.0)
        share = first + size * update.done / max(1, update.total)
        task.tell(update.stage, share, None if request.songs else update.seconds_left, update.message)

    task.tell("prepare", 0.0)
    heard = leads_of(sources, folder / "leads", told) if request.songs else sources
    features = PRESETS[request.preset].features
    report = prepare(heard, folder / "dataset", features=features, progress=told).to_json()
    low, high = report["range_hz"]
    return {"report": report | {"folder": ""}, "range": f"{_note(low)} to {_note(high)}"}


def create_voice(task: Task) -> dict[str, Any]:
    """The card of a voice trained on looked-at recordings; taken up again, it goes on from its checkpoint."""
    request = schema.CreateVoice(**task.entry.request)
    run = runs_folder() / request.facts.name
    if task.entry.attempts == 1:
        refuse_taken(request.facts.name)
    dataset = task.places.job(request.recordings) / "dataset"
    best = Best(task, run)

    def told(update: Update) -> None:
        if update.message:
            task.note(update.message.replace(str(run.parent), ""))
        if update.validation and "score" in update.validation:
            task.note(f"Step {update.done}: {in_words(update.validation)}.")
            best.listen()
        figures = update.figures | {"step": float(update.done), "steps": float(update.total)} | best.figures
        task.tell(
            update.stage,
            update.done / max(1, update.total),
            update.seconds_left,
            update.message,
            figures,
        )

    task.tell("train", 0.0)
    preset = schema.Recordings(**task.store.job(request.recordings).request).preset
    given = request.training.model_dump(exclude_defaults=True)
    training = PRESETS[preset].training.model_copy(update=given)
    voice = train_voice(dataset, run, request.facts, training, preset=preset, progress=told)
    return {"card": voice.card.model_dump(mode="json")}


class Best:
    """How a voice sounds at its best so far: a few bars in the job's folder, sung anew when it got better.

    Args:
        task: the training.
        run: its folder.
    """

    def __init__(self, task: Task, run: Path) -> None:
        self.task, self.run, self.step = task, run, 0

    def listen(self) -> None:
        """Sing, if there are better weights than the last time."""
        found = best_so_far(self.run)
        if found is None or found[1] == self.step:
            return
        voice, self.step = found
        try:
            sing_sample(Converter(voice), self.task.folder / BEST)
        except ResingError as error:
            self.step = 0
            self.task.note(f"Cannot be heard yet: {str(error).replace(str(self.task.folder), '')}")

    @property
    def figures(self) -> dict[str, float]:
        """The step of what can be heard, once there is something."""
        return {"best_step": float(self.step)} if self.step else {}


def refuse_taken(name: str) -> None:
    """Refuse the name of a voice that is there.

    Raises:
        VoiceError: it is.
    """
    try:
        find(name)
    except VoiceError:
        return
    raise VoiceError(f"a voice named {name} exists already; choose another name, or remove it first")


def safe_name(name: str, number: int) -> str:
    """A file's name that cannot be anything else: numbered, of plain letters, with an ending of sound."""
    stem, dot, ending = name.rpartition(".")
    suffix = f".{ending.lower()}" if dot and SUFFIXES.fullmatch(f".{ending}") else ".wav"
    plain = UNSAFE.sub("_", stem if dot else name).strip(" .")[:LONGEST_NAME]
    return f"{number:03d} {plain or 'recording'}{suffix}"


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise ResingError(f"a recording cannot be copied ({error.strerror}); free some space") from error


def _note(hz: float) -> str:
    from resing.pitch import hz_to_semitones

    return note_name(round(float(hz_to_semitones(hz))))


WORK = {"recordings": recordings, "voice": create_voice}
