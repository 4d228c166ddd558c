"""How well an output sings its source in a voice: figures, phrases, and findings on a time axis."""

import contextlib
from pathlib import Path
from typing import Protocol

from resing.errors import AudioError, ConfigError, VoiceError
from resing.pitch import check_transpose
from resing.scoring import figures, timeline
from resing.scoring.card import KINDS, Figure, Finding, Phrase, Scorecard
from resing.scoring.clip import WHOLE, Clip
from resing.scoring.damage import find_damage
from resing.scoring.pair import Made, Pair
from resing.scoring.phrase_figures import phrase_figures
from resing.scoring.target import Target
from resing.voice import Voice

__all__ = ["KINDS", "Figure", "Finding", "Phrase", "ProgressCallback", "Scorecard", "score", "score_pair"]

ORDER = list(figures.ROWS)
LENGTH_SECONDS, LENGTH_SHARE = 1.0, 0.02
"""An output whose length differs by more than the larger of these was not made from the source."""


class ProgressCallback(Protocol):
    """Told of each stage and how much of it is done; raise from it to cancel."""

    def __call__(self, stage: str, done: float, total: float) -> object:
        """Hear how much of a stage is done, of how much."""
        ...


def score(
    output: Path | str,
    source: Path | str,
    voice: Target | Voice | Path | str | None = None,
    transpose: float | None = None,
    progress: ProgressCallback | None = None,
    *,
    recordings: Path | str | None = None,
) -> Scorecard:
    """Judge an output.

    Args:
        output: what `convert` made, or any other a cappella of the same song and length.
        source: what it was made from.
        voice: who should be heard; by default the voice that OUT.json names, if it is still here.
        transpose: semitones between the two; by default what OUT.json says, else read off the melodies.
        progress: told of the stage "score"; raise from it to cancel.
        recordings: folder with a minute or more of that voice, recordings that it was not made from.

    Raises:
        AudioError: a file cannot be used, the output does not last as long as the source, or is a whole song.
        VoiceError: the voice cannot be opened.
        DatasetError: the recordings do not suffice.
        ConfigError: `transpose` is no number of semitones, or there are recordings but no voice.
    """
    if transpose is not None:
        check_transpose(transpose)
    tell = progress or (lambda stage, done, total: None)
    made = Made.beside(output)
    if made is not None and made.mix:
        raise AudioError(
            f"{output} is a whole song, expected a voice alone: the band would be judged with the singer; "
            "convert with --stems FOLDER and judge FOLDER/converted.flac with --source FOLDER/lead.flac"
        )
    target = _target(voice, recordings, made)
    tell("score", 0, 4)
    after = Clip.read(output)
    before = Clip.remembered(source, made.part if made else WHOLE)
    _check_lengths(before, after)
    if transpose is None and made is not None:
        transpose = made.transpose
    return score_pair(Pair(before, after, transpose, made.moved if made else ()), target, tell)


def score_pair(pair: Pair, target: Target | None, tell: ProgressCallback) -> Scorecard:
    """The scorecard of clips in memory; see `score`."""
    edges = pair.edges
    tell("score", 1, 4)
    voices = figures.compare_voices(pair, target)
    found = [*figures.whole(pair, target, voices)]
    tell("score", 2, 4)
    damage = find_damage(pair, target)
    found += damage.figures
    found += [figures.row("words_cer", None, note=figures.NO_WORDS)]
    found += [figures.row("opinion_change", None, note=figures.NO_OPINION)]
    tell("score", 3, 4)
    parts = [phrase_figures(pair, target, edge) for edge in edges]
    findings = timeline.find_all(pair, target, voices, damage.places, parts)
    phrases = [
        Phrase(*edge, timeline.weakness(edge, findings), part)
        for edge, part in zip(edges, parts, strict=True)
    ]
    pair.source.keep()
    tell("score", 4, 4)
    return Scorecard(
        output=pair.output.name,
        source=pair.source.name,
        voice=target.name if target is not None else None,
        seconds=round(pair.output.seconds, 3),
        transpose=pair.transpose,
        moved=pair.moved,
        figures=tuple(sorted(found, key=lambda figure: ORDER.index(figure.name))),
        phrases=tuple(phrases),
        findings=findings,
    )


def _target(
    voice: Target | Voice | Path | str | None, recordings: Path | str | None, made: Made | None
) -> Target | None:
    """The voice to be held against: as given, else the one that the record names."""
    if isinstance(voice, Target):
        return voice
    if voice is None and made is not None:
        with contextlib.suppress(VoiceError):
            voice = Voice.load(made.voice)
    if voice is not None:
        return Target.load(voice, recordings)
    if recordings is not None:
        raise ConfigError(f"{recordings}: recordings of which voice? Say it: --voice NAME")
    return None


def _check_lengths(source: Clip, output: Clip) -> None:
    apart = abs(output.seconds - source.seconds)
    if apart > max(LENGTH_SECONDS, LENGTH_SHARE * source.seconds):
        raise AudioError(
            f"{output.name} lasts {output.seconds:.1f} s, its source {source.name} {source.seconds:.1f} s; "
            "expected the same length: give the file that it was made from"
        )
