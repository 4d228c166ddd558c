"""Jobs and uploads: the one truth that server, workers and command line share.

A job that was accepted stays until it is over and its time is up.
"""

import hashlib
import hmac
import secrets
import shutil
import time
from collections.abc import Sequence
from typing import Any, get_args

from filelock import FileLock, Timeout

from resing.server.database import OVER, Kind, State, open_database
from resing.server.entries import (
    Entry,
    StateError,
    UnknownError,
    check_room,
    finish,
    forget,
    known,
    needed,
    note,
    waiting_in,
)
from resing.server.places import Places, check_id, new_id

LANES = {
    "songs": ("sample", "listen", "score", "retake", "convert"),
    "voices": ("recordings", "voice"),
}
"""Each lane has a worker of its own, so that a long training does not hold up songs; first kinds first."""
MOST_ATTEMPTS = 2
"""A job whose worker died is taken up again until it was begun this often."""


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
            if upload in needed(records):
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
            check_room(records, most_waiting)
            kinds: tuple[Kind, ...] = ("uploads", "jobs")
            for kind, name in ((kind, name) for kind in kinds for name in needs):
                if (found := records.get(kind, name)) is not None:
                    records.put(kind, name, found | {"used": now})
            records.put("jobs", job, record)
            note(records, job, "Accepted.")
        return job, secret

    def job(self, job: str) -> Entry:
        """A job.

        Raises:
            UnknownError: there is none.
        """
        with self.database.reading() as records:
            return Entry.of(known(records, job), records.get("results", job))

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
            waiting = [record["id"] for record in waiting_in(records, kinds)]
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
            note(records, job, text)

    def cancel(self, job: str) -> Entry:
        """Ask for a job to end: a waiting one does at once, a running one as soon as its worker hears of it.

        Raises:
            UnknownError: there is none.
            StateError: it is over.
        """
        entry = self.job(job)
        gone = entry.state == "running" and not self.is_alive(entry.owner)
        with self.database.changing() as records:
            record = known(records, job)
            state = record["state"]
            if state == "queued" or gone:
                finish(records, record, "cancelled", "Cancelled.")
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
            record = known(records, job)
            check_room(records, most_waiting)
            if record["state"] not in ("failed", "cancelled"):
                state = record["state"]
                raise StateError(f"the job is {state}; only a failed or cancelled one can be tried again")
            records.put("jobs", job, record | anew | {"state": "queued", "attempts": 0, "progress": {}})
            note(records, job, "Queued again.")
        return self.job(job)

    def remove_job(self, job: str) -> None:
        """Forget a job that is over, with what it made.

        Raises:
            UnknownError: there is none.
            StateError: it is not over, or another job needs it.
        """
        with self.database.changing() as records:
            state = known(records, job)["state"]
            if state not in OVER:
                raise StateError(f"the job is {state}; cancel it first")
            if job in needed(records):
                raise StateError("another job still needs this one; cancel that first")
            forget(records, job)
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
            waiting = waiting_in(records, kinds)
            if not waiting:
                return None
            attempts = waiting[0]["attempts"] + 1
            mine = {"state": "running", "owner": owner, "started": time.time(), "cancel": None}
            record = waiting[0] | mine | {"attempts": attempts}
            records.put("jobs", record["id"], record)
            note(records, record["id"], "Started." if attempts == 1 else "Taken up again.")
        return Entry.of(record)

    def waiting(self, kinds: Sequence[str]) -> int:
        """How many jobs of some kinds wait."""
        with self.database.reading() as records:
            return len(waiting_in(records, kinds))

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
            finish(records, records.get("jobs", job), "done", "Done.")

    def fail(self, job: str, code: str, message: str) -> None:
        """A job went wrong, and why."""
        with self.database.changing() as records:
            record = records.get("jobs", job)
            finish(records, record, "failed", message, {"code": code, "message": message})

    def drop(self, job: str) -> None:
        """A job ended because that was asked for."""
        with self.database.changing() as records:
            finish(records, records.get("jobs", job), "cancelled", "Cancelled.")

    def give_back(self, job: str) -> None:
        """A worker stops and puts its job back to the queue; that does not count as an attempt."""
        with self.database.changing() as records:
            record = records.get("jobs", job)
            if record is not None and record["state"] == "running":
                back = {"state": "queued", "owner": None, "attempts": record["attempts"] - 1}
                records.put("jobs", job, record | back)
                note(records, job, "The server stopped; it goes on when the server runs again.")

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
                note(records, entry.id, "The worker died; the job is queued again.")

    def expire(self, kept_seconds: float) -> int:
        """Delete what nobody used for so long and no job needs; returns how many jobs and uploads went."""
        before = time.time() - kept_seconds
        with self.database.changing() as records:
            wanted = needed(records)
            jobs = [
                record["id"]
                for record in records.jobs(*OVER)
                if max(record["used"], record["finished"] or 0.0) < before and record["id"] not in wanted
            ]
            uploads = [
                record["id"]
                for record in records.all("uploads")
                if record["used"] < before and record["id"] not in wanted
            ]
            for job in jobs:
                forget(records, job)
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


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
