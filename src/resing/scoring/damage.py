"""Every detector of damage, run on one pair: its figures and the places it points at."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from resing.scoring import artefacts, metrics, timing
from resing.scoring.artefacts import Reference
from resing.scoring.card import Figure
from resing.scoring.clip import HEARING_RATE, Clip
from resing.scoring.figures import row
from resing.scoring.metrics import VOICED
from resing.scoring.pair import Pair, frames_between
from resing.scoring.places import Place, longest
from resing.scoring.target import Recordings, Target

CLEAR_DB = 20.0
"""HNR from which on a tone is clear: more is no better to hear."""
BREATHY_DB, BUZZY_DB, TONE_SECONDS = -9.0, 9.0, 0.3
"""Change of HNR, of CPP, that a phrase of another natural voice hardly shows for so long."""
DULL_DB, DULL_SECONDS = -22.0, 0.5
"""What a moment of another natural voice does not lack against source and recordings: vowels differ."""


@dataclass(frozen=True)
class Damage:
    """Figures of the whole, and places by kind of finding."""

    figures: tuple[Figure, ...]
    places: Mapping[str, list[Place]]


def find_damage(pair: Pair, target: Target | None = None) -> Damage:
    """What the detectors find in an output that its source does not have."""
    recordings = target.recordings if target is not None else None
    figures: list[Figure] = []
    places: dict[str, list[Place]] = {}
    for kind, figure, those in detected(pair):
        figures.append(figure)
        places.setdefault(kind, []).extend(those)
    figures.append(row("not_finite", metrics.not_finite(pair.output.raw)))
    places |= _tone(pair, recordings)
    places["dull"] = _dull(pair, recordings)
    return Damage(tuple(figures), _without_echoes(places))


def detected(pair: Pair) -> Iterator[tuple[str, Figure, list[Place]]]:
    """Kind, figure and places of every detector of moments, level, melody and time."""
    return itertools.chain(_levels(pair), _melody(pair), _seams(pair), _timing(pair))


def _levels(pair: Pair) -> Iterator[tuple[str, Figure, list[Place]]]:
    source, output = pair.source, pair.output
    own = metrics.silence_floor(source.audio, output.audio, pair.rates)["source_floor_db"]
    excess, places = artefacts.noise_places(source.audio, output.audio, pair.rates)
    if excess is None or own is None:
        yield "noise", row("silence_floor_db", None, note="the source has no pause"), []
    else:
        allowed = max(artefacts.QUIETEST_LIMIT_DB, own + 6.0)
        note = "without what a light room leaves after a note"
        yield "noise", row("silence_floor_db", allowed + excess, own, None, note, (None, allowed)), places
    _, places = artefacts.clipped_places(output.audio, output.sample_rate, source.audio)
    before, after = (metrics.clipped_runs(clip.audio) for clip in (source, output))
    yield "clipping", row("clipped_runs", after, before, limits=(None, before)), places
    seconds, places = artefacts.missing_places(source.audio, output.audio, pair.rates)
    yield "missing", row("missing_seconds", seconds), places


def _melody(pair: Pair) -> Iterator[tuple[str, Figure, list[Place]]]:
    second = pair.asked(pair.source.second_pitch), pair.sung_second
    share, places = artefacts.octave_places(pair.wanted, pair.sung, *second)
    yield "octave", row("octave_share", 100.0 * share, note="where two trackers agree"), places
    known = pair.active & pair.known
    _, places = artefacts.voicing_places(pair.source.pitch, pair.sung, known)
    signed = [(start, end, _lost(pair, start, end) * strength) for start, end, strength in places]
    yield "voicing", row("voicing_seconds", sum(end - start for start, end, _ in places)), signed


def _lost(pair: Pair, start_seconds: float, end_seconds: float) -> float:
    """-1 where tone is lost, 1 where it is gained."""
    at = frames_between(start_seconds, end_seconds, metrics.FRAME_SECONDS, pair.frames)
    return 1.0 if pair.sung.confidence[at].mean() >= VOICED else -1.0


def _seams(pair: Pair) -> Iterator[tuple[str, Figure, list[Place]]]:
    source, output = pair.source, pair.output
    sounds = output.audio, output.sample_rate, source.audio, source.sample_rate
    held = artefacts.held_notes(pair.wanted, pair.sung)
    ratio, places = artefacts.clicks(*sounds, held)
    yield "click", row("clicks_ratio", ratio), places
    depth, places = artefacts.dips(*sounds, held)
    yield "dip", row("dips_db", depth), places
    step, places = artefacts.steps(*sounds, held)
    yield "step", row("steps_db", step), places
    heard = [(clip.audio_16k, HEARING_RATE, clip.pitch) for clip in (output, source)]
    share, places = artefacts.jumps(heard[0], heard[1], held)
    yield "jump", row("jumps_share", share), places


def _timing(pair: Pair) -> Iterator[tuple[str, Figure, list[Place]]]:
    found = timing.measure_timing(pair.source.audio, pair.output.audio, pair.rates)
    most = timing.drift_limit(pair.source.seconds)
    yield "timing", row("lag_ms", found.lag_ms), []
    yield "timing", row("drift_ms_per_minute", found.drift_ms_per_minute, limits=(-most, most)), []
    yield "timing", row("part_lag_ms", found.part_lag_ms), list(found.places)


def _tone(pair: Pair, recordings: Recordings | None) -> dict[str, list[Place]]:
    """Where the voice turns breathy or buzzes, against source and recordings."""
    tone = pair.tone
    hnr, cpp = np.minimum(tone["source_hnr"], CLEAR_DB), tone["source_cpp"]
    if recordings is not None and recordings.hnr_db is not None and recordings.cpp_db is not None:
        low, high = np.minimum(cpp, recordings.cpp_db), np.maximum(cpp, recordings.cpp_db)
        hnr = np.minimum(hnr, recordings.hnr_db)
    else:
        low = high = cpp
    lost = artefacts.tone_places(tone["hnr"] - hnr, BREATHY_DB)
    lost += artefacts.tone_places(tone["cpp"] - low, BREATHY_DB)
    gained = artefacts.tone_places(tone["cpp"] - high, BUZZY_DB)
    return {"breathy": longest(lost, TONE_SECONDS), "buzzy": longest(gained, TONE_SECONDS)}


def _dull(pair: Pair, recordings: Recordings | None) -> list[Place]:
    """Where brightness is missing by far while someone sings."""
    sounds = _phrases_alone(pair, pair.source), _phrases_alone(pair, pair.output)
    if recordings is None:
        found = artefacts.dull_places(*sounds, pair.rates)[1]
    else:
        reference = Reference(recordings.spectrum, recordings.bandwidth_hz)
        found = artefacts.dull_places(*sounds, pair.rates, reference)[1]
    inside = [
        (max(start, first), min(end, last), strength)
        for start, end, strength in found
        if strength >= -DULL_DB
        for first, last in pair.edges
    ]
    return [place for place in inside if place[1] - place[0] >= DULL_SECONDS]


def _phrases_alone(pair: Pair, clip: Clip) -> np.ndarray:
    """A clip's sound with silence between the phrases, (N,)."""
    inside = np.zeros(len(clip.audio), bool)
    for edges in pair.edges:
        inside[frames_between(*edges, 1.0 / clip.sample_rate, len(inside))] = True
    return np.where(inside, clip.audio, 0.0)


def _without_echoes(places: Mapping[str, list[Place]]) -> dict[str, list[Place]]:
    """The places without those that only repeat what a graver one says: silence has no tone either."""
    gone = places.get("missing", [])
    kept = {}
    for kind, those in places.items():
        echoes = gone if kind in ("voicing", "breathy", "dip", "dull") else []
        kept[kind] = [p for p in those if not any(p[0] < e[1] and p[1] > e[0] for e in echoes)]
    return kept
