"""The probes of content encoders, on encoders whose answer is known."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

PHONES = "aeiou"


@pytest.fixture
def encoder(script) -> ModuleType:
    return script("benchmarks/encoder.py")


@pytest.fixture
def data(encoder: ModuleType) -> SimpleNamespace:
    """Two voices singing the same phones, one number a sample: 320 * (10 * phone + voice) at each unit."""

    def clip(file: str, voice: int, seed: int):
        phones = np.random.default_rng(seed).integers(0, 5, 40)
        segments = tuple([PHONES[p], 4 * i, 4] for i, p in enumerate(phones))
        audio = np.repeat(10.0 * phones + voice, 4 * 400).astype(np.float32)
        return encoder.Clip(file, f"voice{voice}", f"text {seed}", audio, segments)

    train = [clip(f"v{v}/par{s:03d}", v, s) for v in (0, 1) for s in range(4)]
    sung = [clip(f"v{v}/par{s:03d}", v, s) for v in (0, 1) for s in (2, 3, 8, 9, 10, 11)]
    return SimpleNamespace(
        train=train, sung=sung, sentences=sung, spoken=sung, heard_texts={c.text for c in train}
    )


def told(audio: np.ndarray, voice: float) -> np.ndarray:
    """One-hot phones, and the voice as loud as asked, (U, 7)."""
    at = audio[::320][: -(-len(audio) // 320)]
    phones, voices = (at // 10).astype(int), at % 10
    units = np.concatenate([np.eye(5)[phones], voice * np.eye(2)[voices.astype(int)]], axis=1)
    return (units + 0.01 * np.random.default_rng(0).standard_normal(units.shape)).astype(np.float32)


def test_an_encoder_of_words_alone_passes(encoder, data) -> None:
    probed = encoder.Probed(lambda audio: told(audio, 0.0), data)
    heard, in_sync = encoder.words(probed), encoder.parallels(probed)
    assert min(heard.values()) > 97
    assert encoder.told_apart(probed)["ABX across singers, wrong %"] < 1
    assert in_sync["two voices in sync, cosine"] > 0.8 > 0.2 > abs(in_sync["shuffled"])
    assert encoder.sentences(probed)["same sentence found %"] == 100


def test_an_encoder_that_tells_who_sings_is_found_out(encoder, data) -> None:
    leaking = encoder.Probed(lambda audio: told(audio, 1.0), data)
    assert encoder.speaker(leaking)["singer told, linear % (chance 50)"] == 100
    singers_alone = encoder.Probed(lambda audio: told(audio, 1.0)[:, 5:], data)
    assert encoder.told_apart(singers_alone)["ABX across singers, wrong %"] > 30


def test_a_collapsed_encoder_fails(encoder, data) -> None:
    probed = encoder.Probed(lambda audio: np.ones((-(-len(audio) // 320), 6), np.float32), data)
    assert max(encoder.words(probed).values()) < 50
    assert encoder.parallels(probed)["two voices in sync, cosine"] < 0.1
    assert encoder.told_apart(probed)["ABX across singers, wrong %"] == pytest.approx(50, abs=2)


def test_time_warping_forgives_pace_and_nothing_else(encoder) -> None:
    spoken = np.eye(8)[[0, 1, 2, 3, 4]]
    slower, other = np.repeat(spoken, 2, axis=0), np.eye(8)[[4, 3, 2, 1, 0]]
    assert encoder.distance(spoken, slower) == pytest.approx(0, abs=1e-9)
    assert encoder.distance(spoken, other) > 0.2
