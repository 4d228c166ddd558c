"""Findings: injected damage is found where it is and told in a singer's words; harmless change is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resing.scoring import timeline
from resing.scoring.artefacts import LIMITS
from resing.scoring.card import KINDS, Finding, Scorecard
from resing.scoring.clip import Clip
from resing.scoring.figures import ROWS, Voices
from resing.scoring.metrics import CONFIDENT, FRAME_SECONDS
from resing.scoring.pair import Pair
from resing.scoring.score import score_pair
from resing.scoring.target import Target
from resing.scoring.wording import MEANINGS, TEXTS, Heard, Note, moved_text

RATE = 44100
MELODY = [(0.0, 0.2), (330.0, 1.5), (0.0, 0.5), (440.0, 1.5), (0.0, 0.5), (392.0, 1.5), (0.0, 0.3)]
SECOND = (2.2, 3.7)
"""When the second note sounds."""

TOP = "at the top of this voice's range"
BREATHY = "breathy: the voice loses its tone"
LOST = "loses the note: breath or nothing where it should sing"
DULL = "dull: much less brightness than"

Singer = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def source(sung_phrase: Singer) -> Clip:
    return clip(sung_phrase(MELODY))


def clip(audio: np.ndarray) -> Clip:
    noise = 3e-5 * np.random.default_rng(0).standard_normal(len(audio))
    return Clip("song", (0.8 * audio + noise).astype(np.float32), RATE)


def judge(source: Clip, audio: np.ndarray, target: Target | None = None, transpose: float = 0.0) -> Scorecard:
    output = Clip("out", audio.astype(np.float32), RATE)
    return score_pair(Pair(source, output, transpose), target, lambda *_: None)


def found(card: Scorecard, kind: str) -> list[Finding]:
    return [finding for finding in card.findings if finding.kind == kind]


def sung(sung_phrase: Singer, factor: float) -> np.ndarray:
    """The song with its second note sung at another pitch."""
    return clip(sung_phrase([(n * factor if n == 440.0 else n, s) for n, s in MELODY])).audio


def stretch(start: float, end: float) -> slice:
    return slice(round(start * RATE), round(end * RATE))


# -- slips of the tracker


@pytest.mark.parametrize(("frames", "cents"), [(1, 0.0), (3, 1200.0)])
def test_a_lone_frame_an_octave_off_is_a_slip_of_the_tracker(source: Clip, frames: int, cents: float):
    output = Clip("out", source.raw, RATE)
    f0, sure = source.swift.copy()
    first = round(sum(SECOND) / 2 / FRAME_SECONDS)
    assert (sure[first : first + frames] >= CONFIDENT).all()
    f0[first : first + frames] *= 2.0
    output.__dict__["swift"] = np.stack([f0, sure])
    assert np.nanmax(np.abs(Pair(source, output, 0.0).cents)) == pytest.approx(cents, abs=0.1)


# -- injected damage


def test_a_note_out_of_tune(source: Clip, sung_phrase: Singer):
    card = judge(source, sung(sung_phrase, 2.0 ** (60 / 1200)))
    (finding,) = found(card, "pitch")
    assert finding.text.startswith("out of tune: A4 comes out") and finding.text.endswith("cents sharp")
    assert abs(int(finding.text.split()[-3]) - 60) <= 5
    assert finding.start_seconds == pytest.approx(SECOND[0], abs=0.15)
    assert finding.end_seconds == pytest.approx(SECOND[1], abs=0.15)
    weak = [phrase.weak for phrase in card.phrases]
    assert weak[1] > 0.2 and weak[0] == weak[2] == 0.0


def test_a_note_an_octave_too_low(source: Clip, sung_phrase: Singer):
    card = judge(source, sung(sung_phrase, 0.5))
    (finding,) = found(card, "octave")
    assert finding.text == "pitch breaks: it jumps by an octave on this high note (A4)"
    assert finding.severity > 0.5 and card.figure("octave_share").flagged


def test_a_wrong_note_names_the_range_of_the_voice(source: Clip, sung_phrase: Singer):
    card = judge(source, sung(sung_phrase, 2.0 ** (-5 / 12)), Target.load("pjs"))
    (finding,) = found(card, "pitch")
    assert finding.text == "pitch breaks: the note A4 is above this voice's range"


def test_breath_instead_of_tone(source: Clip):
    audio = source.audio.copy()
    place = stretch(2.6, 3.4)
    level = np.sqrt(np.mean(audio[place] ** 2))
    audio[place] = 0.6 * audio[place] + level * np.random.default_rng(0).standard_normal(len(audio[place]))
    (finding,) = found(judge(source, audio), "breathy")
    assert finding.text == "breathy: the voice loses its tone on this high note (A4)"
    assert 2.4 <= finding.start_seconds <= 2.8 and 3.2 <= finding.end_seconds <= 3.7


def test_a_breath_of_a_moment_is_what_any_voice_does(source: Clip):
    audio, place = source.audio.copy(), stretch(2.8, 2.95)
    level = np.sqrt(np.mean(audio[place] ** 2))
    audio[place] = 0.6 * audio[place] + level * np.random.default_rng(0).standard_normal(len(audio[place]))
    assert found(judge(source, audio), "breathy") == []


def test_noise_in_a_pause(source: Clip):
    audio = source.audio.copy()
    audio[stretch(1.75, 2.15)] += 0.01 * np.random.default_rng(0).standard_normal(round(0.4 * RATE))
    card = judge(source, audio)
    (finding,) = found(card, "noise")
    assert finding.text == "noise in the pause" and 1.7 < finding.start_seconds < finding.end_seconds < 2.2
    assert card.figure("silence_floor_db").flagged


def test_a_hole_is_silence_and_nothing_else(source: Clip):
    audio = source.audio.copy()
    audio[stretch(2.8, 3.1)] = 0.0
    card = judge(source, audio)
    (finding,) = found(card, "missing")
    assert finding.text == "silent where the song is sung"
    assert (finding.start_seconds, finding.end_seconds) == (
        pytest.approx(2.8, abs=0.05),
        pytest.approx(3.1, abs=0.05),
    )
    assert found(card, "breathy") == found(card, "voicing") == []


def test_a_click(source: Clip):
    audio = source.audio.copy()
    audio[round(3.0 * RATE)] += 0.5
    (finding,) = found(judge(source, audio), "click")
    assert finding.text == "a click" and finding.start_seconds == pytest.approx(3.0, abs=0.02)


def test_a_low_pass_is_dull(source: Clip):
    spectrum = np.fft.rfft(source.audio)
    spectrum[np.fft.rfftfreq(len(source.audio), 1 / RATE) > 3500.0] = 0.0
    findings = found(judge(source, np.fft.irfft(spectrum, len(source.audio))), "dull")
    assert findings and findings[0].text == "dull: much less brightness than the source"


def test_clipping(source: Clip):
    card = judge(source, np.clip(3.0 * source.audio, -0.5, 0.5))
    assert found(card, "clipping")[0].text.startswith("distorted")
    assert card.figure("clipped_runs").flagged


def test_a_late_output(source: Clip):
    late = np.concatenate([np.zeros(round(0.06 * RATE)), source.audio])[: len(source.audio)]
    card = judge(source, late)
    assert found(card, "timing")[0].text == "out of time by 60 ms"
    assert card.figure("lag_ms").value == pytest.approx(60.0, abs=2.0) and card.figure("lag_ms").flagged


# -- harmless


@pytest.mark.parametrize("change", ["quieter", "another singer", "octave up", "brighter"])
def test_what_is_harmless_is_not_told(source: Clip, sung_phrase: Singer, change: str):
    audio = {
        "quieter": lambda: source.audio * 0.7,
        "another singer": lambda: clip(sung_phrase(MELODY, formant_shift=1.15, vibrato_cents=40.0)).audio,
        "octave up": lambda: clip(sung_phrase([(2 * n, s) for n, s in MELODY])).audio,
        "brighter": lambda: source.audio + 0.2 * np.diff(source.audio, prepend=0.0),
    }[change]()
    card = judge(source, audio, transpose=12.0 if change == "octave up" else 0.0)
    assert card.findings == ()


# -- how findings are gathered and told


def test_findings_come_in_order_and_their_kinds_are_known(source: Clip):
    audio = source.audio.copy()
    audio[round(5.0 * RATE)] += 0.5
    audio[round(1.0 * RATE)] += 0.5
    audio[stretch(2.8, 3.1)] = 0.0
    card = judge(source, audio)
    assert [f.kind for f in card.findings] == ["click", "missing", "click"]
    assert [f.start_seconds for f in card.findings] == sorted(f.start_seconds for f in card.findings)
    assert all(0 < f.severity <= 1 for f in card.findings)


def test_clicks_close_together_are_one_finding(source: Clip):
    audio = source.audio.copy()
    for at in (2.8, 3.0, 3.2):
        audio[round(at * RATE)] += 0.5
    (finding,) = found(judge(source, audio), "click")
    assert finding.text == "3 clicks" and finding.end_seconds - finding.start_seconds == pytest.approx(
        0.4, abs=0.03
    )


def test_only_the_worst_of_a_phrase_is_told(source: Clip):
    pair = Pair(source, source, 0.0)
    places = {
        kind: [(2.3 + 0.01 * i, 2.4, full * (0.4 + 0.05 * i))]
        for i, (kind, full) in enumerate(timeline.FULL.items())
        if kind in TEXTS
    }
    told = timeline.find_all(pair, None, Voices(), places, [{}] * len(pair.edges))
    assert len(told) == timeline.MOST_PER_PHRASE
    assert {f.kind for f in told} == {"missing", "jump", "step", "dip"}
    weak = {kind: [(2.3, 2.4, 0.05 * timeline.FULL[kind])] for kind in TEXTS}
    assert timeline.find_all(pair, None, Voices(), weak, [{}] * len(pair.edges)) == ()


def test_a_phrase_that_sounds_like_the_source(source: Clip):
    pair, target = Pair(source, source, 0.0), Target.load("kumi")
    phrases = [{"leak_margin": 0.1}, {"leak_margin": -0.1}, {"leak_margin": None}]
    (finding,) = timeline.find_all(pair, target, Voices(0.8, 0.7, 0.9), {}, phrases)
    assert finding.text == "sounds more like the source's singer than like kumi"
    assert finding.start_seconds == pair.edges[1][0]
    same_singer = Voices(0.98, timeline.SAME_SINGER, 0.99)
    assert timeline.find_all(pair, target, same_singer, {}, phrases) == ()


def test_weakness_grows_with_findings():
    one = Finding(1.0, 2.0, "click", "a click", 0.5)
    assert timeline.weakness((0.0, 0.9), [one]) == 0.0
    assert timeline.weakness((0.0, 3.0), [one]) == pytest.approx(0.4)
    assert 0.4 < timeline.weakness((0.0, 3.0), [one, one]) < 1.0


@pytest.mark.parametrize(
    ("kind", "heard", "text"),
    [
        ("pitch", Heard(-300.0), "out of tune: a note comes out 300 cents flat"),
        ("pitch", Heard(500.0, 1, Note("A5", "top")), f"pitch breaks: the note A5 is {TOP}"),
        ("pitch", Heard(500.0, 1, Note("A4")), "pitch breaks on this note (A4)"),
        ("breathy", Heard(9.0, 3, Note("A5", "high")), f"{BREATHY} on 3 notes, most on A5"),
        ("voicing", Heard(-0.3, 1, Note("E3", "below")), f"{LOST} on this low note (E3)"),
        ("voicing", Heard(0.3), "hums where the song has breath or a consonant"),
        ("dull", Heard(30.0, 1, None, "the voice's recordings"), f"{DULL} the voice's recordings"),
        ("dip", Heard(9.0, 2), "the sound drops out for a moment, 2 times"),
        ("click", Heard(2.0), "a click"),
    ],
)
def test_the_words(kind: str, heard: Heard, text: str):
    assert TEXTS[kind](heard) == text


@pytest.mark.parametrize(
    ("sung", "down", "told"),
    [
        ("D#4", 12, "above this voice's range and is sung an octave lower, as D#4"),
        ("D#6", -12, "below this voice's range and is sung an octave higher, as D#6"),
        ("B4", 4, "above this voice's range and is sung as B4, the nearest note that it has"),
        ("D#5", 0, "outside this voice's range and is sung all the same"),
    ],
)
def test_the_words_for_notes_outside_the_range(sung: str, down: int, told: str):
    assert moved_text("D#5", sung, down).removeprefix("the melody breaks: ") == f"the note D#5 is {told}"
    assert moved_text("D#5", sung, down).startswith("the melody breaks") == (down != 0)


def test_a_note_that_is_kept_is_told_but_is_no_fault(source: Clip):
    note = {"start_seconds": 2.2, "end_seconds": 3.7, "note": "A4", "sung": "A4"}
    kept = Pair(source, Clip("out", source.audio, RATE), 0.0, (note,))
    findings = score_pair(kept, None, lambda *_: None).findings
    assert [f.text for f in findings] == [
        "the note A4 is outside this voice's range and is sung all the same"
    ]
    assert findings[0].severity == timeline.LEAST_SEVERITY


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        ("missing", "missing_seconds"),
        ("click", "clicks_ratio"),
        ("dip", "dips_db"),
        ("step", "steps_db"),
        ("jump", "jumps_share"),
        ("timing", "part_lag_ms"),
    ],
)
def test_what_is_beyond_its_limit_is_told(source: Clip, kind: str, limit: str):
    places = {kind: [(2.3, 2.6, 1.01 * LIMITS[limit][1])]}
    told = timeline.find_all(Pair(source, source, 0.0), None, Voices(), places, [])
    assert [finding.kind for finding in told] == [kind]


def test_meanings_are_of_figures():
    assert set(MEANINGS) <= set(ROWS)


def test_every_kind_has_words_and_a_scale():
    assert set(TEXTS) | {"timbre"} == set(KINDS) == set(timeline.FULL)
    assert Path(timeline.__file__).name == "timeline.py"
