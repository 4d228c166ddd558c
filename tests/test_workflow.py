"""The whole way with tiny random models: recordings, a training that is killed, a voice, a song in it.

Run as a script (`python tests/test_workflow.py WEIGHTS RECORDINGS`) it makes the voice; the tests kill that.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from resing import checkpoint
from resing.audio import files
from resing.config import AudioConfig, ConvertOptions, ModelConfig, TrainingConfig
from resing.conversion import Converter
from resing.features import content
from resing.synthesis import acoustic, vocoder
from resing.training.create import create_voice, resume
from resing.training.prepare import Update
from resing.voice import Voice

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6, adapter_rank=2)
TRAINING = TrainingConfig(
    steps=40, batch_size=2, segment_frames=32, checkpoint_every=4, validate_every=4, patience=100
)
FACTS = {
    "licence": "private",
    "consent": "nobody sings here",
    "languages": ["la"],
    "kind": "synthetic singing",
}


def install(weights: Path) -> None:
    """Let the package use the models in `weights`."""
    acoustic.EMBEDDED = weights / "base.safetensors"
    content.EMBEDDED = weights / "content.safetensors"
    vocoder.EMBEDDED = weights / "vocoder.safetensors"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random models."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    net = acoustic.build(MODEL, AUDIO)
    torch.nn.init.normal_(net.denoiser.leave.weight, std=0.1)
    acoustic.save_base(folder / "base.safetensors", acoustic.AcousticModel(net, MODEL), AUDIO)
    small = content.ContentConfig(hidden=8, layers=1, n_units=4)
    content.save_content(folder / "content.safetensors", content.build(small), small)
    thin = vocoder.VocoderConfig(hidden=8, layers=1)
    vocoder.save_vocoder(folder / "vocoder.safetensors", vocoder.build(thin, AUDIO), thin, AUDIO)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Half a minute of a synthetic singer in four files."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, root in enumerate((165.0, 196.0, 220.0, 262.0)):
        notes = [(root * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9, 11, 12)] + [(0.0, 0.7)]
        files.write(folder / f"{number}.flac", sung_phrase(notes)[None], AUDIO.sample_rate)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, weights: Path, recordings: Path) -> Path:
    """The home in which the voice was made without interruption."""
    home = tmp_path_factory.mktemp("whole")
    assert make(home, weights, recordings).wait(120) == 0
    return home


@pytest.fixture(autouse=True)
def installed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((acoustic, "base"), (content, "content"), (vocoder, "vocoder")):
        monkeypatch.setattr(module, "EMBEDDED", weights / f"{name}.safetensors")


def test_a_training_killed_twice_gives_the_same_voice(
    whole: Path, weights: Path, recordings: Path, tmp_path: Path
):
    run = tmp_path / "runs" / "vera"
    random = np.random.default_rng(1)
    for reached in (7, 23):
        process = make(tmp_path, weights, recordings)
        while lines(run / "losses.jsonl") < reached:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        assert not (tmp_path / "voices" / "vera.safetensors").exists()
    assert make(tmp_path, weights, recordings).wait(120) == 0
    first, second = (checkpoint.load(home / "voices" / "vera.safetensors")[0] for home in (whole, tmp_path))
    assert first.keys() == second.keys() and len(first) > 10
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    for log in ("losses.jsonl", "validation.jsonl"):
        assert (whole / "runs" / "vera" / log).read_text() == (run / log).read_text()
    assert list(run.glob(".*.part")) == []


def test_the_voice_sings(whole: Path, sung_phrase: Callable[..., np.ndarray], tmp_path: Path):
    voice = Voice.load(whole / "voices" / "vera.safetensors")
    card = voice.card
    assert (card.name, card.languages, card.kind, card.recordings) == ("vera", ["la"], "synthetic singing", 4)
    assert 0.4 < card.minutes < 0.6 and sum(card.f0_histogram.values()) > 0.7 * card.minutes
    assert card.range_hz == pytest.approx((165, 523), rel=0.04)
    assert card.training["steps"] == 40 and "What would help most" in str(card.training["summary"])
    song = sung_phrase([(196.0, 1.0), (247.0, 1.0), (0.0, 0.5), (294.0, 1.0)])
    files.write(tmp_path / "song.wav", song[None], AUDIO.sample_rate)
    converter = Converter(
        voice, vocoder.Vocoder.load(vocoder.EMBEDDED), content.ContentEncoder.load(content.EMBEDDED)
    )
    record = converter.convert(tmp_path / "song.wav", tmp_path / "out.wav", ConvertOptions(transpose=2))
    sung, rate = files.read(tmp_path / "out.wav")
    assert rate == AUDIO.sample_rate and sung.shape == (1, len(song)) and np.isfinite(sung).all()
    assert np.abs(sung).max() > 0.01 and record.voice == "vera"


def test_a_finished_run_is_only_packaged_again_and_learns_on_from_new_recordings(
    whole: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    few = TRAINING.model_copy(update={"steps": 4})
    folder = tmp_path / "recordings"
    folder.mkdir()
    for path in sorted(recordings.iterdir())[1:]:
        (folder / path.name).write_bytes(path.read_bytes())
    told: list[Update] = []
    first = create_voice("mia", folder, training=few, **FACTS)
    assert create_voice("mia", folder, training=few, progress=told.append, **FACTS).card == first.card
    assert not any(update.figures for update in told)
    longer = resume("mia", steps=8)
    assert longer.card.training["steps"] == 8
    (folder / "0.flac").write_bytes((recordings / "0.flac").read_bytes())
    grown = create_voice("mia", folder, training=few, progress=told.append, **FACTS)
    assert any("learns on from what it knew" in update.message for update in told)
    assert grown.card.recordings == 4 and grown.card.training["steps"] == 4
    assert Voice.load("mia").card == grown.card
    fresh = create_voice("new", folder, training=few, **FACTS)
    apart = [torch.dist(voice.speaker, longer.speaker) for voice in (grown, fresh)]
    assert apart[0] < apart[1]


def make(home: Path, weights: Path, recordings: Path) -> "subprocess.Popen[bytes]":
    """Make the voice vera in another process."""
    environment = os.environ | {"RESING_HOME": str(home)}
    return subprocess.Popen([sys.executable, __file__, str(weights), str(recordings)], env=environment)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    install(Path(sys.argv[1]))
    create_voice("vera", sys.argv[2], training=TRAINING, **FACTS)
