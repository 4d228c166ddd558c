"""The keeper: a thread of the server that starts workers, and puts right what dead ones left."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from resing.server.database import BusyError
from resing.server.limits import Limits
from resing.server.places import new_id
from resing.server.store import LANES, Store
from resing.server.task import job_seconds

TICK_SECONDS = 0.25
SWEEP_SECONDS = 60.0
GRACE_SECONDS = 20.0
"""A worker that does not hear of a cancelled or overdue job within this time is killed."""
YOUNG_SECONDS = 3600.0
"""What nobody knows of and is younger than this may be on its way in, or of a job just accepted."""


@dataclass
class Worker:
    """A worker's process and the id its lock bears."""

    owner: str
    process: "subprocess.Popen[bytes]"

    @property
    def lives(self) -> bool:
        """Whether it does."""
        return self.process.poll() is None


class Keeper:
    """Sees to it that accepted jobs are done; a context manager.

    Args:
        store: the database.
        limits: on jobs and on what is kept.
        log: file that workers write their errors to.
    """

    def __init__(self, store: Store, limits: Limits, log: Path | None = None) -> None:
        self.store, self.limits, self.log = store, limits, log or store.places.root / "workers.log"
        self.workers: dict[str, Worker] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._swept = 0.0

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for worker in self.workers.values():
            if worker.process.stdin:
                worker.process.stdin.close()
        for worker in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(GRACE_SECONDS / 2)
            self._kill(worker)
        for entry in self.store.jobs():
            if entry.state == "running" and not self.store.is_alive(entry.owner):
                self.store.give_back(entry.id)

    def _run(self) -> None:
        while not self._ending.wait(TICK_SECONDS):
            with contextlib.suppress(BusyError):  # the next look may find the database free
                self.tick()

    def tick(self) -> None:
        """Look once at everything."""
        for lane, worker in list(self.workers.items()):
            if not worker.lives:
                self._kill(worker)
                del self.workers[lane]
        self.store.reclaim()
        for lane, kinds in LANES.items():
            if lane not in self.workers and self.store.waiting(kinds):
                self.workers[lane] = self._start(lane)
        self._stop_deaf_workers()
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.store.expire(self.limits.kept_seconds)
            self.sweep()

    def _start(self, lane: str) -> Worker:
        owner = new_id()
        # Read by OpenMP when torch loads: waiting threads sleep, else a shared machine is ten times slower.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        command = [sys.executable, "-m", "resing.server.worker", lane, owner, self.limits.model_dump_json()]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
            )
        return Worker(owner, process)

    def _stop_deaf_workers(self) -> None:
        now = time.time()
        owners = {worker.owner: worker for worker in self.workers.values()}
        for entry in self.store.jobs():
            worker = owners.get(entry.owner or "")
            if entry.state != "running" or worker is None:
                continue
            cancelled = entry.cancel is not None and now - entry.cancel > GRACE_SECONDS
            allowed = job_seconds(entry.kind, self.limits)
            overdue = worker.lives and entry.started and now - entry.started > 2 * allowed + GRACE_SECONDS
            if cancelled or overdue:
                self._kill(worker)
                if cancelled:
                    self.store.drop(entry.id)
                else:
                    self.store.fail(entry.id, "time", f"did not end within {allowed:.0f} s and was stopped")

    def _kill(self, worker: Worker) -> None:
        """End a process and let go of what it held."""
        worker.process.kill()
        worker.process.wait()
        if worker.process.stdin:
            worker.process.stdin.close()
        self.store.is_alive(worker.owner)  # deletes the lock of a dead one

    def sweep(self) -> int:
        """Delete files and folders that belong to no job or upload; returns how many."""
        uploads, jobs = self.store.known()
        gone = 0
        for folder, known in ((self.store.places.uploads, uploads), (self.store.places.jobs, jobs)):
            for path in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.name in known or time.time() - path.lstat().st_mtime < YOUNG_SECONDS:
                        continue
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink()
                    gone += 1
        return gone
