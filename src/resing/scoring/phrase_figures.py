"""How an output fares in one phrase."""

import numpy as np

from resing.scoring.clip import HEARING_RATE
from resing.scoring.metrics import CONFIDENT, FRAME_SECONDS
from resing.scoring.pair import UNIT_SECONDS, Pair, frames_between, median
from resing.scoring.phrases import Edges
from resing.scoring.target import Target

EMBEDDED_SECONDS = 1.0
"""A phrase with less sound is not held against the voice."""


def phrase_figures(pair: Pair, target: Target | None, edges: Edges) -> dict[str, float | None]:
    """Figures of one phrase; those that cannot be had are None.

    similarity and leak_margin as in the whole; f0_rmse_cents, f0_median_cents, coverage; voicing_error and
    phone_distance in %; units_distance; hnr_db, hnr_db_change, cpp_db, cpp_ratio, the changes
    against the source.
    """
    at = frames_between(*edges, FRAME_SECONDS, pair.frames)
    cents, sure, active = pair.cents[at], pair.sure[at], pair.active[at]
    known = cents[~np.isnan(cents)]
    kept = (pair.sung.confidence[at] >= CONFIDENT)[sure]
    voiced = [(p.f0[at] > 0)[active] for p in (pair.source.second_pitch, pair.sung_second)]
    tone = {name: median(values[at]) for name, values in pair.tone.items()}
    return {
        **_likeness(pair, target, edges),
        "f0_rmse_cents": float(np.sqrt(np.mean(known**2))) if len(known) else None,
        "f0_median_cents": float(np.median(np.abs(known))) if len(known) else None,
        "coverage": float(kept.mean()) if len(kept) else None,
        "voicing_error": 100.0 * float(np.mean(voiced[0] != voiced[1])) if active.any() else None,
        "units_distance": _mean(pair.unit_distances, edges),
        "phone_distance": _mean(100.0 * pair.phone_distances, edges),
        "hnr_db": tone["hnr"],
        "hnr_db_change": _minus(tone["hnr"], tone["source_hnr"]),
        "cpp_db": tone["cpp"],
        "cpp_ratio": _over(tone["cpp"], tone["source_cpp"]),
    }


def _likeness(pair: Pair, target: Target | None, edges: Edges) -> dict[str, float | None]:
    """similarity and leak_margin of a phrase."""
    nothing: dict[str, float | None] = {"similarity": None, "leak_margin": None}
    n = min(len(pair.source.audio_16k), len(pair.output.audio_16k))
    inside = np.zeros(n, bool)
    inside[frames_between(*edges, 1.0 / HEARING_RATE, n)] = True
    inside &= pair.singing[:n]
    if target is None or inside.sum() < EMBEDDED_SECONDS * HEARING_RATE:
        return nothing
    before, after = (target.vectors(clip, inside) for clip in (pair.source, pair.output))
    if not len(before) or len(before) != len(after):
        return nothing
    similar = float(np.mean(after @ target.reference))
    return {"similarity": similar, "leak_margin": similar - float(np.mean(np.sum(after * before, axis=1)))}


def _mean(by_unit: np.ndarray, edges: Edges) -> float | None:
    """Mean of the values at the content units of a phrase; None without one."""
    inside = by_unit[frames_between(*edges, UNIT_SECONDS, len(by_unit))]
    known = inside[~np.isnan(inside)]
    return float(known.mean()) if len(known) else None


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _over(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value / max(other, 1e-3)
