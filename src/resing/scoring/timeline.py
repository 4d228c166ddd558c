"""What a listener would notice, when, and why, in a singer's words."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from resing import pitch
from resing.pitch import VoiceRange, hz_to_semitones, note_name
from resing.scoring import metrics
from resing.scoring.card import Finding
from resing.scoring.figures import Voices
from resing.scoring.metrics import FRAME_SECONDS
from resing.scoring.pair import Pair, frames_between, semitones
from resing.scoring.phrases import Edges
from resing.scoring.places import Place
from resing.scoring.target import Target
from resing.scoring.wording import TEXTS, Heard, Note, moved_text, timbre_text

JOIN_SECONDS = dict.fromkeys(("breathy", "buzzy", "dull", "voicing"), 2.0)
SHORT_JOIN_SECONDS = 0.4
"""Places of one kind nearer than this in one phrase are told as one."""
OUT_OF_TUNE_CENTS = 40.0
OUT_OF_TUNE_SECONDS = 0.12
HIGH_SHARE = 0.8
"""A note above this share of the song's singing counts as high."""
EDGE_SEMITONES = 2.0
SAME_SINGER = 0.97
"""A source that is this near to the voice is sung by it."""
WEIGHTS = {"breathy": 0.8, "buzzy": 0.8, "dull": 0.6, "noise": 0.7, "timbre": 0.6, "timing": 0.8}
"""How much a kind troubles a listener at its worst, where that is less than a wrong note does."""
LEAST_SEVERITY = 0.2
MOST_FINDINGS = 40
MOST_PER_PHRASE = 4
FULL = {  # strength at which a kind is as bad as it gets
    "pitch": 150.0,
    "octave": 0.6,
    "voicing": 0.8,
    "breathy": 15.0,
    "buzzy": 15.0,
    "dull": 30.0,
    "noise": 30.0,
    "clipping": 60.0,
    "click": 5.0,
    "dip": 10.0,
    "step": 2.4,
    "jump": 0.35,
    "missing": 0.35,
    "timing": 60.0,
    "timbre": 0.15,
}


class _Notes:
    """Names the notes that were asked for, and says which are high and low for the voice and the song."""

    def __init__(self, pair: Pair, target: Target | None) -> None:
        self.pair = pair
        card = target.voice.card if target is not None else None
        self.limits: VoiceRange | None = (
            pitch.voice_range(card.range_hz, card.f0_histogram) if card is not None else None
        )
        sung = pair.wanted.f0[pair.sure]
        self.song = hz_to_semitones(np.sort(sung)) if len(sung) else np.zeros(0)

    def at(self, start_seconds: float, end_seconds: float) -> Note | None:
        """The note of a stretch; None where nothing sure is sung."""
        around = frames_between(start_seconds - 0.05, end_seconds + 0.05, FRAME_SECONDS, self.pair.frames)
        asked = self.pair.wanted.f0[around][self.pair.sure[around]]
        if not len(asked):
            return None
        height = float(np.median(hz_to_semitones(asked)))
        return Note(note_name(height), self._lies(height))

    def _lies(self, height: float) -> str:
        if self.limits is not None:
            low, high = self.limits.low, self.limits.high
            if height > high + pitch.MARGIN_SEMITONES:
                return "above"
            if height < low - pitch.MARGIN_SEMITONES:
                return "below"
            if height > high - EDGE_SEMITONES:
                return "top"
            if height < low + EDGE_SEMITONES:
                return "bottom"
        rank = np.searchsorted(self.song, height) / max(len(self.song), 1)
        spread = len(self.song) and self.song[-1] - self.song[0] > EDGE_SEMITONES
        return ("high" if rank > HIGH_SHARE else "low" if rank < 1 - HIGH_SHARE else "") if spread else ""


def find_all(
    pair: Pair,
    target: Target | None,
    voices: Voices,
    places: Mapping[str, Iterable[Place]],
    phrases: Sequence[Mapping[str, float | None]],
) -> tuple[Finding, ...]:
    """Everything worth a listener's time, in order of time.

    Args:
        pair: source and output.
        target: the voice, if there is one.
        voices: how near source and output are to the voice.
        places: what the detectors of damage found, by kind.
        phrases: figures of each phrase.
    """
    notes = _Notes(pair, target)
    edges = pair.edges
    found = [*_moved(pair), *_timbre(target, voices, edges, phrases)]
    for kind, those in {**places, "pitch": [*places.get("pitch", ()), *off_pitch(pair)]}.items():
        for group in _joined(kind, those, edges):
            found.append(_tell(kind, group, notes, target))
    kept = [f for f in found if f.severity >= LEAST_SEVERITY]
    return tuple(sorted(_most_telling(kept, edges), key=lambda f: (f.start_seconds, f.kind)))


def weakness(edges: Edges, findings: Sequence[Finding]) -> float:
    """How weak a phrase is, 0 to 1: what its findings leave of it, each taking its share."""
    left = 1.0
    for finding in findings:
        if finding.end_seconds >= edges[0] and finding.start_seconds <= edges[1]:
            left *= 1.0 - 0.8 * finding.severity
    return round(1.0 - left, 3)


def off_pitch(pair: Pair) -> list[Place]:
    """Where a held note is out of tune though not by an octave; strength: median cents, signed."""
    cents = np.nan_to_num(pair.cents)
    octave = np.abs(np.abs(cents) - 1200.0) < 100.0
    wrong = (np.abs(cents) > OUT_OF_TUNE_CENTS) & ~octave
    least = round(OUT_OF_TUNE_SECONDS / FRAME_SECONDS)
    return [
        (first * FRAME_SECONDS, last * FRAME_SECONDS, float(np.median(cents[first:last])))
        for first, last in metrics.runs(wrong)
        if last - first >= least
    ]


def _moved(pair: Pair) -> Iterable[Finding]:
    """Notes that the voice does not have, neighbours told as one; those that are kept break no melody."""
    groups: list[list[dict[str, float | str]]] = []
    for note in pair.moved:
        if not note.get("outside", True):
            continue
        near = groups and float(note["start_seconds"]) - float(groups[-1][-1]["end_seconds"]) < 1.0
        if near and groups[-1][-1]["note"] == note["note"]:
            groups[-1].append(note)
        else:
            groups.append([note])
    for group in groups:
        start, end = float(group[0]["start_seconds"]), float(group[-1]["end_seconds"])
        name, sung = str(group[0]["note"]), str(group[0]["sung"])
        down = semitones(name) - semitones(sung)
        severity = round(min(0.9, 0.15 + end - start), 3) if down else LEAST_SEVERITY
        yield Finding(start, end, "pitch", moved_text(name, sung, down), severity)


def _timbre(
    target: Target | None,
    voices: Voices,
    edges: Sequence[Edges],
    phrases: Sequence[Mapping[str, float | None]],
) -> Iterable[Finding]:
    """Phrases that sound more like the source's singer than like the voice, unless they are one person."""
    if target is None or voices.source is None or voices.source >= SAME_SINGER:
        return
    for (start, end), figures in zip(edges, phrases, strict=True):
        margin = figures.get("leak_margin")
        if margin is not None and margin < 0:
            yield Finding(start, end, "timbre", timbre_text(target.name), _severity("timbre", margin))


def _joined(kind: str, places: Iterable[Place], edges: Sequence[Edges]) -> list[list[Place]]:
    """Places of one kind in groups: near each other, and in one phrase unless they run on without a gap."""
    reach = JOIN_SECONDS.get(kind, SHORT_JOIN_SECONDS)
    groups: list[list[Place]] = []
    for place in _apart(places):
        gap = place[0] - groups[-1][-1][1] if groups else reach
        same = groups and _phrase_at(place[0], edges) == _phrase_at(groups[-1][0][0], edges)
        if gap <= 0 or (gap < reach and same):
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _apart(places: Iterable[Place]) -> list[Place]:
    """Places in order of time, those that overlap made one as strong as the stronger."""
    apart: list[Place] = []
    for place in sorted(places):
        if apart and place[0] < apart[-1][1]:
            start, end, strength = apart.pop()
            place = (start, max(end, place[1]), max(strength, place[2], key=abs))
        apart.append(place)
    return apart


def _phrase_at(seconds: float, edges: Sequence[Edges]) -> int:
    """Number of the phrase that a moment lies in or after; -1 before the first."""
    return sum(start <= seconds for start, _ in edges) - 1


def _tell(kind: str, group: Sequence[Place], notes: _Notes, target: Target | None) -> Finding:
    """A group of places as one finding."""
    start, end = group[0][0], max(place[1] for place in group)
    worst = max(group, key=lambda place: abs(place[2]))
    against = "the voice's recordings" if target is not None and target.recordings else "the source"
    heard = Heard(worst[2], len(group), notes.at(worst[0], worst[1]), against)
    lasted = sum(place[1] - place[0] for place in group)
    severity = _severity(kind, worst[2], lasted)
    return Finding(round(start, 3), round(end, 3), kind, TEXTS[kind](heard), severity)


def _severity(kind: str, strength: float, seconds: float = 1.0) -> float:
    """How bad a strength is, 0 to 1; what lasts counts a little more."""
    share = min(1.0, abs(strength) / FULL[kind]) * min(1.0, 0.7 + 0.3 * seconds)
    return round(WEIGHTS.get(kind, 1.0) * share, 3)


def _most_telling(findings: Sequence[Finding], edges: Sequence[Edges]) -> list[Finding]:
    """The worst findings of each phrase, and of these the worst of all."""
    kept: list[Finding] = []
    counts: dict[int, int] = {}
    for finding in sorted(findings, key=lambda f: -f.severity):
        phrase = _phrase_at(finding.start_seconds, edges)
        if counts.get(phrase, 0) < MOST_PER_PHRASE and len(kept) < MOST_FINDINGS:
            counts[phrase] = counts.get(phrase, 0) + 1
            kept.append(finding)
    return kept
