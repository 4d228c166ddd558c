"""Diff-SVC voices: their arithmetic against a plain NumPy reading of it, and their way into a voice file."""

import json
import math
from pathlib import Path
from typing import Any

import community
import numpy as np
import pytest
import torch

from resing import checkpoint, cli
from resing.conversion import Converter
from resing.errors import ConfigError, DownloadError, VoiceError
from resing.importers import diff_svc as importer
from resing.importers.diff_svc import Facts
from resing.scoring.target import Target
from resing.synthesis import diff_svc
from resing.synthesis.diff_svc import DiffSvcModel
from resing.synthesis.noise import frame_noise
from resing.voice import Voice

pytestmark = pytest.mark.usefixtures("reader_in_process")
FACTS = Facts(consent="my own voice", licence="private")
FAMILIES = list(community.FAMILIES)


def imported(folder: Path, family: str, facts: Facts = FACTS, **changes: Any) -> Voice:
    config = community.settings(family, **(community.SMALL | changes))
    return importer.read(*community.write_voice(folder, config), facts)


def model_of(voice: Voice) -> DiffSvcModel:
    assert isinstance(voice.acoustic, DiffSvcModel)
    return voice.acoustic


# -- an independent reading of the format, in float64


class Reading:
    """What a checkpoint and its settings say, followed step by step."""

    def __init__(self, config: dict[str, Any], stored: dict[str, Any]) -> None:
        self.config = config
        self.w = {
            name.removeprefix("model."): tensor.double().numpy()
            for name, tensor in stored["state_dict"].items()
        }

    def condition(self, units: np.ndarray, f0: np.ndarray) -> np.ndarray:
        frames, count = len(f0), units.shape[1]
        per_unit, start = frames / count, 0
        cond = np.zeros((units.shape[0], frames))
        for i in range(count):
            end = math.floor(i * per_unit + per_unit + 0.5)
            cond[:, start : end + 1] = units[:, i : i + 1]
            start = end + 1
        low, high = (1127 * math.log(1 + self.config[k] / 700) for k in ("f0_min", "f0_max"))
        for t, hz in enumerate(f0):
            mel = 1127 * math.log(1 + min(hz, self.config["f0_max"]) / 700)
            row = 1 + (mel - low) * (self.config["f0_bin"] - 2) / (high - low)
            row = int(min(max(row, 1), self.config["f0_bin"] - 1) + 0.5)
            cond[:, t] += self.w["fs2.pitch_embed.weight"][row]
        return cond

    def conv(self, x: np.ndarray, name: str, dilation: int = 1) -> np.ndarray:
        weight, bias = self.w[f"denoise_fn.{name}.weight"], self.w[f"denoise_fn.{name}.bias"]
        taps, frames = weight.shape[2], x.shape[1]
        reach = (taps - 1) // 2 * dilation
        padded = np.pad(x, ((0, 0), (reach, reach)))
        parts = [weight[:, :, k] @ padded[:, k * dilation : k * dilation + frames] for k in range(taps)]
        return sum(parts) + bias[:, None]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.w[f"denoise_fn.{name}.weight"] @ x + self.w[f"denoise_fn.{name}.bias"]

    def noise(self, x: np.ndarray, t: int, cond: np.ndarray) -> np.ndarray:
        c = self.config["residual_channels"]
        rates = np.exp(-np.arange(c // 2) * math.log(10000) / (c // 2 - 1))
        step = self.linear(np.concatenate([np.sin(t * rates), np.cos(t * rates)]), "mlp.0")
        step = self.linear(step * np.tanh(np.log1p(np.exp(step))), "mlp.2")
        x = np.maximum(self.conv(x, "input_projection"), 0)
        layers, total = self.config["residual_layers"], 0.0
        for i in range(layers):
            stem, dilation = f"residual_layers.{i}", 2 ** (i % self.config["dilation_cycle_length"])
            y = x + self.linear(step, f"{stem}.diffusion_projection")[:, None]
            y = self.conv(y, f"{stem}.dilated_conv", dilation)
            y = y + self.conv(cond, f"{stem}.conditioner_projection")
            y = self.conv(1 / (1 + np.exp(-y[:c])) * np.tanh(y[c:]), f"{stem}.output_projection")
            x, total = (x + y[:c]) / math.sqrt(2), total + y[c:]
        x = np.maximum(self.conv(total / math.sqrt(layers), "skip_projection"), 0)
        return self.conv(x, "output_projection")

    def plms(self, x: np.ndarray, cond: np.ndarray, interval: int) -> np.ndarray:
        bars, past = np.cumprod(1 - self.w["betas"]), []

        def moved(x: np.ndarray, e: np.ndarray, t: int) -> np.ndarray:
            a, p = bars[t], bars[max(t - interval, 0)]
            root, root_p = math.sqrt(a), math.sqrt(p)
            of_noise = root * (math.sqrt((1 - p) * a) + math.sqrt((1 - a) * p))
            return x + (p - a) * (x / (root * (root + root_p)) - e / of_noise)

        for t in reversed(range(0, self.config["K_step"], interval)):
            e = self.noise(x, t, cond)
            if not past:
                ahead = self.noise(moved(x, e, t), max(t - interval, 0), cond)
                used = (e + ahead) / 2
            elif len(past) == 1:
                used = (3 * e - past[-1]) / 2
            elif len(past) == 2:
                used = (23 * e - 16 * past[-1] + 5 * past[-2]) / 12
            else:
                used = (55 * e - 59 * past[-1] + 37 * past[-2] - 9 * past[-3]) / 24
            x = moved(x, used, t)
            past.append(e)
        return x

    def ancestral(self, x: np.ndarray, cond: np.ndarray, noise: Any) -> np.ndarray:
        b = self.w["betas"]
        bars = np.cumprod(1 - b)
        for t in reversed(range(self.config["K_step"])):
            before = bars[t - 1] if t else 1.0
            x0 = (x - math.sqrt(1 - bars[t]) * self.noise(x, t, cond)) / math.sqrt(bars[t])
            x0 = np.clip(x0, -1, 1)
            x = (
                math.sqrt(before) * b[t] / (1 - bars[t]) * x0
                + math.sqrt(1 - b[t]) * (1 - before) / (1 - bars[t]) * x
            )
            if t:
                x = x + math.sqrt(b[t] * (1 - before) / (1 - bars[t])) * noise(t - 1)
        return x

    def mel(self, x: np.ndarray) -> np.ndarray:
        low, high = (self.w[k].reshape(-1, 1) for k in ("spec_min", "spec_max"))
        return (x + 1) / 2 * (high - low) + low


def fixed_features(frames: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Units (256, U) and a melody that leaves the table of pitches at both ends, (T,) Hz."""
    units = np.random.default_rng(0).normal(size=(256, count)).astype(np.float32)
    return units, np.geomspace(30.0, 1400.0, frames)


def noises(bands: int, frames: int) -> Any:
    return lambda k: frame_noise(7 * (k + 1), 0, frames, bands).double().numpy()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sampler", ["plms", "ancestral"])
def test_the_mel_is_that_of_an_independent_reading(family: str, sampler: str, tmp_path: Path):
    config = community.settings(family, **community.SMALL)
    model = model_of(imported(tmp_path, family))
    reading = Reading(config, community.checkpoint(config))
    units, f0 = fixed_features(frames := 21, 13)
    noise, cond = noises(config["audio_num_mel_bins"], frames), reading.condition(units, f0)
    ours = model.condition(units, f0, 0, frames)
    assert np.abs(ours[0].numpy() - cond).max() < 1e-5
    if sampler == "plms":
        steps, wanted = 50, reading.plms(noise(config["timesteps"]), cond, 20)
    else:
        steps, wanted = 1000, reading.ancestral(noise(config["timesteps"]), cond, noise)
    got = model.own_mel(ours, sampler=sampler, steps=steps)[0].numpy()
    # Nothing holds untrained weights in a mel's range: PLMS ends at several hundred.
    assert np.abs(got - reading.mel(wanted)).max() < 1e-5 * max(5.0, np.abs(wanted).max())
    model.net.double()
    got = model.own_mel(torch.from_numpy(cond)[None], sampler=sampler, steps=steps)[0].numpy()
    assert np.abs(got - reading.mel(wanted)).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_true_shapes(family: str, tmp_path: Path):
    config = community.settings(family, K_step=300)
    voice = importer.read(*community.write_voice(tmp_path, config), FACTS)
    model = model_of(voice)
    assert model.net.denoise_fn.reach == 75
    reading = Reading(config, community.checkpoint(config))
    units, f0 = fixed_features(frames := 6, 4)
    cond, noise = reading.condition(units, f0), noises(config["audio_num_mel_bins"], frames)
    wanted = reading.mel(reading.plms(noise(config["timesteps"]), cond, 100))
    got = model.own_mel(model.condition(units, f0, 0, frames), sampler="plms", steps=3)[0].numpy()
    assert np.abs(got - wanted).max() < 1e-4


def test_the_schedule_is_the_configs_where_the_checkpoint_has_none(tmp_path: Path):
    for kind in ("linear", "cosine"):
        config = community.settings("44.1 kHz", **community.SMALL, schedule_type=kind)
        path, text = community.write_voice(tmp_path, config)
        stored = community.checkpoint(config)
        for name in ("betas", "alphas_cumprod", "spec_min", "spec_max"):
            del stored["state_dict"][f"model.{name}"]
        torch.save(stored, path)
        voice = importer.read(path, text, FACTS)
        assert torch.allclose(voice.merged["betas"], community.betas(config).float())
        assert voice.merged["spec_min"].tolist() == [-5.0] * 128


# -- pitch and units


def test_high_notes_keep_the_highest_pitch_and_low_ones_the_lowest(tmp_path: Path):
    shape = model_of(imported(tmp_path, "44.1 kHz")).config
    rows = diff_svc.pitch_rows(np.array([10.0, 40.0, 440.0, 1100.0, 1500.0, 4000.0]), shape)
    assert rows[0] == rows[1] == 1 and rows[3] == rows[4] == rows[5] == 255
    assert rows[2] == int(1 + (549.64 - 62.62) * 254 / (1066.40 - 62.62) + 0.5)


@pytest.mark.parametrize(("units", "frames"), [(50, 87), (13, 21), (1, 5), (7, 3), (400, 1500)])
def test_every_frame_has_a_unit(units: int, frames: int):
    held = diff_svc.unit_of_frames(units, frames)
    assert held[0] == 0 and (np.diff(held) >= 0).all() and held[-1] <= units - 1
    if frames >= units:
        assert set(held) == set(range(units))


def test_the_house_mel_of_a_24_khz_voice_is_near_that_of_the_sound(sung_phrase: Any):
    """A sung phrase as a 24 kHz voice's mel, moved to the house grid, against its own house mel."""
    import soxr

    from resing.audio.mel import log_mel
    from resing.config import AudioConfig

    names = {"audio_sample_rate": "sample_rate", "hop_size": "hop_length", "win_size": "win_length"}
    names |= {"fft_size": "n_fft", "audio_num_mel_bins": "n_mels", "fmin": "f_min", "fmax": "f_max"}
    own = AudioConfig(**{ours: community.FAMILIES["24 kHz"][theirs] for theirs, ours in names.items()})
    audio = sung_phrase([(220.0, 0.8), (330.0, 0.8), (440.0, 0.8)])
    house = log_mel(torch.from_numpy(audio)[None], AudioConfig())
    low = log_mel(torch.from_numpy(soxr.resample(audio, 44100, 24000))[None], own)
    frames = house.shape[-1]
    moved = diff_svc.to_house(low, own, 0, 0, frames)
    assert moved.shape == house.shape
    heard = house[0, :100].exp() > 0.02
    difference = (moved - house)[0, :100][heard]
    assert abs(float(difference.median())) < 0.5
    part = diff_svc.to_house(low[..., 150:400], own, 150, 80, 170)
    assert torch.allclose(part, moved[..., 80:170], atol=1e-5)


# -- a network that has learnt little


class Doubtful(torch.nn.Module):
    """Says of everything that four fifths of it is noise."""

    reach = 0

    def forward(self, x: torch.Tensor, k: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        return 0.8 * x


@pytest.mark.parametrize("sampler", ["dpm-solver++", "ddim", "ancestral"])
def test_what_is_not_yet_known_of_pure_noise_stays_within_the_range_of_mels(sampler: str, tmp_path: Path):
    model = model_of(imported(tmp_path, "44.1 kHz"))
    model.net.denoise_fn = Doubtful()
    mel = model.own_mel(torch.zeros(1, model.config.hidden, 40), sampler=sampler, steps=20)[0]
    low, high = model.net.spec_min[:, None] - 1e-3, model.net.spec_max[:, None] + 1e-3
    assert bool(((mel >= low) & (mel <= high)).all())


# -- windows


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sampler", ["plms", "dpm-solver++", "ddim", "ancestral"])
def test_a_window_sings_what_the_whole_song_does(family: str, sampler: str, tmp_path: Path):
    model = model_of(imported(tmp_path, family))
    units, f0 = fixed_features(260, 151)
    options: dict[str, Any] = {"sampler": sampler, "steps": 4, "seed": 3}
    halo = model.halo_frames(sampler, 4)
    whole = model.sing(units, f0, 0, 260, **options)
    assert whole.shape == (1, 128, 260) and bool(torch.isfinite(whole).all())
    first, last = 120 - halo, 140 + halo
    assert first > 0 and last < 260
    part = model.sing(units, f0, first, last, **options)[..., 120 - first : 140 - first]
    assert torch.allclose(part, whole[..., 120:140], atol=1e-4 * float(whole.abs().max()))
    assert torch.equal(model.sing(units, f0, 0, 260, **options), whole)
    assert not torch.allclose(model.sing(units, f0, 0, 260, **(options | {"seed": 4})), whole)


def test_samplers_that_do_not_fit(tmp_path: Path):
    model = model_of(imported(tmp_path, "44.1 kHz"))
    with pytest.raises(ConfigError, match="does not fit a Diff-SVC voice; choose one of dpm-solver"):
        model.check_sampler("heun")
    with pytest.raises(ConfigError, match="at least 2"):
        model.times("plms", 0)
    assert len(model.times("plms", 50)) == 50 and model.times("plms", 50)[:2] == [980.0, 960.0]


# -- the voice file


@pytest.mark.parametrize("family", FAMILIES)
def test_an_imported_voice_is_saved_and_opened(family: str, tmp_path: Path):
    facts = Facts("asked in writing", "CC BY 4.0", name="nia", whose="Nia", credit="Nia, by X")
    voice = imported(tmp_path / "given", family, facts, use_vec=True)
    voice.save(tmp_path / "nia.safetensors")
    opened = Voice.load(tmp_path / "nia.safetensors")
    card = opened.card
    assert card == voice.card and card.imported and card.name == "nia" and card.consent == "asked in writing"
    assert card.encoder_id == "contentvec-256" and card.vocoder_id == "nsf-hifigan"
    assert card.training["sha256"] == checkpoint.file_hash(tmp_path / "given" / "model_ckpt_steps_88000.ckpt")
    assert card.training["family"] == family and card.training["steps"] == 88000
    assert "whose recordings" in str(card.training["unknown"])
    assert opened.full and opened.diff_svc == voice.diff_svc
    units, f0 = fixed_features(30, 18)
    sing = {"sampler": "plms", "steps": 3}
    assert torch.equal(
        model_of(opened).sing(units, f0, 0, 30, **sing), model_of(voice).sing(units, f0, 0, 30, **sing)
    )
    opened.merge().save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "nia.safetensors").read_bytes()


def rewritten(path: Path, **changes: Any) -> None:
    tensors, metadata = checkpoint.load(path)
    changes.get("tensors", lambda _: None)(tensors)
    metadata["content_hash"] = checkpoint.tensors_hash(tensors)
    changes.get("metadata", lambda _: None)(metadata)
    checkpoint.save(path, tensors, metadata)


def put(section: str, key: str, value: Any) -> Any:
    return lambda metadata: metadata[section].update({key: value})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metadata": put("diff_svc", "layers", 4000)}, "layers"),
        ({"metadata": put("diff_svc", "layers", 5)}, "is missing"),
        ({"metadata": put("diff_svc", "encoder", "hubert")}, "encoder"),
        ({"metadata": put("diff_svc", "f0_min", 2000.0)}, "f0_min"),
        ({"metadata": put("diff_svc", "surprise", 1)}, "unknown setting surprise"),
        ({"metadata": put("card", "imported", False)}, "contradict each other"),
        ({"metadata": put("card", "encoder_id", "resing")}, "contradict each other"),
        ({"metadata": lambda m: m.update(version=1)}, "version 1 of the voice format"),
        ({"tensors": lambda t: t.pop("net.betas")}, "net.betas is missing"),
        ({"tensors": lambda t: t.update({"net.x": torch.ones(2)})}, "unexpected tensor 'net.x'"),
        ({"tensors": lambda t: t.update({"net.spec_min": torch.ones(2)})}, "net.spec_min is"),
    ],
)
def test_a_damaged_imported_voice_is_refused(changes: dict[str, Any], told: str, tmp_path: Path):
    path = tmp_path / "nyaru.safetensors"
    imported(tmp_path / "given", "44.1 kHz").save(path)
    rewritten(path, **changes)
    with pytest.raises(VoiceError) as caught:
        Voice.load(path)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_voice_says_what_it_needs(tmp_path: Path):
    for vec, command in ((False, "hubert-soft"), (True, "contentvec")):
        voice = imported(tmp_path, "44.1 kHz", use_vec=vec)
        with pytest.raises(DownloadError, match=f"get it: resing models download {command}"):
            Converter(voice)


def test_nothing_is_said_of_a_sound_that_is_not_known(tmp_path: Path):
    with pytest.raises(VoiceError, match="says nothing about its sound; give its recordings"):
        _ = Target(imported(tmp_path, "44.1 kHz")).reference


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use_energy_embed": True}, "an energy embedding, which cannot be taken over"),
        ({"use_spk_id": True}, "several speakers"),
        ({"no_fs2": False}, "an encoder of its own"),
        ({"audio_sample_rate": 48000}, "the signal is (48000"),
        ({"hop_size": "many"}, "hop_size is 'many', expected a number"),
        ({"residual_layers": 0}, "layers: got 0"),
        ({"residual_layers": 4}, "denoise_fn.residual_layers.3"),
        ({"residual_channels": 16}, "config.yaml says"),
        ({"hidden_size": 128}, "config.yaml says"),
        ({"K_step": 2000}, "K_step"),
        ({"f0_bin": 400}, "f0_bin"),
        ({"speaker_id": "../../x"}, ""),
        ({"spec_max": [-9.0]}, ""),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], told: str, tmp_path: Path):
    config = community.settings("44.1 kHz", **community.SMALL)
    path, text = community.write_voice(tmp_path / "voice", config)
    text.write_text(community.yaml(config | changes))
    if not told:
        assert importer.read(path, text, FACTS).card.name in ("nyaru", "voice")
        return
    with pytest.raises(VoiceError) as caught:
        importer.read(path, text, FACTS)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def state(change: Any) -> Any:
    def apply(stored: dict[str, Any]) -> None:
        change(stored["state_dict"])

    return apply


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (state(lambda s: s.pop("model.fs2.pitch_embed.weight")), "holds no model.fs2.pitch_embed.weight"),
        (state(lambda s: s.pop("model.denoise_fn.mlp.0.bias")), "denoise_fn.mlp.0.bias is missing"),
        (state(lambda s: s.update({"model.surprise.weight": torch.ones(2)})), "holds 'surprise.weight'"),
        (state(lambda s: s.update({"model.betas": torch.ones(1000)})), "no noise schedule"),
        (state(lambda s: s.update({"model.betas": torch.full((1000,), -0.1)})), "no noise schedule"),
        (state(lambda s: s.update({"model.betas": torch.full((10,), 0.1)})), "betas is [10]"),
        (state(lambda s: s.update({"model.spec_max": torch.tensor([[[-7.0]]])})), "not below spec_max"),
        (state(lambda s: s.update({"model.spec_max": torch.ones(1, 1, 7)})), "spec_max is [7]"),
        (
            state(lambda s: s.update({"model.denoise_fn.mlp.0.bias": torch.full((32,), float("nan"))})),
            "holds NaN or infinity",
        ),
        (state(lambda s: s.clear()), "holds 0 tensors"),
    ],
)
def test_checkpoints_that_do_not_fit(change: Any, told: str, tmp_path: Path):
    config = community.settings("44.1 kHz", **community.SMALL)
    path, text = community.write_voice(tmp_path, config)
    stored = community.checkpoint(config)
    change(stored)
    torch.save(stored, path)
    with pytest.raises(VoiceError) as caught:
        importer.read(path, text, FACTS)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_consent_and_licence_are_asked_for(tmp_path: Path):
    for facts, key in ((Facts(" ", "x"), "consent"), (Facts("x", ""), "licence")):
        with pytest.raises(VoiceError, match=f"needs its {key}"):
            imported(tmp_path, "44.1 kHz", facts)
    with pytest.raises(VoiceError, match="cannot be a voice's name"):
        imported(tmp_path, "44.1 kHz", Facts("x", "y", name="a b"))


# -- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = community.settings("24 kHz", **community.SMALL)
    path, text = community.write_voice(tmp_path, config)
    line = ["voice", "import", str(path), "--config", str(text), "--consent", "mine", "--licence", "private"]
    assert cli.run([*line, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["name"] == "nyaru"
    assert "resing models download hubert-soft" in captured.err and "Not known: whose" in captured.err
    assert "resing models download nsf-hifigan --accept-licence" in captured.err
    assert cli.run(line) == 2
    assert "already here; to replace it, add --replace" in capsys.readouterr().err
    assert cli.run([*line, "--replace"]) == 0
    capsys.readouterr()
    assert cli.run(["voice", "show", "nyaru"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "from Diff-SVC, model_ckpt_steps_88000.ckpt, SHA-256" in shown and "not known: whose" in shown
    assert cli.run(["voice", "list"]) == 0
    assert "nyaru" in capsys.readouterr().out
    assert cli.run(["convert", "x.wav", "--voice", "nyaru", "-o", "y.wav"]) == 2
    assert "resing models download hubert-soft" in capsys.readouterr().err
