"""A worker: a process that takes jobs of one lane from the database until nobody needs it.

It ends when its server does (its standard input closes), when there has been nothing to do for a while, or
with any error that is not the user's: the keeper starts another, and the job's log tells what happened.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from filelock import FileLock

from resing.errors import ResingError
from resing.server.entries import Entry
from resing.server.limits import Limits
from resing.server.places import Places
from resing.server.store import LANES, Store
from resing.server.task import OutOfTime, ServerGone, StopWork, Task, job_seconds

IDLE_SECONDS = 300.0
LOOK_SECONDS = 0.2


def work_on(task: Task, work: Callable[[Task], dict[str, Any]]) -> None:
    """Do one job and say in the database what became of it.

    Raises:
        BaseException: whatever went wrong that is nobody's mistake but ours; the job is failed before.
    """
    store, job = task.store, task.entry.id
    try:
        store.finish(job, work(task))
    except ServerGone:
        store.give_back(job)
    except OutOfTime:
        hours = job_seconds(task.entry.kind, task.limits) / 3600
        store.fail(job, "time", f"took longer than the {hours:g} hours that it may; try a shorter song")
    except StopWork:
        store.drop(job)
    except ResingError as error:
        store.fail(job, error.code, _without_paths(task, str(error)))
    except MemoryError:
        store.fail(job, "memory", "memory ran out; try a shorter song, or smaller settings")
        raise
    except OSError as error:
        store.fail(job, "system", f"{error.strerror or type(error).__name__}; is there room on the disk?")
        raise
    except Exception as error:
        store.fail(job, "internal", f"{type(error).__name__}: {str(error)[:300]}; please report this")
        raise


def serve_lane(lane: str, owner: str, limits: Limits, stopping: threading.Event) -> None:
    """Take the lane's jobs one after another.

    Args:
        lane: one of LANES.
        owner: the worker's id, by which it is known to live.
        limits: on jobs.
        stopping: set when the server is no more.
    """
    store = Store(Places.usual())
    lock = store.places.workers / f"{owner}.lock"
    with FileLock(lock, timeout=5.0):
        last = time.monotonic()
        while not stopping.is_set() and time.monotonic() - last < IDLE_SECONDS:
            entry = store.claim(owner, LANES[lane])
            if entry is None:
                stopping.wait(LOOK_SECONDS)
                continue
            work_on(Task(store, entry, limits, stopping.is_set), _work(entry))
            last = time.monotonic()
    lock.unlink(missing_ok=True)


def _work(entry: Entry) -> Callable[[Task], dict[str, Any]]:
    """What a job's kind asks for; the models are loaded with the first job."""
    if entry.kind in LANES["voices"]:
        from resing.server import work_voice

        return work_voice.WORK[entry.kind]
    from resing.server import work

    return work.WORK[entry.kind]


def _without_paths(task: Task, text: str) -> str:
    """A message with names for the server's own files."""
    jobs = [task.entry.id, *filter(None, [task.entry.request.get("job")])]
    for place in (*map(task.places.job, jobs), task.places.uploads):
        text = text.replace(f"{place}/", "").replace(str(place), "")
    for upload in [task.entry.request.get("upload"), *task.entry.request.get("uploads", ())]:
        if upload and upload in text:
            text = text.replace(upload, task.store.upload(upload)["name"])
    return text


def _watch(stopping: threading.Event) -> None:
    """Set the event when the server has closed our standard input, or died."""
    while os.read(0, 4096):
        pass
    stopping.set()


def main(lane: str, owner: str, limits: str) -> int:
    """A worker's whole life; returns its exit status."""
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=_watch, args=(stopping,), daemon=True).start()
    os.environ["HF_HUB_OFFLINE"] = "1"  # no request leaves the machine
    serve_lane(lane, owner, Limits.model_validate_json(limits), stopping)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
