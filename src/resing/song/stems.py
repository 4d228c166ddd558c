"""The lead and the accompaniment of a song, separated once and kept for the next key or voice."""

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from resing import cache, checkpoint
from resing.audio import files
from resing.conversion import ProgressCallback
from resing.errors import AudioError
from resing.separation import Separator, separate
from resing.whole import whole

SAME_SECONDS = 0.05


@dataclass(frozen=True)
class Stems:
    """Two files of the song's rate, channels and length, whose sum is the song.

    Attributes:
        lead: what is sung.
        accompaniment: the rest.
        accompaniment_db: its level over that of the lead; None where nobody measured it.
        kept: they were there from an earlier run, or given.
    """

    lead: Path
    accompaniment: Path
    accompaniment_db: float | None
    kept: bool


def given_stems(lead: Path, accompaniment: Path, part: tuple[float, float | None], folder: Path) -> Stems:
    """Stems that somebody has apart, or of both a part between two times in seconds, cut into a folder.

    Raises:
        AudioError: one cannot be read, or they differ in length or rate.
    """
    abouts = [files.probe(path) for path in (lead, accompaniment)]
    lengths = [about.seconds or 0.0 for about in abouts]
    if abouts[0].sample_rate != abouts[1].sample_rate or abs(lengths[0] - lengths[1]) > SAME_SECONDS:
        raise AudioError(
            f"{accompaniment}: {lengths[1]:.2f} s at {abouts[1].sample_rate} Hz, expected {lengths[0]:.2f} s "
            f"at {abouts[0].sample_rate} Hz like {lead}; export both from the same project"
        )
    if part == (0.0, None):
        return Stems(lead, accompaniment, None, True)
    cut = [folder / f".given-{name}.flac" for name in ("lead", "rest")]
    for path, about, place in zip((lead, accompaniment), abouts, cut, strict=True):
        with files.AudioWriter(place, about.sample_rate, about.channels) as writer:
            for block in files.read_blocks(path, about.sample_rate, False, *part):
                writer.write(block)
    return Stems(cut[0], cut[1], None, True)


def stems_of(
    source: Path,
    separator: Separator,
    part: tuple[float, float | None] = (0.0, None),
    progress: ProgressCallback | None = None,
) -> Stems:
    """The stems of a song, or of its part between two times in seconds; from the cache if they are in it.

    Raises:
        AudioError: the song cannot be read, or the cache not written.
    """
    lead, rest, about = _places(source, separator, part)
    if all(path.exists() for path in (lead, rest, about)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            level_db = float(json.loads(about.read_text(encoding="utf-8"))["accompaniment_db"])
            for path in (lead, rest, about):
                cache.used(path)
            return Stems(lead, rest, level_db, True)
    mark = secrets.token_hex(4)
    fresh = [path.with_name(f"{mark}-{path.name}") for path in (lead, rest)]
    try:
        made = separate(source, fresh[0], fresh[1], separator, *part, progress)
        for new, path in zip(fresh, (lead, rest), strict=True):
            os.replace(new, path)
        with whole(about) as temporary:
            temporary.write_text(json.dumps({"accompaniment_db": made.accompaniment_db}), encoding="utf-8")
    except OSError as error:
        raise AudioError(
            f"{cache.folder()}: the separated song cannot be kept there ({error.strerror}); free some space "
            "or set RESING_HOME to another folder"
        ) from error
    finally:
        for path in fresh:
            path.unlink(missing_ok=True)
    cache.trim()
    return Stems(lead, rest, made.accompaniment_db, False)


def kept_stems(source: Path, separator: Separator, part: tuple[float, float | None]) -> Path | None:
    """The lead of a song, or of a part of it, if it was separated before."""
    places = _places(source, separator, part)
    return places[0] if all(path.exists() for path in places) else None


def _places(source: Path, separator: Separator, part: tuple[float, float | None]) -> tuple[Path, Path, Path]:
    """Where lead, accompaniment and what is known of them are kept."""
    name = cache.key(checkpoint.file_hash(source), separator.separator_id, part)
    lead, rest, about = (
        cache.entry("stems", f"{name}-{end}") for end in ("lead.flac", "rest.flac", "about.json")
    )
    return lead, rest, about
