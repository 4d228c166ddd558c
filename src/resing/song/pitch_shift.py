"""Music in another key, at the same speed and of exactly the same length.

A phase vocoder with identity phase locking (Laroche and Dolson, Improved phase vocoder time-scale
modification of audio, IEEE Transactions on Speech and Audio Processing 7, 1999) makes it longer or shorter,
and resampling brings the length back, the pitch with it. All channels turn by the same phases, so their image
stays; where a peak's energy jumps up its phases begin anew (Roebel, A new approach to transient processing
in the phase vocoder, DAFx 2003), so that attacks stay sharp.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from resing.audio import files
from resing.errors import ConfigError

WINDOW_SECONDS = 0.093
OVERLAP = 4
ATTACK = 4.0  # growth of a peak's energy from frame to frame, beyond which its phases begin anew
FURTHEST_SEMITONES = 12.0


class Stretcher:
    """Streaming phase vocoder: what goes in comes out `ratio` times as long, at the same pitch.

    Args:
        ratio: length of the output relative to the input.
        sample_rate: Hz.
        channels: of the audio.
    """

    def __init__(self, ratio: float, sample_rate: int, channels: int) -> None:
        self.ratio = ratio
        self._size = int(2 ** round(np.log2(WINDOW_SECONDS * sample_rate)))
        self._hop = self._size // OVERLAP
        self._window = np.hanning(self._size + 1)[:-1]
        self._held = np.zeros((channels, self._size // 2))  # frame 0 is centred on sample 0
        self._start = -(self._size // 2)
        self._sum = np.zeros((channels, self._size))
        self._before: np.ndarray | None = None
        self._turn = np.zeros(self._size // 2 + 1)
        self._frame = self._last = 0
        self._drop, self._taken, self._given = self._size // 2, 0, 0

    def push(self, audio: np.ndarray) -> np.ndarray:
        """What is ready, (channels, m) float32, after `audio`, (channels, n)."""
        self._held = np.concatenate([self._held, audio], axis=1)
        self._taken += audio.shape[1]
        ready = [np.zeros((len(self._held), 0), np.float32)]
        while (at := self._next() - self._start) + self._size <= self._held.shape[1]:
            ready.append(self._overlap(self._held[:, at : at + self._size]))
            spare = max(0, self._next() - self._start)
            self._held, self._start = self._held[:, spare:], self._start + spare
        out = np.concatenate(ready, axis=1)
        dropped = min(self._drop, out.shape[1])
        self._drop -= dropped
        self._given += out.shape[1] - dropped
        return out[:, dropped:]

    def finish(self) -> np.ndarray:
        """The rest, (channels, m): round(ratio * samples) in all."""
        missing = round(self.ratio * self._taken) - self._given
        silence = int(3 * self._size * max(1.0, 1.0 / self.ratio))
        return self.push(np.zeros((len(self._held), silence)))[:, :missing]

    def _next(self) -> int:
        """First sample of the next frame in the input."""
        return round(self._frame * self._hop / self.ratio) - self._size // 2

    def _overlap(self, audio: np.ndarray) -> np.ndarray:
        """One hop of output, from the next frame of input, (channels, hop)."""
        spectrum = np.fft.rfft(audio * self._window)
        at = self._next()
        if self._before is not None:
            self._turn = turned(self._turn, self._before, spectrum, at - self._last, self._hop)
        self._before, self._last = spectrum, at
        self._sum += np.fft.irfft(spectrum * np.exp(1j * self._turn), self._size) * self._window
        out = self._sum[:, : self._hop] / (0.375 * OVERLAP)
        self._sum = np.pad(self._sum[:, self._hop :], ((0, 0), (0, self._hop)))
        self._frame += 1
        return out.astype(np.float32)


def turned(turn: np.ndarray, before: np.ndarray, now: np.ndarray, step: int, hop: int) -> np.ndarray:
    """Phase by which each bin is turned in this frame, (F,).

    At a peak of frequency w the turn grows by (hop - step) w; the bins around a peak turn with it.

    Args:
        turn: the last frame's turns, (F,).
        before: the last frame's spectrum, (channels, F) complex.
        now: this frame's.
        step: samples between the two in the input.
        hop: samples between them in the output.
    """
    bins = len(turn)
    power, last = (np.sum(np.abs(x) ** 2, axis=0) for x in (now, before))
    wide = np.pad(power, 2)
    around = np.maximum.reduce([wide[:-4], wide[1:-3], wide[3:-1], wide[4:]])
    peaks = np.flatnonzero((power > around) & (power > 0))
    if not len(peaks):
        return turn
    edges = np.concatenate([[0], (peaks[:-1] + peaks[1:] + 1) // 2])
    centre = np.pi * peaks / (bins - 1)
    advance = np.angle(np.sum(now[:, peaks] * before[:, peaks].conj(), axis=0)) - centre * step
    frequency = centre + (advance - 2 * np.pi * np.round(advance / (2 * np.pi))) / step
    grown = np.add.reduceat(power, edges) > ATTACK * np.add.reduceat(last, edges)
    new = np.where(grown, 0.0, turn[peaks] + (hop - step) * frequency)
    return np.repeat(new, np.diff(np.append(edges, bins)))


def shift_pitch(source: Path, out: Path, semitones: float) -> None:
    """Write `source` in another key: same rate, channels and length to the sample, whole or not at all.

    Args:
        source: any audio file.
        out: .wav, .flac, .mp3, .ogg or .opus.
        semitones: -12 to 12, decimals allowed; 0 copies the samples.

    Raises:
        ConfigError: too far.
        AudioError: the source cannot be read or the output cannot be written.
    """
    if not abs(semitones) <= FURTHEST_SEMITONES:
        raise ConfigError(f"shift by {semitones} semitones: expected -12 to 12; choose a nearer key")
    info = files.probe(source)
    with files.AudioWriter(files.check_output(source, out), info.sample_rate, info.channels) as writer:
        for block in shifted(files.read_blocks(source, info.sample_rate, False), info.sample_rate, semitones):
            writer.write(block)


def shifted(blocks: Iterator[np.ndarray], sample_rate: int, semitones: float) -> Iterator[np.ndarray]:
    """Blocks in another key, (channels, m) each; as many samples as went in.

    Args:
        blocks: audio, (channels, n) each.
        sample_rate: Hz.
        semitones: -12 to 12.
    """
    if not semitones:
        yield from blocks
        return
    ratio, missing, stretcher = 2.0 ** (semitones / 12.0), 0, None
    for block in blocks:
        if stretcher is None:
            stretcher = Stretcher(ratio, sample_rate, block.shape[0])
            stream = soxr.ResampleStream(sample_rate * ratio, sample_rate, block.shape[0], dtype="float32")
        ready = _resampled(stream, stretcher.push(block))
        missing += block.shape[1] - ready.shape[1]
        yield ready
    if stretcher is not None:
        rest = _resampled(stream, stretcher.finish(), last=True)[:, :missing]
        yield np.pad(rest, ((0, 0), (0, missing - rest.shape[1])))


def _resampled(stream: soxr.ResampleStream, audio: np.ndarray, last: bool = False) -> np.ndarray:
    out: np.ndarray = stream.resample_chunk(np.ascontiguousarray(audio.T, np.float32), last=last)
    return out.reshape(-1, audio.shape[0]).T
