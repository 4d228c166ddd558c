"""Songs taken apart: the network, the windows, the sum, and what real songs give."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from resing.audio.files import read
from resing.errors import AudioError, ConfigError, DownloadError
from resing.nets.unet import SLOPE, UNet
from resing.separation import Separation, separate, separated
from resing.separation_a_cappella import a_cappella_margin_db, is_a_cappella
from resing.separation_htdemucs import SHA256, HTDemucsSeparator
from resing.separation_unet import SCALE, UNetSeparator, embedded, from_bytes, save_separator, to_bytes


class Toy:
    """A separator whose answer is known: a function of the window, which is 2.5 s long, every 2 s."""

    separator_id, sample_rate, window_samples, hop_seconds = "toy", 44100, 110250, 2

    def __init__(self, hear: Callable[[np.ndarray], np.ndarray]) -> None:
        self.hear, self.windows = hear, 0

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        assert audio.shape == (2, self.window_samples) and audio.dtype == np.float32
        self.windows += 1
        return self.hear(audio)


RAMP = np.linspace(0, 1, Toy.window_samples, dtype=np.float32)


def song(seconds: float, rate: int, channels: int, seed: int = 0) -> np.ndarray:
    """Noise below 0.4 of the rate, in range even when doubled, (N, channels) in 16-bit steps."""
    noise = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    spectrum = np.fft.rfft(noise, axis=0)
    spectrum[round(0.4 * len(noise)) :] = 0
    audio = np.fft.irfft(spectrum, len(noise), axis=0)
    return np.round(audio * 0.2 / np.abs(audio).max() * 2**15) / 2**15


def integers(path: Path) -> np.ndarray:
    """A file's samples as 24-bit integers, (N, channels)."""
    return soundfile.read(path, dtype="int32", always_2d=True)[0] // 256


@pytest.fixture
def take_apart(tmp_path: Path) -> Callable[..., tuple[Separation, np.ndarray, np.ndarray, np.ndarray]]:
    """Separate samples, (N, channels): what is told, and mix, vocals and accompaniment in 24 bits."""

    def take(audio: np.ndarray, rate: int, separator: object, **part: float):
        source = tmp_path / "song.wav"
        soundfile.write(source, audio, rate, "PCM_24")
        told = separate(source, tmp_path / "v.flac", tmp_path / "a.wav", separator, **part)
        return told, integers(source), integers(told.vocals), integers(told.accompaniment)

    return take


def naive_unet(net: UNet, magnitudes: np.ndarray) -> np.ndarray:
    """The network's two layers down and two up, cell by cell, for (2, T, K)."""
    p = {name: tensor.double().numpy() for name, tensor in net.state_dict().items()}

    def down(x: np.ndarray, level: int) -> np.ndarray:
        weight, bias = p[f"down.{level}.weight"], p[f"down.{level}.bias"]
        out = np.zeros((len(weight), x.shape[1] // 2, x.shape[2] // 2)) + bias[:, None, None]
        for t, k, u, v in np.ndindex(*out.shape[1:], 5, 5):
            if 0 <= 2 * t + u - 1 < x.shape[1] and 0 <= 2 * k + v - 1 < x.shape[2]:
                out[:, t, k] += weight[:, :, u, v] @ x[:, 2 * t + u - 1, 2 * k + v - 1]
        return out

    def up(x: np.ndarray, level: int) -> np.ndarray:
        weight, bias = p[f"up.{level}.weight"], p[f"up.{level}.bias"]
        out = np.zeros((weight.shape[1], 2 * x.shape[1], 2 * x.shape[2])) + bias[:, None, None]
        for t, k, u, v in np.ndindex(*x.shape[1:], 5, 5):
            if 0 <= 2 * t + u - 1 < out.shape[1] and 0 <= 2 * k + v - 1 < out.shape[2]:
                out[:, 2 * t + u - 1, 2 * k + v - 1] += weight[:, :, u, v].T @ x[:, t, k]
        return affine(np.maximum(out, 0), f"up_affine.{level}")

    def affine(x: np.ndarray, name: str) -> np.ndarray:
        return x * p[f"{name}.scale"] + p[f"{name}.shift"]

    first = down(magnitudes, 0)
    act = affine(first, "down_affine.0")
    x = up(down(np.where(act > 0, act, SLOPE * act), 1), 0)
    x = up(np.concatenate([first, x]), 1)
    logits = np.zeros_like(magnitudes) + p["leave.bias"][:, None, None]
    for t, k, u, v in np.ndindex(*magnitudes.shape[1:], 4, 4):
        if 0 <= t + 2 * u - 3 < x.shape[1] and 0 <= k + 2 * v - 3 < x.shape[2]:
            logits[:, t, k] += p["leave.weight"][:, 0, u, v] * x[0, t + 2 * u - 3, k + 2 * v - 3]
    return magnitudes / (1 + np.exp(-logits))


def test_the_network_is_what_its_formulas_say() -> None:
    torch.manual_seed(0)
    net = UNet((3, 4)).requires_grad_(False)
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.5)
    magnitudes = torch.rand(1, 2, 8, 12)
    np.testing.assert_allclose(net(magnitudes)[0], naive_unet(net, magnitudes[0].double().numpy()), atol=1e-5)


def test_a_network_of_zeros_takes_half() -> None:
    net = UNet().requires_grad_(False)
    for parameter in net.parameters():
        parameter.zero_()
    magnitudes = torch.rand(1, 2, 64, 128)
    torch.testing.assert_close(net(magnitudes), magnitudes / 2)
    separator = UNetSeparator(net, net)
    audio = np.random.default_rng(0).standard_normal((2, 63 * 1024)).astype(np.float32)
    np.testing.assert_allclose(separator(audio), audio / 2, atol=1e-5)


def test_eight_bits_are_off_by_half_a_step_at_most(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = UNet().requires_grad_(False)
    tensors = net.state_dict()
    stored = to_bytes(tensors)
    assert stored["up.0.weight"].dtype == torch.int8 and stored["leave.weight"].dtype == torch.float16
    assert stored["up.0.weight" + SCALE].shape == (1, 256, 1, 1)
    again = from_bytes(stored)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        step = stored[name + SCALE].float() if name + SCALE in stored else tensor.abs().max() / 1024
        assert ((again[name] - tensor).abs() <= 0.51 * step).all()
    save_separator(tmp_path / "s.safetensors", net, net, licence="none")
    torch.testing.assert_close(
        UNetSeparator.load(tmp_path / "s.safetensors").vocals.state_dict(), from_bytes(stored)
    )


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_vocals_and_accompaniment_are_the_mix_in_time_and_in_sum(
    take_apart, rate: int, channels: int
) -> None:
    audio = song(5.3, rate, channels)
    told, mix, vocals, accompaniment = take_apart(audio, rate, Toy(lambda x: 2 * x))
    np.testing.assert_array_equal(vocals + accompaniment, mix)
    assert (told.sample_rate, told.channels, told.separator_id) == (rate, channels, "toy")
    assert told.seconds == len(audio) / rate and vocals.shape == audio.shape
    middle = slice(rate // 10, -rate // 10)
    within = 1 if rate == 44100 else 2**23 * 2e-4
    if rate < 60000:
        np.testing.assert_allclose(vocals[middle], 2 * mix[middle], atol=within)
    product = np.fft.rfft(vocals[:, 0]) * np.conj(np.fft.rfft(mix[:, 0]))
    assert np.argmax(np.fft.irfft(product, len(mix))) == 0
    assert told.accompaniment_db == pytest.approx(-6.02, abs=0.01) or rate > 60000


def test_windows_are_joined_as_if_all_were_heard_at_once(take_apart) -> None:
    audio = song(8.7, 44100, 2)
    _, _, vocals, _ = take_apart(audio, 44100, Toy(lambda x: x * RAMP))
    hop, window = 2 * 44100, Toy.window_samples
    expected, weights = np.zeros((len(audio) + window, 2)), np.zeros((len(audio) + window, 1))
    edge = np.clip(((np.arange(window - hop) + 0.5) / (window - hop) - 0.25) * 2, 0, 1)
    for start in range(0, len(audio), hop):
        weight = np.ones(window)
        if start:
            weight[: window - hop] = edge
        weight[hop:] = 1 - edge
        heard = audio[start : start + window]
        expected[start : start + len(heard)] += heard * (RAMP * weight)[: len(heard), None]
        weights[start : start + window] += weight[:, None]
    expected = expected[: len(audio)] / np.maximum(weights[: len(audio)], 1e-9)
    np.testing.assert_allclose(vocals / 2**23, expected, atol=2e-7)


@pytest.mark.parametrize("rate", [44100, 48000, 22050])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.5), (2.2, 4.4), (4.61, None), (6.0, 99.0)])
def test_a_part_is_that_part_of_the_whole(take_apart, rate: int, start: float, end: float | None) -> None:
    audio = song(8.7, rate, 2)
    separator = Toy(lambda x: x * RAMP)
    _, mix, whole, _ = take_apart(audio, rate, separator)
    separator.windows = 0
    told, _, part, rest = take_apart(audio, rate, separator, start_seconds=start, end_seconds=end)
    first, last = round(start * rate), None if end is None else round(end * rate)
    assert len(part) == len(whole[first:last]) and separator.windows <= 4
    np.testing.assert_allclose(part, whole[first:last], atol=2**23 * 1e-5)
    np.testing.assert_array_equal(part + rest, mix[first:last])
    assert told.seconds == len(part) / rate


def test_vocals_beyond_full_scale_do_not_break_the_sum(take_apart) -> None:
    audio = np.sign(song(1.0, 44100, 2)) * (1 - 2.0**-15)
    _, mix, vocals, accompaniment = take_apart(audio, 44100, Toy(lambda x: -3 * x))
    np.testing.assert_array_equal(vocals + accompaniment, mix)
    assert vocals.min() >= -(2**23) and vocals.max() < 2**23


def test_more_than_24_bits_are_rounded_before_they_are_parted(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-1.3, 1.3, (4000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", audio, 44100, "FLOAT")
    for vocals, accompaniment in separated(tmp_path / "song.wav", Toy(lambda x: 0.7 * x)):
        assert vocals.dtype == accompaniment.dtype == np.float32
        for part in (vocals, accompaniment):
            assert part.min() >= -1 and part.max() < 1
            np.testing.assert_array_equal(part * 2**23, np.round(part * 2**23))
        np.testing.assert_allclose(vocals + accompaniment, audio.T, atol=2.0**-24)


def test_silence_stays_silent_and_is_not_worked_at(take_apart) -> None:
    separator = Toy(lambda x: x + 1)
    told, _, vocals, accompaniment = take_apart(np.zeros((100000, 2)), 44100, separator)
    assert not vocals.any() and not accompaniment.any()
    assert separator.windows == 0 and told.accompaniment_db == 0
    quiet = np.zeros((2, embedded().window_samples), np.float32)
    assert not embedded()(quiet).any()


def test_progress_is_told_in_seconds(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", song(5.0, 44100, 1), 44100)
    told: list[tuple[str, float, float]] = []
    out = tmp_path / "v.wav", tmp_path / "a.wav"
    separate(tmp_path / "song.wav", *out, Toy(lambda x: x), progress=lambda *what: told.append(what))
    assert told == [("separate", 2.0, 5.0), ("separate", 4.0, 5.0), ("separate", 5.0, 5.0)]


def test_what_cannot_be_done_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    source, vocals, accompaniment = (tmp_path / name for name in ("song.wav", "v.wav", "a.wav"))
    soundfile.write(source, song(1.0, 44100, 4), 44100)
    with pytest.raises(AudioError, match="has 4 channels, expected mono or stereo; export a stereo mix"):
        separate(source, vocals, accompaniment)
    soundfile.write(source, song(1.0, 44100, 2), 44100)
    with pytest.raises(AudioError, match="both the vocals and the accompaniment; give them two names"):
        separate(source, vocals, vocals)
    with pytest.raises(AudioError, match="is the input itself"):
        separate(source, vocals, source)
    with pytest.raises(AudioError, match="nothing after 3 s"):
        separate(source, vocals, accompaniment, Toy(lambda x: x), start_seconds=3.0)
    with pytest.raises(KeyboardInterrupt):
        separate(source, vocals, accompaniment, Toy(interrupt))
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


def interrupt(audio: np.ndarray) -> np.ndarray:
    raise KeyboardInterrupt


def test_a_voice_alone_leaves_little_or_rests(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    audio = song(7.0, 44100, 2)
    soundfile.write(path, audio, 44100)
    little, much = (Toy(lambda x, gain=gain: (1 - gain) * x) for gain in (0.05, 0.3))
    assert is_a_cappella(path, little) and little.windows == 3
    assert not is_a_cappella(path, much)
    audio[80000:100000] = audio[200000:220000] = 0
    soundfile.write(path, audio, 44100)
    assert is_a_cappella(path, much)
    soundfile.write(path, np.zeros((1000, 1)), 44100)
    assert a_cappella_margin_db(path, much) == -np.inf and not is_a_cappella(path, much)


def test_silence_before_and_after_is_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    edges = np.zeros((30000, 2))
    soundfile.write(path, np.concatenate([edges, song(0.6, 44100, 2), edges]), 44100)
    assert not is_a_cappella(path, Toy(lambda x: 0.7 * x))


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (J. Le Roux et al., ICASSP 2019)."""
    target = (estimate.ravel() @ reference.ravel()) / (reference.ravel() @ reference.ravel()) * reference
    return float(10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2)))


def test_a_real_voice_is_found_in_a_real_accompaniment(
    shared_file: Callable[[str], Path], tmp_path: Path
) -> None:
    voice = shared_file("pjs/pjs_singer/pjs076_song.opus")
    band = shared_file("everythingisfree/2.Lithium/2.Lithium_accompaniment.opus")
    sung = read(voice, 48000, False, 1, 10)[0].astype(np.float64)
    played = read(band, 48000, False, 180, 189)[0].astype(np.float64)
    played *= np.sqrt(np.mean(sung**2) / np.mean(played**2))
    soundfile.write(tmp_path / "song.wav", 0.5 * (sung + played).T, 48000)
    told = separate(tmp_path / "song.wav", tmp_path / "v.wav", tmp_path / "a.wav")
    assert told.separator_id == embedded().separator_id
    vocals, accompaniment = (
        soundfile.read(path, always_2d=True)[0].T for path in (told.vocals, told.accompaniment)
    )
    assert si_sdr(np.repeat(sung, 2, axis=0), vocals) > 9
    assert si_sdr(played, accompaniment) > 9
    assert not is_a_cappella(tmp_path / "song.wav")


def test_a_real_voice_alone_is_known(shared_file: Callable[[str], Path]) -> None:
    assert a_cappella_margin_db(shared_file("vocadito/vocadito_1/vocadito_1.flac")) > 5


def test_htdemucs_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "demucs.hf", None)
    with pytest.raises(ConfigError, match=r"pip install 'resing\[separate\]'"):
        HTDemucsSeparator.load()


def test_htdemucs_opens_only_the_published_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"others")

    def fetch(repository: str, file: str, revision: str) -> str:
        if not (tmp_path / "weights").exists():
            raise FileNotFoundError("offline")
        return str(tmp_path / "weights")

    opened: list[str] = []
    monkeypatch.setitem(sys.modules, "demucs", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "demucs.hf", SimpleNamespace(load_safetensors_model=opened.append))
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fetch))
    with pytest.raises(DownloadError, match=f"expected {SHA256}; delete it"):
        HTDemucsSeparator.load()
    (tmp_path / "weights").unlink()
    with pytest.raises(DownloadError, match="could not be fetched"):
        HTDemucsSeparator.load()
    assert opened == []


@pytest.mark.skipif(not importlib.util.find_spec("demucs"), reason="needs the extra 'separate'")
def test_htdemucs_takes_a_song_apart(take_apart) -> None:
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    sources = ["drums", "bass", "other", "vocals"]
    model = HTDemucs(sources, channels=8, t_layers=1, t_heads=2, bottom_channels=16, segment=2)
    separator = HTDemucsSeparator(model)
    assert (separator.window_samples, separator.hop_seconds) == (2 * 44100, 2)
    audio = song(3.3, 48000, 1)
    told, mix, vocals, accompaniment = take_apart(audio, 48000, separator)
    np.testing.assert_array_equal(vocals + accompaniment, mix)
    assert vocals.shape == audio.shape and vocals.any() and np.isfinite(told.accompaniment_db)
    window = np.random.default_rng(0).standard_normal((2, separator.window_samples)).astype(np.float32)
    direct = model(torch.from_numpy(window)[None])[0, 3]
    np.testing.assert_allclose(separator(window), direct.detach(), atol=1e-6)
