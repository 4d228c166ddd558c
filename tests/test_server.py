"""The server: what it answers, what it refuses, and with which status."""

import contextlib
import json
import re
import select
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.routing import APIRoute
from serving import TOKEN, Served, do_jobs, events, listening, serve
from starlette.testclient import TestClient

from resing.audio import files
from resing.config import ConvertOptions
from resing.conversion import Converter
from resing.errors import ConfigError
from resing.server import work
from resing.server.access import require_link, require_token
from resing.server.guard import Rates
from resing.server.limits import Limits
from resing.server.places import new_id
from resing.server.routes_uploads import plain
from resing.server.work_voice import safe_name

RATE = 44100
SMALL = Limits(
    upload_bytes=2 << 20,
    body_bytes=20000,
    sound_seconds=5.0,
    check_seconds=20.0,
    requests_per_minute=100000,
)


@pytest.fixture
def served() -> Served:
    """A server without a socket and without workers."""
    return serve(SMALL)


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    """Somebody with the token."""
    with served.client() as client:
        yield client


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """A second and a half of singing, as flac."""
    path = tmp_path / "song.flac"
    files.write(path, sung_phrase([(220.0, 0.7), (0.0, 0.1), (330.0, 0.7)])[None], RATE)
    return path


@pytest.fixture
def tiny(tiny_converter: Converter, monkeypatch: pytest.MonkeyPatch) -> Converter:
    """Jobs sing in the voice "tiny", which lies among the user's voices, with models nobody trained."""
    monkeypatch.setattr(work, "open_singer", lambda name: tiny_converter)
    monkeypatch.setattr("resing.server.routes_jobs.find", lambda name: Path(name))
    return tiny_converter


def send(client: TestClient, path: Path, name: str | None = None) -> str:
    answer = client.post("/api/uploads", params={"name": name or path.name}, content=path.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def convert(upload: str, **options: Any) -> dict[str, Any]:
    song = {"a_cappella": True}
    return {
        "kind": "convert",
        "upload": upload,
        "voice": "tiny",
        "song": song,
        "options": {"steps": 0} | options,
    }


def error(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal, which has the one shape that all have."""
    told = answer.json()
    assert set(told) == {"error"} and set(told["error"]) == {"code", "message"}, told
    return answer.status_code, told["error"]["code"]


# The whole way


def test_a_song_goes_in_and_comes_out_sung(served: Served, client: TestClient, song: Path, tiny: Converter):
    upload = client.post("/api/uploads?name=My%20song.flac", content=song.read_bytes()).json()
    assert (upload["name"], upload["channels"], upload["sample_rate"]) == ("My song.flac", 1, RATE)
    assert upload["seconds"] == pytest.approx(1.5) and max(upload["peaks"]) == pytest.approx(0.5, abs=0.02)
    made = client.post("/api/jobs", json=convert(upload["id"], transpose=2))
    assert made.status_code == 202
    job, secret = made.json()["job"], {"X-Job-Secret": made.json()["secret"]}
    assert (job["state"], job["title"], job["files"]) == ("queued", "My song.flac, sung by tiny", [])
    assert error(client.get(f"/api/jobs/{job['id']}/result", headers=secret)) == (409, "state")
    do_jobs(served, work.WORK)
    done = client.get(f"/api/jobs/{job['id']}").json()
    assert done["state"] == "done", done["error"]
    names = {file["name"] for file in done["files"]}
    assert names == {"song.flac", "song.wav", "song.mp3", "original.flac", "curves.json", "record.json"}
    result = client.get(f"/api/jobs/{job['id']}/result", headers=secret).json()["result"]
    assert result["record"]["transpose"] == 2 and result["a_cappella"] is True
    assert str(served.store.places.root) not in json.dumps([done, result])
    got = client.get(f"/api/jobs/{job['id']}/files/song.flac", headers=secret)
    assert got.headers["content-disposition"].endswith("filename*=utf-8''My%20song_tiny.flac")
    out = song.with_name("out.flac")
    out.write_bytes(got.content)
    assert files.read(out)[0].shape == files.read(song)[0].shape
    curves = client.get(f"/api/jobs/{job['id']}/files/curves.json?secret={secret['X-Job-Secret']}").json()
    assert len(curves["before"]) == len(curves["after"]) > 80 and 5700 in curves["before"]
    told = [line["text"] for line in client.get(f"/api/jobs/{job['id']}/log").json()]
    assert told == ["Accepted.", "Started.", "Done."]


def test_what_a_job_made_needs_its_secret(served: Served, client: TestClient, song: Path, tiny: Converter):
    made = [client.post("/api/jobs", json=convert(send(client, song))).json() for _ in range(2)]
    do_jobs(served, work.WORK)
    (job, other) = (one["job"]["id"] for one in made)
    for path in ("result", "files/song.flac"):
        assert error(client.get(f"/api/jobs/{job}/{path}")) == (403, "secret")
        wrong = {"X-Job-Secret": made[1]["secret"]}
        assert error(client.get(f"/api/jobs/{job}/{path}", headers=wrong)) == (403, "secret")
        assert client.get(f"/api/jobs/{other}/{path}", headers=wrong).status_code == 200
    assert error(client.delete(f"/api/jobs/{job}")) == (403, "secret")
    assert client.delete(f"/api/jobs/{job}", headers={"X-Job-Secret": made[0]["secret"]}).status_code == 204
    assert error(client.get(f"/api/jobs/{job}")) == (404, "unknown")
    assert client.get(f"/api/jobs/{other}").status_code == 200


def test_events_tell_of_a_job_until_it_is_over(
    served: Served, client: TestClient, song: Path, tiny: Converter
):
    job = client.post("/api/jobs", json=convert(send(client, song))).json()["job"]["id"]
    do_jobs(served, work.WORK)
    answer = client.get(f"/api/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["state"] for event in events(answer.text)] == ["done"]
    assert error(client.get(f"/api/jobs/{new_id()}/events")) == (404, "unknown")


def test_cancel_and_retry(client: TestClient, song: Path, tiny: Converter):
    job = client.post("/api/jobs", json=convert(send(client, song))).json()["job"]["id"]
    assert error(client.post(f"/api/jobs/{job}/retry")) == (409, "state")
    assert client.post(f"/api/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert error(client.post(f"/api/jobs/{job}/cancel")) == (409, "state")
    assert client.post(f"/api/jobs/{job}/retry").json()["state"] == "queued"


def test_one_parameter_model_for_all(client: TestClient, song: Path, tiny: Converter):
    upload = send(client, song)
    assert client.get("/api/about").json()["defaults"]["options"] == ConvertOptions().model_dump()
    told = client.post("/api/jobs", json=convert(upload)).json()["job"]["request"]
    assert told["options"] == ConvertOptions(steps=0).model_dump()
    again = client.post("/api/jobs", json=told)
    assert again.status_code == 202 and again.json()["job"]["request"] == told


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"options": {"stepps": 3}}, "options.stepps"),
        ({"options": {"steps": -1}}, "options.steps"),
        ({"options": {"temperature": "NaN"}}, "options.temperature"),
        ({"options": {"pitch_file": "/etc/passwd"}}, "pitch_file"),
        ({"options": {"window_seconds": 1e9}}, "window_seconds"),
        ({"song": {"mix": {"lead_gain_db": 99}}}, "song.mix.lead_gain_db"),
        ({"voice": "../../etc/passwd"}, "voice"),
        ({"voice": "/tmp/voice.safetensors"}, "voice"),
        ({"upload": "../uploads"}, "upload"),
        ({"kind": "shell"}, "kind"),
        ({"url": "http://example.com/song.mp3"}, "url"),
    ],
)
def test_a_wrong_value_is_named(client: TestClient, change: dict[str, Any], where: str):
    request = convert(new_id()) | change
    answer = client.post("/api/jobs", json=request)
    assert error(answer) == (422, "invalid") and where in answer.json()["error"]["message"]


def test_unknown_things_are_not_found(client: TestClient, tiny: Converter):
    assert error(client.post("/api/jobs", json=convert(new_id()))) == (404, "unknown")
    assert error(client.get(f"/api/uploads/{new_id()}")) == (404, "unknown")
    assert error(client.get("/api/nothing")) == (404, "not_found")
    assert error(client.put("/api/jobs")) == (405, "method_not_allowed")
    assert error(client.get("/api/voices/nobody")) == (404, "unknown")


def test_voices_are_listed_exported_and_shipped_ones_stay(client: TestClient):
    told = client.get("/api/voices").json()
    names = [voice["card"]["name"] for voice in told["voices"]]
    assert "kumi" in names and told["problems"] == [] and not any(voice["own"] for voice in told["voices"])
    answer = client.get("/api/voices/kumi/file")
    assert answer.status_code == 200 and b"resing-voice" in answer.content[:20000]
    assert error(client.delete("/api/voices/kumi")) == (400, "voice")
    assert error(client.get("/api/voices/kumi/sample")) == (404, "unknown")
    assert error(client.post("/api/voices", content=answer.content)) == (403, "import")


def test_a_voice_comes_in_where_that_is_allowed(client: TestClient):
    exported = client.get("/api/voices/kumi/file").content
    with serve(SMALL.model_copy(update={"voice_bytes": 4 << 20}), voice_import=True).client() as opened:
        assert error(opened.post("/api/voices", content=exported)) == (400, "voice")  # the name is taken
        brought = opened.post("/api/voices?replace=true", content=exported)
        assert brought.status_code == 201 and brought.json()["own"] is True
        assert error(opened.post("/api/voices", content=b"\x80\x04" + exported[:100]))[0] == 400  # no pickle
        assert opened.delete("/api/voices/kumi").status_code == 204
        assert opened.get("/api/voices/kumi").json()["own"] is False


# Who may come in


def test_every_route_stands_behind_the_token(served: Served):
    routes = list(walk(served.app.app.routes))
    assert len(routes) > 20
    for route in routes:
        assert isinstance(route, APIRoute), f"{route} is no route of ours"
        called = {dependency.call for dependency in route.dependant.dependencies}
        assert called & {require_token, require_link}, f"{route.path} stands open"
        assert (require_link in called) == (route.path == "/")


def walk(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", None
        )
        if inner:
            yield from walk(inner)
        else:
            yield route


def test_without_the_token_nothing_is_told(served: Served):
    with served.client(authorization="Bearer wrong") as stranger:
        for path in (
            "/api/voices",
            "/api/docs",
            "/api/openapi.json",
            "/page/app.js",
            "/api/jobs",
            "/favicon.ico",
        ):
            assert error(stranger.get(path)) == (401, "token")
        front = stranger.get("/", params={"token": "wrong"})
        assert front.status_code == 401 and "resing serve" in front.text
        assert error(stranger.post("/api/uploads?name=a.wav", content=b"x")) == (401, "token")
        assert list(served.store.places.uploads.iterdir()) == []


def test_the_printed_address_opens_the_page(served: Served):
    with served.client(authorization="") as browser:
        answer = browser.get("/", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and cookie.startswith("resing-8765=")
        assert "<title>Resing</title>" in browser.get("/").text
        assert browser.get("/page/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
        assert browser.get("/api/docs").status_code == 200


def test_another_site_gets_no_answer(client: TestClient):
    foreign = (
        "evil.example",
        "evil.example:8765",
        "127.0.0.1:80",
        "127.0.0.1",
        "127.0.0.1:8765.evil.example",
    )
    for host in foreign:
        assert error(client.get("/api/voices", headers={"host": host})) == (421, "misdirected_request")
    assert client.get("/api/about", headers={"host": "LOCALHOST:8765"}).status_code == 200
    for origin in (
        "http://evil.example",
        "http://localhost:9999",
        "null",
        "http://127.0.0.1:8765.evil.example",
    ):
        assert error(client.post("/api/jobs", json={}, headers={"origin": origin})) == (403, "forbidden")
    assert client.get("/api/about", headers={"origin": "http://127.0.0.1:8765"}).status_code == 200
    for site in ("cross-site", "same-site"):
        assert error(client.get("/api/voices", headers={"sec-fetch-site": site})) == (403, "forbidden")


def test_every_answer_is_locked_down(client: TestClient):
    for answer in (client.get("/"), client.get("/api/nothing"), client.get("/", headers={"host": "evil"})):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_asks_for_nothing_from_elsewhere(served: Served):
    page = Path(work.__file__).parent / "page"
    lines = 0
    for path in page.iterdir():
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        found = set(re.findall(r"https?://[^\s\"'<>)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert found == set(), f"{path.name} names {found}"
        assert not re.search(r"innerHTML|insertAdjacentHTML|\beval\(|<script>|style=", text), path.name
    assert lines < 1500


# What is refused


def test_paths_lead_nowhere(served: Served, client: TestClient, song: Path, tiny: Converter):
    made = client.post("/api/jobs", json=convert(send(client, song))).json()
    do_jobs(served, work.WORK)
    job, secret = made["job"]["id"], {"X-Job-Secret": made["secret"]}
    folder = served.store.places.job(job)
    (folder / "secret.txt").write_text("x")
    (folder / "linked.json").symlink_to(served.store.places.root / "token")
    names = (
        "..%2f..%2ftoken",
        "%2e%2e%2f%2e%2e%2ftoken",
        "..%5c..%5ctoken",
        "%2fetc%2fpasswd",
        "song.flac%00.txt",
        "secret.txt",
        "linked.json",
        ".",
        "nothing.flac",
    )
    for name in names:
        assert client.get(f"/api/jobs/{job}/files/{name}", headers=secret).status_code == 404, name
    for path in ("/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/../token"):
        assert client.get(path).status_code == 404, path
    for path in ("/api/jobs/..%2f..%2ftoken", "/api/uploads/..%2ftoken", "/api/voices/..%2fkumi/file"):
        assert client.get(path).status_code in (404, 422), path


def test_names_of_files_are_only_shown(client: TestClient, song: Path):
    upload = send(client, song, "../../../etc/passwd\r\n.wav")
    assert client.get(f"/api/uploads/{upload}").json()["name"] == "passwd__.wav"
    assert plain("C:\\songs\\a.wav") == "a.wav" and plain("\u202eevil.wav") == "_evil.wav"
    assert plain("/") == plain(" ") == "unnamed" and len(plain("x" * 300)) == 120
    assert safe_name("../..", 3) == "003 _.wav" and safe_name("a/b;c$.MP3", 12) == "012 a_b_c_.mp3"


def bad_files() -> dict[str, tuple[bytes, int]]:
    """Files named .wav that are none, each with the status that refuses it."""
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    bomb = zlib.compress(bytes(5 << 20))
    quiet = (
        b"RIFF"
        + struct.pack("<I", 36 + 6 * 88200)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 44100, 88200, 2, 16)
    )
    quiet += b"data" + struct.pack("<I", 6 * 88200) + bytes(6 * 88200)
    many = (
        b"RIFF"
        + struct.pack("<I", 36 + 3200)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 32, 44100, 88200 * 32, 64, 16)
    )
    many += b"data" + struct.pack("<I", 3200) + bytes(3200)
    return {
        "empty": (b"", 415),
        "text": (b"hello", 415),
        "playlist": (playlist, 415),
        "concat": (b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
        "page": (b"<html><script>alert(1)</script></html>", 415),
        "zip": (b"PK\x03\x04" + bomb, 415),
        "truncated": (b"fLaC\x00\x00\x00\x22" + bytes(10), 415),
        "too long": (quiet, 413),
        "too many channels": (many, 413),
    }


@pytest.mark.parametrize("kind", bad_files())
def test_what_is_no_song_is_refused_and_leaves_nothing(served: Served, client: TestClient, kind: str):
    content, status = bad_files()[kind]
    answer = client.post("/api/uploads?name=song.wav", content=content)
    assert error(answer)[0] == status, answer.text
    assert str(served.store.places.root) not in answer.text
    assert list(served.store.places.uploads.iterdir()) == []


def test_what_breaks_the_decoder_breaks_only_a_child(
    served: Served, client: TestClient, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for number, body in enumerate(("os.abort()", "bytearray(1 << 40)", "time.sleep(60)")):
        child = tmp_path / str(number)
        child.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import os, time; {body}'\n")
        child.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setattr("resing.server.examine.sys.executable", str(child))
            patch.setattr("resing.server.examine.PATIENCE", 0.03)
            answer = client.post("/api/uploads?name=song.wav", content=song.read_bytes())
        assert error(answer) == (422, "audio"), body
    assert client.get("/api/about").status_code == 200
    assert list(served.store.places.uploads.iterdir()) == []


def test_bodies_have_a_limit(client: TestClient):
    assert error(client.post("/api/jobs", content=b"[" * 20001))[0] == 413
    assert error(client.post("/api/uploads?name=a.wav", content=bytes((2 << 20) + 1)))[0] == 413
    assert error(client.post("/api/jobs", headers={"content-length": "-1"}))[0] == 413
    pieces = (bytes(10000) for _ in range(10))  # no stated length
    assert error(client.post("/api/jobs", content=pieces))[0] == 413
    form = {f"field{number}": "x" for number in range(500)}
    assert error(client.post("/api/jobs", data=form))[0] == 422  # there is no form here
    assert error(client.post("/api/jobs", data={f"f{n}": "x" * 90 for n in range(10000)}))[0] == 413
    assert error(client.post("/api/jobs", content=b"[" * 9000)) == (422, "invalid")


def test_too_many_requests_wait(song: Path):
    with serve(SMALL.model_copy(update={"requests_per_minute": 25})).client() as client:
        statuses = [client.get("/api/about").status_code for _ in range(30)]
        assert statuses[:25] == [200] * 25 and set(statuses[25:]) == {429}
        assert client.get("/api/about").headers["retry-after"] == "5"
    rates = Rates(60)
    assert all(rates.take("a", 10) for _ in range(6)) and not rates.take("a", 10) and rates.take("b", 10)


def test_too_many_recordings_are_refused(client: TestClient):
    request = {"kind": "recordings", "uploads": [new_id()] * 501}
    assert error(client.post("/api/jobs", json=request)) == (413, "too_large")


def test_no_room_is_said(client: TestClient, song: Path):
    with serve(SMALL.model_copy(update={"stored_bytes": 1000})).client() as full:
        assert error(full.post("/api/uploads?name=a.flac", content=song.read_bytes())) == (503, "busy")


# On a socket


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A RESING_HOME for a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESING_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def socketed(home: None) -> Iterator[Served]:
    """A server on a socket."""
    with listening(SMALL.model_copy(update={"stall_seconds": 0.4, "upload_seconds": 1.5})) as served:
        yield served


def talk(served: Served, *pieces: bytes, pause: float = 0.0, patience: float = 5.0) -> bytes:
    """What a server says to raw bytes, sent piece by piece until it says something."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as line:
        said = b""
        with contextlib.suppress(ConnectionError):  # it hung up, which is an answer as well
            for piece in pieces:
                line.sendall(piece)
                if select.select([line], [], [], pause)[0]:
                    break
            if not select.select([line], [], [], patience)[0]:
                line.shutdown(socket.SHUT_WR)
            while got := line.recv(65536):
                said += got
        return said


def head(served: Served, path: str, *headers: str) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{served.port}",
        f"Authorization: Bearer {TOKEN}",
        "Connection: close",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


UPLOAD = "/api/uploads?name=a.wav"


@pytest.mark.parametrize(
    ("pieces", "pause", "status"),
    [
        (lambda s: [head(s, UPLOAD, "Content-Length: 1000000"), b"RIFF", b"x"], 0.6, 408),
        (lambda s: [head(s, UPLOAD, "Content-Length: 1000000"), *[b"x"] * 12], 0.2, 408),
        (lambda s: [head(s, UPLOAD, "Content-Length: 1073741824"), bytes(1000)], 0.0, 413),
        (
            lambda s: [
                head(s, UPLOAD, "Transfer-Encoding: chunked"),
                *[b"fffff\r\n" + bytes(0xFFFFF) + b"\r\n"] * 3,
            ],
            0.0,
            413,
        ),
        (lambda s: [head(s, UPLOAD, "Content-Length: 5", "Content-Length: 6"), b"abcde"], 0.0, 400),
        (lambda s: [head(s, UPLOAD, "Content-Length: ten")], 0.0, 400),
        (lambda s: [head(s, "/api/jobs", *[f"X-{n}: {'x' * 100}" for n in range(170)])], 0.0, 431),
        (lambda s: [head(s, "/" + "a" * 20000)], 0.0, 414),
        (lambda s: [b"\x16\x03\x01\x02\x00\x01\x00\x01"], 0.0, 400),
    ],
    ids=[
        "stalled",
        "slow",
        "huge",
        "endless",
        "two lengths",
        "no length",
        "header bomb",
        "long address",
        "not HTTP",
    ],
)
def test_hostile_bytes(socketed: Served, pieces: Callable[[Served], list[bytes]], pause: float, status: int):
    said = talk(socketed, *pieces(socketed), pause=pause)
    assert said.startswith(f"HTTP/1.1 {status} ".encode()), said[:300]
    with contextlib.closing(HTTPConnection("127.0.0.1", socketed.port, timeout=10)) as line:
        line.request("GET", "/api/about", headers={"Authorization": f"Bearer {TOKEN}"})
        assert line.getresponse().status == 200
    assert list(socketed.store.places.uploads.iterdir()) == []


def test_a_body_shorter_than_it_says_leaves_nothing(socketed: Served):
    talk(socketed, head(socketed, UPLOAD, "Content-Length: 100000"), b"RIFF" + bytes(1000), patience=0.0)
    end = time.monotonic() + 5
    while list(socketed.store.places.uploads.iterdir()):
        assert time.monotonic() < end, "half a song was kept"
        time.sleep(0.05)


def test_other_machines_stay_outside_unless_asked_for():
    from resing.cli_serve import is_loopback, serve

    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.168.1.2") and not is_loopback("")
    with pytest.raises(ConfigError, match="--allow-remote"):
        serve(host="0.0.0.0")


# The OpenAPI document


WRONG = (None, -1, 1e30, True, "", "x" * 5000, "\x00", "../..", [], {}, [[[]]], {"kind": {}}, "\ud7ff☃")


def test_no_wrong_value_breaks_anything(served: Served, client: TestClient):
    document = client.get("/api/openapi.json").json()
    asked = 0
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            for wrong in WRONG:
                text = wrong if isinstance(wrong, str) else json.dumps(wrong)
                place = re.sub(r"\{\w+\}", lambda _, text=text: quote(text, ""), path)
                query = {
                    one["name"]: text[:300] for one in about.get("parameters", []) if one["in"] == "query"
                }
                body = (
                    {"json": wrong}
                    if "application/json" in about.get("requestBody", {}).get("content", {})
                    else {}
                )
                answer = client.request(method.upper(), place, params=query, **body)
                assert answer.status_code < 500, (method, place, wrong, answer.text)
                asked += 1
    assert asked > 200


def test_every_field_of_a_job_is_checked(client: TestClient):
    requests = [
        {"kind": "listen", "upload": new_id()},
        convert(new_id()),
        {"kind": "score", "job": new_id()},
        {"kind": "retake", "job": new_id(), "start_seconds": 1.0, "end_seconds": 2.0},
        {"kind": "sample", "voice": "nobody"},
        {"kind": "recordings", "uploads": [new_id()], "songs": False},
        {
            "kind": "voice",
            "recordings": new_id(),
            "facts": {"name": "a", "licence": "x", "consent": "y"},
            "training": {"steps": 5},
        },
    ]
    for request in requests:
        assert client.post("/api/jobs", json=request).status_code in (400, 404)
        for name in request:
            for wrong in WRONG:
                answer = client.post("/api/jobs", json=request | {name: wrong})
                assert answer.status_code in (400, 404, 422), (request, name, wrong, answer.text)
