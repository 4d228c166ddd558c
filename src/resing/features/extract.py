"""Everything heard in a recording, on one frame grid: units, note, voicing, loudness, silence.

A recording is read twice, block by block, so memory stays flat at any length. The first reading measures
levels at the house rate; the second, at 16 kHz and the reference level, hears notes and units. Both look at
overlapping windows wider than the networks' reach, so the joins leave no trace.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from resing.audio import decoding
from resing.audio.files import downmix_weights, read_blocks
from resing.audio.resampling import Resampler, resampled_length
from resing.config import AudioConfig, FeaturesConfig
from resing.errors import AudioError
from resing.features import content, ears, f0
from resing.features.loudness import REFERENCE_DB, a_weighted_level, relative_loudness, song_level
from resing.features.melody_tracking import Doubt, Melody, find_melody, second_opinion
from resing.features.residue import left_over, several_notes, steepest_fall
from resing.features.units import Units

SHORTEST_SECONDS = 0.3
SILENT_DB = -70.0
"""A frame may count as silent below this level; a recording that never gets above it holds no singing."""
SILENT_BELOW_SONG_DB = 60.0
DIGITAL_SILENCE_DB = -95.0
BLOCK_SECONDS = 10.0
LEVEL_WINDOW_FRAMES = 800
GRID_WINDOW_FRAMES = 10000


@dataclass(frozen=True, eq=False)
class Recording:
    """Sound that can be read again from its start.

    Attributes:
        name: what messages call it.
        sample_rate: Hz.
        weights: weight of each channel in mono, (channels,).
        blocks: begins a reading and returns its blocks, (channels, n) float32.
    """

    name: str
    sample_rate: int
    weights: np.ndarray
    blocks: Callable[[], Iterable[np.ndarray]]

    def mono(self, sample_rate: int) -> Iterator[np.ndarray]:
        """The channels mixed to one at `sample_rate` Hz, block by block, (n,)."""
        resampler = Resampler(self.sample_rate, sample_rate, 1)
        for block in self.blocks():
            yield resampler.push(self.weights[None] @ block)[0]
        yield resampler.finish()[0]


@dataclass(frozen=True, eq=False)
class Features:
    """What is sung in a recording, on the house frame grid.

    Attributes:
        units50: content units at second 0.02 * u, (C, U); `window` brings them to the grid.
        f0: Hz, 0 where unvoiced, (T,) float32.
        voiced: True where f0 was heard, (T,).
        loudness: dB relative to the song, (T,) float32.
        confidence: how sure f0 is, [0, 1], (T,) float32.
        silent: True where the recording is silent, (T,).
        song_level_db: A-weighted level that loudness is relative to.
        samples: N at the house rate; T = audio.frame_count(N).
        audio: the frame grid.
        source_rate: the recording's own rate in Hz.
        source_samples: its length in samples at that rate.
        balance: level of each of its channels as a factor on its mono mix, (channels,).
        doubts: where the note is not sure, and why.
        fall_db: how steeply its level falls at most, see `residue.steepest_fall`.
    """

    units50: Units
    f0: np.ndarray
    voiced: np.ndarray
    loudness: np.ndarray
    confidence: np.ndarray
    silent: np.ndarray
    song_level_db: float
    samples: int
    audio: AudioConfig
    source_rate: int
    source_samples: int
    balance: np.ndarray
    doubts: tuple[Doubt, ...] = ()
    fall_db: float = -math.inf

    @property
    def reference_gain(self) -> float:
        """Factor that brings the recording to the reference level."""
        return float(10 ** ((REFERENCE_DB - self.song_level_db) / 20))

    @property
    def seconds(self) -> float:
        """Duration of the recording."""
        return self.source_samples / self.source_rate

    def window(self, start: int, stop: int) -> np.ndarray:
        """Units at the frames start..stop, (C, stop - start) float32; the same whatever the window."""
        return content.to_grid(self.units50, f0.frame_times(stop - start, self.audio, start))


@dataclass(frozen=True, eq=False)
class _Levels:
    """The first reading: level per frame (T,) in dB, the song's level, lengths and channel balance."""

    level_db: np.ndarray
    song_level_db: float
    samples: int
    balance: np.ndarray


def open_recording(
    path: str | os.PathLike[str], start_seconds: float = 0.0, end_seconds: float | None = None
) -> Recording:
    """A file, or the part of it between two times, to be read at its own rate.

    Raises:
        AudioError: the file is missing, empty, not audio, or damaged.
    """
    path = Path(path)
    with contextlib.closing(decoding.chunks(path)) as chunks:
        rate = next(chunks)[0]

    def blocks() -> Iterator[np.ndarray]:
        return read_blocks(path, rate, False, start_seconds, end_seconds, BLOCK_SECONDS)

    return Recording(str(path), rate, downmix_weights(path), blocks)


def extract(
    path: str | os.PathLike[str],
    audio_config: AudioConfig,
    features_config: FeaturesConfig,
    encoder: content.ContentEncoder,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    progress: Callable[[float], object] | None = None,
) -> Features:
    """Features of a file or of a part of it; see `extract_recording`."""
    recording = open_recording(path, start_seconds, end_seconds)
    return extract_recording(recording, audio_config, features_config, encoder, progress)


def extract_array(
    audio: np.ndarray,
    sample_rate: int,
    audio_config: AudioConfig,
    features_config: FeaturesConfig,
    encoder: content.ContentEncoder,
    name: str = "the recording",
) -> Features:
    """Features of mono samples in memory, (N,); see `extract_recording`."""
    if audio.ndim != 1:
        raise ValueError(f"expected mono samples (N,), got {audio.shape}")
    block = round(BLOCK_SECONDS * sample_rate)

    def blocks() -> Iterator[np.ndarray]:
        return (audio[None, at : at + block].astype(np.float32) for at in range(0, len(audio), block))

    recording = Recording(name, sample_rate, np.ones(1, np.float32), blocks)
    return extract_recording(recording, audio_config, features_config, encoder)


def extract_recording(
    recording: Recording,
    audio_config: AudioConfig,
    features_config: FeaturesConfig,
    encoder: content.ContentEncoder,
    progress: Callable[[float], object] | None = None,
) -> Features:
    """Features of a recording of any length, read twice in blocks.

    A frame is silent where its level lies 60 dB below the song's and under -70 dB, or at digital silence.

    Args:
        recording: what to hear.
        audio_config: the frame grid.
        features_config: pitch range and voicing threshold.
        encoder: of the content units.
        progress: told the share of the second, slow reading that is done.

    Raises:
        AudioError: the recording is shorter than 0.3 s or silent, or cannot be read.
    """
    levels = _measure(recording, audio_config)
    gain = 10 ** ((REFERENCE_DB - levels.song_level_db) / 20)
    pitch, confidence, opinion, left, units = _listen(
        recording, gain, levels.samples, features_config, encoder, progress
    )
    melody = find_melody(pitch, confidence, opinion, features_config)
    samples = resampled_length(levels.samples, recording.sample_rate, audio_config.sample_rate)
    notes, sure = _on_grid(
        melody, confidence, audio_config.frame_count(samples), audio_config, features_config
    )
    silent = levels.level_db < _silence_threshold(levels.song_level_db)
    notes[silent] = 0.0
    return Features(
        units50=units,
        f0=notes,
        voiced=notes > 0,
        loudness=relative_loudness(levels.level_db, levels.song_level_db),
        confidence=sure,
        silent=silent,
        song_level_db=levels.song_level_db,
        samples=samples,
        audio=audio_config,
        source_rate=recording.sample_rate,
        source_samples=levels.samples,
        balance=levels.balance,
        doubts=(*melody.doubts, *several_notes(left, melody.hz, confidence >= features_config.f0_confidence)),
        fall_db=steepest_fall(left),
    )


def overlapping(
    blocks: Iterable[np.ndarray], size: int, left: int, right: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Windows over a stream with context on both sides; the windows adjoin, memory stays flat.

    Args:
        blocks: the stream in pieces of any length, (n,).
        size: samples of a window; the last one may be shorter.
        left: samples of context before a window; fewer near the start.
        right: samples of context after it; fewer near the end.

    Yields:
        How many samples of context lead, and context, window and context in one array.
    """
    held, skip = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= skip + size + right:
            yield skip, held[: skip + size + right]
            held, skip = held[max(0, skip + size - left) :], min(left, skip + size)
    while len(held) > skip:
        yield skip, held[: skip + size + right]
        held, skip = held[max(0, skip + size - left) :], min(left, skip + size)


class _Tally:
    """Counts samples and products of channels, (channels, channels), of what passes."""

    def __init__(self, channels: int) -> None:
        self.samples, self.products = 0, np.zeros((channels, channels))

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self.samples += block.shape[1]
            self.products += block @ block.T
            yield block

    def balance(self, weights: np.ndarray) -> np.ndarray:
        """Level of each channel as a factor on that of the mix by `weights`, both (channels,)."""
        mixed = float(weights @ self.products @ weights)
        return np.sqrt(np.diag(self.products) / max(mixed, 1e-20)).astype(np.float32)


def _measure(recording: Recording, config: AudioConfig) -> _Levels:
    tally = _Tally(len(recording.weights))
    watched = Recording(
        recording.name, recording.sample_rate, recording.weights, lambda: tally.watch(recording.blocks())
    )
    hop = config.hop_length
    size, halo = LEVEL_WINDOW_FRAMES * hop, math.ceil((config.n_fft - hop) / 2 / hop) * hop
    pieces = [
        a_weighted_level(torch.from_numpy(piece)[None], config)[0, skip // hop : (skip + size) // hop].numpy()
        for skip, piece in overlapping(watched.mono(config.sample_rate), size, halo, halo)
    ]
    seconds = tally.samples / recording.sample_rate
    if seconds < SHORTEST_SECONDS:
        raise AudioError(
            f"{recording.name}: {seconds:.2f} s of sound, expected at least {SHORTEST_SECONDS} s; "
            "give a longer recording"
        )
    level = np.concatenate(pieces)
    if level.max() < SILENT_DB:
        raise AudioError(
            f"{recording.name}: holds no singing: its loudest moment has {level.max():.0f} dB, expected over "
            f"{SILENT_DB:.0f} dB; check that it is the right file and not muted"
        )
    balance = tally.balance(recording.weights)
    return _Levels(level, _level_of_singing(level), tally.samples, balance)


def _level_of_singing(level_db: np.ndarray) -> float:
    """The song's level, from the frames that are not silent: minutes of silence do not count."""
    heard = level_db > max(float(level_db.max()) - SILENT_BELOW_SONG_DB, DIGITAL_SILENCE_DB)
    return song_level(level_db[heard])


def _silence_threshold(song_level_db: float) -> float:
    return min(max(song_level_db - SILENT_BELOW_SONG_DB, DIGITAL_SILENCE_DB), SILENT_DB)


def _on_grid(
    melody: Melody, confidence: np.ndarray, frames: int, audio: AudioConfig, config: FeaturesConfig
) -> tuple[np.ndarray, np.ndarray]:
    """f0 in Hz, 0 where unvoiced, and how sure it is, on the house grid, (T,) float32 each."""
    notes, sure = np.zeros(frames, np.float32), np.zeros(frames, np.float32)
    heard = f0.swift_times(len(melody.hz))
    for start in range(0, frames, GRID_WINDOW_FRAMES):
        here = slice(start, min(start + GRID_WINDOW_FRAMES, frames))
        times = f0.frame_times(here.stop - start, audio, start)
        notes[here] = f0.to_grid(melody.hz, confidence, times, config.f0_confidence)[0]
        sure[here] = np.interp(times, heard, melody.sure)
    return notes, sure


def _listen(
    recording: Recording,
    gain: float,
    samples: int,
    config: FeaturesConfig,
    encoder: content.ContentEncoder,
    progress: Callable[[float], object] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Units]:
    """Pitch in Hz (F,), its confidence (F,), second opinion (5, F), what is left (3, F); units (C, U).

    All are written into one place as they come: small arrays held between the large ones of each window
    would keep freed memory from being used again.
    """
    tracker = ears.tracker(config, encoder.device)
    step = math.lcm(tracker.grain, f0.SWIFT_HOP, content.UNIT_HOP)
    left = math.ceil(max((encoder.net.left_frames + 2) * content.UNIT_HOP, tracker.halo) / step)
    right = math.ceil(max((encoder.net.right_frames + 2) * content.UNIT_HOP, tracker.halo) / step)
    longest = min(content.CHUNK_UNITS * content.UNIT_HOP, round(f0.CHUNK_SECONDS * content.SAMPLE_RATE))
    size = max(longest // step - left - right, 1) * step  # a window with its context is one chunk of each
    total = resampled_length(samples, recording.sample_rate, content.SAMPLE_RATE)
    levelled = (block * np.float32(gain) for block in recording.mono(content.SAMPLE_RATE))
    frames, at = np.zeros((10, max(1, total // f0.SWIFT_HOP)), np.float32), 0
    units: Units | None = None
    for count, (skip, piece) in enumerate(overlapping(levelled, size, left * step, right * step), 1):
        hz, sure = tracker.hear(piece, config)
        voiced = sure >= config.f0_confidence
        opinion, left_of_it = second_opinion(piece, hz, voiced, config), left_over(piece, hz, voiced)
        found = np.stack([hz, sure, *opinion, *left_of_it])
        found = found[:, skip // f0.SWIFT_HOP : (skip + size) // f0.SWIFT_HOP]
        frames[:, at : at + found.shape[1]] = found
        at += found.shape[1]
        heard = encoder(piece)[:, skip // content.UNIT_HOP : (skip + size) // content.UNIT_HOP]
        units = units or Units(len(heard))
        units.append(heard)
        if progress is not None:
            progress(min(1.0, count * size / total))
    assert units is not None
    return frames[0, :at], frames[1, :at], frames[2:7, :at], frames[7:, :at], units
