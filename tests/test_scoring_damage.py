"""Every detector hears its own fault in a synthetic singer, and none hears a harmless change."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import faults
import sung

from resing.scoring import artefacts, seams, timing
from resing.scoring.card import Figure
from resing.scoring.clip import Clip
from resing.scoring.melody import Pitch
from resing.scoring.places import around, places

RATE = 24000
VOWELS = ((700, 1220, 2600, 3300), (300, 2100, 2800, 3500), (450, 900, 2500, 3400), (500, 1700, 2500, 3500))
WIDTHS, HEIGHTS = (90, 110, 170, 250), (1.0, 0.7, 0.45, 0.35)
# semitones over the lowest note, seconds, vowel; None is a pause
NOTES = (
    (0, 0.7, 0), (4, 0.55, 2), (None, 0.3, 0), (7, 0.8, 1), (5, 0.5, 3), (None, 0.4, 0),
    (2, 0.9, 0), (7, 0.35, 2), (9, 0.6, 3), (None, 0.25, 0), (4, 0.7, 1), (0, 0.9, 2),
)  # fmt: skip
TRANSPOSE = 2.0


def envelope(hertz: np.ndarray, vowel: int, throat: float) -> np.ndarray:
    """Gain of a throat: falling 6 dB an octave above 500 Hz, with four formants."""
    gain = 0.08 + sum(
        h / (1 + ((hertz / throat - c) / w) ** 2)
        for c, w, h in zip(VOWELS[vowel], WIDTHS, HEIGHTS, strict=True)
    )
    return gain / np.sqrt(1 + (hertz / 500) ** 2)


def sing(
    lowest: float, throat: float, vibrato_hz: float, phase: float, early: float, seed: int
) -> np.ndarray:
    """NOTES sung: harmonics with vibrato and a little breath, a hiss before every note, (N,).

    Args:
        lowest: Hz of the lowest note.
        throat: factor on the formants.
        vibrato_hz, phase: of the vibrato (25 cents).
        early: seconds by which edges may move.
        seed: of breath and edges.
    """
    rng = np.random.default_rng(seed)
    total = round(sum(note[1] for note in NOTES) * RATE)
    t = np.arange(total) / RATE
    out = 10 ** (-75 / 20) * rng.standard_normal(total)
    vibrato = 25 * np.sin(2 * np.pi * vibrato_hz * t + phase)
    start = 0.0
    for semitones, seconds, vowel in NOTES:
        first, last = (round((x + rng.uniform(-early, early)) * RATE) for x in (start, start + seconds))
        start += seconds
        if semitones is None:
            continue
        at = np.arange(max(0, first), min(total, last))
        f0 = lowest * 2 ** ((100 * semitones + vibrato[at]) / 1200)
        turn = 2 * np.pi * np.cumsum(f0) / RATE
        numbers = range(1, int(0.46 * RATE / f0.max()))
        note = sum(envelope(k * f0, vowel, throat) * np.sin(k * turn + k * k) for k in numbers)
        hertz = np.fft.rfftfreq(len(at), 1 / RATE)
        breath = np.fft.irfft(
            np.fft.rfft(rng.standard_normal(len(at))) * envelope(hertz, vowel, throat), len(at)
        )
        hiss = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(at))) * (hertz > 3000), len(at))
        edge = np.clip(np.minimum(at - first, last - at) / RATE / 0.025, 0, 1)
        swell = np.sin(np.pi / 2 * edge) ** 2
        onset = np.clip(1 - (at - first) / RATE / 0.06, 0, 1)
        note = note + 0.1 * breath / np.std(breath) * np.std(note)
        out[at] += (
            0.12 * swell * (note * (1 - 0.9 * onset) / np.std(note) + 0.25 * hiss * onset / np.std(hiss))
        )
    return out


def clip(audio: np.ndarray) -> Clip:
    return Clip("song", audio.astype(np.float32), RATE)


@cache
def source() -> Clip:
    return clip(sing(196.0, 1.0, 5.5, 0.0, 0.0, 1))


@cache
def other() -> Clip:
    """Another singer: two semitones higher, a smaller throat, another vibrato, up to 5 ms off."""
    return clip(sing(196.0 * 2 ** (TRANSPOSE / 12), 1.12, 5.1, 2.0, 0.005, 2))


VOICES = {
    "itself": (source, 0.0, True),
    "another voice": (other, TRANSPOSE, True),
    "another voice, no recordings": (other, TRANSPOSE, False),
}
"""Who sings the output, how much higher, and whether there are recordings to know the voice by."""


def moments() -> np.ndarray:
    """The middle of every note that lasts at least half a second, in seconds."""
    ends = np.cumsum([note[1] for note in NOTES])
    return np.array(
        [e - n[1] / 2 for e, n in zip(ends, NOTES, strict=True) if n[0] is not None and n[1] >= 0.5]
    )


class Placed(sung.Case):
    """A case whose moments are the middles of its notes."""

    moments = moments()  # type: ignore[assignment]


def flagged(change: sung.Change, voice: str, *names: str) -> dict[str, Figure]:
    """The figures that are beyond their limits in a changed output; with names only those are measured."""
    singer, transpose, known = VOICES[voice]
    case = Placed(source(), singer(), transpose, sung.recordings_of([singer()]) if known else None)
    found = sung.figures_of(case.changed(change, 3), case.target, names)
    return {name: figure for name, figure in found.items() if figure.flagged}


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_in_another_voice_fires_its_own_detector(name):
    fault, detectors = faults.FAULTS[name]
    assert set(flagged(fault, "another voice", *detectors)) & set(detectors)


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("name", faults.HARMLESS)
def test_no_harmless_change_fires_any_detector(name, voice):
    assert flagged(faults.HARMLESS[name], voice) == {}


def test_faults_of_a_moment_are_found_where_they_are():
    at = moments()[2:3]
    held = artefacts.held_notes(source().pitch, source().pitch)
    audio = source().audio

    def found(fault, detector):
        damaged = fault(audio, RATE, np.random.default_rng(0), at)
        return detector(damaged, RATE, audio, RATE, held)[1]

    def click(audio, rate, rng, moments):
        return audio + 0.2 * (np.arange(len(audio)) == round(moments[0] * rate))

    for fault, detector in ((click, seams.clicks), (faults.dip, seams.dips), (faults.step, seams.steps)):
        spots = found(fault, detector)
        assert len(spots) == 1, (detector, spots)
        assert spots[0][0] - 0.02 <= at[0] <= spots[0][1] + 0.02


def test_a_jump_is_found_where_it_is_by_its_share_of_the_period():
    audio, at = source().audio_16k.astype(np.float64), float(moments()[2])
    size = 5 / 4 * 16000 / (196.0 * 2 ** (7 / 12))  # a period and a quarter
    cut = round(at * 16000)
    jumped = np.concatenate([audio[:cut], audio[cut + round(size) :]])
    held = artefacts.held_notes(source().pitch, source().pitch)
    own = (audio, 16000, source().pitch)
    share, spots = seams.jumps((jumped, 16000, source().pitch), own, held)
    assert share == pytest.approx(0.25, abs=0.05)
    assert spots[0][0] - 0.02 <= at <= spots[0][1] + 0.02
    assert seams.jumps(own, own, held) == (pytest.approx(0.0, abs=seams.JUMP_SHARE), [])


def test_longer_faults_are_found_where_they_are():
    audio, rates = source().audio, (RATE, RATE)
    cut = audio.copy()
    cut[round(2.0 * RATE) : round(2.3 * RATE)] = 0.0  # in the long third note
    seconds, spots = artefacts.missing_places(audio, cut, rates)
    assert seconds == pytest.approx(0.3, abs=0.03) and spots[0][:2] == pytest.approx((2.0, 2.3), abs=0.03)

    hiss = audio + 0.01 * np.random.default_rng(0).standard_normal(len(audio))
    _, spots = artefacts.noise_places(audio, hiss, rates)
    assert [round(s[0], 1) for s in spots] == [1.3, 2.9, 5.2]  # the pauses

    loud = audio.copy()
    loud[round(3.0 * RATE) : round(3.8 * RATE)] *= 3.0
    top = float(np.abs(audio).max())
    count, spots = artefacts.clipped_places(np.clip(loud, -top, top), RATE, audio)
    assert count > 10 and spots[0][0] > 2.9 and spots[-1][1] < 3.9
    assert artefacts.clipped_places(audio, RATE, audio) == (0, [])

    half = len(audio) // 2
    dull = np.concatenate([audio[:half], faults.low_pass(audio, RATE, None, None)[half:]])
    figure, spots = artefacts.dull_places(audio, dull, rates)
    assert figure > artefacts.LIMITS["worst_band_db"][0]  # half of it is bright
    assert spots[0][0] == pytest.approx(half / RATE, abs=0.8) and spots[-1][1] > 6.5


def test_tone_is_lost_in_a_place_only_if_it_stays_lost():
    change = np.zeros(200)
    change[50:52] = -20.0
    change[100:130] = -9.0
    change[30:40] = np.nan
    (spot,) = artefacts.tone_places(change, -6.0)
    assert 1.5 < spot[0] < 1.8 and 1.9 < spot[1] < 2.2 and spot[2] == pytest.approx(9.0)
    assert artefacts.tone_places(-change, 6.0) == [spot] and artefacts.tone_places(change[:5], -6.0) == []


def test_held_notes_bridge_what_a_fault_hides_but_not_a_consonant():
    sure, gap, consonant = np.ones(100), np.ones(100), np.ones(100)
    gap[50:53] = 0.2
    consonant[50:53] = 0.2
    f0 = np.full(100, 200.0)
    assert artefacts.held_notes(Pitch(f0, sure), Pitch(f0, gap)).all()
    assert np.flatnonzero(~artefacts.held_notes(Pitch(f0, consonant), Pitch(f0, sure))).tolist() == [
        *range(47, 56)
    ]
    assert len(artefacts.held_notes(Pitch(f0[:0], f0[:0]), Pitch(f0, sure))) == 0


@pytest.mark.parametrize("size", [0, 1, 100, 2000])
def test_next_to_no_sound_gives_no_alarm(size):
    audio, pitch = np.zeros(size), Pitch(np.zeros(2), np.zeros(2))
    held = artefacts.held_notes(pitch, pitch)
    for detector in (seams.clicks, seams.dips, seams.steps):
        assert detector(audio, RATE, audio, RATE, held) == (0.0, [])
    assert seams.jumps((audio, RATE, pitch), (audio, RATE, pitch), held) == (0.0, [])
    assert timing.timing_places(audio, audio, (RATE, RATE)) == (0.0, [])
    assert artefacts.missing_places(audio, audio, (RATE, RATE)) == (0.0, [])
    assert artefacts.noise_places(audio, audio, (RATE, RATE)) == (None, [])


def test_places_join_across_short_gaps_and_neighbours_count():
    mask = np.array([0, 1, 1, 0, 1, 0, 0, 0, 0, 1], bool)
    assert places(mask, np.arange(10.0), 0.1, 0.15) == [
        (pytest.approx(0.1), pytest.approx(0.5), 4.0),
        (pytest.approx(0.9), pytest.approx(1.0), 9.0),
    ]
    assert around(np.array([0, 0, 5, 0, 0, 0]), 1).tolist() == [0, 5, 5, 5, 0, 0]
