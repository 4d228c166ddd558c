"""The networks: reach is as stated, adapters start as nothing and merge to the same."""

import pytest
import torch

from resing.config import AudioConfig, ModelConfig
from resing.nets.adapter import adapter_tensors, add_adapters, merge_adapters
from resing.nets.content import BLOCK, DENSE, ContentNet, LocalAttention
from resing.nets.convnext import ConvNeXtBlock, DepthwiseConv
from resing.synthesis.acoustic import build

TINY = ModelConfig(n_units=8, hidden=16, decoder_layers=2, denoiser_layers=2, speaker_dim=8)


def test_depthwise_filter_is_a_grouped_convolution() -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv(5, left=2, right=1, dilation=2)
    x = torch.randn(2, 30, 5)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (4, 2))
    expected = torch.nn.functional.conv1d(
        padded, layer.weight.T.unsqueeze(1), layer.bias, dilation=2, groups=5
    )
    torch.testing.assert_close(layer(x), expected.transpose(1, 2))


@pytest.mark.parametrize(("left", "right"), [(3, 3), (5, 2)])
def test_a_block_reaches_as_far_as_it_says(left: int, right: int) -> None:
    torch.manual_seed(0)
    block = ConvNeXtBlock(4, left=left, right=right)
    x = torch.randn(1, 40, 4, requires_grad=True)
    block(x)[0, 20].sum().backward()
    assert x.grad is not None
    touched = torch.nonzero(x.grad[0].abs().sum(-1)).flatten()
    assert (touched.min().item(), touched.max().item()) == (20 - left, 20 + right)
    assert block.reach == max(left, right)


def test_content_units_have_unit_mean_square_and_bounded_look_ahead() -> None:
    torch.manual_seed(0)
    net = ContentNet(n_mels=10, hidden=16, layers=3, n_units=6, left=2, right=1)
    mel = torch.randn(1, 10, 80)
    units = net(mel)
    torch.testing.assert_close(units.square().mean(1), torch.ones(1, 40), atol=1e-3, rtol=0)
    changed = mel.clone()
    changed[..., 2 * 20 :] += 1.0
    same = (net(changed) - units).abs().amax(1)[0] < 1e-6
    assert same[: 20 - net.right_frames].all() and not same[20]


def test_adapters_start_as_nothing_train_alone_and_merge_to_the_same() -> None:
    torch.manual_seed(0)
    net = build(TINY, AudioConfig())
    score, voice, speaker = torch.randn(1, 20, 8 + 3), None, torch.randn(1, 8)
    voice = net.voice(speaker)
    before = net.decode(score, voice)
    add_adapters(net, rank=2)
    torch.testing.assert_close(net.decode(score, net.voice(speaker)), before)
    mine = adapter_tensors(net)
    assert mine and all(name.endswith((".up", ".down")) for name in mine)
    assert {n for n, p in net.named_parameters() if p.requires_grad} == set(mine)
    with torch.no_grad():
        for parameter in mine.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    changed = net.decode(score, net.voice(speaker))
    assert (changed - before).abs().max() > 1e-4
    merge_adapters(net)
    assert not adapter_tensors(net)
    torch.testing.assert_close(net.decode(score, net.voice(speaker)), changed)


@pytest.mark.parametrize("frames", [2 * BLOCK + 7, DENSE + BLOCK + 7])
def test_local_attention_is_attention_with_a_band_and_a_bias_for_distance(frames: int) -> None:
    torch.manual_seed(0)
    attention = LocalAttention(hidden=128, left=5, right=2)
    torch.nn.init.normal_(attention.distance)
    x = torch.randn(2, frames, 128)
    query, key, value = (
        part.view(2, frames, 2, 64).transpose(1, 2) for part in attention.enter(x).chunk(3, -1)
    )
    apart = torch.arange(frames) - torch.arange(frames)[:, None]
    band = torch.where(
        (apart >= -5) & (apart <= 2), attention.distance[:, (apart + 5).clamp(0, 7)], float("-inf")
    )
    mixed = ((query @ key.mT / 8.0 + band).softmax(-1) @ value).transpose(1, 2).reshape(2, frames, 128)
    torch.testing.assert_close(attention(x), attention.leave(mixed))
