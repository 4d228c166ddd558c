"""The database file: its tables, its transactions, and the rows that are jobs.

Whoever uses it opens it, does one transaction and closes it, so any process may at any time, and a killed
one leaves nothing half done.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from resing.errors import ResingError
from resing.server.places import Places

State = Literal["queued", "running", "done", "failed", "cancelled"]
LONGEST_LOG = 400
NEEDED = "SELECT other FROM needs JOIN jobs ON jobs.id = needs.job WHERE jobs.state IN ('queued', 'running')"
"""What must stay, because a job that is not over needs it."""

_TABLES = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, about TEXT NOT NULL, bytes INTEGER NOT NULL, used REAL NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, request TEXT NOT NULL, secret TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', owner TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    cancel REAL, created REAL NOT NULL, started REAL, finished REAL, used REAL NOT NULL,
    progress TEXT NOT NULL DEFAULT '{}', result TEXT, error TEXT);
CREATE TABLE IF NOT EXISTS needs (job TEXT NOT NULL, other TEXT NOT NULL, PRIMARY KEY (job, other));
CREATE TABLE IF NOT EXISTS log (job TEXT NOT NULL, time REAL NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, kind, created);
CREATE INDEX IF NOT EXISTS log_by_job ON log (job, time);
"""


class UnknownError(ResingError):
    """There is no such job, upload or file, or not any more."""

    code = "unknown"
    http_status = 404


class BusyError(ResingError):
    """There is no room now; later there will be."""

    code = "busy"
    http_status = 503


class StateError(ResingError):
    """The job is not in a state in which this can be done."""

    code = "state"
    http_status = 409


@dataclass(frozen=True)
class Entry:
    """A job as it stands in the database; times are seconds since 1970."""

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
    result: dict[str, Any] | None
    error: dict[str, str] | None


class Database:
    """The tables of a server.

    Args:
        places: where the file lies; it is made if it is not there.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        with contextlib.closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(_TABLES)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.places.database, timeout=15.0, isolation_level=None)
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA synchronous=FULL")
        return database

    @contextlib.contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is wholly done or not at all."""
        with contextlib.closing(self._connect()) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    def ask(self, question: str, *values: Any) -> list[sqlite3.Row]:
        """The rows that answer a question."""
        with contextlib.closing(self._connect()) as database:
            return database.execute(question, values).fetchall()


def finish(database: sqlite3.Connection, job: str, state: str, text: str) -> None:
    """A job is over."""
    database.execute(
        "UPDATE jobs SET state = ?, finished = ?, owner = NULL WHERE id = ?", (state, time.time(), job)
    )
    note(database, job, text)


def note(database: sqlite3.Connection, job: str, text: str) -> None:
    """Add a line to a job's log, which keeps its last LONGEST_LOG lines."""
    database.execute("INSERT INTO log VALUES (?, ?, ?)", (job, time.time(), text[:2000]))
    database.execute(
        "DELETE FROM log WHERE job = ? AND rowid NOT IN"
        " (SELECT rowid FROM log WHERE job = ? ORDER BY rowid DESC LIMIT ?)",
        (job, job, LONGEST_LOG),
    )


def forget(database: sqlite3.Connection, jobs: Sequence[str]) -> None:
    """Delete jobs with all that is said of them."""
    for table, column in (("jobs", "id"), ("needs", "job"), ("log", "job")):
        database.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(job,) for job in jobs])


def entry_of(row: sqlite3.Row) -> Entry:
    """The job in a row."""
    values = dict(row)
    values.pop("secret")
    for name in ("request", "progress", "result", "error"):
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Entry(**values)
