"""Units in a file are read as from memory, and hearing a long song takes little memory for each second."""

import tracemalloc
from secrets import token_hex
from types import SimpleNamespace

import numpy as np
import pytest

from resing import cache
from resing.config import AudioConfig, FeaturesConfig
from resing.features import content, ears, extract, heard, units
from resing.features.extract import Recording
from resing.features.f0 import Tracker
from resing.features.units import Units

RATE = 16000
KILOBYTES_A_SECOND = 7.0
"""Of what stays and what is needed in between: measured 2.6; 11.3 with the units in memory."""


def some(count: int, channels: int = 5) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((channels, count)).astype(np.float16)


@pytest.mark.parametrize("in_memory", [1, 1 << 20])
def test_units_are_read_as_from_an_array(in_memory: int, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(units, "MEMORY_BYTES", in_memory)
    parts = [some(count) for count in (70, 1, 229)]
    kept, whole = Units(5), np.concatenate(parts, axis=1)
    for part in parts:
        kept.append(part.astype(np.float32))
    for places in (np.arange(300), np.array([7, 7, 8, 200]), np.array([299]), np.zeros(0, int)):
        np.testing.assert_array_equal(kept[:, places], whole[:, places])
    np.testing.assert_array_equal(np.asarray(kept), whole)
    times = np.linspace(-1.0, 7.0, 900)
    np.testing.assert_array_equal(content.to_grid(kept, times), content.to_grid(whole, times))
    kept.save(tmp_path / "units")
    again = Units(5, open(tmp_path / "units", "rb"))  # noqa: SIM115
    assert again.shape == kept.shape == (5, 300) and again.dtype == np.float16
    np.testing.assert_array_equal(np.asarray(again), whole)


def test_units_that_are_not_there_are_refused() -> None:
    kept = Units(5)
    kept.append(some(10))
    for places in ([10], [-1, 3]):
        with pytest.raises(IndexError, match="of 10"):
            kept[:, np.array(places)]
    with pytest.raises(ValueError, match="all channels at once"):
        kept[:3, np.arange(3)]


class Ears:
    """An encoder whose units count up."""

    encoder_id, device, net = "counting", "cpu", SimpleNamespace(left_frames=3, right_frames=3)

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        size = -(-len(audio) // content.UNIT_HOP)
        return np.broadcast_to(np.arange(size, dtype=np.float32), (72, size))


def rests(audio: np.ndarray, config: FeaturesConfig) -> tuple[np.ndarray, np.ndarray]:
    frames = max(1, len(audio) // 256)
    return np.full(frames, 220.0, np.float32), np.where(np.arange(frames) % 90 < 70, 0.95, 0.1)


@pytest.fixture
def easy(monkeypatch) -> None:
    """Nothing is worked out that only costs time."""
    monkeypatch.setattr(ears, "tracker", lambda *_: Tracker(rests, "resting", 4096))
    monkeypatch.setattr(extract, "second_opinion", lambda _, hz, *__: np.full((5, len(hz)), 0.9, np.float32))
    monkeypatch.setattr(extract, "left_over", lambda _, hz, __: np.full((3, len(hz)), 0.9, np.float32))
    monkeypatch.setattr(content, "CHUNK_UNITS", 150)
    monkeypatch.setattr(extract, "LEVEL_WINDOW_FRAMES", 100)
    monkeypatch.setattr(extract, "GRID_WINDOW_FRAMES", 1000)


def tone(seconds: int) -> Recording:
    second = (0.1 * np.sin(2 * np.pi * 220 / RATE * np.arange(RATE))).astype(np.float32)[None]
    return Recording("tone", RATE, np.ones(1, np.float32), lambda: (second for _ in range(seconds)))


def peak(monkeypatch, seconds: int) -> int:
    """Most memory in bytes while a song is heard and kept."""
    monkeypatch.setattr(heard, "open_recording", lambda *_: tone(seconds))
    tracemalloc.start(1)
    try:
        heard.hear("tone", token_hex(4), (0.0, None), AudioConfig(), FeaturesConfig(), Ears())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_hardly_grows_with_the_song(easy, monkeypatch) -> None:
    monkeypatch.setattr(units, "MEMORY_BYTES", 1 << 16)
    _, short, long = (
        peak(monkeypatch, seconds) for seconds in (1, 20, 200)
    )  # the first opens what is needed
    assert (long - short) / 180 < 1000 * KILOBYTES_A_SECOND


def test_what_was_heard_is_kept_and_a_damaged_part_of_it_heard_again(easy, monkeypatch) -> None:
    readings: list[int] = []

    def opened(*_) -> Recording:
        readings.append(1)
        return tone(9)

    monkeypatch.setattr(heard, "open_recording", opened)

    def hear():
        return heard.hear("tone", "9", (0.0, None), AudioConfig(), FeaturesConfig(), Ears())

    first, again = hear(), hear()
    assert len(readings) == 1
    np.testing.assert_array_equal(np.asarray(first.units50), np.asarray(again.units50))
    np.testing.assert_array_equal(first.window(5, 300), again.window(5, 300))
    np.testing.assert_array_equal(first.f0, again.f0)
    (file,) = cache.folder().glob("heard/*.units")
    file.write_bytes(file.read_bytes()[:-1000])
    assert hear().units50.shape == first.units50.shape and len(readings) == 2
