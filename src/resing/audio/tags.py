"""What a file says of its sound: title, artist, cover and the like, carried from a source to an output."""

import base64
import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from resing.audio import decoding
from resing.errors import AudioError
from resing.whole import whole

TECHNICAL = {
    "encoder", "encoded_by", "major_brand", "minor_version", "compatible_brands", "creation_time",
    "handler_name", "vendor_id", "timecode", "duration", "metadata_block_picture", "itunsmpb", "itunnorm",
}  # fmt: skip
"""Of the file it was read from, not of the sound."""
TECHNICAL_STARTS = ("replaygain_", "r128_", "_statistics", "bps", "number_of_")
LARGEST_COVER = 16 << 20
COVERS = {"mjpeg": "image/jpeg", "png": "image/png"}
FRONT_COVER = 3  # the kind of picture, as ID3 and FLAC number them


@dataclass(frozen=True)
class Tags:
    """Texts by name (title, artist, album, date, ...) and a cover, as `COVERS` names its codec."""

    texts: dict[str, str] = field(default_factory=dict)
    cover: bytes | None = None
    cover_codec: str = "mjpeg"

    def saying(self, comment: str) -> "Tags":
        """These tags with a sentence added to the comment."""
        known = self.texts.get("comment", "").strip()
        if comment in known:
            return self
        return replace(self, texts=self.texts | {"comment": f"{known} | {comment}" if known else comment})


def read_tags(path: Path) -> Tags:
    """The tags of an audio file; what only describes the file itself is left out.

    Raises:
        AudioError: the file is missing, empty, or not audio.
    """
    with decoding.opened(path) as (container, stream):
        found = {**stream.metadata, **container.metadata}
        texts = {name.lower(): text for name, text in found.items() if _of_the_sound(name.lower())}
        for picture in container.streams.video:
            codec = picture.codec_context.name
            if picture.disposition & Disposition.attached_pic and codec in COVERS:
                packet = next((p for p in container.demux(picture) if p.size), None)
                if packet is not None and packet.size <= LARGEST_COVER:
                    return Tags(texts, bytes(packet), codec)
        return Tags(texts)


def write_tags(path: Path, tags: Tags) -> None:
    """Put tags into a finished file; its sound stays as it is, packet for packet.

    Args:
        path: a .wav, .flac, .mp3, .ogg or .opus; a .wav takes no cover.
        tags: to write; tags already there go.

    Raises:
        AudioError: the file cannot be read or written.
    """
    suffix = path.suffix.lower()
    container = {".opus": "opus", ".ogg": "ogg"}.get(suffix, suffix.removeprefix("."))
    try:
        with (
            whole(path) as temporary,
            decoding.opened(path) as (source, stream),
            av.open(str(temporary.absolute()), "w", format=container) as target,
        ):
            copy = target.add_stream_from_template(stream)
            place: Any = copy.metadata if container in ("ogg", "opus") else target.metadata
            place.clear()
            place.update(tags.texts)
            if tags.cover and container in ("ogg", "opus"):
                place["METADATA_BLOCK_PICTURE"] = base64.b64encode(_picture_block(tags)).decode()
            elif tags.cover and container in ("flac", "mp3"):
                _add_cover(target, tags)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
    except (av.FFmpegError, OSError) as error:
        raise AudioError(
            f"{path}: its tags cannot be written ({error.strerror}); free some space or write elsewhere"
        ) from error


def _of_the_sound(name: str) -> bool:
    return name not in TECHNICAL and not name.startswith(TECHNICAL_STARTS)


def _add_cover(target: Any, tags: Tags) -> None:
    with _one_picture(tags) as picture:
        stream = target.add_stream_from_template(picture)
        stream.disposition = Disposition.attached_pic
        packet = av.Packet(tags.cover)
        packet.pts = packet.dts = 0
        packet.stream = stream
        target.mux(packet)


@contextlib.contextmanager
def _one_picture(tags: Tags) -> Iterator[VideoStream]:
    """The cover as an open video stream of one picture."""
    assert tags.cover is not None
    kind = {"mjpeg": "jpeg_pipe", "png": "png_pipe"}[tags.cover_codec]
    with av.open(io.BytesIO(tags.cover), "r", format=kind) as container:
        yield container.streams.video[0]


def _picture_block(tags: Tags) -> bytes:
    """The cover as FLAC's PICTURE block (RFC 9639, section 8.8), which Ogg files carry as a text."""
    assert tags.cover is not None
    with _one_picture(tags) as picture:
        width, height = picture.codec_context.width, picture.codec_context.height
    mime = COVERS[tags.cover_codec].encode()
    head = struct.pack(">II", FRONT_COVER, len(mime)) + mime + struct.pack(">I", 0)
    return head + struct.pack(">IIIII", width, height, 24, 0, len(tags.cover)) + tags.cover
