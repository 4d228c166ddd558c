"""Where in a recording somebody sings: pieces cut at silences, by energy.

Detectors of speech are of no use here, they take long notes for something else; energy relative to the
recording's own level finds all of them.
"""

import numpy as np
from auditok.core import StreamTokenizer
from auditok.util import DataSource

FRAME_SECONDS = 0.02
SILENCE_DBFS = -80.0  # a recording that never gets louder than this is silent
ACTIVE_BELOW_LEVEL_DB = 40.0  # quieter than the recording's level by more than this: not singing
ACTIVE_ABOVE_DB = 25.0  # within this of the level a frame is singing, however noisy the recording
ABOVE_NOISE_DB = 6.0
GAP_SECONDS = 0.5  # a longer silence ends a piece, a shorter one (a breath, a stop) stays inside it
MARGIN_SECONDS = 0.2  # kept before and after each piece: soft onsets, breaths, the end of a decay
SHORTEST_SOUND_SECONDS = 0.1  # less than this is a click


def slice_voiced(
    audio: np.ndarray, sample_rate: int, max_seconds: float = 12.0, min_seconds: float = 0.3
) -> list[tuple[int, int]]:
    """First sample, and the one after the last, of each piece with singing in it; in order, no overlap.

    Silences over 0.5 s part the pieces, and each keeps up to 0.2 s of what is before and after it. Pieces
    that are too long are cut at their quietest moments; the cuts lose nothing.

    Args:
        audio: mono samples in [-1, 1], (N,).
        sample_rate: Hz.
        max_seconds: the longest piece.
        min_seconds: pieces shorter than this are dropped.
    """
    if audio.ndim != 1:
        raise ValueError(f"expected mono samples (N,), got {audio.shape}")
    if not 4 * max(min_seconds, FRAME_SECONDS) <= max_seconds:
        raise ValueError(
            f"max_seconds ({max_seconds}) must be at least four times min_seconds ({min_seconds})"
        )
    hop = max(1, round(FRAME_SECONDS * sample_rate))
    level_db = frame_level_db(audio, hop)
    if not len(level_db) or level_db.max() < SILENCE_DBFS:
        return []
    longest = int(max_seconds * sample_rate) // hop
    pieces = [
        (first * hop, min(last * hop, len(audio)))
        for start, stop in _events(level_db, activity_threshold_db(level_db))
        for first, last in _cut(level_db, start, stop, longest)
    ]
    return [(start, stop) for start, stop in pieces if stop - start >= min_seconds * sample_rate]


def frame_level_db(audio: np.ndarray, hop: int) -> np.ndarray:
    """RMS of each `hop` samples in dB of full scale, (T,) with T = ceil(N / hop)."""
    frames = np.pad(audio.astype(np.float64), (0, -len(audio) % hop)).reshape(-1, hop)  # (T, hop)
    return np.asarray(10.0 * np.log10(np.mean(frames**2, axis=1) + 1e-20))


def activity_threshold_db(level_db: np.ndarray) -> float:
    """The level in dB above which a frame counts as singing, from the recording's own levels, (T,).

    40 dB below the recording's level (the 95th percentile of all that is within 40 dB of its loudest frame,
    so that minutes of silence do not count); raised to 6 dB above its noise (the 5th percentile), but never
    beyond 25 dB below its level.
    """
    level = float(np.percentile(level_db[level_db >= level_db.max() - ACTIVE_BELOW_LEVEL_DB], 95))
    noise = float(np.percentile(level_db, 5))
    return min(max(level - ACTIVE_BELOW_LEVEL_DB, noise + ABOVE_NOISE_DB), level - ACTIVE_ABOVE_DB)


class _Frames(DataSource):
    """The levels one by one, as auditok reads them."""

    def __init__(self, level_db: np.ndarray) -> None:
        self._levels = iter(level_db.tolist())

    def read(self) -> float | None:
        return next(self._levels, None)


def _events(level_db: np.ndarray, threshold_db: float) -> list[tuple[int, int]]:
    """First frame, and the one after the last, of each stretch of sound, with its margins."""
    shortest = round(SHORTEST_SOUND_SECONDS / FRAME_SECONDS)
    margin = round(MARGIN_SECONDS / FRAME_SECONDS)
    tokenizer = StreamTokenizer(
        lambda level: level >= threshold_db,
        min_length=1,
        max_length=float("inf"),
        max_continuous_silence=round(GAP_SECONDS / FRAME_SECONDS),
        max_leading_silence=margin,
        max_trailing_silence=margin,
    )
    tokens = tokenizer.tokenize(_Frames(level_db)) or ()
    return [
        (start, end + 1)
        for levels, start, end in tokens
        if sum(level >= threshold_db for level in levels) >= shortest
    ]


def _cut(level_db: np.ndarray, start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """The frames start..stop in adjoining parts of longest / 4 to `longest`, cut where they are quietest."""
    shortest = (
        longest // 4 + 2
    )  # one frame for rounding down, one for the recording's last, which is cut short
    parts = []
    while stop - start > longest:
        first = start + shortest
        last = min(start + longest, stop - shortest)
        cut = first + int(np.argmin(level_db[first : max(first, last) + 1]))
        parts.append((start, cut))
        start = cut
    return [*parts, (start, stop)]
