"""Jobs and uploads: the one truth that server, workers and command line share.

A job that was accepted stays until it is over and its time is up.
"""

import hashlib
import hmac
import json
import secrets
import shutil
import time
from collections.abc import Sequence
from typing import Any

from filelock import FileLock, Timeout

from resing.server.database import (
    NEEDED,
    BusyError,
    Database,
    Entry,
    StateError,
    UnknownError,
    entry_of,
    finish,
    forget,
    note,
)
from resing.server.places import check_id, new_id

__all__ = ["BusyError", "Entry", "StateError", "Store", "UnknownError", "asked_of"]

LANES = {
    "songs": ("sample", "listen", "score", "retake", "convert"),
    "voices": ("recordings", "voice"),
}
"""Each lane has a worker of its own, so that a long training does not hold up songs; first kinds first."""
MOST_ATTEMPTS = 2
"""A job whose worker died is taken up again until it was begun this often."""


class Store(Database):
    """What is known of jobs and uploads, and every way in which that changes."""

    # Uploads

    def add_upload(self, name: str, upload: str, about: dict[str, Any]) -> None:
        """Note a file that lies at its place already."""
        size = self.places.upload(upload).stat().st_size
        with self.changing() as database:
            values = (upload, name, json.dumps(about), size, time.time())
            database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", values)

    def upload(self, upload: str) -> dict[str, Any]:
        """Its id, name, bytes, and what was heard in it.

        Raises:
            UnknownError: there is none.
        """
        rows = self.ask("SELECT * FROM uploads WHERE id = ?", upload)
        if not rows:
            raise UnknownError("there is no such file here any more; send it again")
        row = rows[0]
        return {"id": row["id"], "name": row["name"], "bytes": row["bytes"], **json.loads(row["about"])}

    def remove_upload(self, upload: str) -> None:
        """Forget a file that no waiting or running job needs.

        Raises:
            StateError: one does.
        """
        with self.changing() as database:
            if database.execute(f"SELECT 1 FROM ({NEEDED}) WHERE other = ?", (upload,)).fetchone():
                raise StateError("a job still needs this file; cancel the job first")
            database.execute("DELETE FROM uploads WHERE id = ?", (upload,))
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
        with self.changing() as database:
            waiting = database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()[0]
            if waiting >= most_waiting:
                raise BusyError(f"{waiting} jobs are waiting, which is all that may; try again later")
            database.execute(
                "INSERT INTO jobs (id, kind, title, request, secret, created, used)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job, request["kind"], title, json.dumps(request), _digest(secret), now, now),
            )
            database.executemany("INSERT OR IGNORE INTO needs VALUES (?, ?)", [(job, n) for n in needs])
            for table in ("uploads", "jobs"):
                database.executemany(f"UPDATE {table} SET used = ? WHERE id = ?", [(now, n) for n in needs])
            note(database, job, "Accepted.")
        return job, secret

    def job(self, job: str) -> Entry:
        """A job.

        Raises:
            UnknownError: there is none.
        """
        rows = self.ask("SELECT * FROM jobs WHERE id = ?", job)
        if not rows:
            raise UnknownError("there is no such job here, or not any more; list them: resing jobs list")
        return entry_of(rows[0])

    def jobs(self, most: int = 200) -> list[Entry]:
        """The newest jobs, newest first."""
        return [entry_of(r) for r in self.ask("SELECT * FROM jobs ORDER BY created DESC LIMIT ?", most)]

    def ahead(self, entry: Entry) -> int:
        """How many jobs come before a waiting one."""
        if entry.state != "queued":
            return 0
        kinds = next(kinds for kinds in LANES.values() if entry.kind in kinds)
        waiting = self.ask(_waiting(kinds))
        return [row["id"] for row in waiting].index(entry.id) if entry.id in [r["id"] for r in waiting] else 0

    def knows(self, job: str, secret: str) -> bool:
        """Whether this is the job's secret."""
        rows = self.ask("SELECT secret FROM jobs WHERE id = ?", job)
        return bool(rows) and hmac.compare_digest(rows[0]["secret"], _digest(secret))

    def log(self, job: str) -> list[tuple[float, str]]:
        """When and what a job said."""
        rows = self.ask("SELECT time, text FROM log WHERE job = ? ORDER BY time, rowid", job)
        return [(row["time"], row["text"]) for row in rows]

    def note(self, job: str, text: str) -> None:
        """Add a line to a job's log."""
        with self.changing() as database:
            note(database, job, text)

    def cancel(self, job: str) -> Entry:
        """Ask for a job to end: a waiting one does at once, a running one as soon as its worker hears of it.

        Raises:
            UnknownError: there is none.
            StateError: it is over.
        """
        entry = self.job(job)
        gone = entry.state == "running" and not self.is_alive(entry.owner)
        with self.changing() as database:
            state = database.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()["state"]
            if state == "queued" or gone:
                finish(database, job, "cancelled", "Cancelled.")
            elif state == "running":
                database.execute(
                    "UPDATE jobs SET cancel = COALESCE(cancel, ?) WHERE id = ?", (time.time(), job)
                )
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
        entry = self.job(job)
        with self.changing() as database:
            waiting = database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()[0]
            if waiting >= most_waiting:
                raise BusyError(f"{waiting} jobs are waiting, which is all that may; try again later")
            changed = database.execute(
                "UPDATE jobs SET state = 'queued', cancel = NULL, finished = NULL, started = NULL,"
                " error = NULL, owner = NULL, attempts = 0, progress = '{}'"
                " WHERE id = ? AND state IN ('failed', 'cancelled')",
                (job,),
            ).rowcount
            if not changed:
                raise StateError(
                    f"the job is {entry.state}; only a failed or cancelled one can be tried again"
                )
            note(database, job, "Queued again.")
        return self.job(job)

    def remove_job(self, job: str) -> None:
        """Forget a job that is over, with what it made.

        Raises:
            UnknownError: there is none.
            StateError: it is not over, or another job needs it.
        """
        self.job(job)
        with self.changing() as database:
            row = database.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
            if row and row["state"] in ("queued", "running"):
                raise StateError(f"the job is {row['state']}; cancel it first")
            if database.execute(f"SELECT 1 FROM ({NEEDED}) WHERE other = ?", (job,)).fetchone():
                raise StateError("another job still needs this one; cancel that first")
            forget(database, [job])
        shutil.rmtree(self.places.job(job), ignore_errors=True)

    # Work

    def claim(self, owner: str, kinds: Sequence[str]) -> Entry | None:
        """The next job of some kinds, which is now this owner's; None if none is waiting.

        Args:
            owner: a worker, which holds its lock.
            kinds: the first come first.
        """
        with self.changing() as database:
            row = database.execute(
                "UPDATE jobs SET state = 'running', owner = ?, started = ?,"
                f" attempts = attempts + 1, cancel = NULL WHERE id = ({_waiting(kinds)} LIMIT 1) RETURNING *",
                (owner, time.time()),
            ).fetchone()
            if row is not None:
                note(database, row["id"], "Started." if row["attempts"] == 1 else "Taken up again.")
            return entry_of(row) if row is not None else None

    def waiting(self, kinds: Sequence[str]) -> int:
        """How many jobs of some kinds wait."""
        return len(self.ask(_waiting(kinds)))

    def tell(self, job: str, progress: dict[str, Any]) -> bool:
        """Note how far a job is; returns whether it shall go on."""
        with self.changing() as database:
            row = database.execute(
                "UPDATE jobs SET progress = ? WHERE id = ? AND state = 'running' RETURNING cancel",
                (json.dumps(progress), job),
            ).fetchone()
        return row is not None and row["cancel"] is None

    def finish(self, job: str, result: dict[str, Any]) -> None:
        """A job went well."""
        with self.changing() as database:
            database.execute(
                "UPDATE jobs SET result = ? WHERE id = ?", (json.dumps(result, allow_nan=False), job)
            )
            finish(database, job, "done", "Done.")

    def fail(self, job: str, code: str, message: str) -> None:
        """A job went wrong, and why."""
        with self.changing() as database:
            error = json.dumps({"code": code, "message": message})
            database.execute("UPDATE jobs SET error = ? WHERE id = ?", (error, job))
            finish(database, job, "failed", message)

    def drop(self, job: str) -> None:
        """A job ended because that was asked for."""
        with self.changing() as database:
            finish(database, job, "cancelled", "Cancelled.")

    def give_back(self, job: str) -> None:
        """A worker stops and puts its job back to the queue; that does not count as an attempt."""
        with self.changing() as database:
            database.execute(
                "UPDATE jobs SET state = 'queued', owner = NULL, attempts = attempts - 1"
                " WHERE id = ? AND state = 'running'",
                (job,),
            )
            note(database, job, "The server stopped; it goes on when the server runs again.")

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
        taken = []
        for row in self.ask("SELECT id, owner, attempts, cancel FROM jobs WHERE state = 'running'"):
            if self.is_alive(row["owner"]):
                continue
            taken.append(row["id"])
            if row["cancel"] is not None:
                self.drop(row["id"])
            elif row["attempts"] >= MOST_ATTEMPTS:
                self.fail(
                    row["id"],
                    "died",
                    f"its worker died {row['attempts']} times while on it: memory may have run out, or the "
                    "file breaks the decoder; try a shorter or another file",
                )
            else:
                with self.changing() as database:
                    database.execute(
                        "UPDATE jobs SET state = 'queued', owner = NULL WHERE id = ? AND owner IS ?",
                        (row["id"], row["owner"]),
                    )
                    note(database, row["id"], "The worker died; the job is queued again.")
        return taken

    def expire(self, kept_seconds: float) -> int:
        """Delete what nobody used for so long and no job needs; returns how many jobs and uploads went."""
        before = time.time() - kept_seconds
        with self.changing() as database:
            jobs = database.execute(
                "SELECT id FROM jobs WHERE state IN ('done', 'failed', 'cancelled')"
                f" AND MAX(used, COALESCE(finished, 0)) < ? AND id NOT IN (SELECT other FROM ({NEEDED}))",
                (before,),
            ).fetchall()
            forget(database, [row["id"] for row in jobs])
            uploads = database.execute(
                f"DELETE FROM uploads WHERE used < ? AND id NOT IN (SELECT other FROM ({NEEDED}))"
                " RETURNING id",
                (before,),
            ).fetchall()
        for row in jobs:
            shutil.rmtree(self.places.job(row["id"]), ignore_errors=True)
        for row in uploads:
            self.places.upload(row["id"]).unlink(missing_ok=True)
        return len(jobs) + len(uploads)

    def known(self) -> tuple[set[str], set[str]]:
        """Ids of all uploads and of all jobs: what lies in their folders beside these is nobody's."""
        uploads, jobs = self.ask("SELECT id FROM uploads"), self.ask("SELECT id FROM jobs")
        return {row["id"] for row in uploads}, {row["id"] for row in jobs}


def asked_of(made: Entry) -> dict[str, Any]:
    """The conversion that was asked for first, of a conversion or of another take in one."""
    request: dict[str, Any] = made.request if made.kind == "convert" else (made.result or {})["request"]
    return request


def _waiting(kinds: Sequence[str]) -> str:
    """A question for the waiting jobs of some kinds, known words of ours, in the order of work."""
    order = " ".join(f"WHEN '{kind}' THEN {place}" for place, kind in enumerate(kinds))
    named = ", ".join(f"'{kind}'" for kind in kinds)
    return (
        f"SELECT id FROM jobs WHERE state = 'queued' AND kind IN ({named})"
        f" ORDER BY CASE kind {order} END, created"
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
