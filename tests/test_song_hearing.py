"""Tone, sibilants, reverberation and placement: what was put in is heard, and what is heard is put in."""

from functools import cache

import numpy as np
import pytest

from resing.song import placement, reverb, sibilance, tone
from resing.song.hearing import Envelope, LongTerm, bins_hz, spectra
from resing.song.placement import Placement, hear_placement, space_response
from resing.song.reverb import Reverb, hear_reverb, missing_reverb, reverb_tail

RATE = 44100


@cache
def syllables(seed: int = 0, seconds: float = 20.0) -> np.ndarray:
    """Noise and notes that start and stop, some softly: a dry lead, (N,) float32."""
    rng, audio = np.random.default_rng(seed), np.zeros(round(seconds * RATE))
    at = 0.1
    while at < seconds - 1.5:
        length, fall = rng.uniform(0.15, 0.8), rng.uniform(0.03, 0.15)
        times = np.arange(round((length + fall) * RATE)) / RATE
        f0 = rng.uniform(150, 350)
        sound = sum(np.sin(2 * np.pi * f0 * k * times + k * k) / k for k in range(1, 30))
        sound = sound + 0.3 * rng.standard_normal(len(times))
        edges = np.clip(np.minimum(times / 0.02, (times[-1] - times) / fall), 0, 1)
        start = round(at * RATE)
        audio[start : start + len(times)] += sound * edges**2 * rng.uniform(0.5, 1)
        at += length + fall + rng.choice([0.1, 0.4, 0.9])
    return (0.2 * audio).astype(np.float32)


def convolved(audio: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Audio (N,) through taps (channels, n), cut to its length."""
    size = 1 << int(np.ceil(np.log2(len(audio) + taps.shape[1])))
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(taps, size), size)[:, : len(audio)].astype(
        np.float32
    )


def room(t60: float, level_db: float, seed: int = 9) -> np.ndarray:
    """Direct sound and a tail made without the package, (1, taps)."""
    times = np.arange(round(1.2 * t60 * RATE)) / RATE
    tail = np.random.default_rng(seed).standard_normal(len(times)) * 10 ** (-3 * times / t60)
    tail *= 10 ** (level_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    return tail[None]


def envelope(audio: np.ndarray) -> Envelope:
    return Envelope.of([np.atleast_2d(audio)], RATE)


def long_term(audio: np.ndarray) -> LongTerm:
    heard = Envelope.of([audio], RATE).active
    return LongTerm.of([audio], RATE, heard)


def test_frames_do_not_depend_on_blocks_and_cover_everything():
    audio = np.random.default_rng(0).standard_normal((2, 30001)).astype(np.float32)
    whole = np.concatenate(list(spectra([audio], RATE)), axis=1)
    parts = np.concatenate(list(spectra((audio[:, i : i + 777] for i in range(0, 30001, 777)), RATE)), axis=1)
    assert whole.shape[1] == int(np.ceil(30001 / 512))
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize(("t60", "level_db"), [(0.6, -8.0), (1.2, -12.0), (1.2, -4.0), (2.4, -8.0)])
def test_a_known_reverb_is_heard(t60: float, level_db: float):
    heard = hear_reverb(envelope(convolved(syllables(), room(t60, level_db))[0]), RATE)
    assert heard is not None
    assert np.median(heard.t60) == pytest.approx(t60, rel=0.2)
    assert np.median(heard.level_db) == pytest.approx(level_db, abs=2.5)


def test_what_rings_on_in_one_band_alone_is_no_room():
    own, other = (envelope(convolved(syllables(), room(t60, -6.0))[0]) for t60 in (1.0, 3.0))
    own.bands[2] = other.bands[2]
    heard = hear_reverb(own, RATE)
    assert heard and heard.t60[2] == pytest.approx(1.5 * sorted(heard.t60)[1]) and heard.t60[2] < 2.0


@pytest.mark.parametrize("seed", range(3))
def test_a_dry_lead_has_no_reverb(seed: int):
    assert hear_reverb(envelope(syllables(seed)), RATE) is None


def test_silence_and_one_held_note_have_no_reverb(sung_vowel):
    assert hear_reverb(envelope(np.zeros(RATE, np.float32)), RATE) is None
    assert hear_reverb(envelope(sung_vowel(220, 4)), RATE) is None
    assert hear_reverb(envelope(np.zeros(100, np.float32)), RATE) is None


def test_reverb_put_back_is_the_reverb_that_was_there():
    """A second singer, dry, in the first one's room: decays within 2 dB, and nothing for one who is in it."""
    dry, wet = syllables(), convolved(syllables(), room(1.2, -6.0))[0]
    own, other = envelope(wet), envelope(dry)
    heard = hear_reverb(own, RATE)
    assert heard is not None
    added = missing_reverb(own, other, heard, RATE)
    assert added is not None
    again = convolved(dry, space_response(Placement((1.0,), (0.0, 0.0, 0.0)), added, RATE))[0]
    for ours, wanted in zip(envelope(again).bands, own.bands, strict=True):
        rings = reverb.decaying(wanted, RATE)
        assert abs(10 * np.log10(np.median(ours[rings] / wanted[rings]))) < 2.0
    assert missing_reverb(own, own, heard, RATE) is None


def test_a_tail_has_its_energy_and_decay():
    tail = reverb_tail(Reverb((1.0, 1.0, 1.0), (-6.0, -6.0, -6.0)), RATE, 2)
    energy = np.sum(tail**2, axis=1) * (RATE / 2) / (RATE / 2 - 200)
    np.testing.assert_allclose(10 * np.log10(energy), -6.0, atol=0.3)
    level = [
        10 * np.log10(np.sum(tail[:, round(t * RATE) : round((t + 0.1) * RATE)] ** 2)) for t in (0.1, 0.6)
    ]
    assert level[0] - level[1] == pytest.approx(30.0, abs=1.0)
    assert abs(np.corrcoef(tail)[0, 1]) < 0.05
    assert np.array_equal(tail, reverb_tail(Reverb((1.0,) * 3, (-6.0,) * 3), RATE, 2))


def test_tone_follows_a_tilt_and_leaves_formants():
    hz = bins_hz(RATE)
    power = 1.0 / (1.0 + (hz / 500) ** 2)
    tilt = 10 ** (2.0 * np.log2(np.maximum(hz, 20) / 1000) / 10)  # 2 dB an octave
    curve = tone.tone_curve(power * tilt, power, RATE)
    middle = (tone.CENTRES_HZ > 400) & (tone.CENTRES_HZ < 3000)
    slope = np.polyfit(np.log2(tone.CENTRES_HZ[middle]), curve[middle], 1)[0]
    assert slope == pytest.approx(2.0, abs=0.3)
    formant = 10 ** (1.2 * np.exp(-0.5 * (np.log2(np.maximum(hz, 20) / 1500) / 0.12) ** 2))  # 12 dB, narrow
    assert np.abs(tone.tone_curve(power * formant, power, RATE)).max() < 3.0


def test_tone_keeps_its_bound_and_its_peace():
    hz = bins_hz(RATE)
    flat = np.ones(len(hz))
    steep = 10 ** (-3.0 * np.log2(np.maximum(hz, 20) / 1000))
    curve = tone.tone_curve(flat, steep, RATE)
    assert np.abs(curve).max() <= tone.FURTHEST_DB
    response = 20 * np.log10(np.abs(np.fft.rfft(tone.tone_filter(curve, RATE), 65536)))
    assert response.max() <= tone.FURTHEST_DB + 0.01
    assert response.min() >= -tone.FURTHEST_DB - 0.01
    assert np.abs(tone.tone_curve(flat, 0.01 * flat, RATE)).max() < 1e-9  # level is not its affair
    assert not tone.tone_curve(flat, 0 * flat, RATE).any()


def test_tone_goes_on_straight_past_the_originals_band():
    hz = bins_hz(RATE)
    flat, cut = np.ones(len(hz)), np.where(hz < 8000, 1.0, 1e-9)
    assert np.abs(tone.tone_curve(cut, flat, RATE)).max() < 0.2


def test_sibilants_are_softened_to_the_originals_and_vowels_left(sung_vowel):
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(RATE // 5))
    hz = np.fft.rfftfreq(RATE // 5, 1 / RATE)
    hiss = np.fft.irfft(spectrum * ((hz > 5000) & (hz < 10000)), RATE // 5)
    hiss = (hiss / np.abs(hiss).max()).astype(np.float32)

    def song(sharp: float) -> np.ndarray:
        return np.concatenate([sung_vowel(220, 0.5), sharp * hiss] * 6)

    curve = sibilance.de_ess_curve(envelope(song(0.1)), envelope(song(0.2)))
    middles = np.round((0.6 + 0.7 * np.arange(6)) * RATE / 512).astype(int)
    np.testing.assert_allclose(curve[middles], -6.0, atol=1.5)
    assert not curve[np.round((0.25 + 0.7 * np.arange(6)) * RATE / 512).astype(int)].any()
    assert curve.min() >= -sibilance.FURTHEST_DB
    assert np.count_nonzero(sibilance.de_ess_curve(envelope(song(0.2)), envelope(song(0.1)))) == 0


@pytest.mark.parametrize("axis", [(0.6, 0.8), (1.0, 0.0), (0.0, 1.0), (0.8, -0.6)])
def test_pan_is_heard_with_its_sign(axis: tuple[float, float]):
    lead = np.array(axis, np.float32)[:, None] * syllables()[: 5 * RATE]
    heard = hear_placement(long_term(lead), RATE)
    assert abs(np.dot(heard.axis, axis)) == pytest.approx(1.0, abs=1e-3)
    assert max(heard.width) < 1e-3


@pytest.mark.parametrize("level_db", [None, -9.0])
def test_width_is_recovered_and_cancels_in_mono(level_db: float | None):
    wanted = Placement((0.5**0.5, 0.5**0.5), (0.1, 0.2, 0.3))
    ringing = None if level_db is None else Reverb((0.8,) * 3, (level_db,) * 3)
    response = space_response(wanted, ringing, RATE)
    placed = convolved(syllables()[: 8 * RATE], response)
    heard = hear_placement(long_term(placed), RATE)
    np.testing.assert_allclose(10 * np.log10(heard.width), 10 * np.log10(wanted.width), atol=2.0)
    if ringing is None:
        np.testing.assert_allclose(response.sum(0)[1:], 0.0, atol=1e-12)


def test_a_placement_is_blended_with_the_middle():
    side = Placement((1.0, 0.0), (0.2, 0.2, 0.2))
    assert placement.towards(side, 0.0).axis == pytest.approx((0.5**0.5, 0.5**0.5))
    assert placement.towards(side, 1.0) == side
    assert placement.towards(side, 0.5).width == pytest.approx((0.1, 0.1, 0.1))


def test_one_channel_and_many_have_no_width():
    lead = syllables()[None, : 3 * RATE]
    assert hear_placement(long_term(lead), RATE) == placement.centre(1)
    assert hear_placement(long_term(np.repeat(lead, 3, axis=0)), RATE) == placement.centre(3)
    ringing = Reverb((0.5,) * 3, (-10.0,) * 3)
    assert space_response(placement.centre(3), ringing, RATE).shape[0] == 3
    assert space_response(placement.centre(1), None, RATE).tolist() == [[1.0]]
