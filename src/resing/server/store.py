"""Jobs and uploads: the one truth that server, workers and command line share.

A job that was accepted stays until it is over and its time is up.
"""

import hashlib
import hmac
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from filelock import FileLock, Timeout

from resing.errors import ResingError
from resing.server.database import BusyError, Kind, Record, Records, State, open_database
from resing.server.places import Places, check_id, new_id

__all__ = ["BusyError", "Entry", "StateError", "Store", "UnknownError", "asked_of"]

LANES = {
    "songs": ("sample", "listen", "score", "retake", "convert"),
    "voices": ("recordings", "voice"),
}
"""Each lane has a worker of its own, so that a long training does not hold up songs; first kinds first."""
MOST_ATTEMPTS = 2
"""A job whose worker died is taken up again until it was begun this often."""


OVER: tuple[State, ...] = ("done", "failed", "cancelled")


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


class Store:
    """What is known of jobs and uploads, and every way in which that changes.

    Args:
        places: where their files lie.
    """

    def __init__(self, places: Places) -> None:
        self.places, self.database = places, open_database(places)

    # Uploads

    def add_upload(self, name: str, upload: str, about: dict[str, Any]) -> None:
        """Note a file that lies at its place already."""
        size = self.places.upload(upload).stat().st_size
        record = {"id": upload, "name": name, "about": about, "bytes": size, "used": time.time()}
        with self.database.changing() as records:
            records.put("uploads", upload, record)

    def upload(self, upload: str) -> dict[str, Any]:
        """Its id, name, bytes, and what was heard in it.

        Raises:
            UnknownError: there is none.
        """
        with self.database.reading() as records:
            found = records.get("uploads", upload)
        if found is None:
            raise UnknownError("there is no such file here any more; send it again")
        return {"id": found["id"], "name": found["name"], "bytes": found["bytes"], **found["about"]}

    def remove_upload(self, upload: str) -> None:
        """Forget a file that no waiting or running job needs.

        Raises:
            StateError: one does.
        """
        with self.database.changing() as records:
            if upload in _needed(records):
                raise StateError("a job still needs this file; cancel the job first")
            records.remove("uploads", upload)
        self.places.upload(upload).unlink(missing_ok=True)

    # Jobs

    def add_job(
        self, request: dict[str, Any], title: str, needs: Sequence[str], most_waiting: int
    ) -> tuple[str, str]:
        """The id and the secret of a job, which from now on is not lost.

        Args:
            request: what is to be done, with its kind.
            title: to be shown.
            needs: ids of the uploads and jobs whose files must stay until it is over.
            most_waiting: jobs in the queue.

        Raises:
            BusyError: the queue is full.
        """
        job, secret, now = new_id(), secrets.token_urlsafe(24), time.time()
        record = dict.fromkeys(("owner", "cancel", "started", "finished", "error")) | {
            "id": job,
            "kind": request["kind"],
            "title": title,
            "request": request,
            "secret": _digest(secret),
            "state": "queued",
            "attempts": 0,
            "created": now,
            "used": now,
            "progress": {},
            "needs": list(needs),
        }
        with self.database.changing() as records:
            _check_room(records, most_waiting)
            kinds: tuple[Kind, ...] = ("uploads", "jobs")
            for kind, name in ((kind, name) for kind in kinds for name in needs):
                if (found := records.get(kind, name)) is not None:
                    records.put(kind, name, found | {"used": now})
            records.put("jobs", job, record)
            _note(records, job, "Accepted.")
        return job, secret

    def job(self, job: str) -> Entry:
        """A job.

        Raises:
            UnknownError: there is none.
        """
        with self.database.reading() as records:
            return Entry.of(_known(records, job), records.get("results", job))

    def jobs(self, most: int = 200) -> list[Entry]:
        """The newest jobs, newest first, without their results."""
        with self.database.reading() as records:
            return [Entry.of(record) for record in records.newest(most)]

    def ahead(self, entry: Entry) -> int:
        """How many jobs come before a waiting one."""
        if entry.state != "queued":
            return 0
        kinds = next(kinds for kinds in LANES.values() if entry.kind in kinds)
        with self.database.reading() as records:
            waiting = [record["id"] for record in _waiting(records, kinds)]
        return waiting.index(entry.id) if entry.id in waiting else 0

    def knows(self, job: str, secret: str) -> bool:
        """Whether this is the job's secret."""
        with self.database.reading() as records:
            found = records.get("jobs", job)
        return found is not None and hmac.compare_digest(found["secret"], _digest(secret))

    def log(self, job: str) -> list[tuple[float, str]]:
        """When and what a job said."""
        with self.database.reading() as records:
            return records.said(job)

    def note(self, job: str, text: str) -> None:
        """Add a line to a job's log."""
        with self.database.changing() as records:
            _note(records, job, text)

    def cancel(self, job: str) -> Entry:
        """Ask for a job to end: a waiting one does at once, a running one as soon as its worker hears of it.

        Raises:
            UnknownError: there is none.
            StateError: it is over.
        """
        entry = self.job(job)
        gone = entry.state == "running" and not self.is_alive(entry.owner)
        with self.database.changing() as records:
            record = _known(records, job)
            state = record["state"]
            if state == "queued" or gone:
                _finish(records, record, "cancelled", "Cancelled.")
            elif state == "running":
                records.put("jobs", job, record | {"cancel": record["cancel"] or time.time()})
            else:
                raise StateError(f"the job is {state} already and cannot be cancelled")
        return self.job(job)

    def retry(self, job: str, most_waiting: int) -> Entry:
        """Put a failed or cancelled job into the queue again.

        Raises:
            UnknownError: there is none.
            StateError: it is not over, or went well.
            BusyError: the queue is full.
        """
        anew = dict.fromkeys(("cancel", "finished", "started", "error", "owner"))
        with self.database.changing() as records:
            record = _known(records, job)
            _check_room(records, most_waiting)
            if record["state"] not in ("failed", "cancelled"):
                state = record["state"]
                raise StateError(f"the job is {state}; only a failed or cancelled one can be tried again")
            records.put("jobs", job, record | anew | {"state": "queued", "attempts": 0, "progress": {}})
            _note(records, job, "Queued again.")
        return self.job(job)

    def remove_job(self, job: str) -> None:
        """Forget a job that is over, with what it made.

        Raises:
            UnknownError: there is none.
            StateError: it is not over, or another job needs it.
        """
        with self.database.changing() as records:
            state = _known(records, job)["state"]
            if state not in OVER:
                raise StateError(f"the job is {state}; cancel it first")
            if job in _needed(records):
                raise StateError("another job still needs this one; cancel that first")
            _forget(records, job)
        shutil.rmtree(self.places.job(job), ignore_errors=True)

    # Work

    def claim(self, owner: str, kinds: Sequence[str]) -> Entry | None:
        """The next job of some kinds, which is now this owner's; None if none is waiting.

        Args:
            owner: a worker, which holds its lock.
            kinds: the first come first.
        """
        if not self.waiting(kinds):
            return None
        with self.database.changing() as records:
            waiting = _waiting(records, kinds)
            if not waiting:
                return None
            attempts = waiting[0]["attempts"] + 1
            mine = {"state": "running", "owner": owner, "started": time.time(), "cancel": None}
            record = waiting[0] | mine | {"attempts": attempts}
            records.put("jobs", record["id"], record)
            _note(records, record["id"], "Started." if attempts == 1 else "Taken up again.")
        return Entry.of(record)

    def waiting(self, kinds: Sequence[str]) -> int:
        """How many jobs of some kinds wait."""
        with self.database.reading() as records:
            return len(_waiting(records, kinds))

    def tell(self, job: str, progress: dict[str, Any]) -> bool:
        """Note how far a job is; returns whether it shall go on."""
        with self.database.changing() as records:
            record = records.get("jobs", job)
            if record is None or record["state"] != "running":
                return False
            records.put("jobs", job, record | {"progress": progress})
        return record["cancel"] is None

    def finish(self, job: str, result: dict[str, Any]) -> None:
        """A job went well."""
        with self.database.changing() as records:
            records.put("results", job, result)
            _finish(records, records.get("jobs", job), "done", "Done.")

    def fail(self, job: str, code: str, message: str) -> None:
        """A job went wrong, and why."""
        with self.database.changing() as records:
            record = records.get("jobs", job)
            _finish(records, record, "failed", message, {"code": code, "message": message})

    def drop(self, job: str) -> None:
        """A job ended because that was asked for."""
        with self.database.changing() as records:
            _finish(records, records.get("jobs", job), "cancelled", "Cancelled.")

    def give_back(self, job: str) -> None:
        """A worker stops and puts its job back to the queue; that does not count as an attempt."""
        with self.database.changing() as records:
            record = records.get("jobs", job)
            if record is not None and record["state"] == "running":
                back = {"state": "queued", "owner": None, "attempts": record["attempts"] - 1}
                records.put("jobs", job, record | back)
                _note(records, job, "The server stopped; it goes on when the server runs again.")

    # Order

    def is_alive(self, owner: str | None) -> bool:
        """Whether a worker's process lives: the system lets go of its lock when it dies, however it dies."""
        if owner is None:
            return False
        path = self.places.workers / f"{check_id(owner)}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
        path.unlink(missing_ok=True)
        return False

    def reclaim(self) -> list[str]:
        """Jobs whose worker died: back into the queue, or failed if that happened too often."""
        with self.database.reading() as records:
            running = [Entry.of(record) for record in records.jobs("running")]
        dead = [entry for entry in running if not self.is_alive(entry.owner)]
        for entry in dead:
            if entry.cancel is not None:
                self.drop(entry.id)
            elif entry.attempts >= MOST_ATTEMPTS:
                self.fail(
                    entry.id,
                    "died",
                    f"its worker died {entry.attempts} times while on it: memory may have run out, or the "
                    "file breaks the decoder; try a shorter or another file",
                )
            else:
                self._queue_again(entry)
        return [entry.id for entry in dead]

    def _queue_again(self, entry: Entry) -> None:
        with self.database.changing() as records:
            record = records.get("jobs", entry.id)
            if record is not None and (record["state"], record["owner"]) == ("running", entry.owner):
                records.put("jobs", entry.id, record | {"state": "queued", "owner": None})
                _note(records, entry.id, "The worker died; the job is queued again.")

    def expire(self, kept_seconds: float) -> int:
        """Delete what nobody used for so long and no job needs; returns how many jobs and uploads went."""
        before = time.time() - kept_seconds
        with self.database.changing() as records:
            needed = _needed(records)
            jobs = [
                record["id"]
                for record in records.jobs(*OVER)
                if max(record["used"], record["finished"] or 0.0) < before and record["id"] not in needed
            ]
            uploads = [
                record["id"]
                for record in records.all("uploads")
                if record["used"] < before and record["id"] not in needed
            ]
            for job in jobs:
                _forget(records, job)
            for upload in uploads:
                records.remove("uploads", upload)
        for job in jobs:
            shutil.rmtree(self.places.job(job), ignore_errors=True)
        for upload in uploads:
            self.places.upload(upload).unlink(missing_ok=True)
        return len(jobs) + len(uploads)

    def known(self) -> tuple[set[str], set[str]]:
        """Ids of all uploads and of all jobs: what lies in their folders beside these is nobody's."""
        with self.database.reading() as records:
            uploads, jobs = records.all("uploads"), records.jobs(*get_args(State))
        return {record["id"] for record in uploads}, {record["id"] for record in jobs}


def asked_of(made: Entry) -> dict[str, Any]:
    """The conversion that was asked for first, of a conversion or of another take in one."""
    request: dict[str, Any] = made.request if made.kind == "convert" else (made.result or {})["request"]
    return request


def _known(records: Records, job: str) -> Record:
    record = records.get("jobs", job)
    if record is None:
        raise UnknownError("there is no such job here, or not any more; list them: resing jobs list")
    return record


def _waiting(records: Records, kinds: Sequence[str]) -> list[Record]:
    """The waiting jobs of some kinds in the order of work."""
    waiting = [record for record in records.jobs("queued") if record["kind"] in kinds]
    return sorted(waiting, key=lambda record: (kinds.index(record["kind"]), record["created"]))


def _check_room(records: Records, most_waiting: int) -> None:
    waiting = len(records.jobs("queued"))
    if waiting >= most_waiting:
        raise BusyError(f"{waiting} jobs are waiting, which is all that may; try again later")


def _needed(records: Records) -> set[str]:
    """What must stay, because a job that is not over needs it."""
    return {name for record in records.jobs("queued", "running") for name in record["needs"]}


def _finish(
    records: Records, record: Record | None, state: State, text: str, error: dict[str, str] | None = None
) -> None:
    """A job is over."""
    if record is None:
        return
    over = {"state": state, "finished": time.time(), "owner": None}
    records.put("jobs", record["id"], record | over | ({"error": error} if error else {}))
    _note(records, record["id"], text)


def _note(records: Records, job: str, text: str) -> None:
    records.say(job, time.time(), text[:2000])


def _forget(records: Records, job: str) -> None:
    """Delete a job with all that is said of it."""
    records.remove("jobs", job)
    records.remove("results", job)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
