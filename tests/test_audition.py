"""Auditions: what the number says, that noise in the weights loses, and that trainings are judged by it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_installation import install, sing_recordings

from resing import checkpoint
from resing.audio import files
from resing.audio.mel import log_mel
from resing.config import AudioConfig, ConvertOptions, FeaturesConfig, TrainingConfig
from resing.conversion_melody import arrange
from resing.conversion_windows import Renderer
from resing.features import content
from resing.features.extract import Features, extract_array
from resing.features.f0 import fill_unvoiced
from resing.pitch import voice_range
from resing.synthesis.vocoder import Vocoder
from resing.training import audition, selection
from resing.training.audition import Audition, summary, why_none
from resing.training.create import resume, train_voice
from resing.training.dataset import Piece, VoiceData
from resing.training.doctor import DatasetReport
from resing.training.prepare import Update, prepare
from resing.training.request import VoiceFacts
from resing.voice import Voice

CONFIG = AudioConfig()
TRAINING = TrainingConfig(steps=6, batch_size=2, segment_frames=32, checkpoint_every=3, validate_every=3)
ALWAYS = TRAINING.model_copy(update={"audition_share": 1e6})
FACTS = {"licence": "private", "consent": "nobody sings here"}
GOOD = {
    "similarity": 0.95,
    "leak_margin": 0.9,
    "margin_of_ceiling": 0.97,
    "units_distance": 0.06,
    "f0_rmse_cents": 4.0,
    "coverage": 0.98,
    "hnr_db_change": 1.0,
    "cpp_ratio": 1.1,
    "damage": 0.0,
}


REPORT = DatasetReport(
    "set", "", "", [], minutes=13.0, range_hz=[196.0, 392.0], f0_histogram={"60": 13.0}, bandwidth_hz=22050.0
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passages of a second and a half."""
    monkeypatch.setattr(audition, "PARTS", ((24.0, 25.5), (13.0, 14.5)))
    monkeypatch.setattr(audition, "PASSAGE_SECONDS", 1.5)
    monkeypatch.setattr(audition, "OWN_SECONDS", 5.0)


# -- the number


def test_the_number_is_the_mean_of_four_faults():
    faults = [0.3, 0.4, 0.1, 0.0]
    assert summary([GOOD])["audition"] == pytest.approx(np.mean(faults))
    hoarse = GOOD | {"hnr_db_change": -5.0}
    assert summary([hoarse])["audition"] == pytest.approx((0.3 + 0.4 + 0.1 + 2.0) / 4)
    both = summary([GOOD, hoarse])
    assert both["audition"] == pytest.approx((0.3 + 0.4 + 0.1 + 1.0) / 4)
    assert both["hnr_db_change"] == -2.0 and both["units_distance"] == 0.06
    lost = GOOD | {"margin_of_ceiling": 0.2}  # a hoarse tone costs as much where there is no likeness
    more = summary([lost | {"hnr_db_change": -2.5}])["audition"] - summary([lost])["audition"]
    assert more == pytest.approx(0.25)


@pytest.mark.parametrize(
    "worse",
    [
        {"hnr_db_change": -1.5},
        {"cpp_ratio": 0.85},
        {"f0_rmse_cents": 30.0},
        {"coverage": 0.8},
        {"f0_rmse_cents": None, "coverage": 0.0},
        {"units_distance": 0.12},
        {"leak_margin": 0.1, "margin_of_ceiling": 0.9},
    ],
)
def test_a_little_likeness_does_not_make_up_for_a_fault(worse: dict[str, float | None]):
    perfect = GOOD | {"similarity": 1.0, "margin_of_ceiling": 1.0}
    assert summary([perfect | worse])["audition"] > summary([GOOD])["audition"]


def test_what_is_better_than_good_earns_nothing_and_what_is_unknown_does_not_count():
    clearer = GOOD | {"hnr_db_change": 9.0, "cpp_ratio": 1.6, "margin_of_ceiling": 0.97}
    assert summary([clearer])["audition"] == summary([GOOD])["audition"]
    nobody = summary([dict.fromkeys(GOOD)])
    assert nobody == {"audition": 0.0}


def test_a_training_too_short_for_auditions_says_so():
    assert why_none(TrainingConfig(), 300, "cpu") == ""
    assert "take 3646 % of the training, more than 10 %: the held-out error" in why_none(TRAINING, 6, "cpu")
    assert "take 23 % of the training" in why_none(
        TrainingConfig(), 30, "cpu"
    )  # the first would come at the end
    assert "more than 0 %" in why_none(TrainingConfig(audition_share=0.0), 300, "cpu")
    assert "on the processor" in why_none(TrainingConfig(), 300, "cuda")


def test_auditions_decide_where_there_are_any():
    history = [
        {"step": 1, "score": 0.5},
        {"step": 2, "score": 0.4, "audition": 0.3},
        {"step": 3, "score": 0.3, "audition": 0.4, "coverage": 0.9},
    ]
    assert selection.judge(history, 1).stop and not selection.judge(history, 2).stop
    assert not selection.judge(history[:1], 1).stop
    assert selection.is_better(history[1], history[0])  # judged otherwise: not comparable
    assert not selection.is_better(history[2], history[1])
    assert selection.heard(history, 3) == {"audition": 0.4, "coverage": 0.9}
    assert selection.heard(history, 1) == {} == selection.heard([], 1)
    assert selection.in_words(history[0]) == f"held-out error {history[0]['score']:.4f}"
    assert selection.in_words(history[2]).startswith("amiss in its audition 0.400, held-out error 0.")
    text = selection.explain(history, history[1], 3, 5, REPORT)
    assert "the weights of step 2 are kept, what is amiss in their audition, 0.300 is the lowest" in text


# -- the voices that ship


def hear(audio: np.ndarray) -> Features:
    return extract_array(audio, CONFIG.sample_rate, CONFIG, FeaturesConfig(), content.embedded())


def pieces(voice: Voice) -> VoiceData:
    """A voice's recordings, one of them held out: what it makes of the start of the demo song."""
    heard = hear(files.read(audition.SONG, CONFIG.sample_rate, True, 1.0, 6.0)[0][0])
    options, frames = ConvertOptions(sampler="heun"), len(heard.f0)
    score = arrange(heard, voice_range(voice.card.range_hz, voice.card.f0_histogram), options)[0]
    audio = Renderer(voice, Vocoder.load()).window(score, 0, frames, options)
    heard = hear(audio)
    piece = Piece(
        "a.wav",
        log_mel(torch.from_numpy(audio)[None], CONFIG)[0, :, :frames],
        torch.from_numpy(heard.window(0, frames))[None].half(),
        torch.from_numpy(fill_unvoiced(heard.f0)),
        torch.from_numpy(heard.voiced).float(),
        torch.from_numpy(heard.loudness),
        22050.0,
    )
    return VoiceData([piece, piece], CONFIG, REPORT)  # alike, so that either may be the one


def test_noise_in_the_weights_loses(short: None):
    voice, random = Voice.load("kumi"), torch.Generator().manual_seed(0)
    judge = Audition(voice, pieces(voice))
    assert [passage.source.name for passage in judge.passages] == [
        "demo_lead.ogg",
        "demo_lead.ogg",
        "a.wav, sung by a stranger",
    ]
    keys = {passage.transpose for passage in judge.passages[:2]}
    assert len(keys) == 1 and keys.pop() >= 7  # one song, one key, that of a woman
    found = judge(voice)
    assert found["f0_rmse_cents"] < 20 and found["coverage"] > 0.8
    noisy = {
        name: tensor.float() + 6 * tensor.float().std() * torch.randn(tensor.shape, generator=random)
        for name, tensor in voice.adapters.items()
    }
    worse = judge(Voice(voice.card, voice.model, voice.audio, voice.speaker, noisy))
    assert worse["hnr_db_change"] < found["hnr_db_change"] - 2.5  # hoarse
    assert worse["units_distance"] > 1.4 * found["units_distance"]  # and unclear
    assert worse["audition"] > 1.2 * found["audition"]


# -- trainings


@pytest.fixture
def recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: None, sung_phrase: Callable[..., np.ndarray]
) -> Path:
    """Half a minute of a synthetic singer, beside a tiny random installation."""
    install(tmp_path, monkeypatch)
    folder = tmp_path / "recordings"
    folder.mkdir()
    sing_recordings(folder, sung_phrase)
    return folder


def test_a_training_is_judged_by_auditions_and_learns_the_same(recordings: Path):
    class EnoughError(Exception):
        pass

    def cancel(update: Update) -> None:
        if update.stage == "train" and update.done == 4 and update.figures:
            raise EnoughError

    told: list[Update] = []
    dataset, run, plain = (recordings.parent / name for name in ("set", "run", "plain"))
    prepare(recordings, dataset)
    facts = VoiceFacts(name="ada", **FACTS)
    train_voice(dataset, plain, facts, TRAINING, progress=told.append)
    assert any("the held-out error decides" in update.message for update in told)
    with pytest.raises(EnoughError):
        train_voice(dataset, run, facts, ALWAYS, progress=cancel)
    voice = resume(run)
    history = selection.read_history(run)
    assert [entry["step"] for entry in history] == [3, 6] and all("audition" in entry for entry in history)
    tensors, best = checkpoint.load(run / "best.safetensors")
    kept = min(history, key=lambda entry: entry["audition"])
    assert (best["step"], best["audition"], best["score"]) == (kept["step"], kept["audition"], kept["score"])
    assert torch.equal(voice.speaker[0], tensors["speaker"])
    assert voice.card.training["audition"]["audition"] == pytest.approx(kept["audition"], abs=1e-4)
    assert "in their audition" in voice.card.training["summary"]
    ends = [checkpoint.load(folder / "checkpoint-0000006.safetensors")[0] for folder in (run, plain)]
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    scores = [[entry["score"] for entry in selection.read_history(folder)] for folder in (run, plain)]
    assert scores[0] == scores[1]
    board = EventAccumulator(str(run)).Reload()
    shown = [event.value for event in board.Scalars("held-out/audition")]
    assert shown == pytest.approx([entry["audition"] for entry in history])
