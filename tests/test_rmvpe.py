"""RMVPE: its network against an independent reading of the published one, its notes, its refusals."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from community import bring, rmvpe
from torch import Tensor

from resing import hub
from resing.config import FeaturesConfig
from resing.errors import DownloadError
from resing.features import ears
from resing.features import rmvpe as tracking
from resing.features.f0 import SWIFT_HOP
from resing.nets.rmvpe import Rmvpe

CONFIG = FeaturesConfig(f0_tracker="rmvpe")


def tensors(width: int = 2, blocks: int = 2, bottom: int = 2, hidden: int = 5) -> dict[str, Tensor]:
    """Random weights, statistics of the norms included."""
    torch.manual_seed(0)
    net = Rmvpe(width, blocks, bottom, hidden)
    stored = {n: t.detach().clone() for n, t in net.state_dict().items()}
    for name in stored:
        if name.endswith("running_var"):
            stored[name] = torch.rand_like(stored[name]) + 0.5
        elif name.endswith(("running_mean", "bias")):
            stored[name] = 0.3 * torch.randn_like(stored[name])
    return stored


def reference(w: dict[str, Tensor], mel: Tensor, blocks: int, bottom: int) -> Tensor:
    """Salience (F, 360) by functions alone, from the names and shapes of the published checkpoint."""

    def norm(x: Tensor, at: str) -> Tensor:
        scale = w[f"{at}.weight"] / torch.sqrt(w[f"{at}.running_var"] + 1e-5)
        shift = w[f"{at}.bias"] - w[f"{at}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def block(x: Tensor, at: str) -> Tensor:
        y = norm(F.conv2d(x, w[f"{at}.conv.0.weight"], padding=1), f"{at}.conv.1").relu()
        y = norm(F.conv2d(y, w[f"{at}.conv.3.weight"], padding=1), f"{at}.conv.4").relu()
        if f"{at}.shortcut.weight" in w:
            x = F.conv2d(x, w[f"{at}.shortcut.weight"], w[f"{at}.shortcut.bias"])
        return x + y

    def all_blocks(x: Tensor, at: str) -> Tensor:
        for i in range(blocks):
            x = block(x, f"{at}.{i}")
        return x

    def gru(x: Tensor, suffix: str) -> Tensor:
        wi, wh, bi, bh = (
            w[f"fc.0.gru.{n}_l0{suffix}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, out = torch.zeros(wh.shape[1]), []
        for row in x:
            ir, iz, new_in = (wi @ row + bi).chunk(3)
            hr, hz, new_state = (wh @ state + bh).chunk(3)
            keep = torch.sigmoid(iz + hz)
            state = (1 - keep) * torch.tanh(new_in + torch.sigmoid(ir + hr) * new_state) + keep * state
            out.append(state)
        return torch.stack(out)

    x = norm(mel.T[None, None], "unet.encoder.bn")
    kept = []
    for level in range(5):
        x = all_blocks(x, f"unet.encoder.layers.{level}.conv")
        kept.append(x)
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    for level in range(bottom):
        x = all_blocks(x, f"unet.intermediate.layers.{level}.conv")
    for level in range(5):
        at = f"unet.decoder.layers.{level}"
        x = F.conv_transpose2d(x, w[f"{at}.conv1.0.weight"], stride=2, padding=1, output_padding=1)
        x = torch.cat([norm(x, f"{at}.conv1.1").relu(), kept[4 - level]], dim=1)
        x = all_blocks(x, f"{at}.conv2")
    x = F.conv2d(x, w["cnn.weight"], w["cnn.bias"], padding=1)[0]  # (3, F, 128)
    rows = torch.cat([x[0], x[1], x[2]], dim=1)
    hidden = torch.cat([gru(rows, ""), gru(rows.flip(0), "_reverse").flip(0)], dim=1)
    return torch.sigmoid(hidden @ w["fc.1.weight"].T + w["fc.1.bias"])


def test_the_network_is_the_published_one_read_independently():
    stored, mel = tensors(), torch.randn(128, 64)
    with torch.no_grad():
        ours = tracking.build(stored)(mel[None])[0]
        wanted = reference(stored, mel, blocks=2, bottom=2)
    assert ours.shape == (64, 360)
    assert torch.allclose(ours, wanted, atol=1e-5) and float(ours.std()) > 0.01


def test_the_published_size_has_its_bytes():
    """rmvpe.pt has 181184272 bytes: its tensors in half precision and 238 kB of names."""
    with torch.device("meta"):
        stored = Rmvpe().state_dict().values()
    count = sum(t.numel() * 2 if t.is_floating_point() else 8 for t in stored)
    assert 0 < 181184272 - count < 300_000


def test_the_mel_is_the_published_one():
    """128 HTK bands from 30 to 8000 Hz, 1024 samples, every 160: against sums written out for two frames."""
    random = np.random.default_rng(0)
    audio = random.normal(0, 0.1, 16000).astype(np.float32)
    ours = tracking.mel(torch.from_numpy(audio)).numpy()
    assert ours.shape == (128, 101)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    edges = np.linspace(2595 * math.log10(1 + 30 / 700), 2595 * math.log10(1 + 8000 / 700), 130)
    edges = 700 * (10 ** (edges / 2595) - 1)
    bins = np.arange(513) * 16000 / 1024
    for frame, band in ((10, 3), (60, 100)):
        spectrum = np.abs(np.fft.rfft(window * audio[frame * 160 - 512 : frame * 160 + 512]))
        low, centre, high = edges[band : band + 3]
        weight = np.interp(bins, [low, centre, high], [0, 2 / (high - low), 0])
        assert ours[band, frame] == pytest.approx(math.log(weight @ spectrum), abs=1e-4)


def test_notes_are_the_mean_of_near_bins_within_the_range():
    cents = 1200 * np.log2(np.array([110.0, 220.0, 655.0]) / 10)
    bins = 20 * np.arange(360) + 1997.3794084376191
    salience = 0.8 * np.exp(-0.5 * ((bins[None] - cents[:, None]) / 25) ** 2)
    hz, sure = tracking.decode(salience, CONFIG)
    assert np.abs(1200 * np.log2(hz / [110.0, 220.0, 655.0])).max() < 1
    assert (sure > 0.95).all()
    assert tracking.decode(0.03 / 0.8 * salience, CONFIG)[1] == pytest.approx(0.5, abs=0.01)
    salience[:, 0] = 1.0  # 31.7 Hz, below every voice
    assert tracking.decode(salience, CONFIG)[0] == pytest.approx(hz)
    edge = np.zeros((1, 360))
    edge[0, 359] = 0.5
    assert tracking.decode(edge, FeaturesConfig(f0_max=2100.0))[0] == pytest.approx(2006, rel=0.001)


def test_audio_is_heard_on_the_grid_of_all_trackers_and_in_chunks(monkeypatch: pytest.MonkeyPatch):
    bring("rmvpe", rmvpe())
    tracker = ears.tracker(CONFIG)
    assert tracker.tracker_id == "rmvpe-unverified-abababababab" and ears.tracker(CONFIG) is tracker
    audio = np.random.default_rng(1).normal(0, 0.1, 80000).astype(np.float32)
    hz, sure = tracker.hear(audio, CONFIG)
    assert hz.shape == sure.shape == (80000 // SWIFT_HOP,)
    notes = 10 * 2 ** ((1997.3794084376191 + 20 * np.array([140, 160])) / 1200)
    assert (np.abs(1200 * np.log2(hz[:, None] / notes)).min(1) < 10).all() and (sure > 0.9).all()
    assert tracker.hear(audio[:100], CONFIG)[0].shape == (1,)
    net = tracking.build(rmvpe())
    whole = tracking.salience(net, audio)
    monkeypatch.setattr(tracking, "CHUNK_FRAMES", 160)
    assert np.abs(tracking.salience(net, audio) - whole).max() < 0.02


@pytest.mark.usefixtures("reader_in_process")
def test_a_checkpoint_is_brought_and_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(hub.CATALOGUE, "rmvpe", replace(hub.entry("rmvpe"), sha256="", size=None))
    torch.save(rmvpe(), tmp_path / "rmvpe.pt")
    held = hub.download("rmvpe", source=tmp_path / "rmvpe.pt")
    assert held.state == "here (unverified)"
    assert ears.tracker(CONFIG).tracker_id == f"rmvpe-unverified-{held.source_sha256[:12]}"
    torch.save(rmvpe(seed=4), tmp_path / "rmvpe.pt")
    with pytest.raises(DownloadError, match="pinned at its first use"):
        hub.download("rmvpe", source=tmp_path / "rmvpe.pt")


def test_what_is_no_rmvpe_is_refused():
    with pytest.raises(DownloadError, match="rmvpe is not here; get it: resing models download rmvpe"):
        ears.tracker(CONFIG)
    bring("rmvpe", {"cnn.weight": torch.ones(3, 2, 3, 3)})
    with pytest.raises(DownloadError, match=r"is no rmvpe .* get it again: resing models download rmvpe"):
        ears.tracker(CONFIG)
    stored = rmvpe()
    bring("rmvpe", {n: t for n, t in stored.items() if n != "fc.1.bias"})
    with pytest.raises(DownloadError, match="is no rmvpe"):
        ears.tracker(CONFIG)
