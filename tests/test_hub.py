"""The community's models: fetched, taken up again, checked, converted; a local server is the network."""

import hashlib
import http.server
import io
import json
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resing import checkpoint, cli, hub, hub_catalogue, hub_fetch
from resing.errors import DownloadError
from resing.hub_catalogue import CATALOGUE, Model

pytestmark = pytest.mark.usefixtures("reader_in_process")
WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def torch_bytes(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


PUBLISHED = torch_bytes({"generator": WEIGHTS, "steps": 3})
DIGEST = hashlib.sha256(PUBLISHED).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Sends `body`; what goes wrong is set by the test."""

    body, status, cut, stall, ranges, declared, elsewhere = PUBLISHED, 200, 0, 0.0, True, 0, ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        if self.server.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.end_headers()
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        body, start = self.server.body, 0
        if self.server.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(self.server.declared or len(body) - start))
        self.end_headers()
        sent = body[start : self.server.cut or None]
        self.wfile.write(sent[: len(sent) // 2])
        time.sleep(self.server.stall)
        self.wfile.write(sent[len(sent) // 2 :])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine that plays the one the catalogue names; http is allowed for it alone."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(hub_fetch, "SCHEMES", frozenset({"http"}))
    monkeypatch.setattr(hub_catalogue, "HUGGING_FACE", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setenv("HF_HOME", str(hub.home() / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Model:
    """The catalogue's first model, of our weights."""
    facts = {"sha256": DIGEST, "size": len(PUBLISHED), "places": ("generator",), "on_hugging_face": True}
    model = replace(CATALOGUE["contentvec"], **(facts | changes))
    monkeypatch.setitem(CATALOGUE, "contentvec", model)
    return model


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    return publish(monkeypatch)


def refused(*texts: str, **options: Any) -> None:
    with pytest.raises(DownloadError) as caught:
        hub.download("contentvec", **options)
    message = str(caught.value)
    assert "\n" not in message and all(text in message for text in texts), message


def part() -> Path:
    return hub.folder() / "contentvec.part"


# -- the catalogue


def test_the_catalogue_is_true_to_itself():
    for name, entry in CATALOGUE.items():
        assert entry.name == name and entry.url.startswith("https://")
        assert entry.sha256 == entry.sha256.lower() and len(entry.sha256) <= 64
        assert entry.non_commercial == ("NC" in entry.licence)
    assert CATALOGUE["contentvec"].published_hash and not CATALOGUE["nsf-hifigan"].published_hash


# -- downloads


def test_a_model_is_fetched_checked_converted_and_found(server: Server, model: Model):
    assert not hub.look("contentvec").here
    told: list[tuple[str, float, float]] = []
    held = hub.download("contentvec", progress=lambda *news: told.append(news))
    assert held.here and held.verified is True and held.source_sha256 == DIGEST
    tensors, header = checkpoint.load(hub.locate("contentvec"))
    assert tensors.keys() == WEIGHTS.keys() and all(torch.equal(tensors[n], WEIGHTS[n]) for n in WEIGHTS)
    assert header["url"] == model.url and header["licence"] == "MIT"
    assert ("fetch", len(PUBLISHED), len(PUBLISHED)) in told and told[-1] == ("convert", 1.0, 1.0)
    assert not part().exists()
    assert hub.download("contentvec") == held and server.asked == [None]
    assert hub.verify("contentvec") == held


def test_a_broken_connection_is_taken_up_where_it_ended(server: Server, model: Model):
    server.cut = 500
    refused("broke off after 500 of", "run the same command again")
    assert part().stat().st_size == 500
    server.cut = 0
    assert hub.download("contentvec").verified
    assert server.asked == [None, "bytes=500-"]


def test_a_server_that_cannot_resume_sends_everything_again(server: Server, model: Model):
    hub.folder().mkdir(parents=True)
    part().write_bytes(b"x" * 300)
    server.ranges = False
    assert hub.download("contentvec").verified and server.asked == ["bytes=300-"]


def test_a_whole_part_is_not_fetched_again_and_a_longer_one_is_begun_anew(server: Server, model: Model):
    hub.folder().mkdir(parents=True)
    part().write_bytes(PUBLISHED)
    assert hub.download("contentvec").verified and server.asked == []
    hub.locate("contentvec").unlink()
    part().write_bytes(PUBLISHED + b"more")
    assert hub.download("contentvec").verified and server.asked == [None]


def test_a_range_beyond_the_end_is_begun_anew(server: Server, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, size=None)
    hub.folder().mkdir(parents=True)
    part().write_bytes(b"x" * 9000)
    server.status = 416
    refused("does not fit", "run it again")
    assert not part().exists()


def test_a_wrong_hash_is_not_kept(server: Server, model: Model):
    server.body = PUBLISHED[:-1] + bytes([PUBLISHED[-1] ^ 1])
    refused("is not the published pytorch_model.bin", DIGEST, "get it again")
    assert not part().exists() and not hub.look("contentvec").here


def test_a_wrong_size_is_refused_before_and_while_it_comes(server: Server, model: Model):
    server.body = PUBLISHED + b"more"
    refused(f"got {len(PUBLISHED) + 4} bytes, expected {len(PUBLISHED)}", "not kept")
    assert not part().exists()


def test_a_file_that_never_ends_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_fetch, "LARGEST_BYTES", 1000)
    publish(monkeypatch, size=None)
    server.declared = 10**12
    refused("got 1000000000000 bytes, expected at most 1000")
    assert not part().exists()


@pytest.mark.parametrize(
    ("status", "text"), [(404, "not there any more (HTTP 404)"), (403, "refuses it"), (500, "HTTP 500")]
)
def test_what_a_server_refuses(server: Server, model: Model, status: int, text: str):
    server.status = status
    refused(text, "--from FILE")


def test_a_slow_server_is_left_and_taken_up_again(
    server: Server, model: Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub_fetch, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(hub_fetch, "BLOCK", 100)
    server.stall = 0.6
    refused("nothing came for 0.2 s", "run the same command again")
    assert 0 < part().stat().st_size < len(PUBLISHED)
    server.stall = 0.0
    assert hub.download("contentvec").verified


def test_no_server(server: Server, model: Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_catalogue, "HUGGING_FACE", "http://127.0.0.1:9")
    refused("cannot be reached", "--from FILE")


def test_only_https_also_where_a_server_sends_us(
    server: Server, model: Model, monkeypatch: pytest.MonkeyPatch
):
    server.elsewhere = "file:///etc/passwd"
    refused("the server refuses it")
    monkeypatch.setattr(hub_fetch, "SCHEMES", frozenset({"https"}))
    server.asked = []
    refused("another scheme", "expected https")
    assert server.asked == []
    request = urllib.request.Request("https://safe.example/x")
    with pytest.raises(DownloadError, match=r"http://open\.example/x: got another scheme"):
        hub_fetch._Redirects().redirect_request(request, None, 302, "", {}, "http://open.example/x")


# -- files from elsewhere


def test_a_file_fetched_elsewhere(server: Server, model: Model, tmp_path: Path):
    given = tmp_path / "given.bin"
    refused("no such file", source=given)
    given.write_bytes(PUBLISHED)
    assert hub.download("contentvec", source=given).verified and server.asked == []
    assert given.read_bytes() == PUBLISHED
    given.write_bytes(PUBLISHED + b"!")
    refused("is not the published", source=given)
    assert hub.verify("contentvec").verified


def test_the_hubs_own_cache_is_used(server: Server, model: Model):
    place = hub.home() / "hf" / "hub" / "models--lj1995--VoiceConversionWebUI" / "snapshots" / "abc"
    cached = place / model.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"?" * len(PUBLISHED))
    assert hub._in_hub_cache(model) is None
    cached.write_bytes(PUBLISHED)
    assert hub.download("contentvec").verified and server.asked == []
    assert cached.read_bytes() == PUBLISHED


# -- what is not known


def test_an_unknown_hash_is_pinned_at_its_first_use(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    publish(monkeypatch, sha256=DIGEST[:8], size=None)
    assert cli.run(["models", "download", "contentvec"]) == 0
    assert "contentvec is unverified" in capsys.readouterr().err
    held = hub.look("contentvec")
    assert held.here and held.verified is False and held.state == "here (unverified)"
    held.path.unlink()
    server.body = torch_bytes({"generator": {"a": torch.zeros(1)}})
    refused("is not the published", "pinned at its first use")
    server.body = PUBLISHED
    assert hub.download("contentvec").verified is False


def test_the_first_digits_of_a_hash_are_held_to(server: Server, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, sha256="00000000", size=None)
    refused("expected 00000000")


def test_a_licence_against_commercial_use_is_accepted_first(server: Server, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, non_commercial=True, licence="CC BY-NC-SA 4.0", licence_url="https://terms")
    refused("CC BY-NC-SA 4.0", "https://terms", "resing models download contentvec --accept-licence")
    assert server.asked == [] and hub.download("contentvec", accept_licence=True).verified


def test_a_zip_gives_its_one_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def zipped(*names: str) -> Path:
        with zipfile.ZipFile(tmp_path / "given.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, PUBLISHED)
        digest = checkpoint.file_hash(tmp_path / "given.zip")
        publish(monkeypatch, sha256=digest, size=None, member=".ckpt")
        return tmp_path / "given.zip"

    refused("got 0 files that end in .ckpt", source=zipped("notice.txt"))
    refused("got 2 files", source=zipped("a.ckpt", "b.ckpt"))
    assert hub.download("contentvec", source=zipped("../../x.ckpt", "config.json")).verified
    assert [p.name for p in tmp_path.iterdir()] == ["given.zip"]
    (tmp_path / "given.zip").write_bytes(b"PK no zip")
    publish(monkeypatch, sha256=checkpoint.file_hash(tmp_path / "given.zip"), size=None, member=".ckpt")
    refused("not a zip that can be read", source=tmp_path / "given.zip")


def test_damage_is_seen(server: Server, model: Model):
    path = hub.download("contentvec").path
    with pytest.raises(DownloadError, match="the model hubert-soft is not here; get it: resing models"):
        hub.verify("hubert-soft")
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DownloadError, match="fetch it again: resing models download contentvec"):
        hub.verify("contentvec")
    path.write_bytes(b"nothing")
    assert not hub.look("contentvec").here


# -- the command


def test_commands(server: Server, model: Model, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["models", "verify"]) == 0
    assert "No models are here" in capsys.readouterr().err
    assert cli.run(["models", "path", "contentvec"]) == 2
    assert "resing models download contentvec" in capsys.readouterr().err
    assert cli.run(["models", "download", "contentvec", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["here"] and record["verified"] and record["source_sha256"] == DIGEST
    assert cli.run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["here"] for one in listed] == [True, False, False, False]
    assert listed[-1]["sha256"] is None and listed[-1]["non_commercial"]
    assert cli.run(["models", "list"]) == 0
    assert "unknown" in capsys.readouterr().out
    assert cli.run(["models", "verify"]) == 0
    assert "undamaged" in capsys.readouterr().err
    assert cli.run(["models", "path", "contentvec"]) == 0
    assert capsys.readouterr().out.strip() == str(hub.locate("contentvec"))
    assert cli.run(["models", "download", "nothing"]) == 2
    assert "no model named 'nothing'" in capsys.readouterr().err
