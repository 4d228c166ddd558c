"""A folder of songs, one after another: what is done stays done, and one bad file does not stop the rest."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resing import checkpoint
from resing.audio import files
from resing.audio.decoding import SUFFIXES
from resing.config import ConvertOptions
from resing.conversion import ProgressCallback
from resing.errors import AudioError, ResingError
from resing.song.arrange import Arranger


@dataclass(frozen=True)
class Done:
    """What became of one song.

    Attributes:
        source: the song.
        out: the file that was or would have been made.
        outcome: "made", "kept" (it was there from an earlier run) or "failed".
        message: what is wrong, where it failed.
    """

    source: str
    out: str
    outcome: str
    message: str = ""


def convert_folder(
    arranger: Arranger,
    folder: Path,
    out: Path,
    options: ConvertOptions,
    progress: ProgressCallback | None = None,
    tell: Callable[[Done], object] | None = None,
    suffix: str = ".flac",
) -> list[Done]:
    """Sing every song of a folder into another as SONG_VOICE.flac; hidden files and others are left alone.

    An output whose record tells of the same song, voice, models and options is kept.

    Args:
        arranger: who sings.
        folder: of the songs, with the folders in it.
        out: folder of the outputs; made if missing.
        options: how to sing.
        progress: see `Arranger.convert`.
        tell: told of each song when it is done.
        suffix: of the outputs.

    Raises:
        AudioError: the folder holds no songs, or the other cannot be made.
    """
    songs = [path for path in sorted(folder.rglob("*")) if _is_song(path, folder, out)]
    if not songs:
        raise AudioError(f"{folder}: holds no songs; expected files such as .mp3, .m4a, .wav or .flac")
    done = []
    for source, target in _targets(songs, folder, out, arranger.converter.voice.card.name, suffix):
        done.append(_convert(arranger, source, target, options, progress))
        if tell:
            tell(done[-1])
    return done


def _is_song(path: Path, folder: Path, out: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    ours = out.resolve() in path.resolve().parents
    return not hidden and not ours and bool(SUFFIXES.fullmatch(path.suffix)) and path.is_file()


def _targets(
    songs: list[Path], folder: Path, out: Path, voice: str, suffix: str
) -> Iterator[tuple[Path, Path]]:
    """Each song with its output; of songs with the same name the output's name keeps the ending."""
    names = [song.relative_to(folder).with_suffix("") for song in songs]
    for song, name in zip(songs, names, strict=True):
        stem = name.name if names.count(name) == 1 else song.name
        yield song, out / name.parent / f"{stem}_{voice}{suffix}"


def _convert(
    arranger: Arranger, source: Path, target: Path, options: ConvertOptions, progress: ProgressCallback | None
) -> Done:
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AudioError(
                f"{target.parent}: cannot be made ({error.strerror}); choose another folder"
            ) from error
        files.check_output(source, target)
        if _is_there(arranger, source, target, options):
            return Done(str(source), str(target), "kept")
        arranger.convert(source, target, options, progress)
        return Done(str(source), str(target), "made")
    except ResingError as error:
        return Done(str(source), str(target), "failed", str(error))


def _is_there(arranger: Arranger, source: Path, target: Path, options: ConvertOptions) -> bool:
    """Whether the output is what would be made again."""
    try:
        kept = json.loads(Path(f"{target}.json").read_text(encoding="utf-8"))
        song = kept["song"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    wanted = arranger.converter.models() | {"source_sha256": checkpoint.file_hash(source)}
    return (
        target.is_file()
        and all(kept.get(name) == value for name, value in wanted.items())
        and song.get("asked") == options.model_dump()
        and song.get("options") == arranger.options.model_dump()
    )
