"""`resing doctor` and `resing jobs`: what they find, say, and exit with."""

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from resing import cli_doctor
from resing.cli import run
from resing.features import content
from resing.server.places import Places
from resing.server.store import Store
from resing.voice import user_folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit status, and the JSON on stdout."""
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_doctor_finds_all_well(capsys: pytest.CaptureFixture[str]):
    status, findings = told(capsys, "doctor")
    assert [f["name"] for f in findings if f["problem"]] == [] and status == 0
    names = {f["name"] for f in findings}
    assert {
        "Python",
        "packages",
        "content encoder",
        "vocoder",
        "voices",
        "wav",
        "mp3",
        "opus",
        "home",
    } <= names
    assert run(["doctor"]) == 0
    assert "All is well." in capsys.readouterr().err


def test_the_doctor_finds_what_is_wrong_and_exits_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def version(package: str) -> str:
        if package == "soxr":
            raise metadata.PackageNotFoundError
        return "0.1" if package == "numpy" else "99.0"

    monkeypatch.setattr(cli_doctor.metadata, "version", version)
    monkeypatch.setattr(
        content, "embedded", lambda: content.ContentEncoder.load(tmp_path / "gone.safetensors")
    )
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(cli_doctor.shutil, "disk_usage", lambda _: usage)
    user_folder().mkdir(parents=True)
    (user_folder() / "broken.safetensors").write_bytes(b"not a voice")
    status, findings = told(capsys, "doctor")
    wrong = {f["name"]: f["text"] for f in findings if f["problem"]}
    assert status == 1
    assert set(wrong) == {"packages", "content encoder", "voices", "home", "cache"}
    assert (
        "soxr is missing: pip install" in wrong["packages"] and "numpy 0.1, expected 2" in wrong["packages"]
    )
    assert "broken" in wrong["voices"] and "RESING_HOME" in wrong["home"]


def test_jobs_are_listed_shown_cancelled_and_tried_again(capsys: pytest.CaptureFixture[str]):
    store = Store(Places.usual())
    job, _ = store.add_job({"kind": "sample", "voice": "kumi"}, "How kumi sounds", (), 9)
    assert told(capsys, "jobs", "list")[1][0]["id"] == job
    status, shown = told(capsys, "jobs", "show", job[:6])
    assert (
        status == 0
        and shown["state"] == "queued"
        and [line["text"] for line in shown["log"]] == ["Accepted."]
    )
    assert "secret" not in shown
    assert run(["jobs", "retry", job]) == 2
    assert "only a failed or cancelled one" in capsys.readouterr().err
    assert told(capsys, "jobs", "cancel", job)[1]["state"] == "cancelled"
    assert told(capsys, "jobs", "retry", job)[1]["state"] == "queued"
    assert run(["jobs", "list"]) == 0 and run(["jobs", "show", job]) == 0
    assert "How kumi sounds" in capsys.readouterr().out
    assert run(["jobs", "show", "zzz"]) == 2
    assert "no such job" in capsys.readouterr().err
    store.add_job({"kind": "sample", "voice": "pjs"}, "How pjs sounds", (), 9)
    assert run(["jobs", "show", ""]) == 2


def test_serving_needs_its_packages_and_a_free_port(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert run(["serve", "--host", "0.0.0.0"]) == 2
    assert "--allow-remote" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "resing.server.run", None)
    assert run(["serve"]) == 2
    assert "pip install 'resing[web]'" in capsys.readouterr().err
