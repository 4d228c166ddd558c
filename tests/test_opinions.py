"""The opinion scores of the judge: what they need, and that they can be had without torchaudio."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PACKAGE = """
import torch
import torchaudio
print("weights loaded")
class ConvTransformerSQAModel(torch.nn.Module):
    def forward(self, audio):
        return 1 + 4 * audio.abs().amax(1, keepdim=True)
"""


@pytest.fixture
def mos(script: Callable[[str], ModuleType]) -> Iterator[ModuleType]:
    found = script("benchmarks/mos.py")
    yield found
    found._distilled.cache_clear()
    sys.modules.pop("distillmos", None)


def test_the_packages_are_named_where_they_are_missing(mos: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mos.importlib.util, "find_spec", lambda name: None)
    for measure in mos.MEASURES:
        with pytest.raises(SystemExit, match=r"--mos needs (speechmos|distillmos): .*scripts/judge-env"):
            measure(np.zeros(16000, np.float32))


def test_distillmos_needs_no_torchaudio(
    mos: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "distillmos"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert mos.distillmos(np.full(1000, -0.25)) == pytest.approx(2.0)
    assert "torchaudio" not in sys.modules and capsys.readouterr().out == ""


def test_every_opinion_has_a_column(mos: ModuleType, script: Callable[[str], ModuleType]):
    figures = script("benchmarks/scorecard.py").FIGURES
    assert [f"{measure.__name__}_change" for measure in mos.MEASURES] == [
        "dnsmos_change",
        "plcmos_change",
        "distillmos_change",
    ]
    assert all(f"{measure.__name__}_change" in figures for measure in mos.MEASURES)
