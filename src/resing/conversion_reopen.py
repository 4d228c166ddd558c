"""A record opened again, to make the same output once more."""

from pathlib import Path

from resing import checkpoint
from resing.config import ConvertOptions
from resing.conversion import Converter
from resing.conversion_record import RENDERING, ConversionRecord
from resing.errors import ConfigError
from resing.voice import Voice


def reopen(
    record: Path | str, voice: Converter | Voice | Path | str | None = None
) -> tuple[ConversionRecord, ConvertOptions, Converter]:
    """A record, its options and the converter that made it, all proved to be what they were.

    Args:
        record: the OUT.json.
        voice: the voice, where it is no longer known by the recorded name or has its models open already.

    Raises:
        ConfigError: the record cannot be read, or source, voice or models are not the recorded ones.
    """
    kept, options = ConversionRecord.load(record)
    singer = Voice.load(voice or kept.voice) if voice is None or isinstance(voice, str | Path) else voice
    converter = Converter(singer) if isinstance(singer, Voice) else singer
    if Path(kept.source).is_file() and checkpoint.file_hash(kept.source) != kept.source_sha256:
        raise ConfigError(f"{kept.source} has changed since {record} was written; restore it to go on")
    if any(getattr(kept, name) != value for name, value in converter.models().items()):
        raise ConfigError(
            f"{record} was made with another version of the voice {kept.voice} or of the models; "
            f"install Resing {kept.resing} and that voice to make the same again"
        )
    if kept.rendering != RENDERING:
        raise ConfigError(
            f"{record} was made by an earlier Resing, which sang the same options a little differently; "
            f"convert {kept.source} again"
        )
    if options.pitch_file and _hash_of(options.pitch_file) != kept.pitch_sha256:
        raise ConfigError(
            f"{options.pitch_file} is gone or has changed since {record} was written; restore it to go on"
        )
    return kept, options, converter


def _hash_of(path: str) -> str | None:
    return checkpoint.file_hash(path) if Path(path).is_file() else None
