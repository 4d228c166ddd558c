"""A job in the hands of a worker: where its files go, whom it tells how far it is, when it must stop."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resing.server.entries import Entry
from resing.server.limits import Limits
from resing.server.places import Places
from resing.server.store import Store

TOLD_SECONDS = 0.3
"""The database hears of progress, and is asked whether to go on, no more often than this."""


class StopWork(Exception):  # noqa: N818 - nothing is wrong
    """The job ends here because that was asked for."""


class ServerGone(StopWork):
    """The server is no more: the job goes back to the queue."""


class OutOfTime(StopWork):
    """The job took longer than it may."""


class Task:
    """A job being worked on.

    Args:
        store: the database.
        entry: the job.
        limits: how long it may take.
        stopping: whether the worker is to end.
    """

    def __init__(
        self, store: Store, entry: Entry, limits: Limits, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self.store, self.entry, self.limits, self.stopping = store, entry, limits, stopping
        self.began, self._told = time.monotonic(), 0.0
        self.deadline = self.began + job_seconds(entry.kind, limits)
        self._stages: dict[str, float] = {}

    @property
    def places(self) -> Places:
        """The server's folders."""
        return self.store.places

    @property
    def folder(self) -> Path:
        """For what the job makes; a job that is taken up again finds what was there."""
        path = self.places.job(self.entry.id)
        path.mkdir(exist_ok=True, mode=0o700)
        return path

    def clear(self) -> Path:
        """The folder, empty."""
        shutil.rmtree(self.places.job(self.entry.id), ignore_errors=True)
        return self.folder

    def expect(self, stages: Mapping[str, float]) -> None:
        """Say beforehand which stages there will be and how many seconds each will take."""
        self._stages = dict(stages)

    def stage(self, stage: str, done: float, total: float) -> None:
        """Tell of a stage that was expected; the share is that of all stages, by their seconds.

        Raises:
            StopWork: the job is to end.
        """
        share, names = done / total if total else 1.0, list(self._stages)
        if stage not in names:
            self.tell(stage, share)
            return
        seconds = list(self._stages.values())
        at = names.index(stage)
        passed, left = sum(seconds[:at]) + share * seconds[at], sum(seconds[at + 1 :])
        left += (1.0 - share) * seconds[at]
        self.tell(stage, passed / max(1e-9, sum(seconds)), left)

    def tell(
        self,
        stage: str,
        share: float,
        seconds_left: float | None = None,
        remark: str = "",
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Tell how far the job is.

        Args:
            stage: what is being done.
            share: of the whole job that is done, 0 to 1.
            seconds_left: to its end.
            remark: to be shown.
            figures: loss and the like.

        Raises:
            StopWork: the job is to end.
        """
        now = time.monotonic()
        if self.stopping():
            raise ServerGone
        if now > self.deadline:
            raise OutOfTime
        if now - self._told < TOLD_SECONDS:
            return
        self._told = now
        progress: dict[str, Any] = {
            "stage": stage,
            "share": round(min(1.0, max(0.0, share)), 4),
            "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            "remark": remark[:200],
            "figures": dict(figures or {}),
        }
        if not self.store.tell(self.entry.id, progress):
            raise StopWork

    def note(self, text: str) -> None:
        """A line in the job's log."""
        self.store.note(self.entry.id, text)


def job_seconds(kind: str, limits: Limits) -> float:
    """How long a job of a kind may take."""
    if kind in ("voice", "recordings"):
        return limits.voice_job_seconds
    return limits.convert_job_seconds if kind in ("convert", "retake") else limits.listen_job_seconds
