"""How the server bears a crowd: 50 clients at once, 1,000 requests, what it answered, memory and left files.

    python benchmarks/server_load.py                 # starts a server of its own in a temporary RESING_HOME

Run it three times over: the first round warms the server up, memory drift is that of the others.
"""

import argparse
import collections
import http.client
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path
from urllib.parse import urlsplit

CLIENTS, REQUESTS = 50, 1000
ROUNDS = 3


def tone() -> bytes:
    """A tenth of a second of wav."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        writer.writeframes(random.Random(0).randbytes(3200))
    return file.getvalue()


def ask(place: str, token: str, random_: random.Random, jobs: list[str]) -> tuple[str, int, float]:
    """One request of the mix: its kind, the status, seconds."""
    line = http.client.HTTPConnection(place, timeout=120)
    headers = {"Authorization": f"Bearer {token}"}
    asked = [
        ("voices", "GET", "/api/voices", None),
        ("jobs", "GET", "/api/jobs", None),
        ("page", "GET", "/page/app.js", None),
        ("unknown", "GET", "/api/jobs/aaaaaaaaaaaaaaaaaaaaaaaaaa", None),
        ("no token", "GET", "/api/voices", None),
        ("wrong", "POST", "/api/jobs", b'{"kind": "convert", "upload": "../.."}'),
        ("upload", "POST", "/api/uploads?name=tone.wav", tone()),
        ("job", "POST", "/api/jobs", b'{"kind": "sample", "voice": "kumi"}'),
        ("cancel", "POST", f"/api/jobs/{random_.choice(jobs) if jobs else 'a' * 26}/cancel", None),
    ]
    kind, method, path, body = random_.choices(asked, (6, 6, 6, 3, 2, 2, 1, 1, 2))[0]
    began = time.monotonic()
    line.request(
        method, path, body, {} if kind == "no token" else headers | {"Content-Type": "application/json"}
    )
    answer = line.getresponse()
    content = answer.read()
    line.close()
    if kind == "job" and answer.status == 202:
        jobs.append(json.loads(content)["job"]["id"])
    return kind, answer.status, time.monotonic() - began


def crowd(place: str, token: str, seed: int) -> list[tuple[str, int, float]]:
    """All answers of a round."""
    told: list[tuple[str, int, float]] = []
    jobs: list[str] = []

    def client(number: int) -> None:
        random_ = random.Random(seed * 1000 + number)
        for _ in range(REQUESTS // CLIENTS):
            told.append(ask(place, token, random_, jobs))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def memory(process: int) -> float:
    """MB that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1e3 if found else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pause", type=float, default=61.0, help="seconds between rounds, so that rates fill again"
    )
    pause = parser.parse_args().pause
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "resing", "serve", "--port", "0"]
        environment = os.environ | {"RESING_HOME": home}
        server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        address = urlsplit(re.search(r"http://\S+", server.stderr.readline())[0])
        token = address.query.partition("=")[2]
        before = memory(server.pid)
        for number in range(ROUNDS):
            if number:
                time.sleep(pause)
            began = time.monotonic()
            told = crowd(address.netloc, token, number)
            took, held = time.monotonic() - began, memory(server.pid)
            statuses = collections.Counter(status for _, status, _ in told)
            seconds = sorted(s for _, status, s in told if status != 429)
            print(
                f"round {number + 1}: {len(told)} answers in {took:.1f} s, {dict(sorted(statuses.items()))}; "
                f"median {statistics.median(seconds) * 1e3:.0f} ms, "
                f"95 % {seconds[int(0.95 * len(seconds))] * 1e3:.0f} ms; "
                f"{before:.0f} to {held:.0f} MB ({held / before - 1:+.1%})"
            )
            before = held
        for entry in json.loads(_listed(environment)):
            if entry["state"] in ("queued", "running"):
                subprocess.run(
                    [*command[:3], "jobs", "cancel", entry["id"]],
                    env=environment,
                    capture_output=True,
                    check=False,
                )
        server.terminate()
        server.wait(60)
        known = {entry["id"] for entry in json.loads(_listed(environment))}
        left = [path.name for path in Path(home, "server", "jobs").iterdir() if path.name not in known]
        parts = [path.name for path in Path(home).rglob("*.part")]
        print(f"nobody's: {len(left)} folders, {len(parts)} half files; exit status {server.returncode}")


def _listed(environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "resing", "jobs", "list", "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
