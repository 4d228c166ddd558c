"""A voice's training in parts: what is held out, learns and is kept, when it stops, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_installation import AUDIO, MODEL, install, sing_recordings

from resing import checkpoint
from resing.config import FeaturesConfig, TrainingConfig
from resing.errors import ConfigError, DatasetError, VoiceError
from resing.synthesis import acoustic
from resing.synthesis.acoustic import mean_speaker
from resing.training import selection
from resing.training.create import best_so_far, create_voice, resume, train_voice
from resing.training.dataset import Piece, VoiceData
from resing.training.doctor import DatasetReport
from resing.training.loop import Randomness
from resing.training.prepare import Update, prepare
from resing.training.request import VoiceFacts, runs_folder
from resing.training.task import VoiceNet, VoiceTask
from resing.voice import Voice

TRAINING = TrainingConfig(steps=6, batch_size=2, segment_frames=32, checkpoint_every=3, validate_every=3)
FACTS = {"licence": "private", "consent": "nobody sings here"}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny random installation, and folders of its own."""
    install(tmp_path, monkeypatch)


@pytest.fixture
def recordings(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Half a minute of a synthetic singer."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    sing_recordings(folder, sung_phrase)
    return folder


def piece(frames: int, name: str = "a.wav") -> Piece:
    """A piece whose every value is its frame number."""
    time = torch.arange(frames).float()
    return Piece(
        name,
        time.repeat(AUDIO.n_mels, 1),
        torch.stack([torch.full((4, frames), float(version)) for version in range(3)]).half(),
        220 + time,
        torch.ones(frames),
        -time,
        12000.0,
    )


def report(**changes: object) -> DatasetReport:
    notes = {str(midi): 1.0 for midi in range(55, 68)}
    known = {
        "minutes": 13.0,
        "range_hz": [196.0, 392.0],
        "f0_histogram": notes,
        "bandwidth_hz": 22050.0,
        "snr_db": 50.0,
    }
    return DatasetReport("set", "settings", "encoder", [], **(known | changes))  # type: ignore[arg-type]


# -- data


def test_a_tenth_is_held_out_in_whole_pieces_by_seed():
    pieces = [piece(100 + i, f"{i}.wav") for i in range(40)]
    data = VoiceData(pieces, AUDIO, report(), seed=3)
    names = {p.recording for p in data.held}
    assert not names & {p.recording for p in data.train} and len(data.train) + len(data.held) == 40
    share = sum(p.frames for p in data.held) / sum(p.frames for p in pieces)
    assert 0.09 < share < 0.13
    assert {p.recording for p in VoiceData(pieces, AUDIO, report(), seed=3).held} == names
    assert {p.recording for p in VoiceData(pieces, AUDIO, report(), seed=4).held} != names
    two = VoiceData(pieces[:2], AUDIO, report())
    assert len(two.train) == len(two.held) == 1
    with pytest.raises(ValueError, match="at least two"):
        VoiceData(pieces[:1], AUDIO, report())


def test_batches_are_aligned_segments_and_depend_on_chance_alone():
    data = VoiceData([piece(300), piece(20), piece(300)], AUDIO, report())
    batch = data.batch(Randomness.at(0, 7), 64, 50)
    again = data.batch(Randomness.at(0, 7), 64, 50)
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(batch).items())
    assert (
        batch.mel.shape == (64, 128, 50) and batch.units.shape == (64, 4, 50) and batch.f0.shape == (64, 50)
    )
    assert (batch.f0 > 0).all() and batch.bandwidth.unique().tolist() == [12000.0]
    inside = batch.valid == 1
    gain_db = (batch.loudness + (batch.f0 - 220))[inside]
    assert gain_db.abs().max() <= 2.001 and gain_db.std() > 0.5
    shift = (batch.mel[:, 3] - (batch.f0 - 220))[inside & (batch.f0 > 225)]
    assert shift.abs().max() <= 2.001 * np.log(10) / 20 + 1e-3
    versions = batch.units[:, 0, 0]
    assert 16 < (versions == 0).sum() < 48 and {1.0, 2.0} <= set(versions.tolist())


def test_short_pieces_are_padded_and_the_padding_does_not_count():
    data = VoiceData([piece(20), piece(20, "b.wav")], AUDIO, report())
    batch = data.batch(Randomness.at(0, 0), 2, 50)
    assert batch.valid.sum(1).tolist() == [20, 20] and (batch.f0[:, 20:] == 239).all()
    held = data.held_batch()
    assert held.mel.shape == (2, 128, 20) and held.units[:, 0, 0].tolist() == [0.0, 1.0]
    assert data.stretches().shape == (1, 128, 256)


# -- what learns


def task(seed: int = 0) -> VoiceTask:
    data = VoiceData([piece(120, f"{i}.wav") for i in range(6)], AUDIO, report())
    base = acoustic.AcousticModel.load(acoustic.EMBEDDED)
    return VoiceTask(VoiceNet(base.net, torch.ones(6), 2, seed), data, MODEL, TRAINING)


def test_only_adapters_and_the_vector_learn():
    one, same, other = task(), task(), task(seed=1)
    learning = {n: p for n, p in one.voice.named_parameters() if p.requires_grad}
    assert "speaker" in learning
    assert all(n == "speaker" or n.endswith((".up", ".down")) for n in learning)
    assert {n.split(".")[1] for n in learning if n != "speaker"} == {"decoder", "denoiser", "film"}
    for name, parameter in same.voice.named_parameters():
        assert torch.equal(parameter, dict(one.voice.named_parameters())[name])
    downs = [n for n in learning if n.endswith(".down")]
    assert not any(torch.equal(learning[n], dict(other.voice.named_parameters())[n]) for n in downs)


def test_fresh_adapters_change_nothing_and_the_score_is_always_the_same():
    one, other = task(), task(seed=1)
    with torch.no_grad():
        score, again, others = (t.validate(t.model) for t in (one, one, other))
    assert score["score"] == pytest.approx(score["decoder"] + score["denoiser"])
    assert score == again == others


def test_the_mean_speaker_has_unit_mean_square():
    vectors = torch.randn(10, 32, generator=torch.Generator().manual_seed(0)) + 3
    mean = mean_speaker(vectors)
    assert mean.square().mean() == pytest.approx(1, abs=1e-3)
    assert torch.cosine_similarity(mean, vectors.mean(0), dim=0) > 0.999


# -- when to stop and what helps


def history(*scores: float) -> list[dict[str, float]]:
    return [{"step": 10 * (i + 1), "score": score} for i, score in enumerate(scores)]


def test_training_stops_on_a_plateau_only():
    assert not selection.judge([], 2).stop
    assert not selection.judge(history(1.0, 0.9, 0.8, 0.7), 2).stop
    assert not selection.judge(history(1.0, 1.1, 0.9, 0.95), 2).stop
    assert selection.judge(history(1.0, 1.1, 1.2), 2).stop
    assert selection.judge(history(1.0, 0.9995, 0.999), 2).stop  # better, but by nothing to speak of
    slow = history(*(1.0 - 0.0015 * i for i in range(9)))
    assert not selection.judge(slow, 2).stop  # small gains that add up are progress


def test_steps_follow_the_minutes_up_to_the_cap():
    config = TrainingConfig(steps=1500)
    assert [selection.planned_steps(m, config) for m in (0.5, 1, 5, 10, 60)] == [170, 190, 350, 550, 1500]
    assert selection.planned_steps(10, TrainingConfig(steps=6)) == 6


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"bandwidth_hz": 7900.0}, "full band"),
        ({"snr_db": 20.0}, "quieter room"),
        ({"minutes": 1.2}, "9 more minutes"),
        ({"f0_histogram": {"60": 5.0, "61": 0.001, "62": 5.0}}, "notes from C#4 to C#4"),
        ({"minutes": 7.0}, "3 more minutes, above G4"),
        ({"f0_histogram": {"60": 5.0, "64": 5.0, "69": 0.5, "70": 0.2}}, "notes from C#4 to D#4"),
        ({}, "2 more minutes above G4"),
    ],
)
def test_the_advice_fits_what_is_missing(changes: dict[str, object], wanted: str):
    text = selection.advice(report(**changes))
    assert text.startswith("What would help most: ") and wanted in text


def test_the_outcome_is_explained():
    best = {"step": 20, "score": 0.5}
    ended = selection.explain(history(1.0, 0.5, 0.6), best, 30, 5, report())
    assert ended.startswith("Training ended after its 30 steps; the weights of step 20 are kept")
    stopped = selection.explain(history(1.0, 0.5, 0.6, 0.7), best, 300, 2, report())
    assert "stopped at step 40 of 300: 2 scores in a row brought nothing" in stopped


# -- runs


def test_the_weights_with_the_lowest_score_become_the_voice(recordings: Path):
    voice = create_voice("ada", recordings, training=TRAINING, **FACTS)
    run = runs_folder() / "ada"
    scores = {entry["step"]: entry["score"] for entry in selection.read_history(run)}
    tensors, best = checkpoint.load(run / "best.safetensors")
    assert set(scores) == {3, 6} and best["score"] == min(scores.values()) == scores[best["step"]]
    assert torch.equal(voice.speaker[0], tensors["speaker"])
    kept = checkpoint.load(run / f"checkpoint-{best['step']:07d}.safetensors")[0]
    assert all(torch.equal(tensor, kept[f"ema.{name}"]) for name, tensor in tensors.items())
    assert voice.card.training["best_step"] == best["step"]
    outcome = json.loads((run / "result.json").read_text())
    assert outcome["summary"] == voice.card.training["summary"] and len(outcome["report"]["recordings"]) == 2


def test_progress_tells_stages_steps_and_the_time_left(recordings: Path):
    told: list[Update] = []
    create_voice("ada", recordings, training=TRAINING, progress=told.append, **FACTS)
    assert list(dict.fromkeys(u.stage for u in told)) == ["prepare", "train", "package"]
    steps = [u for u in told if u.stage == "train" and u.figures]
    assert [u.done for u in steps] == [1, 2, 3, 4, 5, 6] and steps[-1].seconds_left is not None
    assert any("6 steps in all, at most" in u.message for u in steps)
    assert [u.done for u in steps if u.validation] == [3, 6]
    assert any("minutes of voice" in u.message for u in told)
    assert "is ready. Training ended" in told[-1].message


def test_raising_from_progress_cancels_and_resume_goes_on(recordings: Path):
    class EnoughError(Exception):
        pass

    def cancel(update: Update) -> None:
        if update.stage == "train" and update.done == 5 and update.figures:
            raise EnoughError

    with pytest.raises(EnoughError):
        create_voice("ada", recordings, training=TRAINING, progress=cancel, **FACTS)
    voice, step = best_so_far(runs_folder() / "ada")  # can be heard while it is in the making
    assert step == 3 and voice.card.name == "ada" and voice.card.training == {"step": 3}
    assert best_so_far(runs_folder() / "eve") is None
    with pytest.raises(VoiceError, match="no voice named"):
        Voice.load("ada")
    told: list[Update] = []
    resume("ada", told.append)
    assert [u.done for u in told if u.stage == "train" and u.figures] == [4, 5, 6]
    assert Voice.load("ada").card.training["steps"] == 6


def test_the_board_holds_curves_pictures_and_sound(recordings: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    create_voice("ada", recordings, training=TRAINING, **FACTS)
    board = EventAccumulator(str(runs_folder() / "ada")).Reload()
    tags = board.Tags()
    assert {"training/loss", "held-out/score"} <= set(tags["scalars"])
    assert [event.step for event in board.Scalars("held-out/score")] == [3, 6]
    assert tags["images"] == ["target above prediction"]
    assert board.Images("target above prediction")[0].height == 2 * AUDIO.n_mels + 2
    assert set(tags["audio"]) == {"prediction", "target"}


def test_step_by_step_into_a_file_of_choice(recordings: Path, tmp_path: Path):
    prepare(recordings, tmp_path / "set")
    facts = VoiceFacts(name="ada", languages=("la",), **FACTS)
    train_voice(tmp_path / "set", tmp_path / "run", facts, TRAINING, out=tmp_path / "ada.safetensors")
    assert Voice.load(tmp_path / "ada.safetensors").card.languages == ["la"]
    wide = FeaturesConfig(f0_max=2000.0)
    with pytest.raises(DatasetError, match="was prepared with settings"):
        train_voice(tmp_path / "set", tmp_path / "run", facts, TRAINING, features=wide)


def test_what_cannot_become_a_voice_is_refused_at_once(recordings: Path, tmp_path: Path):
    def refused(error: type[Exception], text: str, name: str = "ada", **facts: object) -> None:
        with pytest.raises(error, match=text) as caught:
            create_voice(name, recordings, training=TRAINING, **(FACTS | facts))  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert not list(runs_folder().glob("*/checkpoint-*"))

    refused(ConfigError, "needs its licence", licence=" ")
    refused(ConfigError, "needs its consent", consent="")
    refused(ConfigError, "unknown setting sexx; did you mean sex", sexx="female")
    refused(ConfigError, "sex: got 'alto'", sex="alto")
    refused(ConfigError, "control characters", whose="two\nlines")
    refused(VoiceError, "cannot be a voice's name", name="../ada")
    with pytest.raises(DatasetError, match="does not exist"):
        create_voice("eve", tmp_path / "none", training=TRAINING, **FACTS)
    create_voice("taken", recordings, training=TRAINING.model_copy(update={"steps": 1}), **FACTS)
    for path in sorted((runs_folder() / "taken").glob("*.*")):
        path.unlink()
    with pytest.raises(VoiceError, match=r"exists already.*resing voice remove taken"):
        create_voice("taken", recordings, training=TRAINING, **FACTS)


def test_there_must_be_a_run_to_resume(recordings: Path):
    with pytest.raises(
        DatasetError, match=r"no run to resume at .*known: none\. Begin one: resing voice create"
    ):
        resume("nobody")
    create_voice("ada", recordings, training=TRAINING, **FACTS)
    with pytest.raises(ConfigError, match=r"unknown setting step; did you mean steps\?"):
        resume("ada", step=3)
