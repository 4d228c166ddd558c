"""The leads of songs, for a singer who has no recordings without accompaniment."""

from pathlib import Path

from resing import checkpoint
from resing.errors import AudioError
from resing.separation import Separator, separate
from resing.separation_a_cappella import is_a_cappella
from resing.separation_unet import embedded
from resing.training.prepare import ProgressCallback, Update, find_audio

WARNING = (
    "The recordings are songs: what separation leaves of accompaniment and reverb is learnt as part of the "
    "voice. Dry recordings of the voice alone make a better one."
)


def leads_of(
    recordings: Path, out: Path, progress: ProgressCallback | None = None, separator: Separator | None = None
) -> Path:
    """The folder of the leads of every song in a folder; what is a voice alone is taken as it is.

    Each lead is named by its song's hash, so that running it again does only what is missing.

    Args:
        recordings: a folder of songs, or one song.
        out: the folder.
        progress: told after each song.
        separator: by default the one that ships.

    Raises:
        DatasetError: there is no audio.
    """
    separator = separator or embedded()
    found, _ = find_audio(recordings, out)
    out.mkdir(parents=True, exist_ok=True)
    separated = 0
    for number, path in enumerate(found, 1):
        message = path.name
        try:
            separated += _lead(path, out, separator)
        except (AudioError, PermissionError) as error:
            message = f"Left out {path.name}: {error}"
        if progress:
            progress(Update("separate", number, len(found), message=message))
    if separated and progress:
        progress(Update("train", 0, 1, message=WARNING))
    return out


def _lead(path: Path, out: Path, separator: Separator) -> bool:
    """Lay a song's lead into the folder; whether it had to be separated."""
    lead = out / f"{checkpoint.file_hash(path)[:16]}_{path.stem}.flac"
    if lead.exists():
        return True
    alone = out / f"{lead.stem}{path.suffix}"
    if alone.exists():
        return False
    if is_a_cappella(path, separator):
        alone.symlink_to(path.absolute())
        return False
    rest = out / f".{lead.name}"
    try:
        separate(path, lead, rest, separator)
    finally:
        rest.unlink(missing_ok=True)
    return True
