"""What an output may lack depends on what it is held against: recordings of the voice, or the source."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import sung

from resing.scoring.clip import Clip
from resing.scoring.pair import Pair

RATE = 44100
NOISE = np.random.default_rng(0).standard_normal(RATE)
HERTZ = np.fft.rfftfreq(len(NOISE), 1 / RATE)


def hiss(above_3500_hz_db: float, band_hz: float = RATE / 2) -> Clip:
    """Noise, so much softer above 3.5 kHz and with nothing above its band."""
    gain = np.where(HERTZ > 3500, 10 ** (above_3500_hz_db / 20), 1.0) * (band_hz > HERTZ)
    audio = 0.1 * np.fft.irfft(np.fft.rfft(NOISE) * gain, len(NOISE))
    return Clip("hiss", audio.astype(np.float32), RATE)


@pytest.mark.parametrize(
    ("source", "output", "dull"),
    [
        (hiss(0.0), hiss(-10.0), False),
        (hiss(0.0), hiss(-15.0), True),
        (hiss(-14.0), hiss(-15.0), False),  # the phrase has no s: the source is as dark
        (hiss(-14.0), hiss(-22.0), True),
        (hiss(-14.0, 9000.0), hiss(-15.0, 9000.0), True),  # a narrow source excuses no narrow output
    ],
)
def test_an_output_may_be_as_dark_as_its_source(source: Clip, output: Clip, dull: bool):
    voice = SimpleNamespace(recordings=sung.recordings_of([hiss(0.0)]))
    assert sung.figures_of(Pair(source, output, 0.0), voice)["worst_band_db"].flagged == dull


def test_without_recordings_an_output_may_differ_as_two_singers_do():
    pair = Pair(hiss(0.0), hiss(-15.0), 0.0)
    figure = sung.figures_of(pair)["worst_band_db"]
    assert (figure.value, figure.limit, figure.flagged) == (pytest.approx(-15.0, abs=1.0), ">= -20", False)
    assert sung.figures_of(Pair(hiss(0.0), hiss(-21.0), 0.0))["worst_band_db"].flagged
