"""The samples of any audio file, chunk by chunk, as PyAV decodes them; `audio/files.py` reads by it."""

import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from resing.errors import AudioError

CONTAINERS = "wav,w64,aiff,flac,mp3,aac,mov,ogg,matroska,caf,avi,asf,mpegts,wv,ape,au,amr"
READABLE = "wav, flac, mp3, m4a, ogg, opus, aiff, or a video with sound (mp4, mkv, webm)"
SUFFIXES = re.compile(
    r"\.(wav|flac|mp3|m4a|m4b|aac|ogg|oga|opus|aif|aiff|aifc|wma|caf|w64|wv|ape|au|amr|mka|mp4|m4v|mkv|mov|webm|avi)",
    re.IGNORECASE,
)
"""Endings of names by which audio is found in a folder."""
CHUNK_SAMPLES = 65536
VORBIS_PACKET = 4096  # most samples in one
FRAME_PLANES = 8
BAD_PACKETS = 3  # damaged packets that become silence, or 1 % of them if that is more


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The open container and its best audio stream.

    Only the containers above and the `file` protocol are let in: playlists and scripts, which name other
    files or addresses, are not audio.

    Raises:
        AudioError: the file is missing, empty, or not audio.
    """
    _check_regular(path)
    allowed = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        # Tags in other alphabets than UTF-8 are common and not used here.
        container = av.open(str(path.absolute()), "r", container_options=allowed, metadata_errors="replace")
    except av.FFmpegError as error:
        reason = (
            f"cannot be opened ({error.strerror})" if isinstance(error, PermissionError) else "is not audio"
        )
        raise AudioError(f"{path}: {reason}; expected {READABLE}; export it again as wav or flac") from error
    with container:
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream) or not stream.codec_context.sample_rate:
            raise AudioError(f"{path}: holds no sound (no audio stream); expected {READABLE}")
        yield container, stream


def chunks(path: Path) -> Generator[tuple[int, np.ndarray], None, None]:
    """The file's rate in Hz and its samples, (channels, n) float32, some 65,536 at a time.

    Raises:
        AudioError: see `opened`; or the file is damaged, holds no samples, samples that are not finite, or
            changes its rate or channels on the way.
    """
    samples = bad = 0
    first_bad: int | None = None
    for rate, chunk in _gathered(path):
        wrong = ~np.isfinite(chunk).all(axis=0)
        if first_bad is None and wrong.any():
            first_bad = samples + int(np.argmax(wrong))
        bad += int(np.count_nonzero(wrong))
        samples += chunk.shape[1]
        if first_bad is None:
            yield rate, chunk
    if not samples:
        raise AudioError(f"{path}: holds no samples (0 s of sound); export it again")
    if first_bad is not None:
        raise AudioError(
            f"{path}: {bad} of {samples} samples are not finite numbers (NaN or infinity), the first at "
            f"{first_bad / rate:.3f} s; export it again from the original, as 24-bit wav or flac"
        )


def _check_regular(path: Path) -> None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{path}: no such file; check the name and the folder") from error
    except OSError as error:
        raise AudioError(
            f"{path}: cannot be opened ({error.strerror}); check the name and the folder"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder, expected an audio file; name one of the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: is not a regular file; expected {READABLE}")
    if not status.st_size:
        raise AudioError(f"{path}: is empty (0 bytes), expected {READABLE}; copy or export it again")


def _gathered(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Frames joined to chunks of at least CHUNK_SAMPLES, all of one rate and channel count."""
    held: list[np.ndarray] = []
    waiting = 0
    first: tuple[int, int] | None = None
    for rate, frame in _frames(path):
        first = first or (rate, frame.shape[0])
        if (rate, frame.shape[0]) != first:
            raise AudioError(
                f"{path}: changes on the way from {first[1]} channels at {first[0]} Hz to {frame.shape[0]} "
                f"at {rate} Hz; convert it to wav or flac first"
            )
        held.append(frame)
        waiting += frame.shape[1]
        if waiting >= CHUNK_SAMPLES:
            yield rate, np.concatenate(held, axis=1)
            held, waiting = [], 0
    if first is not None and waiting:
        yield first[0], np.concatenate(held, axis=1)


def _frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Rate and samples, (channels, n), of each decoded frame, the last one fitted to the stated length."""
    with opened(path) as (container, stream):
        expected = None
        if container.format.name == "ogg" and stream.codec_context.name == "vorbis":
            expected = stream.duration  # where a file has one page only, FFmpeg cuts its end wrongly
        held: tuple[int, np.ndarray] | None = None
        samples = 0
        for rate, frame in _decoded(path, container, stream):
            if held is not None:
                yield held
            held = rate, frame
            samples += frame.shape[1]
        if held is not None:
            yield held[0], _fit_end(held[1], (expected or samples) - samples)


def _fit_end(frame: np.ndarray, missing: int) -> np.ndarray:
    """The last frame of Ogg Vorbis with `missing` samples more (silence) or less, if within one packet."""
    if 0 < missing <= VORBIS_PACKET:
        return np.pad(frame, ((0, 0), (0, missing)))
    return frame[:, :missing] if 0 < -missing < frame.shape[1] else frame


def _decoded(path: Path, container: InputContainer, stream: AudioStream) -> Iterator[tuple[int, np.ndarray]]:
    """Rate and samples of every frame; a few damaged packets become silence, so the rest keeps its time."""
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    bad = 0
    for count, packet in enumerate(_packets(path, container, stream)):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            bad += 1
            if bad > max(BAD_PACKETS, count // 100):
                raise AudioError(
                    f"{path}: is damaged ({bad} of {count + 1} packets cannot be decoded); get it again, or "
                    "convert what a player can still play to wav"
                ) from error
            lost = round(packet.duration * packet.time_base * rate) if packet.duration else 0
            yield rate, np.zeros((channels, lost), np.float32)
            continue
        for frame in frames:
            rate, channels = frame.sample_rate, frame.layout.nb_channels
            yield rate, _to_float(frame)


def _packets(path: Path, container: InputContainer, stream: AudioStream) -> Iterator["Packet[AudioStream]"]:
    try:
        yield from container.demux(stream)
    except av.FFmpegError as error:
        raise AudioError(f"{path}: is damaged ({error.strerror}); get it again") from error


def _to_float(frame: AudioFrame) -> np.ndarray:
    """Samples of a frame, (channels, n) float32; integers are scaled to [-1, 1)."""
    if frame.format.is_planar and frame.layout.nb_channels >= FRAME_PLANES:
        # PyAV 18.1 reads past the end of the list of 8 or more planes and crashes: make it one plane.
        (frame,) = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
    audio = frame.to_ndarray()
    if not frame.format.is_planar:
        audio = audio.reshape(-1, frame.layout.nb_channels).T
    if audio.dtype == np.uint8:
        return (audio.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(audio.dtype, np.integer):
        return audio.astype(np.float32) / np.float32(2.0 ** (8 * audio.dtype.itemsize - 1))
    return audio.astype(np.float32)
