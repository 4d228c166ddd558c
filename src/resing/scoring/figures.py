"""The figures of a whole output: what is measured, against what, and from where on it is worth a look."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from resing.scoring import artefacts, metrics
from resing.scoring.card import Figure
from resing.scoring.pair import Pair, median
from resing.scoring.target import Recordings, Target

NO_VOICE = "needs the voice: --voice NAME"
NO_RECORDINGS = "needs recordings of the voice that it was not made from: --recordings FOLDER"
OWN_EMBEDDER = "heard by Resing's own speaker encoder, which the voice was made with: it flatters"
MORE = "needs more than the base install: scripts/judge-env makes an environment in which "
NO_WORDS = MORE + "benchmarks/conversion.py hears words with recognisers, Whisper and Vosk"
NO_OPINION = (
    MORE + "benchmarks/quality.py --mos asks DNSMOS, PLCMOS and Distill-MOS; they misrank converted singing"
)
FILE_VECTOR = "against the vector in the voice file, for lack of recordings; " + OWN_EMBEDDER
NO_PROBE = "its probe hears another encoder than the one here: python benchmarks/phone_probe.py makes it anew"
OF_SOURCE = "against the source, for lack of recordings of the voice (--recordings FOLDER)"
DULLER_DB = 6.0
"""As with noise in pauses: what an output may lack more than its source does."""
AGAINST_SOURCE: dict[str, tuple[float | None, float | None]] = {
    "hnr_db_change": (-7.5, None),
    "hnr_high_db_change": (-7.5, None),
    "cpp_ratio": (0.75, 1.5),
    "worst_band_db": (-20.0, None),
}
"""Limits where no recordings say what is natural for the voice: two singers of one phrase differ as much."""


@dataclass(frozen=True)
class Row:
    """Heading, unit, and the lowest and highest value that needs no look."""

    heading: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


ROWS = {
    "similarity": Row("likeness to the voice"),
    "similarity_of_ceiling": Row("likeness, of what its recordings reach", "", 0.9),
    "leak_margin": Row("nearer the voice than the source by", "", 0.0),
    "f0_rmse_cents": Row("pitch error, RMS", "cents", None, 40.0),
    "f0_median_cents": Row("pitch error, median", "cents", None, 20.0),
    "coverage": Row("clear notes kept", "", 0.75),
    "f0_correlation": Row("melody follows", "", 0.9),
    "gross_share": Row("wrong notes", "%", None, 4.0),
    "octave_share": Row("octave jumps", "%", None, 0.5),
    "voicing_seconds": Row("tone lost or added for a while", "s"),
    "voicing_error": Row("tone lost or added", "%", None, 25.0),
    "units_distance": Row("sounds of the words changed", "", None, 0.15),
    "phone_distance": Row("vowels and consonants heard otherwise", "%"),
    "hnr_db": Row("tone over noise", "dB"),
    "hnr_db_change": Row("tone over noise, change", "dB"),
    "hnr_high_db": Row("tone over noise above 2 kHz", "dB"),
    "hnr_high_db_change": Row("tone over noise above 2 kHz, change", "dB"),
    "cpp_db": Row("clearness of the tone", "dB"),
    "cpp_ratio": Row("clearness of the tone, ratio"),
    "worst_band_db": Row("weakest band, 4 to 16 kHz", "dB"),
    "silence_floor_db": Row("noise in pauses, against the singing", "dB"),
    "loudness_lufs": Row("loudness", "LUFS"),
    "loudness_change_lu": Row("loudness, change", "LU", -6.0, 6.0),
    "clipped_runs": Row("clipped peaks"),
    "true_peak_dbtp": Row("true peak", "dBTP", None, 0.0),
    "length_difference_samples": Row("longer than the source by", "samples"),
    "missing_seconds": Row("silent where the source sings", "s"),
    "lag_ms": Row("late by", "ms"),
    "part_lag_ms": Row("late at the worst moment by", "ms"),
    "drift_ms_per_minute": Row("drifts later by", "ms/min"),
    "clicks_ratio": Row("clicks, against the source"),
    "dips_db": Row("deepest hole in the sound", "dB"),
    "steps_db": Row("largest sudden step in loudness", "dB"),
    "jumps_share": Row("largest skip in time", "of a period"),
    "not_finite": Row("broken samples", "", None, 0.0),
    "words_cer": Row("letters misheard", "%"),
    "opinion_change": Row("opinion score, change"),
}
DETECTED = artefacts.LIMITS.keys()


@dataclass(frozen=True)
class Voices:
    """Mean likeness of the windows of output and source to the voice, and of output to source."""

    output: float | None = None
    source: float | None = None
    to_source: float | None = None


def limit_text(low: float | None, high: float | None) -> str:
    """What is expected, in figures: ">= 0.9", "<= 15", "0.8 to 1.5", "0" or nothing."""
    least, most = (None if x is None else f"{round(x, 1 if abs(x) >= 10 else 2):g}" for x in (low, high))
    if least is None:
        return "" if most is None else f"<= {most}"
    if most is None:
        return f">= {least}"
    return least if low == high else f"{least} to {most}"


def limits_of(name: str) -> tuple[float | None, float | None]:
    """Lowest and highest value that needs no look; a detector's are those that it was tried with."""
    if name in DETECTED:
        low, high = artefacts.LIMITS[name]
        return (None if math.isinf(low) else low), (None if math.isinf(high) else high)
    return ROWS[name].low, ROWS[name].high


def _limits(name: str, recordings: Recordings | None) -> tuple[float | None, float | None]:
    """`limits_of`, or what two singers may differ by where the source stands in for the recordings."""
    return limits_of(name) if recordings is not None else AGAINST_SOURCE[name]


def row(
    name: str,
    value: float | None,
    source: float | None = None,
    target: float | None = None,
    note: str = "",
    limits: tuple[float | None, float | None] | None = None,
) -> Figure:
    """A figure with its heading, unit and limits; `limits` stand in for those of ROWS."""
    known = ROWS[name]
    low, high = limits_of(name) if limits is None else limits
    wrong = value is not None and ((low is not None and value < low) or (high is not None and value > high))
    text = limit_text(low, high)
    return Figure(name, known.heading, value, known.unit, source, target, text, wrong, note)


def compare_voices(pair: Pair, target: Target | None) -> Voices:
    """How near output and source are to the voice and to each other, on the same windows."""
    if target is None:
        return Voices()
    active = pair.singing
    n = min(len(active), len(pair.output.audio_16k))
    before, after = (target.vectors(clip, active[:n]) for clip in (pair.source, pair.output))
    if not len(before) or len(before) != len(after):
        return Voices()
    return Voices(
        float(np.mean(after @ target.reference)),
        float(np.mean(before @ target.reference)),
        float(np.mean(np.sum(after * before, axis=1))),
    )


def whole(pair: Pair, target: Target | None, voices: Voices) -> Iterator[Figure]:
    """All figures but those of damage in places, in the order of ROWS."""
    yield from _likeness(target, voices)
    yield from _melody(pair)
    yield from _words(pair)
    recordings = target.recordings if target is not None else None
    yield from _tone(pair, recordings)
    yield _brightness(pair, recordings)
    yield from _levels(pair)


def _likeness(target: Target | None, voices: Voices) -> Iterator[Figure]:
    if target is None:
        for name in ("similarity", "similarity_of_ceiling", "leak_margin"):
            yield row(name, None, note=NO_VOICE)
        return
    recordings = target.recordings
    note = OWN_EMBEDDER if recordings is not None else FILE_VECTOR
    ceiling = recordings.ceiling if recordings is not None else None
    yield row("similarity", voices.output, voices.source, ceiling, note)
    if ceiling is None or voices.output is None or voices.source is None:
        missing = NO_RECORDINGS if ceiling is None else "needs half a second of singing at least"
        yield row("similarity_of_ceiling", None, note=missing)
    else:
        yield row("similarity_of_ceiling", voices.output / ceiling, voices.source / ceiling, 1.0, note)
    known = voices.output is not None and voices.to_source is not None
    margin = voices.output - voices.to_source if known else None  # type: ignore[operator]
    yield row("leak_margin", margin, note=note)


def _melody(pair: Pair) -> Iterator[Figure]:
    first = metrics.pitch_agreement(pair.wanted, pair.sung, 0.0, pair.active)
    note = "no note of the source is clear enough" if first["coverage"] is None else ""
    if pair.guessed:
        note = note or f"key read off the melodies ({pair.transpose:+g} semitones), for lack of OUT.json"
    for name in ("f0_rmse_cents", "f0_median_cents", "coverage", "f0_correlation"):
        own = "the melody moves by less than a semitone" if first[name] is None and not note else note
        yield row(name, first[name], note=own)
    for name, value in second_opinion(pair).items():
        yield row(name, None if value is None else 100.0 * value, note="heard by a second tracker (DIO)")


def second_opinion(pair: Pair) -> dict[str, float | None]:
    """gross_share and voicing_error, 0 to 1, by the second tracker; see `pitch_agreement`."""
    sung = metrics.pitch_agreement(pair.wanted_second, pair.sung_second, 0.0, pair.active)
    heard = metrics.pitch_agreement(pair.source.second_pitch, pair.sung_second, 0.0, pair.active & pair.known)
    return {"gross_share": sung["gross_share"], "voicing_error": heard["voicing_error"]}


def _words(pair: Pair) -> Iterator[Figure]:
    yield row("units_distance", _mean(pair.unit_distances))
    apart = _mean(pair.phone_distances)
    note = (
        "heard by a linear probe, which is right in two thirds of the frames of new clips"
        if apart is not None
        else NO_PROBE
    )
    yield row("phone_distance", None if apart is None else 100.0 * apart, note=note)


def _tone(pair: Pair, recordings: Recordings | None) -> Iterator[Figure]:
    note = "" if recordings is not None else OF_SOURCE
    for kind, changed in (("hnr", "hnr_db_change"), ("hnr_high", "hnr_high_db_change"), ("cpp", "cpp_ratio")):
        value, source = (median(pair.tone[name]) for name in (kind, f"source_{kind}"))
        target = getattr(recordings, f"{kind}_db") if recordings is not None else None
        yield row(f"{kind}_db", value, source, target)
        known = [x for x in (source, target) if x is not None]
        if value is None or not known:
            yield row(changed, None, note="no note of the source is clear enough")
        else:
            change = value / max(min(known), 1e-3) if kind == "cpp" else value - min(known)
            yield row(changed, change, note=note, limits=_limits(changed, recordings))


def _brightness(pair: Pair, recordings: Recordings | None) -> Figure:
    """The band that lacks most beyond what it may: as much as the source itself, and DULLER_DB more.

    A phrase without s or t is darker than recordings with both. A band that the source has not excuses none.
    """
    source = pair.source.spectrum
    own_band = metrics.bandwidth(*source)
    spectrum = recordings.spectrum if recordings is not None else source
    band = recordings.bandwidth_hz if recordings is not None else own_band
    lacks, centres = metrics.deficits(pair.output.spectrum, spectrum, band)
    own = np.where(centres <= own_band, metrics.deficits(source, spectrum, band)[0], 0.0)
    allowed = np.minimum(_limits("worst_band_db", recordings)[0] or 0.0, own - DULLER_DB)
    worst = int(np.argmin(lacks - allowed))
    note = f"at {centres[worst] / 1000:.1f} kHz" + ("" if recordings is not None else "; " + OF_SOURCE)
    before = float(own[worst]) if recordings is not None and centres[worst] <= own_band else None
    limits = float(allowed[worst]), None
    return row("worst_band_db", float(lacks[worst]), before, None, note, limits)


def _levels(pair: Pair) -> Iterator[Figure]:
    source, output = pair.source, pair.output
    loudness = [float(clip.loudness[0]) for clip in (source, output)]
    yield row("loudness_lufs", loudness[1], loudness[0])
    yield row("loudness_change_lu", loudness[1] - loudness[0])
    yield row("true_peak_dbtp", float(output.loudness[1]), float(source.loudness[1]))
    yield row(
        "length_difference_samples",
        metrics.length_difference(len(source.raw), len(output.raw), pair.rates),
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
