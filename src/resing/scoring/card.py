"""What a scoring says, as plain records: figures, findings, phrases, and the card that holds them."""

from dataclasses import dataclass, field

KINDS = (
    "pitch",
    "octave",
    "voicing",
    "breathy",
    "buzzy",
    "dull",
    "noise",
    "clipping",
    "click",
    "dip",
    "step",
    "jump",
    "missing",
    "timing",
    "timbre",
)


@dataclass(frozen=True)
class Figure:
    """One measure of the whole output.

    Attributes:
        name: for programs, such as hnr_db_change.
        heading: for people.
        value: of the output; None where it cannot be had.
        unit: of all three numbers.
        source: the same of the source, where that makes sense.
        target: the same of the voice's own recordings, where they were given.
        limit: what is expected, such as ">= 0.90"; empty where nothing is.
        flagged: whether the value is beyond the limit.
        note: why there is no value, or what to know about it.
    """

    name: str
    heading: str
    value: float | None
    unit: str = ""
    source: float | None = None
    target: float | None = None
    limit: str = ""
    flagged: bool = False
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """Something a listener would notice: when, one of KINDS, in words, and how bad, 0 to 1."""

    start_seconds: float
    end_seconds: float
    kind: str
    text: str
    severity: float


@dataclass(frozen=True)
class Phrase:
    """A stretch between two pauses: how weak it is, 0 to 1, and its own figures by name."""

    start_seconds: float
    end_seconds: float
    weak: float
    figures: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorecard:
    """Everything that `score` found out.

    Attributes:
        output, source: the files.
        voice: name of the voice that the output was held against.
        seconds: duration of the output; every time in the card counts from its start.
        transpose: semitones between source and output.
        moved: notes outside the voice's range, as OUT.json lists them: start_seconds,
            end_seconds, note, sung.
        figures: of the whole.
        phrases: in order of time.
        findings: in order of time.
    """

    output: str
    source: str
    voice: str | None
    seconds: float
    transpose: float
    moved: tuple[dict[str, float | str], ...]
    figures: tuple[Figure, ...]
    phrases: tuple[Phrase, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """How many figures and places want a look, in a sentence."""
        measured = [figure for figure in self.figures if figure.value is not None and figure.limit]
        flagged, found = sum(figure.flagged for figure in measured), len(self.findings)
        beyond = f"{flagged or 'None'} of {len(measured)} figures beyond their limits, " if measured else ""
        places = f"{found or 'no'} place{'' if found == 1 else 's'} to listen to."
        return beyond + places if beyond else places.capitalize()

    def figure(self, name: str) -> Figure:
        """The figure of that name.

        Raises:
            KeyError: there is none.
        """
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)
