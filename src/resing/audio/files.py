"""Audio files in and out: decode, resample, downmix, encode; every length exact, no seam between blocks.

Reading goes through `audio/decoding.py`. Writing goes through soundfile into a temporary file beside the
target, which takes the target's name only after a clean end.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import soundfile

from resing.audio import decoding
from resing.audio.resampling import Resampler
from resing.errors import AudioError

ENCODERS = {  # extension: libsndfile's container, encoding, compression (0 best .. 1 smallest)
    ".wav": ("WAV", "PCM_24", None),
    ".flac": ("FLAC", "PCM_24", None),
    ".mp3": ("MP3", "MPEG_LAYER_III", 0.0),
    ".ogg": ("OGG", "VORBIS", 0.2),
    ".opus": ("OGG", "OPUS", 0.6),
}
ENCODER_RATES = {  # Hz that an encoder takes, where it does not take them all
    ".mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ".opus": (48000,),
}
BLOCK_SAMPLES = 65536  # libsndfile's Vorbis encoder crashes on much longer blocks (libsndfile#1095)
LOSSY_CHANNELS = 2  # more would need each codec's own order of loudspeakers
WAV_BYTES = 2**32 - 2**16  # a wav's sizes are 32-bit numbers
CANCELLED_DB = -6.0  # a mean of channels this far below the loudest one counts as cancelled


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header states; `seconds` may be missing, or off by some milliseconds in lossy files."""

    path: Path
    sample_rate: int
    channels: int
    seconds: float | None
    codec: str
    container: str


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """The file's rate (Hz), channels, length (seconds) and codec, from its header alone.

    Args:
        path: an audio file, or a video with sound.

    Raises:
        AudioError: the file is missing, empty, or not audio.
    """
    with decoding.opened(Path(path)) as (container, stream):
        seconds = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / av.time_base
        context = stream.codec_context
        return AudioInfo(
            Path(path), context.sample_rate, context.channels, seconds, context.name, container.format.name
        )


def read(
    path: str | os.PathLike[str],
    sample_rate: int | None = None,
    mono: bool = False,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> tuple[np.ndarray, int]:
    """The file's samples, (channels, N) float32, and their rate in Hz; see `read_blocks`."""
    rate = sample_rate or _file_rate(Path(path))
    blocks = list(read_blocks(path, rate, mono, start_seconds, end_seconds))
    return np.concatenate(blocks, axis=1), rate


def read_blocks(
    path: str | os.PathLike[str],
    sample_rate: int,
    mono: bool = True,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    block_seconds: float = 10.0,
) -> Iterator[np.ndarray]:
    """The file's samples block by block, (channels, n) float32, in bounded memory.

    The file is decoded and resampled from its start, whatever part is asked for, so a part is bit for bit
    that part of the whole: samples round(start * rate) to round(end * rate) of round(N * rate / file_rate).

    Args:
        path: an audio file, or a video with sound.
        sample_rate: Hz of the samples returned.
        mono: one channel, by `downmix_weights` of the whole file.
        start_seconds: where to begin.
        end_seconds: where to end; None or past the end means the file's end.
        block_seconds: length of each block but the last.

    Raises:
        AudioError: the file is missing, empty, not audio, damaged, or holds nothing between start and end.
    """
    path = Path(path)
    start, stop = _span(path, sample_rate, start_seconds, end_seconds)
    weights = downmix_weights(path) if mono else None
    size = max(1, round(block_seconds * sample_rate))
    held: list[np.ndarray] = []
    waiting = 0
    for kept in _part(path, _resampled(path, sample_rate, weights), start, stop, sample_rate):
        held.append(kept)
        waiting += kept.shape[1]
        if waiting >= size:
            joined = np.concatenate(held, axis=1)
            whole = waiting - waiting % size
            yield from (joined[:, at : at + size].copy() for at in range(0, whole, size))
            held, waiting = [joined[:, whole:].copy()], waiting - whole
    if waiting:
        yield np.concatenate(held, axis=1)


def _part(
    path: Path, chunks: Iterator[np.ndarray], start: int, stop: int | None, sample_rate: int
) -> Iterator[np.ndarray]:
    """Samples start..stop of the chunks; reads no further than it must."""
    position = 0
    for chunk in chunks:
        yield chunk[:, max(0, start - position) : None if stop is None else max(0, stop - position)]
        position += chunk.shape[1]
        if stop is not None and position >= stop:
            break
    if position <= start:
        raise AudioError(
            f"{path}: nothing after {start / sample_rate:g} s, "
            f"the file is {position / sample_rate:.2f} s long; choose an earlier start"
        )


def _span(
    path: Path, sample_rate: int, start_seconds: float, end_seconds: float | None
) -> tuple[int, int | None]:
    """First sample and the one after the last (None: to the end)."""
    start = round(start_seconds * sample_rate)
    stop = None if end_seconds is None else round(end_seconds * sample_rate)
    if start < 0 or (stop is not None and stop <= start):
        raise AudioError(
            f"{path}: nothing between {start_seconds:g} s and {end_seconds:g} s; expected 0 <= start < end"
            if end_seconds is not None
            else f"{path}: cannot start at {start_seconds:g} s; expected 0 or more"
        )
    return start, stop


def _file_rate(path: Path) -> int:
    with contextlib.closing(decoding.chunks(path)) as chunks:
        return next(chunks)[0]


def _resampled(path: Path, sample_rate: int, weights: np.ndarray | None) -> Iterator[np.ndarray]:
    """The whole file at `sample_rate` Hz in chunks, (channels, n); (1, n) if `weights` mix the channels."""
    resampler: Resampler | None = None
    for rate, chunk in decoding.chunks(path):
        audio = chunk if weights is None else weights[None] @ chunk
        if resampler is None:
            resampler = Resampler(rate, sample_rate, audio.shape[0])
        yield resampler.push(audio)
    if resampler is not None:
        yield resampler.finish()


def _mono_weights(energies: np.ndarray, mean_energy: float) -> np.ndarray:
    """Weights, (channels,), from each channel's energy and that of their mean."""
    loudest = int(np.argmax(energies))
    if mean_energy < energies[loudest] * 10 ** (CANCELLED_DB / 10):
        weights = np.zeros(len(energies), np.float32)
        weights[loudest] = 1.0
        return weights
    return np.full(len(energies), 1.0 / len(energies), np.float32)


def downmix_weights(path: str | os.PathLike[str]) -> np.ndarray:
    """Weight of each channel in mono, (channels,) float32, decided over the whole file; see `downmix`."""
    energies: np.ndarray | float = 0.0
    mean_energy = 0.0
    channels = 1
    with contextlib.closing(decoding.chunks(Path(path))) as chunks:
        for _, chunk in chunks:
            channels = chunk.shape[0]
            if channels == 1:
                break
            energies = energies + np.sum(chunk.astype(np.float64) ** 2, axis=1)
            mean_energy += float(np.sum(chunk.mean(axis=0, dtype=np.float64) ** 2))
    return np.ones(1, np.float32) if channels == 1 else _mono_weights(np.asarray(energies), mean_energy)


def downmix(audio: np.ndarray) -> np.ndarray:
    """One channel, (N,): the mean of all, or the loudest one where the mean would be over 6 dB below it.

    Voices in opposite phase cancel in a mean; the loudest channel keeps them.

    Args:
        audio: (channels, N).
    """
    energies = np.sum(audio.astype(np.float64) ** 2, axis=1)
    mean_energy = float(np.sum(audio.mean(axis=0, dtype=np.float64) ** 2))
    mixed: np.ndarray = _mono_weights(energies, mean_energy) @ audio
    return mixed


def check_output(source: str | os.PathLike[str] | None, out: str | os.PathLike[str]) -> Path:
    """`out` as a path that can be written, checked before any work is done.

    Args:
        source: the file that is read, if any; links to it are followed.
        out: the file to write.

    Raises:
        AudioError: the extension is not written here, the folder is missing or closed to this user, `out` is
            a folder, too long a name, or `source` itself.
    """
    target = Path(out)
    if target.suffix.lower() not in ENCODERS:
        raise AudioError(
            f"{target}: cannot write {target.suffix or 'a name without extension'}; "
            f"expected one of {', '.join(ENCODERS)}"
        )
    if not target.parent.is_dir():
        raise AudioError(f"{target}: no such folder {target.parent}; create it: mkdir -p '{target.parent}'")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise AudioError(f"{target}: you may not write in the folder {target.parent}; choose another folder")
    try:
        if target.is_dir():
            raise AudioError(f"{target}: is a folder, expected the name of a file to write; add a name")
        same = source is not None and target.exists() and os.path.samefile(source, target)
    except FileNotFoundError:
        same = False  # no source yet: reading it says so
    except OSError as error:
        raise AudioError(f"{target}: cannot be written ({error.strerror}); choose another name") from error
    if same:
        raise AudioError(f"{target}: is the input itself and would be lost; choose another output name")
    return target


class AudioWriter:
    """A file being written block by block; as a context manager it appears complete or not at all.

    Wav and flac get 24 bits; mp3, ogg (Vorbis) and opus are encoded at high quality. Where an encoder does
    not take the rate (Opus: 48 kHz only), the samples are resampled on the way and the duration stays.
    Samples beyond [-1, 1] are clipped and counted.

    Args:
        path: the file to write; its extension chooses the format.
        sample_rate: Hz of the samples that will come.
        channels: their channels.

    Attributes:
        clipped: number of samples that were beyond [-1, 1].
        samples: number of samples per channel taken so far.

    Raises:
        AudioError: the path cannot be written (see `check_output`), the format cannot hold this many
            channels, or the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, channels: int) -> None:
        self.path = check_output(None, path)
        if channels > LOSSY_CHANNELS and ENCODERS[self.path.suffix.lower()][2] is not None:
            raise AudioError(f"{self.path}: holds 1 or 2 channels, got {channels}; write .wav or .flac")
        self.clipped = self.samples = 0
        rates = ENCODER_RATES.get(self.path.suffix.lower(), (sample_rate,))
        self._rate = min((rate for rate in rates if rate >= sample_rate), default=max(rates))
        self._resampler = Resampler(sample_rate, self._rate, channels)
        self._temporary = self.path.with_name(f".resing-{secrets.token_hex(6)}.part")
        self._file: soundfile.SoundFile | None = None

    def __enter__(self) -> Self:
        container, encoding, level = ENCODERS[self.path.suffix.lower()]
        channels = self._resampler.channels
        if not soundfile.check_format(container, encoding):
            raise AudioError(f"{self.path}: this build of libsndfile cannot write it; write .wav or .flac")
        try:
            self._file = soundfile.SoundFile(
                self._temporary,
                "w",
                self._rate,
                channels,
                encoding,
                format=container,
                compression_level=level,
            )
        except soundfile.LibsndfileError as error:
            reason = self._why_unwritable() or f"cannot hold {channels} channels at {self._rate} Hz"
            self._discard()
            raise AudioError(f"{self.path}: {reason}; write .wav or .flac, or elsewhere") from error
        return self

    def write(self, audio: np.ndarray) -> None:
        """Append `audio`, (channels, n) finite float32 in [-1, 1]."""
        if audio.ndim != 2 or audio.shape[0] != self._resampler.channels:
            raise ValueError(f"expected ({self._resampler.channels}, n) samples, got {audio.shape}")
        if not np.isfinite(audio).all():
            raise ValueError("samples to write are not all finite")
        self.clipped += int(np.count_nonzero(np.abs(audio) > 1.0))
        self.samples += audio.shape[1]
        for at in range(0, audio.shape[1], BLOCK_SAMPLES):
            self._put(self._resampler.push(audio[:, at : at + BLOCK_SAMPLES]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._discard()

    def _complete(self) -> None:
        if not self.samples:
            raise ValueError(f"{self.path}: nothing was written")
        self._put(self._resampler.finish())
        assert self._file is not None
        try:
            self._file.close()
            os.replace(self._temporary, self.path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise self._failed(error) from error

    def _put(self, audio: np.ndarray) -> None:
        if self._file is None:
            raise ValueError("an AudioWriter writes inside its `with` block only")
        size = (self._file.frames + audio.shape[1]) * audio.shape[0] * 3
        if self._file.format == "WAV" and size > WAV_BYTES:
            raise AudioError(f"{self.path}: a .wav holds at most 4 GB; write .flac")
        try:
            for at in range(0, audio.shape[1], BLOCK_SAMPLES):
                block = np.clip(audio[:, at : at + BLOCK_SAMPLES], -1.0, 1.0)
                self._file.write(np.ascontiguousarray(block.T, np.float32))
        except soundfile.LibsndfileError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> AudioError:
        reason = self._why_unwritable() or str(error)
        return AudioError(
            f"{self.path}: cannot be written ({reason}); free some space or write to another disk"
        )

    def _why_unwritable(self) -> str | None:
        """The system's reason, which libsndfile does not pass on: found by appending some more."""
        try:
            with open(self._temporary, "ab") as file:
                file.write(bytes(BLOCK_SAMPLES))
        except OSError as error:
            return "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        return None

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._file.close()
        self._temporary.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], audio: np.ndarray, sample_rate: int) -> int:
    """Number of samples clipped while writing `audio`, (channels, N) in [-1, 1]; see `AudioWriter`."""
    with AudioWriter(path, sample_rate, audio.shape[0]) as writer:
        writer.write(audio)
    return writer.clipped
