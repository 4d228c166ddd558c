"""A Redis of the test's own: Debian's redis-server on a free port of this machine."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WAIT_SECONDS = 20.0


class RedisServer:
    """A Redis that writes every change to the disk before it answers.

    Args:
        folder: for what it writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "save": "",
            "appendonly": "yes",
        }
        words = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
        command = ["redis-server", *words, "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + WAIT_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end and self.process.poll() is None, "redis-server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_SECONDS)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RedisServer]:
    """A Redis; without one the test is skipped, or fails where RESING_REQUIRE_REDIS is 1."""
    lacking = None if shutil.which("redis-server") else "no redis-server here; on Debian: apt-get install it"
    try:
        import redis  # noqa: F401
    except ImportError:
        lacking = "the package redis is missing: pip install 'resing[redis]'"
    if lacking and os.environ.get("RESING_REQUIRE_REDIS") == "1":
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()
