"""How well an output keeps the melody of its source; pure functions over NumPy arrays."""

import math
from dataclasses import dataclass

import numpy as np

from resing.scoring.places import Place, longest, places

FRAME_SECONDS = 0.016
CONFIDENT = 0.9  # a frame whose pitch counts
GROSS_CENTS = 1200.0 * math.log2(1.2)
VOICED = 0.5  # SwiftF0's own calibrated threshold


@dataclass(frozen=True)
class Pitch:
    """What a tracker heard: f0 in Hz and confidence in [0, 1], (T,) each."""

    f0: np.ndarray
    confidence: np.ndarray


def pitch_agreement(
    source: Pitch, output: Pitch, transpose: float, active: np.ndarray
) -> dict[str, float | None]:
    """How well the output keeps the melody; the requested shift is removed, never fitted.

    Args:
        source: pitch of the source.
        output: pitch of the output; frames that it lacks count as not confident.
        transpose: the requested shift in semitones.
        active: where the source sounds, bool (T,) at the tracker's frames.

    Returns:
        coverage: share of the source's confident frames that are confident in the output.
        f0_rmse_cents, f0_median_cents: of the absolute difference on frames confident in both.
        f0_fine_rmse_cents: the same without gross errors; gross_share: off by more than 20 %; octave_share:
            off by one octave within a semitone.
        f0_correlation: of log f0, where the source moves by at least 100 cents, else None.
        voicing_error: share of the sounding frames whose voicing differs.
    """
    n = min(len(source.f0), len(active))
    missing = max(0, n - len(output.f0))
    output = Pitch(np.pad(output.f0, (0, missing)), np.pad(output.confidence, (0, missing)))
    sure = source.confidence[:n] >= CONFIDENT
    both = sure & (output.confidence[:n] >= CONFIDENT)
    differs = (source.confidence[:n] >= VOICED) != (output.confidence[:n] >= VOICED)
    result: dict[str, float | None] = {
        "coverage": float(both.sum() / sure.sum()) if sure.any() else None,
        "voicing_error": float(differs[active[:n]].mean()) if active[:n].any() else None,
    }
    return result | _deviation(
        1200.0 * np.log2(source.f0[:n][both]), 1200.0 * np.log2(output.f0[:n][both]), transpose
    )


def _deviation(
    source_cents: np.ndarray, output_cents: np.ndarray, transpose: float
) -> dict[str, float | None]:
    """Pitch figures of `pitch_agreement` over the frames confident in both, (F,) each; None without one."""
    cents = output_cents - source_cents - 100.0 * transpose
    fine = np.abs(cents) <= GROSS_CENTS
    some = len(cents) > 0
    moves = some and np.ptp(np.percentile(source_cents, [5, 95])) >= 100.0 and np.std(output_cents) > 0
    return {
        "f0_rmse_cents": float(np.sqrt(np.mean(cents**2))) if some else None,
        "f0_median_cents": float(np.median(np.abs(cents))) if some else None,
        "f0_fine_rmse_cents": float(np.sqrt(np.mean(cents[fine] ** 2))) if fine.any() else None,
        "gross_share": float(np.mean(~fine)) if some else None,
        "octave_share": float(np.mean(np.abs(np.abs(cents) - 1200.0) < 100.0)) if some else None,
        "f0_correlation": float(np.corrcoef(source_cents, output_cents)[0, 1]) if moves else None,
    }


def expected_pitch(source: Pitch, output: Pitch, transpose: float) -> Pitch:
    """Pitch at which the output's voice quality is measured, so that hoarse frames stay in the median.

    The frames are the source's confident ones; the f0 is the output's own where it is confident and within 20
    % of the requested one, else the requested one.
    """
    n = min(len(source.f0), len(output.f0))
    wanted = source.f0[:n] * 2.0 ** (transpose / 12.0)
    own = (output.confidence[:n] >= CONFIDENT) & (np.abs(np.log2(output.f0[:n] / wanted)) <= math.log2(1.2))
    return Pitch(np.where(own, output.f0[:n], wanted), source.confidence[:n])


def octave_places(
    wanted: Pitch,
    sung: Pitch,
    wanted_second: Pitch | None = None,
    sung_second: Pitch | None = None,
    shortest_seconds: float = 0.03,
) -> tuple[float, list[Place]]:
    """Share of the sure frames an octave off, and where; the strength of a place is its length in seconds.

    With a second tracker a frame counts only where both trackers hear the same note in source and output: an
    octave error of one tracker is not one of the singer.

    Args:
        wanted: what the output should sing: the source's pitch with the requested shift in it.
        sung: what it sings.
        wanted_second, sung_second: the same by the second tracker.
        shortest_seconds: a place lasts at least so long; shorter ones count neither in the share.
    """
    n = min(len(wanted.f0), len(sung.f0))
    sure = (wanted.confidence[:n] >= CONFIDENT) & (sung.confidence[:n] >= CONFIDENT)
    for first, second in ((wanted, wanted_second), (sung, sung_second)):
        if second is not None:
            near = np.abs(cents_apart(first, second)[:n]) <= GROSS_CENTS
            sure &= np.pad(near, (0, n - len(near)))
    off = sure & (np.abs(np.abs(cents_apart(wanted, sung)) - 1200.0) < 100.0)
    found = longest(places(off, off, FRAME_SECONDS, 0.05), shortest_seconds)
    lengths = [end - start for start, end, _ in found]
    share = sum(lengths) / FRAME_SECONDS / max(1, int(sure.sum()))
    return float(share), [(start, end, end - start) for start, end, _ in found]


def voicing_places(
    source: Pitch, output: Pitch, active: np.ndarray, shortest_seconds: float = 0.08
) -> tuple[float, list[Place]]:
    """Share of the sounding frames that change between tone and none, and where; strength: seconds.

    Args:
        source, output: pitch of both.
        active: where the source sounds, bool (T,) at the tracker's frames.
    """
    n = min(len(source.f0), len(output.f0), len(active))
    voiced = [pitch.confidence[:n] >= VOICED for pitch in (source, output)]
    differs = (voiced[0] != voiced[1]) & active[:n]
    share = float(differs.sum() / max(1, active[:n].sum()))
    found = longest(places(differs, differs, FRAME_SECONDS, FRAME_SECONDS), shortest_seconds)
    return share, [(start, end, end - start) for start, end, _ in found]


def cents_apart(wanted: Pitch, sung: Pitch) -> np.ndarray:
    """By how many cents the second is above the first, NaN where either has no f0, (T,)."""
    n = min(len(wanted.f0), len(sung.f0))
    both = (wanted.f0[:n] > 0) & (sung.f0[:n] > 0)
    ratio = np.where(both, sung.f0[:n], 1.0) / np.where(both, wanted.f0[:n], 1.0)
    return np.where(both, 1200.0 * np.log2(ratio), np.nan)


def shifted(pitch: Pitch, transpose: float) -> Pitch:
    """The same melody `transpose` semitones higher."""
    return Pitch(pitch.f0 * 2.0 ** (transpose / 12.0), pitch.confidence)
