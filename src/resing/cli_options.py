"""The options of `resing convert`, as flags and as words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter, Token
from pydantic import ValidationError

from resing.config import ConvertOptions, explain
from resing.errors import ConfigError


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
    if (
        not 1 <= len(numbers) <= 3
        or not all(0 <= n < float("inf") for n in numbers)
        or max(numbers[1:] or [0]) >= 60
    ):
        raise ValueError(f"got {text!r}, expected seconds, m:ss or h:mm:ss, such as 0:40")
    return sum(number * 60**place for place, number in enumerate(reversed(numbers)))


def _time(_: Any, tokens: Sequence[Token]) -> float:
    return parse_time(tokens[0].value)


def _transpose(_: Any, tokens: Sequence[Token]) -> float | str:
    try:
        return tokens[0].value if tokens[0].value == "auto" else float(tokens[0].value)
    except ValueError:
        raise ValueError(f"got {tokens[0].value!r}, expected auto or semitones, such as -3 or 2.5") from None


def _option(field: str, text: str, **more: Any) -> Parameter:
    """A flag for a field of ConvertOptions, whose default and choices it shows."""
    known = ConvertOptions.model_fields[field]
    choices = [c for c in get_args(known.annotation) if isinstance(c, str)]
    if choices and "converter" not in more:
        more["choices"] = choices
    return Parameter(help=text, show_default=lambda _: known.default, **more)


def build_options(**given: Any) -> ConvertOptions:
    """The options that were given; the others keep the model's defaults.

    Raises:
        ConfigError: one is out of its range.
    """
    try:
        return ConvertOptions(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(explain(error, ConvertOptions)) from error


Transpose = Annotated[
    float | str | None,
    _option("transpose", "semitones up (-3: three down), or auto.", converter=_transpose, metavar="auto|N"),
]
From = Annotated[
    float | None,
    Parameter(
        "--from", help="start here, as m:ss or seconds.", metavar="TIME", converter=_time, show_default=False
    ),
]
To = Annotated[
    float | None,
    Parameter(
        "--to", help="end here, as m:ss or seconds.", metavar="TIME", converter=_time, show_default=False
    ),
]
Seed = Annotated[int | None, _option("seed", "another number gives another take.")]
Steps = Annotated[int | None, _option("steps", "of the sampler: more is slower, 0 skips it.")]
Temperature = Annotated[
    float | None, _option("temperature", "noise that the sampler starts from: less is calmer.")
]
Dynamics = Annotated[float | None, _option("dynamics", "how far it rises and falls with the source, 0 to 1.")]
Sampler = Annotated[str | None, _option("sampler", "how the mel is drawn from noise.")]
OutOfRange = Annotated[
    str | None,
    _option(
        "out_of_range",
        "notes the voice does not have: keep them, fold them by octaves, or clamp them to its limit.",
    ),
]
PitchOut = Annotated[
    Path | None, Parameter(help="write the melody that was heard to this .csv, to edit.", show_default=False)
]
PitchFile = Annotated[
    Path | None,
    Parameter(
        help="sing this melody, an edited --pitch-out; only what changed is sung anew.", show_default=False
    ),
]
Tune = Annotated[
    str | None,
    _option("tune", 'pull notes onto a scale: "C major", "A minor", chromatic.', metavar="SCALE"),
]
TuneStrength = Annotated[float | None, _option("tune_strength", "how far --tune pulls them, 0 to 1.")]
