"""Another take of a phrase over the API: what it needs, what it gives, what is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Served, do_jobs, serve
from starlette.testclient import TestClient

from resing.audio import files
from resing.conversion import Converter
from resing.server import work
from resing.server.client import Client

RATE = 44100
PLACE = {"start_seconds": 1.5, "end_seconds": 1.7}


@pytest.fixture
def served(tiny_converter: Converter, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A server whose jobs sing in the voice "tiny"."""
    tiny_converter.keeps = True
    monkeypatch.setattr(work, "open_singer", lambda name: tiny_converter)
    monkeypatch.setattr("resing.server.routes_jobs.find", lambda name: Path(name))
    return serve()


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    with served.client() as client:
        yield client


@pytest.fixture
def sung(served: Served, client: TestClient, tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> str:
    """A job that sang two phrases of half a second."""
    audio = 0.3 * sung_phrase([(220.0, 0.6), (0.0, 0.6), (330.0, 0.7)])
    files.write(tmp_path / "My song.wav", audio[None], RATE)
    sent = client.post("/api/uploads?name=My%20song.wav", content=(tmp_path / "My song.wav").read_bytes())
    request = {"kind": "convert", "upload": sent.json()["id"], "voice": "tiny", "options": {"steps": 0}}
    job = ask(client, request | {"song": {"a_cappella": True}})
    do_jobs(served, work.WORK)
    return job


def ask(client: TestClient, request: dict[str, object]) -> str:
    made = client.post("/api/jobs", json=request)
    assert made.status_code == 202, made.text
    client.headers["X-Job-Secret"] = made.json()["secret"]
    return made.json()["job"]["id"]


def test_another_take_gives_the_whole_song_and_can_be_taken_further(
    served: Served, client: TestClient, sung: str
):
    job = ask(client, {"kind": "retake", "job": sung, **PLACE})
    do_jobs(served, work.WORK)
    done = client.get(f"/api/jobs/{job}").json()
    assert done["state"] == "done", done["error"]
    assert done["title"] == "Another take at 0:02: My song.wav, sung by tiny"
    names = {file["name"] for file in done["files"]}
    assert names == {"song.flac", "song.wav", "song.mp3", "original.flac", "curves.json", "record.json"}
    got = client.get(f"/api/jobs/{job}/files/song.flac")
    assert got.headers["content-disposition"].endswith("filename*=utf-8''My%20song_tiny.flac")
    result = client.get(f"/api/jobs/{job}/result").json()["result"]
    assert (result["of"], result["request"]["voice"]) == (sung, "tiny")
    assert str(served.store.places.root) not in str([done, result])
    assert result["anew"]["seed"] == 1000 and result["record"]["sung_seconds"] == 0.0
    assert result["anew"]["start_seconds"] > 0.9
    before, after = (files.read(served.store.places.job(name) / "song.flac")[0] for name in (sung, job))
    assert np.array_equal(before[:, : round(0.5 * RATE)], after[:, : round(0.5 * RATE)])
    assert not np.array_equal(before, after) and before.shape == after.shape
    again = ask(client, {"kind": "retake", "job": job, **PLACE})
    do_jobs(served, work.WORK)
    assert served.store.job(again).result["anew"]["seed"] == 2000
    assert served.store.job(again).title == "Another take at 0:02: My song.wav, sung by tiny"


def test_what_cannot_be_taken_again_is_refused(served: Served, client: TestClient, sung: str):
    for wrong in ({"start_seconds": 2.0}, {"end_seconds": "x"}, {"start_seconds": -1}):
        answer = client.post("/api/jobs", json={"kind": "retake", "job": sung, **PLACE, **wrong})
        assert answer.status_code == 422, answer.text
    job = ask(client, {"kind": "retake", "job": sung, "start_seconds": 0.8, "end_seconds": 0.9})
    waiting = client.post("/api/jobs", json={"kind": "retake", "job": job, **PLACE})
    assert waiting.status_code == 409 and "that is done, got retake, queued" in waiting.text
    with pytest.raises(ValueError, match="expected more than start_seconds"):
        Client("http://127.0.0.1:1", "x").retake(sung, 2.0, 1.0)
    do_jobs(served, work.WORK)
    failed = served.store.job(job)
    assert failed.state == "failed" and failed.error["message"].startswith(
        "nothing is sung from 0.8 to 0.9 s"
    )
    (served.store.places.job(sung) / work.RECORD).unlink()
    job = ask(client, {"kind": "retake", "job": sung, **PLACE})
    do_jobs(served, work.WORK)
    message = served.store.job(job).error["message"]
    assert "is no record of a conversion" in message and str(served.store.places.root) not in message
