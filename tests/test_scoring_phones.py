"""The probe of phones: fitted to what it is told, and silent about the units of another encoder."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from resing.features import content
from resing.scoring import phones
from resing.scoring.clip import Clip, Part
from resing.scoring.figures import NO_PROBE
from resing.scoring.pair import Pair
from resing.scoring.score import score_pair

RATE = 44100


@pytest.fixture(scope="module")
def phone_probe(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/phone_probe.py")


def test_phones_stand_where_they_were_commanded(phone_probe: ModuleType):
    segments = [["", 0, 4], ["s", 4, 2], ["a", 6, 8]]
    found = phone_probe.phones_at(segments, 20)  # edges at 0.1, 0.15 and 0.35 s; units every 0.02 s
    assert found.tolist() == [""] * 5 + ["s"] * 3 + ["a"] * 10 + [""] * 2


def test_the_probe_learns_what_can_be_told_apart(phone_probe: ModuleType):
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8, dtype=np.float32) * 4
    units, phones = np.repeat(centres, 50, axis=0), np.repeat(["a", "i", "s"], 50)
    probe = phone_probe.fit_probe(units + rng.normal(size=units.shape).astype(np.float32), phones)
    probabilities = probe(centres.T)
    assert probe.phones == ("a", "i", "s")
    assert probabilities.shape == (3, 3) and np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2] and probabilities.max(axis=1).min() > 0.9


def test_a_probe_is_the_same_after_it_was_saved(tmp_path: Path):
    probe = phones.Probe(torch.eye(3), torch.zeros(3), ("a", "i", "s"), "some-encoder")
    probe.save(tmp_path / "phones.safetensors", fitted_to="nothing")
    again = phones.Probe.load(tmp_path / "phones.safetensors")
    units = np.eye(3, dtype=np.float32)
    assert again.phones == probe.phones and again.encoder_id == "some-encoder"
    assert np.array_equal(again(units), probe(units))


def test_the_distance_is_the_share_of_probability_that_moved():
    probe = phones.Probe(100.0 * torch.eye(2), torch.zeros(2), ("a", "i"), "")
    before, after = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert probe.distances(before, after) == pytest.approx([0.0, 1.0])  # of what both have


def test_the_probe_that_ships_hears_the_encoder_that_ships():
    probe = phones.Probe.load()
    assert probe.encoder_id == content.embedded().encoder_id, "run python benchmarks/phone_probe.py"
    units = content.embedded()(np.zeros(16000, np.float32))
    assert probe(units).shape == (units.shape[1], len(probe.phones))


def test_another_singer_of_the_words_is_nearer_than_other_words(shared_data: Path):
    def clip(name: str) -> Clip:
        return Clip.read(shared_data / "kokoro_sung" / f"{name}.opus", Part(0.0, 3.0))

    source = clip("af_sarah/par012_en")
    same, other = (
        float(np.nanmean(Pair(source, clip(name), None).phone_distances))
        for name in ("am_onyx/par012_en", "af_sarah/par000_en")
    )
    assert same < 0.6 * other


def test_a_probe_of_another_encoder_says_nothing(
    monkeypatch: pytest.MonkeyPatch, sung_vowel: Callable[..., np.ndarray]
):
    monkeypatch.setattr(phones, "embedded", lambda: None)
    clip = Clip("song", sung_vowel(220.0, 1.0), RATE)
    card = score_pair(Pair(clip, clip, 0.0), None, lambda *_: None)
    assert card.figure("phone_distance").value is None and card.figure("phone_distance").note == NO_PROBE
    assert card.phrases[0].figures["phone_distance"] is None
