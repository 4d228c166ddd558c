"""The preset that recordings were looked at for makes the voice, whoever asks."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from serving import do_jobs, serve

from resing.audio import files
from resing.config import PRESETS
from resing.server import work_voice
from resing.training import doctor
from resing.voice_file import VoiceCard

FACTS = {"name": "eve", "licence": "private", "consent": "nobody sings"}


def test_a_preset_goes_from_the_recordings_to_the_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, trained = {}, {}
    report = doctor.summarise(
        "", "s", "e", [doctor.Recording("a", "0" * 64, 60, 60, -20, 50, 0, 2e4, {"57": 1})], [], {}, {}
    )
    card = VoiceCard(**FACTS, range_hz=(110, 220), encoder_id="e", base_hash="b")

    def train(dataset, run, facts, training, **more):
        trained.update(more, training=training)
        return SimpleNamespace(card=card)

    def prepare(*_, features, **__):
        heard.update(features=features)
        return report

    monkeypatch.setattr(work_voice, "prepare", prepare)
    monkeypatch.setattr(work_voice, "train_voice", train)
    files.write(tmp_path / "a.wav", 0.1 * np.ones((1, 44100), np.float32), 44100)
    served = serve()
    with served.client() as client:
        sent = client.post("/api/uploads?name=a.wav", content=(tmp_path / "a.wav").read_bytes())
        asked = {"kind": "recordings", "uploads": [sent.json()["id"]], "preset": "classic"}
        assert client.post("/api/jobs", json=asked | {"preset": "great"}).status_code == 422
        look = client.post("/api/jobs", json=asked).json()
        do_jobs(served, work_voice.WORK)
        client.headers["X-Job-Secret"] = look["secret"]
        make = {"kind": "voice", "recordings": look["job"]["id"], "facts": FACTS, "training": {"steps": 7}}
        made = client.post("/api/jobs", json=make)
        assert made.status_code == 202, made.text
        do_jobs(served, work_voice.WORK)
    assert heard["features"] == PRESETS["classic"].features and trained["preset"] == "classic"
    assert trained["training"] == PRESETS["classic"].training.model_copy(update={"steps": 7})
    assert served.store.job(made.json()["job"]["id"]).state == "done"
