"""`resing score` and `resing compare`: how good an output is, where it is weak, which is better."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resing.cli_output import PIPE_WIDTH, Json, clock, progress, say, show_json

if TYPE_CHECKING:
    from resing.scoring.card import Figure, Finding, Scorecard
    from resing.scoring.compare import Comparison

MOST_SHOWN = 20
WRONG = "bold red"

Source = Annotated[Path, Parameter(["--source", "-s"])]
Recordings = Annotated[Path | None, Parameter(show_default=False)]


def score(
    output: Path,
    /,
    *,
    source: Source,
    voice: str | None = None,
    transpose: float | None = None,
    recordings: Recordings = None,
    report: Path | None = None,
    json: Json = False,
) -> None:
    """Judge an output against its source: figures, and what to listen to.

    Args:
        output: what `resing convert` made, or any a cappella of the same song and length.
        source: what it was made from.
        voice: name or file of the voice that should be heard; by default the one in OUT.json.
        transpose: semitones between the two; by default what OUT.json says.
        recordings: folder with a minute or more of that voice which it was not made from.
        report: web page to write, .html: players, spectrograms, pitch, findings on a time axis.
    """
    from resing.scoring.score import score as judge

    if report is not None:
        from resing.scoring.report import check_page, write_report

        check_page(report)
    with progress() as bars:
        card = judge(output, source, voice, transpose, bars.report, recordings=recordings)
        if report is not None:
            write_report(report, card, output, source, bars.report)
    if json:
        show_json(card)
    else:
        show_card(card)
    if report is not None:
        say(f"Wrote {report}: open it in a browser.")


def compare(
    a: Path,
    b: Path,
    /,
    *,
    source: Source,
    voice: str | None = None,
    recordings: Recordings = None,
    json: Json = False,
) -> None:
    """Say which of two outputs of one source is better, where, and whether that could be chance.

    Args:
        a: an output.
        b: another output of the same source.
        source: what both were made from.
        voice: name or file of the voice that should be heard; by default the one in OUT.json.
        recordings: folder with a minute or more of that voice which it was not made from.
    """
    from resing.scoring.compare import compare as hold

    with progress() as bars:
        found = hold(a, b, source, voice, recordings=recordings, progress=bars.report)
    if json:
        show_json(found)
    else:
        show_comparison(found)


def show_card(card: "Scorecard") -> None:
    """A scorecard to stdout: figures, what is not known, then the findings in order of time."""
    console, voice = _console(), f" as {card.voice}" if card.voice else ""
    key = f", {card.transpose:+g} semitones" if card.transpose else ""
    console.print(Text(f"{card.output}, {clock(card.seconds)}{voice}{key}", "bold"))
    console.print(Text(card.verdict))
    console.print()
    known = [figure for figure in card.figures if figure.value is not None]
    console.print(_figures_table(known))
    _show_notes(console, card.figures)
    _show_findings(console, card.findings)


def show_comparison(found: "Comparison") -> None:
    """A comparison to stdout: the verdict, figures with their intervals, and where the two differ."""
    console = _console()
    table = _table(["", "a", "b", "b - a", "95 % interval", "counts from", ""], 1, 5)
    for row in found.differences:
        if row.change is None or row.low is None or row.high is None:
            continue
        better = {"a": "a is better", "b": "b is better", "same": "no difference"}.get(row.verdict, "open")
        heading = f"{row.heading}, {row.unit}" if row.unit else row.heading
        cells = [number(row.a), number(row.b), f"{number(row.change, True)}"]
        interval = f"{number(row.low, True)} to {number(row.high, True)}"
        table.add_row(heading, *cells, interval, number(row.margin), better)
    for side, path, card in (("a", found.a, found.card_a), ("b", found.b, found.card_b)):
        count = len(card.findings)
        console.print(Text(f"{side}: {path} ({count} finding{'s' * (count != 1)})"))
    console.print(table)
    if found.places:
        _heading(console, "Where they differ most")
        console.print(_times([(p.start_seconds, p.end_seconds, p.text, "") for p in found.places]))
    console.print()
    console.print(Text(found.verdict, "bold"))


def number(value: float | None, signed: bool = False) -> str:
    """A figure for people: three digits or so, none after the point where it is a count."""
    if value is None:
        return ""
    digits = 0 if value == round(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    digits = 3 if 0 < abs(value) < 0.1 else digits
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text if float(text) else "0"


def _figures_table(figures: Sequence["Figure"]) -> Table:
    table = _table(["", "output", "source", "voice", "expected", ""], 1, 4)
    for figure in figures:
        style = WRONG if figure.flagged else ""
        heading = f"{figure.heading}, {figure.unit}" if figure.unit else figure.heading
        cells = [number(x) for x in (figure.value, figure.source, figure.target)]
        look = "look" if figure.flagged else ""
        row = [heading, *cells, figure.limit, look]
        table.add_row(*(Text(cell, style) for cell in row))
    return table


def _show_notes(console: Console, figures: Sequence["Figure"]) -> None:
    """Why figures are missing, and what to know about those that are there, each once."""
    for title, those in (
        ("Not measured", [f for f in figures if f.value is None]),
        ("Notes", [f for f in figures if f.value is not None and f.note]),
    ):
        said: dict[str, list[str]] = {}
        for figure in those:
            said.setdefault(figure.note, []).append(figure.heading)
        if said:
            _heading(console, title)
        for note, headings in said.items():
            console.print(Padding(Text(f"{'; '.join(headings)}: {note}", "dim"), (0, 0, 0, 2)))


def _show_findings(console: Console, findings: Sequence["Finding"]) -> None:
    """The worst findings in order of time."""
    if not findings:
        console.print()
        console.print(Text("Nothing stands out.", "bold"))
        return
    shown = sorted(sorted(findings, key=lambda f: -f.severity)[:MOST_SHOWN], key=lambda f: f.start_seconds)
    _heading(console, "What to listen to")
    style = {0: "dim", 1: "", 2: "bold"}
    rows = [(f.start_seconds, f.end_seconds, f.text, style[min(2, int(3 * f.severity))]) for f in shown]
    console.print(_times(rows))
    left = len(findings) - len(shown)
    if left:
        console.print(
            Text(f"  and {left} lesser one{'s' * (left != 1)}: --json or --report page.html", "dim")
        )


def _times(rows: Sequence[tuple[float, float, str, str]]) -> Table:
    """Texts with their times; each row is start, end, text, style."""
    table = _table(["", ""], 0, 1, header=False)
    for start, end, text, style in rows:
        table.add_row(Text("  " + span(start, end), style), Text(text, style))
    return table


def span(start_seconds: float, end_seconds: float) -> str:
    """A stretch of time as a singer reads it: "0:41-0:44", or "0:12" for a moment."""
    first, last = clock(int(start_seconds)), clock(int(end_seconds))
    return first if first == last else f"{first}-{last}"


def _table(columns: Sequence[str], first: int, last: int, header: bool = True) -> Table:
    """An empty table whose columns first..last hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for place, column in enumerate(columns):
        right = header and first <= place < last
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _console() -> Console:
    options: dict[str, Any] = {} if sys.stdout.isatty() else {"width": PIPE_WIDTH}
    return Console(highlight=False, **options)
