"""Copies of a line in other voices: in time, in a fitting key, the same for the same chance."""

import numpy as np
import pytest
import torch

from resing.config import AudioConfig, ModelConfig
from resing.features import content
from resing.synthesis import acoustic, vocoder
from resing.training.strangers import FURTHEST_SEMITONES, Line, Strangers

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6)
FRAMES = 90


class Heard(acoustic.AcousticModel):
    """Notes what it is asked to sing."""

    def sample(self, units, f0, voiced, loudness, speaker, **options):  # type: ignore[no-untyped-def]
        self.asked = {"f0": f0[0].numpy(), "voiced": voiced[0].numpy(), "speaker": speaker}
        return super().sample(units, f0, voiced, loudness, speaker, **options)


@pytest.fixture
def singers() -> Strangers:
    torch.manual_seed(0)
    vectors = torch.randn(3, MODEL.speaker_dim), torch.tensor([110.0, 440.0, 0.0])
    model = Heard(acoustic.build(MODEL, AUDIO), MODEL, strangers=vectors)
    thin, small = vocoder.VocoderConfig(hidden=8, layers=1), content.ContentConfig(8, 1, 4)
    encoder = content.ContentEncoder(content.build(small))
    return Strangers(model, vocoder.Vocoder(vocoder.build(thin, AUDIO), AUDIO), encoder, AUDIO)


def line(f0: float = 220.0) -> Line:
    """A held note with a gap."""
    notes = np.full(FRAMES, f0, np.float32)
    notes[40:50] = 0.0
    units = np.random.default_rng(0).standard_normal((4, FRAMES)).astype(np.float32)
    return Line(units, notes, np.zeros(FRAMES, np.float32))


def test_units_are_in_sync_with_the_line(singers: Strangers):
    units = singers.units(line(), np.random.default_rng(1))
    assert units.shape == (4, FRAMES) and np.isfinite(units).all()


def test_the_same_chance_gives_the_same_copy(singers: Strangers):
    one, two, other = (singers.units(line(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_every_stranger_sings_sooner_or_later(singers: Strangers):
    heard = set()
    for seed in range(20):
        singers.units(line(), np.random.default_rng(seed))
        heard.add(tuple(singers.acoustic.asked["speaker"][0].tolist()))
    assert heard == {tuple(row) for row in singers.acoustic.strangers.tolist()}


@pytest.mark.parametrize("usual", [110.0, 440.0])
def test_the_key_is_the_one_the_stranger_is_used_to(singers: Strangers, usual: float):
    keys = []
    for seed in range(12):
        singers.sing(line(), singers.acoustic.strangers[:1], usual, np.random.default_rng(seed))
        keys.append(12 * np.log2(np.median(singers.acoustic.asked["f0"]) / usual))
    assert abs(np.mean(keys)) < 2 and 0.5 < np.std(keys) < 4


def test_no_key_is_further_than_the_limit(singers: Strangers):
    singers.sing(line(1200.0), singers.acoustic.strangers[:1], 60.0, np.random.default_rng(0))
    moved = 12 * np.log2(1200.0 / np.median(singers.acoustic.asked["f0"]))
    assert moved == pytest.approx(FURTHEST_SEMITONES, abs=0.01)


def test_what_is_unvoiced_stays_so(singers: Strangers):
    singers.sing(line(), singers.acoustic.strangers[:1], 110.0, np.random.default_rng(0))
    np.testing.assert_array_equal(singers.acoustic.asked["voiced"] > 0, line().f0 > 0)


def test_a_line_without_notes_can_be_sung(singers: Strangers):
    silent = Line(line().units, np.zeros(FRAMES, np.float32), line().loudness)
    assert np.isfinite(singers.units(silent, np.random.default_rng(0))).all()
