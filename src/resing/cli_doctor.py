"""`resing doctor`: whether everything is here that singing needs, and what to do where it is not."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from resing.cli_output import Json, say, show_json, show_table
from resing.errors import ResingError

LEAST_FREE_BYTES = 2 << 30
EXTRAS = {"web": "the page, resing serve", "separate": "the separator htdemucs"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is a problem, and in words what was found or what to do."""

    name: str
    problem: bool
    text: str


def doctor(*, json: Json = False) -> int:
    """Look at environment, weights, sound files and disk; exits with 1 where something is wrong."""
    findings = [finding for look in LOOKS for finding in _looked(look)]
    if json:
        show_json([asdict(finding) for finding in findings])
    else:
        show_table(["", "", ""], [["✗" if f.problem else "✓", f.name, f.text] for f in findings])
    problems = sum(finding.problem for finding in findings)
    say(f"{problems} problem{'s' * (problems != 1)}." if problems else "All is well.")
    return int(problems > 0)


def _looked(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except (ImportError, OSError, ResingError) as error:
        return [Finding(look.__name__.strip("_"), True, str(error))]


def _environment() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("Python", not fits, version if fits else f"{version}, expected 3.11 to 3.13")
    missing: dict[str, list[str]] = {"": []}
    for requirement in metadata.requires("resing") or ():
        name, _, rest = requirement.partition(";")
        extra = next((extra for extra in EXTRAS if f"extra == '{extra}'" in rest.replace('"', "'")), "")
        if rest and not extra:
            continue
        missing.setdefault(extra, [])
        package, _, least = name.strip().partition(">=")
        if found := _lacking(package, least):
            missing[extra].append(found)
    lacking = missing.pop("")
    yield Finding("packages", bool(lacking), "; ".join(lacking) or "all here")
    for extra, names in missing.items():
        how = f"not here ({'; '.join(names)}): pip install 'resing[{extra}]'" if names else "here"
        yield Finding(f"extra {extra}", False, f"{EXTRAS[extra]}: {how}")


def _lacking(package: str, least: str) -> str:
    """What is wrong with an installed package; empty if nothing is."""
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"{package} is missing: pip install '{package}>={least}'"
    if _numbers(version) < _numbers(least):
        return f"{package} {version}, expected {least} or newer: pip install -U {package}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.partition("+")[0].split(".")
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)


def _weights() -> Iterator[Finding]:
    from resing.features import content
    from resing.separation_unet import embedded
    from resing.synthesis.acoustic import EMBEDDED, AcousticModel
    from resing.synthesis.vocoder import Vocoder
    from resing.voice import survey

    models: dict[str, Callable[[], str]] = {
        "content encoder": lambda: content.embedded().encoder_id,
        "acoustic model": lambda: AcousticModel.load(EMBEDDED).base_hash[:12],
        "vocoder": lambda: Vocoder.load().vocoder_id,
        "separator": lambda: embedded().separator_id,
    }
    for name, load in models.items():
        try:
            yield Finding(name, False, load())
        except (OSError, ResingError) as error:
            yield Finding(name, True, str(error))
    cards, problems = survey()
    text = "; ".join(problems) or ", ".join(card.name for card in cards)
    yield Finding("voices", bool(problems) or not cards, text or "none: resing voice create")


def _sound() -> Iterator[Finding]:
    import numpy as np

    from resing.audio import files

    tone = 0.5 * np.sin(np.arange(22050) * (2 * np.pi * 440 / 44100)).astype(np.float32)[None]
    with tempfile.TemporaryDirectory(prefix="resing-doctor-") as folder:
        for suffix in files.ENCODERS:
            path = Path(folder) / f"tone{suffix}"
            try:
                files.write(path, tone, 44100)
                heard, rate = files.read(path)
                level = float(np.sqrt(np.mean(heard**2)))
                wrong = abs(heard.shape[1] / rate - 0.5) > 0.1 or abs(level - 0.354) > 0.05
                text = (
                    f"{heard.shape[1]} samples at {level:.3f}, expected 22050 at 0.354" if wrong else "works"
                )
                yield Finding(suffix[1:], wrong, text)
            except ResingError as error:
                yield Finding(suffix[1:], True, str(error))


def _disk() -> Iterator[Finding]:
    from resing import cache

    for name, folder in (("home", cache.home()), ("cache", cache.folder())):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free
        text = f"{folder}: {free / 1e9:.1f} GB free"
        few = free < LEAST_FREE_BYTES
        yield Finding(name, few, f"{text}, expected 2: free some, or set RESING_HOME" if few else text)


LOOKS = (_environment, _weights, _sound, _disk)
