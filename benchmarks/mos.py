"""Opinion scores that networks guess, for `benchmarks/conversion.py --mos`: only as a change from the source.

They were trained on telephone speech and misrank converted singing, so nothing is judged by them.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from resing.scoring.clip import HEARING_RATE

SECONDS = 30.0
"""Of each voice's outputs that are heard."""
DNSMOS_SECONDS = 9.01
RATERS = 15
NEEDED = "--mos needs {}: make the judge's environment with scripts/judge-env"


@cache
def _session(*names: str) -> Any:
    import onnxruntime

    spec = importlib.util.find_spec("speechmos")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit(NEEDED.format("speechmos"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = Path(spec.submodule_search_locations[0]).joinpath(*names)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def dnsmos(audio: np.ndarray) -> float:
    """Overall quality, 1 to 5, of audio at 16 kHz, (N,), by DNSMOS P.835 (Reddy et al., ICASSP 2022).

    Windows of 9 s every second; the cubic that maps the network's output to the scale is speechmos 0.0.1.1's.
    """
    session = _session("dnsmos_models", "sig_bak_ovr.onnx")
    size = int(DNSMOS_SECONDS * HEARING_RATE)
    repeated = np.tile(audio, -(-size // len(audio))) if len(audio) < size else audio
    starts = range(0, len(repeated) - size + 1, HEARING_RATE)
    raw = [
        session.run(None, {"input_1": repeated[a : a + size][None].astype(np.float32)})[0][0, 2]
        for a in starts
    ]
    return float(np.mean(np.polyval([-0.06766283, 1.11546468, 0.04602535], raw)))


def plcmos(audio: np.ndarray) -> float:
    """Quality, 1 to 5, of audio at 16 kHz, (N,), by PLCMOS v2 (Diener et al., Interspeech 2023).

    Mean over raters drawn with a fixed seed; log power spectra of 32 ms as in speechmos 0.0.1.1.
    """
    session = _session("plcmos_models", "plcmos_v2.onnx")
    size, hop = 512, 256
    count = -(-(len(audio) + size - hop) // hop)
    padded = np.pad(audio.astype(np.float64), (size - hop, count * hop + size - len(audio)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:count]
    power = np.abs(np.fft.rfft(frames * np.hamming(size + 1)[:-1])) ** 2
    least = power[power > 0].min(initial=1e-8)
    heard = np.where(power > 0, np.log(np.maximum(power, least)), np.log(least) - 12.0 * np.log(10.0)) / 20.0
    raters = np.random.default_rng(0).normal(size=(RATERS, 1, 64)).astype(np.float32)
    inputs = {"degraded_audio": heard[None, None].astype(np.float32)}
    found = [session.run(None, inputs | {"rater_embed": rater})[0] for rater in raters]
    return float(np.mean([float(np.ravel(score)[0]) for score in found]))


@cache
def _distilled() -> Any:
    """Distill-MOS with its weights; it imports torchaudio, which no CPU torch has, only to read files."""
    import torch

    if importlib.util.find_spec("distillmos") is None:
        raise SystemExit(NEEDED.format("distillmos"))
    torch.set_num_threads(1)
    absent = {} if importlib.util.find_spec("torchaudio") else {"torchaudio": ModuleType("torchaudio")}
    with patch.dict(sys.modules, absent), contextlib.redirect_stdout(io.StringIO()):
        return importlib.import_module("distillmos").ConvTransformerSQAModel().eval()


def distillmos(audio: np.ndarray) -> float:
    """Quality, 1 to 5, of audio at 16 kHz, (N,), by Distill-MOS (Stahl and Gamper, arXiv 2502.05356).

    Mean over windows of 7.7 s, a second apart or less; a clip that is shorter is padded.
    """
    import torch

    with torch.inference_mode():
        return float(_distilled()(torch.from_numpy(audio.astype(np.float32))[None])[0, 0])


MEASURES = (dnsmos, plcmos, distillmos)
