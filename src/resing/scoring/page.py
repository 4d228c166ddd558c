"""A scorecard as parts of a web page: sentences, the list of findings, tables; every text is escaped."""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from resing.scoring.card import Figure, Finding, Phrase, Scorecard
from resing.scoring.wording import MEANINGS

SEVERITIES = ((0.34, "slight"), (0.67, "clear"), (1.01, "strong"))
EMPTY = "\u2013"
MINUS = "\u2212"
NO_BREAK_SPACE = "\u00a0"


@dataclass(frozen=True)
class _Place:
    """A stretch of time, in seconds, in a table."""

    start: float
    end: float


_Row = list[str | _Place]


def parts_of(card: Scorecard) -> dict[str, str]:
    """What the template's places that tell of the card are filled with, as HTML."""
    singer = f", sung by {card.voice}" if card.voice else ""
    heading = f"{Path(card.output).name}{singer}"
    return {
        "title": safe(f"Resing report: {heading}"),
        "heading": safe(heading),
        "names": safe(f"Source: {Path(card.source).name}. {clock(card.seconds, 0)} long. {_key(card)}"),
        "verdict": safe(card.verdict),
        "shift": safe(_shift(card)),
        "findings": _findings(card.findings),
        "figures": _figures(card.figures),
        "phrases": _phrases(card.phrases, card.figures),
        "moved": _moved(card),
    }


def safe(text: str) -> str:
    """Text that cannot be taken for HTML."""
    return html.escape(text, quote=True)


def clock(seconds: float, decimals: int = 1) -> str:
    """Seconds as m:ss.s, or with another number of decimals."""
    unit = 10**decimals
    minutes, rest = divmod(round(max(0.0, seconds) * unit), 60 * unit)
    return f"{minutes}:{rest / unit:0{3 + decimals if decimals else 2}.{decimals}f}"


def between(start: float, end: float) -> str:
    """A stretch of time in words, from and to seconds."""
    first, last = clock(start), clock(end)
    return first if first == last else f"{first} to {last}"


def number(value: float | None, unit: str = "") -> str:
    """A measure for people, about three digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return EMPTY
    size = abs(value)
    text = f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = "0" if text in ("-0", "") else text.replace("-", MINUS)
    gap = "" if unit in ("", "%") else NO_BREAK_SPACE
    return f"{text}{gap}{unit}"


def share(value: float) -> float:
    """The value kept between 0 and 1; what is no number counts as 1."""
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 1.0


def _semitones(count: float) -> str:
    size = number(abs(count))
    return f"{size} semitone{'' if size == '1' else 's'} {'higher' if count > 0 else 'lower'}"


def _key(card: Scorecard) -> str:
    return f"Sung {_semitones(card.transpose)}." if card.transpose else "Sung in the source's key."


def _shift(card: Scorecard) -> str:
    moved = " Grey: notes moved into the voice's range." if card.moved else ""
    if not card.transpose:
        return moved.strip()
    return f"The output is drawn {_semitones(-card.transpose)} than it sounds.{moved}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _findings(findings: Iterable[Finding]) -> str:
    """The list of findings, each a button that goes there."""
    items = []
    for one in sorted(findings, key=lambda finding: finding.start_seconds):
        severity = share(one.severity)
        word = next(word for limit, word in SEVERITIES if severity < limit)
        items.append(
            f'<li><button type="button" data-start="{one.start_seconds:.3f}" '
            f'data-end="{one.end_seconds:.3f}" data-kind="{safe(one.kind)}" data-severity="{severity:.3f}">'
            f"<time>{between(one.start_seconds, one.end_seconds)}</time> "
            f'<span class="kind">{safe(one.kind)}</span> <span class="quiet">{word}</span> '
            f'<span class="sentence">{safe(one.text)}</span></button></li>'
        )
    if not items:
        return "<p>Nothing stands out.</p>"
    order = '<p><label><input id="strongest" type="checkbox"> Strongest first</label></p>'
    return order + '<ol class="findings">' + "\n".join(items) + "</ol>"


def _figures(figures: Iterable[Figure]) -> str:
    """The table of figures, those beyond their limits on top."""
    heads = "".join(
        f'<th scope="col" role="columnheader"{name and f" class={name}"}>{head}</th>'
        for head, name in (
            ("Figure", ""),
            ("Output", "number"),
            ("Source", "number"),
            ("Voice", "number"),
            ("Limit", ""),
            ("State", ""),
        )
    )
    rows = "\n".join(_figure(figure) for figure in sorted(figures, key=lambda figure: not figure.flagged))
    return (
        f'<table class="figures" role="table"><thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table>'
    )


def _figure(figure: Figure) -> str:
    said = [text for text in (MEANINGS.get(figure.name), figure.note) if text]
    note = "".join(f" <small>{safe(_capital(text))}.</small>" for text in said)
    if figure.flagged:
        state = "▲ beyond its limit"
    else:
        state = "not measured" if figure.value is None else "fine" if figure.limit else ""
    values = "".join(
        f'<td class="number{" none" if value is None else ""}" role="cell" data-label="{label}">'
        f"{safe(number(value, figure.unit))}</td>"
        for label, value in (("Output", figure.value), ("Source", figure.source), ("Voice", figure.target))
    )
    heading = f'<span class="what">{safe(_capital(figure.heading))}</span>{note}'
    limit = safe(figure.limit.replace(">= ", "\u2265 ").replace("<= ", "\u2264 ").replace("-", MINUS))
    return (
        f'<tr role="row"{" class=flagged" if figure.flagged else ""}>'
        f'<th scope="row" role="rowheader">{heading}</th>{values}'
        f'<td class="limit{"" if limit else " none"}" role="cell" data-label="Limit">{limit or EMPTY}</td>'
        f'<td class="state" role="cell">{state}</td></tr>'
    )


def _phrases(phrases: Iterable[Phrase], figures: Iterable[Figure]) -> str:
    """Every phrase with its own figures, folded away."""
    phrases = list(phrases)
    if not phrases:
        return ""
    known = {figure.name: figure for figure in figures}
    names = list(dict.fromkeys(name for phrase in phrases for name in phrase.figures))
    heads = [_capital(known[name].heading if name in known else name.replace("_", " ")) for name in names]
    rows: list[_Row] = [
        [
            _Place(phrase.start_seconds, phrase.end_seconds),
            f"{share(phrase.weak):.0%}",
            *(number(phrase.figures.get(n), known[n].unit if n in known else "") for n in names),
        ]
        for phrase in phrases
    ]
    return _folded("Phrase by phrase", ["Phrase", "Weak", *heads], rows)


def _moved(card: Scorecard) -> str:
    rows: list[_Row] = [
        [
            _Place(float(note["start_seconds"]), float(note["end_seconds"])),
            str(note["note"]),
            str(note["sung"]),
        ]
        for note in card.moved
    ]
    return _folded("Notes moved into the voice's range", ["Place", "Note", "Sung as"], rows) if rows else ""


def _folded(title: str, heads: list[str], rows: list[_Row]) -> str:
    """A table under a heading that opens."""
    head = "".join(f'<th scope="col">{safe(text)}</th>' for text in heads)
    body = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f"<details><summary>{safe(title)}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _cell(content: "str | _Place") -> str:
    """Text, or a button that goes to a place."""
    if isinstance(content, str):
        return f"<td>{safe(content)}</td>"
    name = between(content.start, content.end)
    return f'<td><button type="button" data-start="{content.start:.3f}">{name}</button></td>'
