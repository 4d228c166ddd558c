"""Findings in a singer's words: what is heard, on which note, and why it may be."""

from collections.abc import Callable
from dataclasses import dataclass

from resing.scoring.pair import GROSS_CENTS

MISHEARD_SEMITONES = 24
"""Who sings this far outside the voice's range did not sing a note: a hiss was taken for one."""


@dataclass(frozen=True)
class Note:
    """A note and where it lies: "above", "top", "high", "low", "bottom" or "below" the rest, or ""."""

    name: str
    lies: str = ""

    @property
    def this(self) -> str:
        """For the middle of a sentence: "this high note (A5)"."""
        words = dict.fromkeys(("above", "top", "high"), "high ") | dict.fromkeys(
            ("low", "bottom", "below"), "low "
        )
        return f"this {words.get(self.lies, '')}note ({self.name})"

    @property
    def because(self) -> str:
        """Why it is hard, to end a sentence with; may be empty."""
        where = {
            "above": "above this voice's range",
            "top": "at the top of this voice's range",
            "bottom": "at the bottom of this voice's range",
            "below": "below this voice's range",
        }.get(self.lies)
        return f": the note {self.name} is {where}" if where else ""


@dataclass(frozen=True)
class Heard:
    """What there is to tell of some places of one kind.

    Attributes:
        strength: of the strongest place, in its kind's unit.
        count: how many places.
        note: sung at the strongest; None where none is sure.
        against: what the output was held against: "the source" or "the voice's recordings".
    """

    strength: float
    count: int = 1
    note: Note | None = None
    against: str = "the source"

    @property
    def on(self) -> str:
        """Which notes: " on this high note (A5)", " on 3 notes, most on A5", or nothing."""
        if self.note is None:
            return ""
        many = f" on {self.count} notes, most on {self.note.name}"
        return f" on {self.note.this}" if self.count == 1 else many


def moved_text(note: str, sung: str, semitones_down: int) -> str:
    """A note that the voice does not have and what is sung for it, so many semitones lower; 0: it is kept."""
    if not semitones_down:
        return f"the note {note} is outside this voice's range and is sung all the same"
    if abs(semitones_down) >= MISHEARD_SEMITONES:
        return f"the melody breaks: a sound that was taken for the note {note} is sung as {sung}"
    side, way = ("above", "lower") if semitones_down > 0 else ("below", "higher")
    octave = not semitones_down % 12
    instead = f"an octave {way}, as {sung}" if octave else f"as {sung}, the nearest note that it has"
    return f"the melody breaks: the note {note} is {side} this voice's range and is sung {instead}"


def timbre_text(voice: str) -> str:
    """A phrase that sounds like someone else."""
    return f"sounds more like the source's singer than like {voice}"


def _pitch(heard: Heard) -> str:
    cents = heard.strength
    if abs(cents) > GROSS_CENTS:
        return f"pitch breaks{(heard.note.because if heard.note else '') or heard.on}"
    name = heard.note.name if heard.note else "a note"
    return f"out of tune: {name} comes out {abs(cents):.0f} cents {'flat' if cents < 0 else 'sharp'}"


def _voicing(heard: Heard) -> str:
    if heard.strength < 0:
        return f"loses the note: breath or nothing where it should sing{heard.on}"
    return "hums where the song has breath or a consonant"


def _times(heard: Heard) -> str:
    return "" if heard.count == 1 else f", {heard.count} times"


MEANINGS = {
    "similarity": "how much the sound of the voice is like the one asked for; 1 would be itself",
    "similarity_of_ceiling": "1 is as like as one of its own recordings is to the others",
    "leak_margin": "below 0 the first singer is still heard",
    "f0_rmse_cents": "how far notes are from the ones asked for; 100 cents are a semitone, and "
    "one wrong note weighs as much as many that are a little off",
    "f0_median_cents": "the same for an everyday note, without the worst ones",
    "coverage": "share of the source's clear notes that are clear notes in the output too",
    "f0_correlation": "1 where the melody rises and falls just as it should",
    "gross_share": "share of the singing that is more than three semitones off",
    "voicing_seconds": "counting only what lasts: 80 ms and longer",
    "voicing_error": "share of the singing that turned from a note to breath, or from breath to a note",
    "units_distance": "0 where every sound of the words is as it was",
    "phone_distance": "two people singing the same words differ by 13 % or so, singing other words by 90 %",
    "hnr_db": "how much note there is for the breath and noise in it; more is clearer",
    "hnr_high_db": "the same for the brilliance of the voice, where hiss is heard first",
    "hnr_db_change": "below its limit the output has more breath or noise in its notes",
    "hnr_high_db_change": "below its limit brilliance turns to hiss: husky, or noisy",
    "cpp_db": "less is hoarse, much more is like a machine",
    "worst_band_db": "how much of the brightness is missing where most is missing",
    "silence_floor_db": "hiss or hum that is left where nobody sings",
    "true_peak_dbtp": "above 0 it may distort when played",
    "part_lag_ms": "singers are heard to be late from about 20 ms on",
    "drift_ms_per_minute": "whether it runs away from the song",
    "clicks_ratio": "1.5 times what singing does by itself is a click",
    "steps_db": "a jump of loudness within a held note",
    "jumps_share": "a jump within a held note, as when a bit of tape is cut out",
}
"""What figures mean, where their headings do not say it."""

TEXTS: dict[str, Callable[[Heard], str]] = {
    "pitch": _pitch,
    "octave": lambda heard: f"pitch breaks: it jumps by an octave{heard.on}",
    "voicing": _voicing,
    "breathy": lambda heard: f"breathy: the voice loses its tone{heard.on}",
    "buzzy": lambda heard: f"buzzy: sounds like a machine{heard.on}",
    "dull": lambda heard: f"dull: much less brightness than {heard.against}",
    "noise": lambda _: "noise in the pause",
    "clipping": lambda _: "distorted: the sound is cut off where it is loudest",
    "click": lambda heard: "a click" if heard.count == 1 else f"{heard.count} clicks",
    "dip": lambda heard: f"the sound drops out for a moment{_times(heard)}",
    "step": lambda heard: f"the loudness jumps within a note{_times(heard)}",
    "jump": lambda heard: f"the sound skips within a note{_times(heard)}",
    "missing": lambda _: "silent where the song is sung",
    "timing": lambda heard: f"out of time by {abs(heard.strength):.0f} ms",
}
"""What to say of each kind."""
