"""The scorecard's arithmetic: means by voice, and what counts as worse."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def quality(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/quality.py")


def row(voice: str = "kumi", **figures: Any) -> dict[str, Any]:
    faultless = {"not_finite": 0, "clipped_runs": 0, "over_full_scale": 0, "length_difference": 0}
    return {"voice": voice, "pair": "real singer", **faultless, **figures}


def test_means_leave_out_what_was_not_measured(quality: ModuleType):
    rows = [row(coverage=0.9, output_cer=None), row(coverage=1.0, output_cer=0.3, clipped_runs=2)]
    summary = quality.summarise(rows)
    assert set(summary) == {"kumi", "kumi, real singer"}
    assert summary["kumi"]["coverage"] == 0.95 and summary["kumi"]["output_cer"] == 0.3
    assert summary["kumi"]["hnr_db_change"] is None
    assert summary["kumi"]["clips"] == 2 and summary["kumi"]["faults"] == 1


def test_only_what_is_worse_by_more_than_counts_is_told(quality: ModuleType):
    before = quality.summarise([row(coverage=0.95, output_cer=0.30, similarity_of_ceiling=0.90)])
    after = quality.summarise([row(coverage=0.99, output_cer=0.36, similarity_of_ceiling=0.895)])
    assert quality.worse(before, before) == []
    assert quality.worse(before, after) == [
        "kumi: CER 0.36, 0.30 before",
        "kumi, real singer: CER 0.36, 0.30 before",
    ]


def test_what_is_gone_is_worse(quality: ModuleType):
    before = quality.summarise([row(coverage=0.95), row("pjs", coverage=0.9)])
    after = quality.summarise([row(clipped_runs=1)])
    told = quality.worse(before, after)
    assert "pjs: no longer there" in told and "kumi: coverage -, 0.950 before" in told
    assert "kumi: 1 faults, 0 before" in told


def test_the_kept_run_and_its_table_belong_together(quality: ModuleType):
    import json

    kept = json.loads(quality.KEPT.read_text(encoding="utf-8"))
    assert quality.table(kept) in quality.TABLE.read_text(encoding="utf-8")
    voices = {name for name in kept if "," not in name}
    assert len(voices) >= 3 and all(kept[name]["clips"] >= 8 for name in voices)
