"""A server for tests: in this process, on a socket or without one, with a worker that is a thread."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from resing.server.app import Setting, create_app, local_hosts
from resing.server.limits import Limits
from resing.server.places import Places
from resing.server.run import _listen
from resing.server.store import LANES, Store
from resing.server.task import Task
from resing.server.worker import work_on

TOKEN = "a-token-for-tests"
PORT = 8765
Work = Callable[[Task], dict[str, Any]]


@dataclass
class Served:
    """An application and what it works with."""

    app: ASGIApp
    store: Store
    limits: Limits
    port: int = PORT

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> TestClient:
        """Somebody who has the token and asks for what is there by its right name."""
        known = {"authorization": f"Bearer {TOKEN}"} | headers
        return TestClient(self.app, self.address, headers=known, follow_redirects=False)


def serve(limits: Limits | None = None, port: int = PORT, **more: Any) -> Served:
    """A server without workers, in the RESING_HOME of the test."""
    limits, places = limits or Limits(), Places.usual()
    app = create_app(places, Setting(TOKEN, local_hosts(port), limits, work=False, **more))
    return Served(app, Store(places), limits, port)


@contextlib.contextmanager
def listening(limits: Limits | None = None, work: dict[str, Work] | None = None) -> Iterator[Served]:
    """A server on a socket; with `work` by kind of job, a thread does the jobs."""
    with _listen("127.0.0.1", 0) as sock, contextlib.ExitStack() as stack:
        served = serve(limits, sock.getsockname()[1])
        config = uvicorn.Config(
            served.app,
            http="h11",
            ws="none",
            log_level="critical",
            access_log=False,
            h11_max_incomplete_event_size=16 << 10,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        stack.enter_context(
            _running(lambda: server.run([sock]), lambda: setattr(server, "should_exit", True))
        )
        if work is not None:
            stop = threading.Event()
            stack.enter_context(_running(lambda: _work(served, work, stop), stop.set))
        while not server.started:
            time.sleep(0.01)
        yield served


@contextlib.contextmanager
def _running(work: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(20)


def _work(served: Served, work: dict[str, Work], stop: threading.Event) -> None:
    kinds = [kind for lane in LANES.values() for kind in lane]
    while not stop.wait(0.05):
        while (entry := served.store.claim("b" * 26, kinds)) is not None:
            work_on(Task(served.store, entry, served.limits, stop.is_set), work[entry.kind])


def do_jobs(served: Served, work: dict[str, Work]) -> None:
    """Do all waiting jobs, here and now."""
    kinds = [kind for lane in LANES.values() for kind in lane]
    while (entry := served.store.claim("b" * 26, kinds)) is not None:
        work_on(Task(served.store, entry, served.limits), work[entry.kind])


def events(text: str) -> list[dict[str, Any]]:
    """What a stream of server-sent events told."""
    return [json.loads(part[6:]) for part in text.split("\n\n") if part.startswith("data: ")]
