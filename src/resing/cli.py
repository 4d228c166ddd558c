"""The `resing` command. Heavy libraries are imported inside commands, so that `--help` is instant."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import App, CycloptsError, Parameter, Token
from pydantic import ValidationError

from resing import __version__, cli_train, cli_voice
from resing.cli_output import clock, progress, say, show_json
from resing.config import ConvertOptions, explain
from resing.errors import ConfigError, ResingError

if TYPE_CHECKING:
    from resing.conversion import ConversionRecord

INTERRUPTED, TERMINATED = 130, 143
USAGE = 2

app = App(
    name="resing",
    help="Your song, sung by another voice, on your own machine.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(cli_voice.app)
cli_voice.app.command(cli_train.create)
app.command(cli_train.prepare)
app.command(cli_train.train)
app.command(cli_train.resume)


def parse_time(text: str) -> float:
    """Seconds of "75", "75.5", "1:15" or "0:01:15.5".

    Raises:
        ValueError: it is none of these.
    """
    parts = text.split(":")
    try:
        *whole, last = parts
        numbers = [float(int(part)) for part in whole] + [float(last)]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or not all(0 <= n < float("inf") for n in numbers) or max(numbers[1:] or [0]) >= 60:
        raise ValueError(f"got {text!r}, expected seconds, m:ss or h:mm:ss, such as 0:40")
    return sum(number * 60**place for place, number in enumerate(reversed(numbers)))


def _time(_: Any, tokens: Sequence[Token]) -> float:
    return parse_time(tokens[0].value)


def _transpose(_: Any, tokens: Sequence[Token]) -> float | str:
    try:
        return tokens[0].value if tokens[0].value == "auto" else float(tokens[0].value)
    except ValueError:
        raise ValueError(
            f"got {tokens[0].value!r}, expected auto or semitones, such as -3 or 2.5"
        ) from None


def _option(field: str, text: str, **more: Any) -> Parameter:
    """A flag for a field of ConvertOptions, whose default and choices it shows."""
    known = ConvertOptions.model_fields[field]
    choices = [c for c in get_args(known.annotation) if isinstance(c, str)]
    extra = {"choices": choices} if choices and "converter" not in more else {}
    return Parameter(help=text, show_default=lambda _: known.default, **extra, **more)


def build_options(**given: Any) -> ConvertOptions:
    """The options that were given; the others keep the model's defaults.

    Raises:
        ConfigError: one is out of its range.
    """
    try:
        return ConvertOptions(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(explain(error, ConvertOptions)) from error
