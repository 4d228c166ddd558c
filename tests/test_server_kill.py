"""The server as a process of its own: killed workers and servers lose nothing; the client drives it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resing.errors import ConfigError
from resing.server import schema
from resing.server.client import Client, RefusedError, Work
from resing.server.places import Places
from resing.server.store import Store

WAIT_SECONDS = 120.0


class Process:
    """`resing serve` on a free port."""

    def __init__(self, home: Path) -> None:
        environment = os.environ | {"RESING_HOME": str(home), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "resing", "serve", "--port", "0"]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        told = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", self.process.stderr.readline())
        assert told is not None
        self.client = Client(told[1], told[2])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_SECONDS)
        self.process.stderr.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The RESING_HOME of all processes of the test."""
    monkeypatch.setenv("RESING_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def started(home: Path) -> Iterator[list[Process]]:
    """Servers that end with the test."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        if process.process.poll() is None:
            process.close()


def until(condition: object, text: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {WAIT_SECONDS} s: {text}"
        time.sleep(0.02)


def workers(home: Path) -> list[int]:
    """Process ids of the workers that live, by what they hold open."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                line = (place / "cmdline").read_bytes().split(b"\0")
                mine = f"RESING_HOME={home}".encode() in (place / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mine and b"resing.server.worker" in line:
                found.append(int(place.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_no_accepted_job_is_lost_whoever_is_killed(home: Path, started: list[Process]):
    started.append(Process(home))
    store = Store(Places.usual())
    job = started[0].client.start(schema.Sample(kind="sample", voice="kumi"))
    until(lambda: store.job(job.id).state == "running", "the job runs")
    (worker,) = workers(home)
    os.kill(worker, signal.SIGKILL)
    until(lambda: store.job(job.id).attempts == 2, "the job is taken up again")
    texts = [text for _, text in store.log(job.id)]
    assert texts == ["Accepted.", "Started.", "The worker died; the job is queued again.", "Taken up again."]
    started[0].kill()
    until(lambda: not workers(home), "the worker ends with its server")
    kept = store.job(job.id)
    assert kept.state in ("queued", "running", "done")  # given back, unless it was just about to be done

    started.append(Process(home))
    again = Work(started[1].client, job.id, job.secret)
    assert again.wait()["voice"] == "kumi"
    assert {file.name for file in again.now().files} == {"sample.flac"}
    out = again.save("sample.flac", home / "sample.flac")
    assert out.stat().st_size > 10000
    with pytest.raises(RefusedError, match="secret"):
        Work(started[1].client, job.id, "wrong").result()
    again.forget()
    with pytest.raises(RefusedError, match="no such job"):
        again.now()
    started[1].close()
    assert started[1].process.returncode in (0, -signal.SIGTERM, 143)
    until(lambda: not workers(home), "the workers end with their server")
    assert store.known() == (set(), set()) and list(store.places.jobs.iterdir()) == []


def test_a_client_without_a_server_says_what_to_do(home: Path):
    with pytest.raises(ConfigError, match="resing serve"):
        Client("http://127.0.0.1:1", "x").about()
    with pytest.raises(ConfigError, match="expected such as"):
        Client("ftp://somewhere", "x")
