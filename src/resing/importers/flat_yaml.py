"""The settings of a flat YAML file, by a reader that knows no tags, anchors or aliases."""

import re
from pathlib import Path

from resing.errors import VoiceError

Scalar = bool | int | float | str | None
Value = Scalar | list[Scalar]

LARGEST_BYTES = 1 << 20
MOST_LINES = 20_000
LONGEST_LIST = 4096
KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63})\s*:(?:\s+(.*))?$")
INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
NUMBER = re.compile(r"[-+]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?")
WORDS: dict[str, bool | None] = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "null": None,
    "~": None,
    "": None,
}
TELLTALE = ("!", "&", "*", "<<", "|", ">", "%", "@", "`")
"""How a value begins that is more than a number, a word or a list of them."""


def read(path: Path | str) -> dict[str, Value]:
    """The top level of a YAML file: numbers, words and lists of them; mappings within it are left out.

    Args:
        path: the file.

    Raises:
        VoiceError: it is missing, too large, no text, or holds tags, anchors, aliases or repeated keys.
    """
    path = Path(path)
    if not path.is_file():
        raise VoiceError(f"{path} does not exist. Check the path.")
    if path.stat().st_size > LARGEST_BYTES:
        raise VoiceError(f"{path} is larger than {LARGEST_BYTES >> 10} KB: no settings of a voice")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise VoiceError(
            f"{path} is no text in UTF-8 ({error.reason}); give the voice's config.yaml"
        ) from error
    if len(lines) > MOST_LINES:
        raise VoiceError(f"{path} has {len(lines)} lines, expected at most {MOST_LINES}")
    return _parse(path, lines)


def _parse(path: Path, lines: list[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    open_key = ""
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip()
        text = line.strip()
        if not text or text.startswith("#") or line in ("---", "..."):
            continue
        where = f"{path}, line {number}"
        if text.startswith("- ") or text == "-":
            _check_plain(where, text[1:].strip())
            _append(where, found, open_key, text[1:].strip(), nested=line[0] == " " and ":" in text)
        elif line[0] in " \t":
            _check_plain(where, text.partition(": ")[2].strip() if ": " in text else text)
        else:
            open_key = _read_key(where, found, line)
    return found


def _read_key(where: str, found: dict[str, Value], line: str) -> str:
    """Take in `key: value`; returns the key."""
    match = KEY.fullmatch(line)
    if match is None:
        raise VoiceError(f"{where}: got {line!r:.60}, expected 'key: value'; give the voice's config.yaml")
    key, value = match[1], _uncommented(match[2] or "")
    _check_plain(where, value)
    if key in found:
        raise VoiceError(f"{where}: {key} is there twice; correct the file")
    if value.startswith("["):
        items = value[1:-1].split(",") if value[1:-1].strip() else []
        if not value.endswith("]") or len(items) > LONGEST_LIST or any("[" in item for item in items):
            raise VoiceError(f"{where}: {key} is no plain list; correct the file")
        found[key] = [_scalar(where, item.strip()) for item in items]
    else:
        found[key] = None if value.startswith("{") else _scalar(where, value)
    return key


def _append(where: str, found: dict[str, Value], key: str, text: str, nested: bool) -> None:
    held = found.get(key)
    if not key or nested or not (held is None or isinstance(held, list)):
        return
    items = [] if held is None else held
    if len(items) >= LONGEST_LIST:
        raise VoiceError(f"{where}: {key} holds more than {LONGEST_LIST} entries; correct the file")
    items.append(_scalar(where, _uncommented(text)))
    found[key] = items


def _check_plain(where: str, value: str) -> None:
    if value.startswith(TELLTALE):
        raise VoiceError(
            f"{where}: got {value!r:.40}; tags, anchors and aliases are not read. Use a plain config.yaml"
        )


def _uncommented(value: str) -> str:
    return value.strip() if value[:1] in "'\"" else re.sub(r"(^|\s)#.*$", "", value).strip()


def _scalar(where: str, text: str) -> Scalar:
    _check_plain(where, text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text
