"""A job as it is written down, and what the steps of its life do to the records.

Each of these is part of a transaction that somebody else opens.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resing.errors import ResingError
from resing.server.database import BusyError, Record, Records, State


class UnknownError(ResingError):
    """There is no such job, upload or file, or not any more."""

    code = "unknown"
    http_status = 404


class StateError(ResingError):
    """The job is not in a state in which this can be done."""

    code = "state"
    http_status = 409


@dataclass(frozen=True)
class Entry:
    """A job as it stands in the database; times are seconds since 1970, a result is that of `Store.job`."""

    id: str
    kind: str
    title: str
    request: dict[str, Any]
    state: State
    owner: str | None
    attempts: int
    cancel: float | None
    created: float
    started: float | None
    finished: float | None
    used: float
    progress: dict[str, Any]
    error: dict[str, str] | None
    needs: tuple[str, ...]
    result: dict[str, Any] | None = None

    @classmethod
    def of(cls, record: Record, result: Record | None = None) -> "Entry":
        """A job as it was written down."""
        values = {name: value for name, value in record.items() if name not in ("secret", "needs")}
        return cls(**values, needs=tuple(record["needs"]), result=result)


def asked_of(made: Entry) -> dict[str, Any]:
    """The conversion that was asked for first, of a conversion or of another take in one."""
    request: dict[str, Any] = made.request if made.kind == "convert" else (made.result or {})["request"]
    return request


def known(records: Records, job: str) -> Record:
    """The record of a job.

    Raises:
        UnknownError: there is none.
    """
    record = records.get("jobs", job)
    if record is None:
        raise UnknownError("there is no such job here, or not any more; list them: resing jobs list")
    return record


def waiting_in(records: Records, kinds: Sequence[str]) -> list[Record]:
    """The waiting jobs of some kinds in the order of work."""
    waiting = [record for record in records.jobs("queued") if record["kind"] in kinds]
    return sorted(waiting, key=lambda record: (kinds.index(record["kind"]), record["created"]))


def check_room(records: Records, most_waiting: int) -> None:
    """Refuse a job too many.

    Raises:
        BusyError: the queue is full.
    """
    waiting = len(records.jobs("queued"))
    if waiting >= most_waiting:
        raise BusyError(f"{waiting} jobs are waiting, which is all that may; try again later")


def needed(records: Records) -> set[str]:
    """What must stay, because a job that is not over needs it."""
    return {name for record in records.jobs("queued", "running") for name in record["needs"]}


def finish(
    records: Records, record: Record | None, state: State, text: str, error: dict[str, str] | None = None
) -> None:
    """A job is over."""
    if record is None:
        return
    over = {"state": state, "finished": time.time(), "owner": None}
    records.put("jobs", record["id"], record | over | ({"error": error} if error else {}))
    note(records, record["id"], text)


def note(records: Records, job: str, text: str) -> None:
    """Add a line to a job's log."""
    records.say(job, time.time(), text[:2000])


def forget(records: Records, job: str) -> None:
    """Delete a job with all that is said of it."""
    records.remove("jobs", job)
    records.remove("results", job)
