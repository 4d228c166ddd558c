"""Records in Redis: a hash for each kind, a set for each state, the jobs by time, a list for each log.

A change holds one lock, whose key is watched: what was written is executed in one piece, and not at all if
the lock was lost meanwhile. A killed process lets the lock run out.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from resing import cache
from resing.errors import ConfigError
from resing.server import database
from resing.server.database import BusyError, Kind, Record, Records, State, dump

LOCK_MS, LOOK_SECONDS, PATIENCE_SECONDS = 10000, 0.005, 15.0
ANSWER_SECONDS = 10.0


class RedisDatabase:
    """Records in a Redis server.

    Args:
        url: such as redis://127.0.0.1:6379/0, or rediss:// and unix://.
        root: the server's folder, for which the records are: several may share a Redis.

    Raises:
        ConfigError: the package is missing, the URL is none, or nobody answers there.
    """

    def __init__(self, url: str, root: Path) -> None:
        try:
            import redis
        except ImportError as error:
            raise ConfigError(
                f"{database.QUEUE} needs a package more ({error}); pip install 'resing[redis]'"
            ) from error
        self.prefix, self.failures = f"resing:{cache.key(str(root))[:12]}", redis.RedisError
        try:
            self.client: Any = redis.Redis.from_url(url, decode_responses=True, socket_timeout=ANSWER_SECONDS)
            self.client.ping()
        except (ValueError, redis.RedisError) as error:
            raise ConfigError(
                f"{database.QUEUE} leads to no Redis ({error}); start one, correct the address "
                "(redis://127.0.0.1:6379/0), or unset it to use a file"
            ) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Records]:
        """See `Database`."""
        with self._answering():
            yield _Keys(self.prefix, self.client, self.client)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Records]:
        """See `Database`."""
        lock, mine = f"{self.prefix}:lock", secrets.token_hex(8)
        with self._answering(), self.client.pipeline() as change:
            end = time.monotonic() + PATIENCE_SECONDS
            while not self.client.set(lock, mine, nx=True, px=LOCK_MS):
                if time.monotonic() > end:
                    raise BusyError("the queue is busy; try again")
                time.sleep(LOOK_SECONDS)
            done = False
            try:
                change.watch(lock)
                change.multi()
                yield _Keys(self.prefix, self.client, change)
                change.delete(lock)
                if self.client.get(lock) == mine:
                    change.execute()  # refused if the lock was lost since it was watched
                    done = True
                else:
                    raise BusyError("the queue was too slow; try again")
            finally:
                if not done and self.client.get(lock) == mine:
                    self.client.delete(lock)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except self.failures as error:
            raise BusyError(f"the queue's Redis does not do its work ({error}); try again") from error


class _Keys:
    """Records of a Redis; what is written goes into a transaction and is not seen before its end.

    Args:
        prefix: of all keys.
        read, write: connection and transaction of redis-py.
    """

    def __init__(self, prefix: str, read: Any, write: Any) -> None:
        self.prefix, self.read, self.write = prefix, read, write

    def key(self, *parts: str) -> str:
        return ":".join((self.prefix, *parts))

    def _read(self, names: list[str]) -> list[Record]:
        found = self.read.hmget(self.key("jobs"), names) if names else []
        return [json.loads(text) for text in found if text is not None]

    def get(self, kind: Kind, name: str) -> Record | None:
        text = self.read.hget(self.key(kind), name)
        return None if text is None else json.loads(text)

    def all(self, kind: Kind) -> list[Record]:
        return [json.loads(text) for text in self.read.hvals(self.key(kind))]

    def jobs(self, *states: State) -> list[Record]:
        found = self._read(list(self.read.sunion([self.key("state", state) for state in states])))
        return sorted((r for r in found if r["state"] in states), key=lambda record: record["created"])

    def newest(self, most: int) -> list[Record]:
        return self._read(self.read.zrevrange(self.key("created"), 0, most - 1))

    def put(self, kind: Kind, name: str, record: Record) -> None:
        self.write.hset(self.key(kind), name, dump(record))
        if kind == "jobs":
            self._leave(name)
            self.write.sadd(self.key("state", record["state"]), name)
            self.write.zadd(self.key("created"), {name: record["created"]})

    def remove(self, kind: Kind, name: str) -> None:
        self.write.hdel(self.key(kind), name)
        if kind == "jobs":
            self._leave(name)
            self.write.zrem(self.key("created"), name)
            self.write.delete(self.key("log", name))

    def _leave(self, name: str) -> None:
        for state in get_args(State):
            self.write.srem(self.key("state", state), name)

    def say(self, job: str, time: float, text: str) -> None:
        self.write.rpush(self.key("log", job), json.dumps([time, text]))
        self.write.ltrim(self.key("log", job), -database.LONGEST_LOG, -1)

    def said(self, job: str) -> list[tuple[float, str]]:
        return [(time, text) for time, text in map(json.loads, self.read.lrange(self.key("log", job), 0, -1))]
