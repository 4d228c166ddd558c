"""Where jobs and uploads are written down: records in transactions, in an SQLite file or, by a URL, in Redis.

Whoever uses it opens it, does one transaction and closes it, so any process may at any time, and a killed
one leaves nothing half done.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from resing.errors import ResingError
from resing.server.places import Places

State = Literal["queued", "running", "done", "failed", "cancelled"]
OVER: tuple[State, ...] = ("done", "failed", "cancelled")
Kind = Literal["uploads", "jobs", "results"]
Record = dict[str, Any]
LONGEST_LOG = 400
QUEUE = "RESING_QUEUE"
"""The environment's variable that names a Redis, such as redis://127.0.0.1:6379/0; without it, a file."""

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, name TEXT NOT NULL, state TEXT, created REAL, record TEXT NOT NULL,
    PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (job TEXT NOT NULL, time REAL NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS records_by_state ON records (kind, state, created);
CREATE INDEX IF NOT EXISTS records_by_time ON records (kind, created);
CREATE INDEX IF NOT EXISTS log_by_job ON log (job, time);
"""


class BusyError(ResingError):
    """There is no room now; later there will be."""

    code = "busy"
    http_status = 503


class Records(Protocol):
    """What is written down, within a transaction. Read before you write: some see their writes only later."""

    def get(self, kind: Kind, name: str) -> Record | None:
        """A record, if it is there."""
        ...

    def all(self, kind: Kind) -> list[Record]:
        """All records of a kind."""
        ...

    def jobs(self, *states: State) -> list[Record]:
        """The jobs in some states, oldest first."""
        ...

    def newest(self, most: int) -> list[Record]:
        """The newest jobs, newest first."""
        ...

    def put(self, kind: Kind, name: str, record: Record) -> None:
        """Write a record, in the place of an older one of that name."""
        ...

    def remove(self, kind: Kind, name: str) -> None:
        """Delete a record; with a job goes its log."""
        ...

    def say(self, job: str, time: float, text: str) -> None:
        """Add a line to a job's log, which keeps its last LONGEST_LOG lines."""
        ...

    def said(self, job: str) -> list[tuple[float, str]]:
        """A job's log: when and what."""
        ...


class Database(Protocol):
    """Opens transactions."""

    def reading(self) -> AbstractContextManager[Records]:
        """For looking."""
        ...

    def changing(self) -> AbstractContextManager[Records]:
        """For changes that are made wholly or not at all, with nobody else's in between."""
        ...


def open_database(places: Places) -> Database:
    """The database of a server: the Redis that RESING_QUEUE names, or a file among its things."""
    url = os.environ.get(QUEUE, "")
    if not url:
        return SQLiteDatabase(places.database)
    from resing.server.database_redis import RedisDatabase

    return RedisDatabase(url, places.root)


class SQLiteDatabase:
    """Records in one file.

    Args:
        path: of the file; it is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(_TABLES)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=15.0, isolation_level=None)
        database.execute("PRAGMA synchronous=FULL")
        return database

    @contextlib.contextmanager
    def reading(self) -> Iterator[Records]:
        """See `Database`."""
        with contextlib.closing(self._connect()) as database:
            yield _Rows(database)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Records]:
        """See `Database`."""
        with contextlib.closing(self._connect()) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield _Rows(database)
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")


class _Rows:
    """Records of an open SQLite file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def _read(self, where: str, *values: Any) -> list[Record]:
        rows = self.database.execute(f"SELECT record FROM records WHERE {where}", values)
        return [json.loads(row[0]) for row in rows]

    def get(self, kind: Kind, name: str) -> Record | None:
        found = self._read("kind = ? AND name = ?", kind, name)
        return found[0] if found else None

    def all(self, kind: Kind) -> list[Record]:
        return self._read("kind = ?", kind)

    def jobs(self, *states: State) -> list[Record]:
        places = ", ".join("?" * len(states))
        return self._read(f"kind = 'jobs' AND state IN ({places}) ORDER BY created", *states)

    def newest(self, most: int) -> list[Record]:
        return self._read("kind = 'jobs' ORDER BY created DESC LIMIT ?", most)

    def put(self, kind: Kind, name: str, record: Record) -> None:
        values = (kind, name, record.get("state"), record.get("created"), dump(record))
        self.database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", values)

    def remove(self, kind: Kind, name: str) -> None:
        self.database.execute("DELETE FROM records WHERE kind = ? AND name = ?", (kind, name))
        if kind == "jobs":
            self.database.execute("DELETE FROM log WHERE job = ?", (name,))

    def say(self, job: str, time: float, text: str) -> None:
        self.database.execute("INSERT INTO log VALUES (?, ?, ?)", (job, time, text))
        self.database.execute(
            "DELETE FROM log WHERE job = ? AND rowid NOT IN"
            " (SELECT rowid FROM log WHERE job = ? ORDER BY rowid DESC LIMIT ?)",
            (job, job, LONGEST_LOG),
        )

    def said(self, job: str) -> list[tuple[float, str]]:
        return self.database.execute(
            "SELECT time, text FROM log WHERE job = ? ORDER BY rowid", (job,)
        ).fetchall()


def dump(record: Record) -> str:
    """A record as text; NaN is a mistake of whoever made it."""
    return json.dumps(record, allow_nan=False)
