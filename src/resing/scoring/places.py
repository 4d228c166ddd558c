"""Where in a clip something is: runs of a mask as (start, end, strength)."""

import numpy as np

Place = tuple[float, float, float]  # start and end in seconds, strength in the detector's own unit


def runs(mask: np.ndarray) -> np.ndarray:
    """First and past-last index of each run of True, (R, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges.reshape(-1, 2)


def places(
    mask: np.ndarray, strength: np.ndarray, step_seconds: float, join_seconds: float = 0.1
) -> list[Place]:
    """Each run of True as a place of its largest strength; runs closer than `join_seconds` are one.

    Args:
        mask, strength: (T,), one value every `step_seconds`.
    """
    found: list[Place] = []
    for start, end in runs(mask):
        place = (float(start * step_seconds), float(end * step_seconds), float(strength[start:end].max()))
        if found and place[0] - found[-1][1] < join_seconds:
            place = (found[-1][0], place[1], max(found[-1][2], place[2]))
            found.pop()
        found.append(place)
    return found


def longest(found: list[Place], shortest_seconds: float) -> list[Place]:
    """The places that last at least `shortest_seconds`."""
    return [place for place in found if place[1] - place[0] >= shortest_seconds - 1e-9]


def around(values: np.ndarray, reach: int) -> np.ndarray:
    """The largest of each value and its `reach` neighbours on both sides, (..., T) -> (..., T)."""
    if not values.shape[-1]:
        return values
    edges = [(0, 0)] * (values.ndim - 1) + [(reach, reach)]
    padded = np.pad(values, edges, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=-1).max(axis=-1)


def at_steps(frames: np.ndarray, frame_seconds: float, steps: int, step_seconds: float) -> np.ndarray:
    """A mask moved to another grid: True where both frames beside a step are, (T,) -> (steps,)."""
    if not len(frames):
        return np.zeros(steps, bool)
    seconds = np.arange(steps) * step_seconds
    return np.interp(seconds, np.arange(len(frames)) * frame_seconds, frames.astype(float), right=0.0) > 0.999
