"""Voices made with the presets big and classic, from recordings to a song, on small random stand-ins."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from community import bring, contentvec, nsf, rmvpe
from tiny_installation import AUDIO, MODEL, install

from resing import cli, hub
from resing import config as settings
from resing.audio import files
from resing.config import PRESETS, ConvertOptions, TrainingConfig
from resing.conversion import Converter
from resing.errors import ConfigError, DatasetError, DownloadError, VoiceError
from resing.features import content
from resing.synthesis import acoustic, vocoder
from resing.training import learning, selection
from resing.training.create import create_voice, resume, train_voice
from resing.training.dataset import Piece, VoiceData
from resing.training.doctor import DatasetReport
from resing.training.learning import AnyTask
from resing.training.loop import LoopConfig, Randomness, Trainer
from resing.training.machine import Machine, row_bytes, settle
from resing.training.prepare import Update, prepare
from resing.training.request import VoiceFacts, runs_folder
from resing.voice import Voice

TRUE, BASE = dict(PRESETS), acoustic.EMBEDDED
SHORT = {
    "steps": 6,
    "batch_size": 2,
    "segment_frames": 32,
    "checkpoint_every": 3,
    "validate_every": 3,
}
LONGER = {"steps": 40, "validate_every": 20, "learning_rate": 3e-3, "batch_size": 8, "segment_frames": 64}
FACTS = {"licence": "private", "consent": "nobody sings here"}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny random installation, and presets as small."""
    install(tmp_path, monkeypatch)
    big = PRESETS["big"].model_copy(update={"model": MODEL.model_copy(update={"n_units": 128, "hidden": 12})})
    shape = PRESETS["classic"].diff_svc.model_copy(update={"channels": 160, "layers": 2})
    classic = PRESETS["classic"].model_copy(update={"diff_svc": shape})
    monkeypatch.setitem(settings.PRESETS, "big", big)
    monkeypatch.setitem(settings.PRESETS, "classic", classic)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Twenty-three seconds of a synthetic singer."""
    folder = tmp_path_factory.mktemp("recordings")
    notes = [(220.0 * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9, 11, 12)] + [(0.0, 0.7)]
    files.write(folder / "scale.wav", sung_phrase(notes * 3)[None], AUDIO.sample_rate)
    return folder


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    audio = sung_phrase([(196.0, 1.0), (247.0, 1.0), (0.0, 0.5), (294.0, 0.5)])
    files.write(tmp_path / "song.wav", audio[None], AUDIO.sample_rate)
    return tmp_path / "song.wav"


@pytest.fixture(scope="module")
def prepared() -> dict[str, Path]:
    """Datasets made so far: every test has the same models."""
    return {}


@pytest.fixture
def dataset(
    prepared: dict[str, Path], recordings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The recordings prepared for a preset, whose models are brought."""

    def made(preset: str) -> Path:
        if preset == "big":
            bring("contentvec", contentvec())
            bring("rmvpe", rmvpe())
        if preset not in prepared:
            folder = tmp_path_factory.mktemp(preset)
            prepare(recordings, folder, features=PRESETS[preset].features)
            prepared[preset] = folder
        return prepared[preset]

    return made


def training(preset: str, **changes: object) -> TrainingConfig:
    return PRESETS[preset].training.model_copy(update=SHORT | changes)


def test_a_big_voice_from_recordings_to_a_song(recordings: Path, song: Path, tmp_path: Path):
    with pytest.raises(
        DownloadError, match=r"the preset big needs contentvec and rmvpe, not here; get it: resing"
    ):
        create_voice("ada", recordings, preset="big", **FACTS)
    bring("contentvec", contentvec())
    bring("rmvpe", rmvpe())
    bring("nsf-hifigan", nsf())
    voice = create_voice("ada", recordings, preset="big", training=training("big"), **FACTS)
    card = voice.card
    assert card.encoder_id == "contentvec-768-unverified-abababababab" and card.encoder_hash == "ab" * 32
    assert (card.base_hash, card.vocoder_id, card.training["preset"]) == ("", "nsf-hifigan", "big")
    opened = Voice.load("ada")
    assert opened.full and opened.features == PRESETS["big"].features
    record = Converter(opened).convert(song, tmp_path / "out.wav", ConvertOptions(transpose=0, retries=0))
    assert record.vocoder_id.startswith("nsf-hifigan") and record.encoder_id == card.encoder_id
    sung, _ = files.read(tmp_path / "out.wav")
    assert np.isfinite(sung).all() and np.abs(sung).max() > 0.01


def test_a_classic_voice_from_recordings_to_a_song(recordings: Path, song: Path, tmp_path: Path):
    config = training("classic", **LONGER)
    voice = create_voice("eva", recordings, preset="classic", training=config, **FACTS)
    run = runs_folder() / "eva"
    losses = [json.loads(line)["loss"] for line in (run / "losses.jsonl").read_text().splitlines()]
    assert len(losses) == 40 and np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    opened = Voice.load("eva")
    assert opened.card == voice.card and opened.diff_svc == voice.diff_svc and not opened.card.imported
    assert opened.diff_svc.hidden == MODEL.n_units and opened.card.encoder_id.startswith("resing-content-")
    out = tmp_path / "out.wav"
    ears, sound = (content.ContentEncoder.load(content.EMBEDDED), vocoder.Vocoder.load(vocoder.EMBEDDED))
    options = ConvertOptions(transpose=0, sampler="plms", steps=10)
    record = Converter(opened, sound, ears).convert(song, out, options)
    assert record.options["steps"] == 10 and record.vocoder_id == opened.card.vocoder_id
    sung, _ = files.read(out)
    assert np.isfinite(sung).all() and np.abs(sung).max() > 0.01


@pytest.mark.parametrize("preset", ["big", "classic"])
def test_a_training_cut_off_gives_the_same_voice(preset: str, dataset: Callable[[str], Path], tmp_path: Path):
    facts, config = VoiceFacts(name="mia", **FACTS), training(preset)
    whole = train_voice(dataset(preset), tmp_path / "whole", facts, config, preset=preset)

    def cut(update: Update) -> None:
        if update.stage == "train" and update.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_voice(dataset(preset), tmp_path / "cut", facts, config, preset=preset, progress=cut)
    resumed = resume(tmp_path / "cut")
    assert resumed.card.training["preset"] == preset
    first, second = whole.tensors(), resumed.tensors()
    assert first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_dataset_of_another_preset_is_refused(dataset: Callable[[str], Path], tmp_path: Path):
    facts = VoiceFacts(name="mia", **FACTS)
    bring("contentvec", contentvec())
    bring("rmvpe", rmvpe())
    with pytest.raises(DatasetError, match=r"encoder resing-content-.*--preset big"):
        train_voice(dataset("classic"), tmp_path / "run", facts, preset="big")


def test_a_big_voice_says_what_it_needs(
    dataset: Callable[[str], Path], song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def show() -> str:
        assert cli.run(["voice", "show", "mia"]) == 0
        return " ".join(capsys.readouterr().out.split())

    bring("nsf-hifigan", nsf())
    facts = VoiceFacts(name="mia", **FACTS)
    train_voice(dataset("big"), tmp_path / "run", facts, training("big"), preset="big")
    voice, models = Voice.load("mia"), hub.folder()
    assert show().count("get it:") == 0
    (models / "nsf-hifigan.safetensors").unlink()
    assert not Converter(voice).vocoder.vocoder_id.startswith("nsf-hifigan")
    out = str(tmp_path / "out.wav")
    assert cli.run(["convert", str(song), "--voice", "mia", "-o", out, "--a-cappella", "--retries", "0"]) == 0
    told = "the vocoder that ships.*resing models download nsf-hifigan --accept-licence"
    assert re.search(told, capsys.readouterr().err)
    bring("contentvec", contentvec(), "cd" * 32)
    with pytest.raises(VoiceError, match=r"was trained on .*abababababab, here is .*cdcdcdcdcdcd; bring its"):
        Converter(voice)
    (models / "rmvpe.safetensors").unlink()
    with pytest.raises(DownloadError, match="the voice mia needs rmvpe, not here; get it: resing models dow"):
        Converter(voice)
    shown = show()
    assert "contentvec, rmvpe (get it: resing models download rmvpe), nsf-hifigan (get it:" in shown
    path = tmp_path / "other.safetensors"
    card = voice.card.model_copy(update={"encoder_id": "contentvec-256-abab"})
    Voice(card, voice.model, AUDIO, voice.speaker, merged=voice.merged, features=voice.features).save(path)
    with pytest.raises(VoiceError, match="its card and its settings contradict each other"):
        Voice.load(path)


# -- settings that find themselves


def test_steps_follow_from_minutes():
    config = PRESETS["big"].training
    assert [selection.planned_steps(m, config) for m in (0.5, 10, 60)] == [5750, 20000, 60000]


def test_a_machine_decides_device_precision_and_batch(monkeypatch: pytest.MonkeyPatch):
    gpu = Machine("cuda", bf16=True, free_bytes=8 << 30)
    assert gpu.precision("auto") == "bf16" and gpu.precision("fp32") == "fp32"
    assert Machine("cpu").precision("auto") == "fp32"
    rows = [Machine("cuda", True, gb << 30).batch_size(40_000_000, 100 << 20) for gb in (1, 4, 8, 24, 80)]
    assert rows == [4, 16, 40, 64, 64]
    assert Machine("cpu").batch_size(40_000_000, 100 << 20) == 8
    with pytest.raises(ConfigError, match=r"torch sees no GPU here.*--set device=cpu"):
        Machine.find("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5 << 30, 8 << 30))
    assert Machine.find() == Machine("cuda", True, 5 << 30) and Machine.find("cpu") == Machine("cpu")


def test_the_memory_of_a_segment_is_counted_on_true_shapes():
    """The big preset's own networks: they learn for some steps, and twice the frames keep twice the bytes."""
    task = true_task("big")
    assert round(sum(p.numel() for p in task.voice.net.parameters()) / 1e6) == 40
    small, machine = task.config, Machine("cuda", True, 8 << 30)
    bytes_ = {}
    for frames in (16, 32):
        task.config = small.model_copy(update={"segment_frames": frames})
        bytes_[frames] = row_bytes(task, Machine("cpu"), "fp32")
    assert bytes_[32] == pytest.approx(2 * bytes_[16], rel=0.2)
    task.config = small
    settled = settle(small, task, Machine("cpu"))
    assert (settled.batch_size, settled.precision, settled.device) == (8, "fp32", "cpu")
    assert settle(small, task, machine, known=12).batch_size == 12


@pytest.mark.parametrize(("preset", "parameters"), [("big", 40), ("classic", 29)])
def test_networks_of_true_shape_learn(preset: str, parameters: int, tmp_path: Path):
    task = true_task(preset)
    assert round(sum(p.numel() for p in task.voice.net.parameters()) / 1e6) == parameters
    loop = LoopConfig(
        steps=3, learning_rate=3e-4, warmup=1, cooldown=0.0, checkpoint_every=9, validate_every=9
    )
    batch, loss = task.batch(Randomness.at(0, 0)), task.loss
    task.batch = lambda random: batch
    task.loss = lambda batch, random: loss(batch, Randomness.at(0, 0))  # the same noise at every step
    Trainer(task, tmp_path, loop).run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert losses[0] > losses[1] > losses[2]


def true_task(preset: str) -> AnyTask:
    """What learns in a preset, in its true shape, on made pieces."""
    width = 768 if preset == "big" else 72
    random = torch.Generator().manual_seed(0)
    pieces = [
        Piece(
            f"{i}.wav",
            torch.randn(128, 30, generator=random) - 5,
            torch.randn(3, width, 30, generator=random).half(),
            torch.full((30,), 220.0),
            torch.ones(30),
            torch.zeros(30),
            22050.0,
        )
        for i in range(4)
    ]
    report = DatasetReport("set", "settings", "encoder", [])
    data = VoiceData(pieces, AUDIO, report)
    config = TRUE[preset].training.model_copy(update={"segment_frames": 24})
    base = acoustic.AcousticModel.load(BASE)
    return learning.start(TRUE[preset], base, torch.zeros(base.config.speaker_dim), data, config)
