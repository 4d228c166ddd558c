"""The acoustic model: every target trains and samples, windows equal the whole, wrong samplers fail."""

import pytest
import torch

from resing.config import AudioConfig, ModelConfig
from resing.errors import ConfigError
from resing.synthesis.acoustic import GUIDED_FRAMES, AcousticModel, build, denormalise, normalise, save_base
from resing.training.acoustic import AcousticBatch, acoustic_loss, mel_mask
from resing.training.loop import Randomness

AUDIO = AudioConfig()


def tiny(target: str = "flow") -> ModelConfig:
    return ModelConfig(
        n_units=8, hidden=24, decoder_layers=2, denoiser_layers=2, speaker_dim=8, target=target
    )


def score(frames: int) -> dict[str, torch.Tensor]:
    return {
        "units": torch.randn(1, 8, frames),
        "f0": torch.full((1, frames), 220.0),
        "voiced": torch.ones(1, frames),
        "loudness": torch.full((1, frames), -10.0),
        "speaker": torch.randn(1, 8),
    }


def batch(frames: int = 40) -> AcousticBatch:
    parts = score(frames)
    parts.pop("speaker")
    return AcousticBatch(
        torch.randn(1, 128, frames) - 5,
        **parts,
        bandwidth=torch.tensor([12000.0]),
        valid=torch.ones(1, frames),
    )


@pytest.mark.parametrize(
    ("target", "sampler"),
    [("flow", "euler"), ("flow", "heun"), ("ddpm-eps", "ddim"), ("ddpm-v", "dpm-solver++")],
)
def test_every_target_learns_one_clip_and_samples_it(target: str, sampler: str) -> None:
    torch.manual_seed(0)
    config = tiny(target)
    net = build(config, AUDIO)
    clip, speaker = batch(), torch.randn(1, 8)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for step in range(60):
        loss, _ = acoustic_loss(net, clip, speaker, config, AUDIO, Randomness.at(0, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    model = AcousticModel(net, config)
    parts = {
        "units": clip.units,
        "f0": clip.f0,
        "voiced": clip.voiced,
        "loudness": clip.loudness,
        "speaker": speaker,
    }
    noise = torch.randn(1, 128, 40)
    mel = model.sample(**parts, noise=noise, sampler=sampler, steps=3)
    assert mel.shape == (1, 128, 40) and torch.isfinite(mel).all()
    assert torch.equal(mel, model.sample(**parts, noise=noise, sampler=sampler, steps=3))


@pytest.mark.parametrize(("sampler", "steps"), [("euler", 3), ("heun", 2)])
def test_a_window_with_its_halo_is_the_whole(sampler: str, steps: int) -> None:
    torch.manual_seed(0)
    net = build(tiny(), AUDIO)
    torch.nn.init.normal_(net.denoiser.leave.weight, std=0.05)
    model = AcousticModel(net, tiny())
    frames, halo = 150, model.halo_frames(sampler, steps)
    parts, noise = score(frames), torch.randn(1, 128, frames)
    whole = model.sample(**parts, noise=noise, sampler=sampler, steps=steps)
    start, stop = 60, 90
    first, last = start - halo, stop + halo
    assert first > 0 and last < frames
    cut = {k: v if k == "speaker" else v[..., first:last] for k, v in parts.items()}
    window = model.sample(**cut, noise=noise[..., first:last], sampler=sampler, steps=steps)
    assert (window[..., halo:-halo] - whole[..., start:stop]).abs().max() < 1e-4


def test_a_sampler_that_does_not_fit_is_refused() -> None:
    model = AcousticModel(build(tiny(), AUDIO), tiny())
    with pytest.raises(
        ConfigError, match="sampler ddim does not fit a flow model; choose one of euler, heun"
    ):
        model.sample(**score(10), noise=torch.zeros(1, 128, 10), sampler="ddim", steps=2)


def test_bands_above_a_recordings_bandwidth_are_not_judged() -> None:
    mask = mel_mask(torch.tensor([8000.0, 22050.0]), AUDIO)
    assert mask[1].all() and not mask[0].all()
    torch.manual_seed(0)
    net, clip, speaker = build(tiny(), AUDIO), batch(), torch.randn(1, 8)
    losses = []
    for lift in (0.0, 3.0):
        changed = clip.mel + lift * (1 - mel_mask(clip.bandwidth, AUDIO))
        raised = AcousticBatch(
            changed, clip.units, clip.f0, clip.voiced, clip.loudness, clip.bandwidth, clip.valid
        )
        losses.append(
            float(acoustic_loss(net, raised, speaker, tiny(), AUDIO, Randomness.at(0, 0))[0].detach())
        )
    assert losses[0] == losses[1]


def test_normalisation_is_undone() -> None:
    mel = torch.randn(1, 128, 4)
    torch.testing.assert_close(denormalise(normalise(mel)), mel)


def test_a_base_survives_the_disk(tmp_path) -> None:
    torch.manual_seed(0)
    net, config = build(tiny(), AUDIO), tiny()
    save_base(tmp_path / "base.safetensors", AcousticModel(net, config), AUDIO, trained_on=["nothing"])
    again = AcousticModel.load(tmp_path / "base.safetensors")
    assert again.config == config and len(again.base_hash) == 64
    parts = score(12)
    a, b = (
        m.sample(**parts, noise=torch.zeros(1, 128, 12), sampler="euler", steps=0)
        for m in (AcousticModel(net, config), again)
    )
    torch.testing.assert_close(a, b, atol=0.02, rtol=0.01)


def test_guidance_goes_beyond_the_speaker_by_its_share_of_the_way_from_the_other() -> None:
    torch.manual_seed(4)
    config = tiny()
    net = build(config, AUDIO)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model = AcousticModel(net, config)
    parts, other = score(120), torch.randn(1, 8)
    settings = {"noise": torch.randn(1, 128, 120), "sampler": "heun", "steps": 1}
    mine = model.sample(**parts, **settings)
    guided = model.sample(**parts, **settings, away=other, guidance=0.5)
    first, theirs = (
        model.sample(**parts | {"speaker": who}, noise=settings["noise"], sampler="heun", steps=0)
        for who in (parts["speaker"], other)
    )
    usual = (first - theirs)[..., 60 - GUIDED_FRAMES : 61 + GUIDED_FRAMES].mean(-1)
    assert usual.abs().mean() > 0.1
    torch.testing.assert_close(guided[..., 60], mine[..., 60] + 0.5 * usual, atol=1e-3, rtol=0)
    assert torch.equal(model.sample(**parts, **settings, away=other, guidance=0.0), mine)
    cut = {k: v[..., 8:112] if k != "speaker" else v for k, v in parts.items()}
    window = {"noise": settings["noise"][..., 8:112], "sampler": "heun", "steps": 1}
    reach = model.halo_frames("heun", 1)
    inside = model.sample(**cut, **window, away=other, guidance=0.5)[..., reach:-reach]
    torch.testing.assert_close(inside, guided[..., 8 + reach : 112 - reach], atol=1e-4, rtol=0)
