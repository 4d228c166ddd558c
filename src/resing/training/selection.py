"""Which weights to keep, when to stop, and what would help most: decided by score, not by ear at midnight.

The rule: every `validate_every` steps the averaged (EMA) weights are scored: in an audition (audition.py), or
where there is none by their error on the held-out pieces. The weights with the lowest score so far are kept.
Training stops after its last step, or as soon as `patience` scores in a row are no better, by LEAST_GAIN at
least, than the best one before them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resing.config import TrainingConfig
from resing.training.doctor import NARROW_HZ, NOISY_DB, DatasetReport, note_name, rare_notes

LEAST_GAIN = 0.002
"""Share by which a score must be lower than the best before it to count as progress."""

DECIDING = ("audition", "score")
"""What a validation is judged by: the first of these that it holds."""

ENOUGH_MINUTES = 10.0
ENOUGH_HIGH_MINUTES = 1.0


@dataclass(frozen=True)
class Verdict:
    """Where training stands.

    Attributes:
        stale: scores since the last real progress.
        stop: whether to stop.
    """

    stale: int
    stop: bool


def planned_steps(minutes: float, config: TrainingConfig) -> int:
    """Steps for this much data: some, and more for each minute, up to `config.steps`."""
    return min(config.steps, config.steps_at_least + round(config.steps_per_minute * minutes))


def read_history(run: Path) -> list[dict[str, Any]]:
    """All validations of a run so far, oldest first."""
    path = run / "validation.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def deciding(validation: dict[str, Any]) -> str:
    """The name of the figure that a validation is judged by."""
    return next(name for name in DECIDING if name in validation)


def in_words(validation: dict[str, Any]) -> str:
    """What a validation found, the figure that decides first."""
    audition = f"amiss in its audition {validation['audition']:.3f}, " if "audition" in validation else ""
    return f"{audition}held-out error {validation['score']:.4f}"


def is_better(validation: dict[str, Any], best: dict[str, Any]) -> bool:
    """Whether weights sing better than the best before; those judged by something else are not comparable."""
    name = deciding(validation)
    return bool(validation[name] < best.get(name, float("inf")))


def heard(history: list[dict[str, Any]], step: int) -> dict[str, float]:
    """What was heard in the audition of a step; nothing where there was none."""
    entry: dict[str, Any] = next((one for one in reversed(history) if one["step"] == step), {})
    names = list(entry)
    return {name: entry[name] for name in names[names.index("audition") :]} if "audition" in entry else {}


def judge(history: list[dict[str, Any]], patience: int) -> Verdict:
    """The rule above, applied to a run's validations.

    Args:
        history: with `step` and `score`, and `audition` where there was one.
        patience: scores without progress after which to stop.
    """
    name = deciding(history[-1]) if history else ""
    mark, stale = float("inf"), 0
    for value in (entry[name] for entry in history if name in entry):
        progress = mark == float("inf") or value < mark * (1 - LEAST_GAIN)
        mark, stale = (value, 0) if progress else (mark, stale + 1)
    return Verdict(stale, bool(history) and stale >= patience)


def explain(
    history: list[dict[str, Any]], best: dict[str, Any], steps: int, patience: int, report: DatasetReport
) -> str:
    """Why training ended, which weights were kept and what would help most, in a sentence each.

    Args:
        history: the run's validations.
        best: step and score of the weights kept.
        steps: that were planned.
        patience: as for `judge`.
        report: of the dataset.
    """
    verdict, last = judge(history, patience), history[-1]["step"]
    if last >= steps:
        why = f"Training ended after its {steps} steps"
    else:
        why = f"Training stopped at step {last} of {steps}: {verdict.stale} scores in a row brought nothing"
    name = deciding(best)
    what = "their held-out score" if name == "score" else "what is amiss in their audition,"
    kept = f"the weights of step {best['step']} are kept, {what} {best[name]:.3f} is the lowest"
    return f"{why}; {kept}. {advice(report)}"


def advice(report: DatasetReport) -> str:
    """The one thing that would improve this voice most, from what its recordings lack."""
    best = "What would help most:"
    if report.bandwidth_hz < NARROW_HZ:
        return f"{best} recordings with the full band (these end at {report.bandwidth_hz / 1000:.0f} kHz)."
    if report.snr_db is not None and report.snr_db < NOISY_DB:
        return f"{best} a quieter room (the background is only {report.snr_db:.0f} dB below the voice)."
    if report.minutes < ENOUGH_MINUTES / 2:
        return f"{best} {ENOUGH_MINUTES - report.minutes:.0f} more minutes of recordings."
    for first, last in rare_notes(report.f0_histogram):
        return (
            f"{best} notes from {note_name(first)} to {note_name(last)}, which are missing inside the range."
        )
    high = note_name(highest_well_known(report.f0_histogram))
    if report.minutes < ENOUGH_MINUTES - 1:
        return f"{best} {ENOUGH_MINUTES - report.minutes:.0f} more minutes, above {high} most of all."
    return f"{best} {ENOUGH_HIGH_MINUTES + 1:.0f} more minutes above {high}."


def highest_well_known(histogram: dict[str, float]) -> int:
    """The MIDI number above which less than a minute (or a tenth, if that is less) was heard."""
    wanted, above = min(ENOUGH_HIGH_MINUTES, 0.1 * sum(histogram.values())), 0.0
    for note in sorted(map(int, histogram), reverse=True):
        above += histogram[str(note)]
        if above >= wanted:
            return note
    return min(map(int, histogram), default=69)
