"""Which of two outputs of one source is better, where, and whether that could be chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resing.errors import ConfigError
from resing.scoring.card import Phrase, Scorecard
from resing.scoring.figures import ROWS
from resing.scoring.score import ProgressCallback, score
from resing.scoring.target import Target
from resing.voice import Voice

RESAMPLES = 2000
LEAST_PHRASES = 6
"""With fewer phrases an interval says little about the next song."""
MOST_PLACES = 6
MARGINS = {  # figure of a phrase: what counts as a loss, and whether more is better
    "similarity": (0.01, True),
    "hnr_db": (0.5, True),
    "words_cer": (2.0, False),
    "f0_rmse_cents": (5.0, False),
    "coverage": (0.02, True),
    "voicing_error": (2.0, False),
    "units_distance": (0.02, False),
    "phone_distance": (2.0, False),
}
WORDS, SOUNDS = "words_cer", "phone_distance"
DECISIVE = ("similarity", "hnr_db", WORDS)
"""No difference is claimed unless a loss in each of these is excluded; where no recogniser heard the words,
SOUNDS stands in for them."""


@dataclass(frozen=True)
class Difference:
    """How two outputs differ in one figure.

    Attributes:
        name, heading, unit: of the figure.
        a, b: means over the phrases, each counted by its length.
        change: b - a.
        low, high: 95 % interval of the change, by resampling phrases.
        margin: a loss that counts.
        phrases: how many have the figure in both.
        verdict: "a", "b" (the better one), "same" or "unsure".
    """

    name: str
    heading: str
    unit: str
    a: float | None
    b: float | None
    change: float | None
    low: float | None
    high: float | None
    margin: float
    phrases: int
    verdict: str


@dataclass(frozen=True)
class Place:
    """A phrase in which the two differ: when, and how, in words."""

    start_seconds: float
    end_seconds: float
    better: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found out.

    Attributes:
        a, b, source: the files.
        voice: name of the voice that both were held against.
        phrases: how many there are.
        differences: per figure.
        places: where they differ most, in order of time.
        better: "a", "b", "neither" (each in something), "same" or "unsure".
        verdict: the same in a sentence.
        card_a, card_b: the scorecards.
    """

    a: str
    b: str
    source: str
    voice: str | None
    phrases: int
    differences: tuple[Difference, ...]
    places: tuple[Place, ...]
    better: str
    verdict: str
    card_a: Scorecard
    card_b: Scorecard


def compare(
    a: Path | str,
    b: Path | str,
    source: Path | str,
    voice: Voice | Path | str | None = None,
    *,
    recordings: Path | str | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Hold two outputs of one source against each other.

    Args:
        a, b: the outputs.
        source: what both were made from.
        voice: the voice that both should sound like; by default the one that OUT.json names.
        recordings: folder with recordings of that voice which it was not made from.
        seed: of the resampling.
        progress: told of each stage; raise from it to cancel.

    Raises:
        AudioError: a file cannot be used, or an output does not last as long as the source.
        VoiceError: the voice cannot be opened.
        ConfigError: the outputs sing different parts of the source.
    """
    held: Target | Voice | Path | str | None = voice
    if voice is not None:
        held = Target.load(voice, recordings)
    first, second = (score(path, source, held, recordings=recordings, progress=progress) for path in (a, b))
    return compare_cards(first, second, seed)


def compare_cards(a: Scorecard, b: Scorecard, seed: int = 0) -> Comparison:
    """Hold two scorecards of one source against each other; see `compare`."""
    times = [[(p.start_seconds, p.end_seconds) for p in card.phrases] for card in (a, b)]
    if times[0] != times[1]:
        raise ConfigError(
            f"{a.output} and {b.output} do not sing the same part of {a.source}; "
            "convert both with the same --from and --to"
        )
    if a.voice != b.voice:
        raise ConfigError(
            f"{a.output} was held against the voice {a.voice}, {b.output} against {b.voice}; "
            "say which counts for both: --voice NAME"
        )
    differences = tuple(difference(name, a.phrases, b.phrases, seed) for name in MARGINS)
    names = _names(a.output, b.output)
    better, verdict = judge(differences, names, a.voice)
    places = where(a.phrases, b.phrases)
    return Comparison(
        a.output,
        b.output,
        a.source,
        a.voice,
        len(a.phrases),
        differences,
        places,
        better,
        verdict,
        a,
        b,
    )


def difference(name: str, a: Sequence[Phrase], b: Sequence[Phrase], seed: int = 0) -> Difference:
    """How two outputs differ in a figure, by a paired bootstrap over phrases.

    Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13: percentile intervals.

    Args:
        name: one of MARGINS.
        a, b: the same phrases of both.
        seed: of the resampling.
    """
    margin, more_is_better = MARGINS[name]
    pairs = [
        (x.figures.get(name), y.figures.get(name), x.end_seconds - x.start_seconds)
        for x, y in zip(a, b, strict=True)
    ]
    known = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 3)
    heading, unit = ROWS[name].heading, ROWS[name].unit
    if not len(known):
        return Difference(name, heading, unit, None, None, None, None, None, margin, 0, "unsure")
    before, after, seconds = known.T
    first, second = (float(np.average(values, weights=seconds)) for values in (before, after))
    drawn = np.random.default_rng(seed).integers(len(known), size=(RESAMPLES, len(known)))
    changes = np.sum((after - before)[drawn] * seconds[drawn], axis=1) / np.sum(seconds[drawn], axis=1)
    low, high = (float(x) for x in np.percentile(changes, [2.5, 97.5]))
    change = second - first
    verdict = _verdict(change, low, high, margin, more_is_better) if len(known) >= LEAST_PHRASES else "unsure"
    return Difference(name, heading, unit, first, second, change, low, high, margin, len(known), verdict)


def _verdict(change: float, low: float, high: float, margin: float, more_is_better: bool) -> str:
    if -margin < low and high < margin:
        return "same"
    if abs(change) >= margin and low * high > 0:
        return "b" if (change > 0) == more_is_better else "a"
    return "unsure"


def judge(
    differences: Sequence[Difference], names: tuple[str, str], voice: str | None = None
) -> tuple[str, str]:
    """Which is better ("a", "b", "neither", "same", "unsure"), and the same in a sentence.

    Args:
        differences: of all figures.
        names: what to call a and b.
        voice: that both were held against.
    """
    won = {side: [_gain(d) for d in differences if d.verdict == side] for side in ("a", "b")}
    heard = any(d.name == WORDS and d.phrases for d in differences)
    needed = DECISIVE if heard else tuple(SOUNDS if name == WORDS else name for name in DECISIVE)
    decisive = [d for d in differences if d.name in needed]
    open_ones = [d for d in decisive if d.verdict == "unsure"]
    rest = f" Not enough to tell about {_listed([d.heading for d in open_ones])}." if open_ones else ""
    if won["a"] and won["b"]:
        each = [f"{name} in {_listed(won[side])}" for side, name in zip("ab", names, strict=True)]
        return "neither", f"Each is better in something: {'; '.join(each)}.{rest}"
    for side, name in zip("ab", names, strict=True):
        if won[side]:
            return side, f"{name} is better: {_listed(won[side])}.{rest}"
    if open_ones:
        return "unsure", f"Not enough to tell: {_reason(open_ones, voice)}."
    limits = _listed([f"{_with_unit(d.margin, d.unit)} of {d.heading}" for d in decisive], "or")
    words = "" if heard else " Nobody listened for the words themselves."
    return "same", f"No difference: neither loses {limits}.{words}"


def _reason(open_ones: Sequence[Difference], voice: str | None) -> str:
    """Why nothing can be said."""
    if voice is None and any(d.name == "similarity" for d in open_ones):
        return "nobody listened for the voice; say which it should be: --voice NAME"
    few = min(d.phrases for d in open_ones)
    if few < LEAST_PHRASES:
        return f"{few} phrase{'s' * (few != 1)} long and clear enough, at least {LEAST_PHRASES} are needed"
    wide = [f"{d.low:+.3g} to {_with_unit(d.high, d.unit, '+')} in {d.heading}" for d in open_ones]
    return f"the 95 % interval is {_listed(wide)}; more phrases would narrow it"


def _with_unit(value: float | None, unit: str, sign: str = "") -> str:
    return f"{value:{sign}.3g}{' ' + unit if unit else ''}"


def _gain(difference: Difference) -> str:
    return f"{difference.heading} by {_with_unit(abs(difference.change or 0.0), difference.unit)}"


def where(a: Sequence[Phrase], b: Sequence[Phrase]) -> tuple[Place, ...]:
    """The phrases in which the two differ by more than a margin, the largest differences, by time."""
    found: list[tuple[float, Place]] = []
    for x, y in zip(a, b, strict=True):
        gains: dict[str, list[tuple[float, str]]] = {"a": [], "b": []}
        for name, (margin, more_is_better) in MARGINS.items():
            before, after = x.figures.get(name), y.figures.get(name)
            if before is None or after is None or abs(after - before) < 2.0 * margin:
                continue
            side = "b" if (after > before) == more_is_better else "a"
            size = abs(after - before)
            text = f"{ROWS[name].heading} by {_with_unit(size, ROWS[name].unit)}"
            gains[side].append((size / margin, text))
        for side in "ab":
            if gains[side]:
                texts = [text for _, text in sorted(gains[side], reverse=True)[:2]]
                size = max(gain for gain, _ in gains[side])
                text = f"{side} is better: {_listed(texts)}"
                found.append((size, Place(x.start_seconds, x.end_seconds, side, text)))
    largest = sorted(found, key=lambda item: -item[0])[:MOST_PLACES]
    return tuple(sorted((place for _, place in largest), key=lambda place: place.start_seconds))


def _listed(parts: Sequence[str], word: str = "and") -> str:
    *most, last = parts
    return f"{', '.join(most)} {word} {last}" if most else last


def _names(a: str, b: str) -> tuple[str, str]:
    """File names, with their folders where the names are the same."""
    short = Path(a).name, Path(b).name
    return short if short[0] != short[1] else (a, b)
