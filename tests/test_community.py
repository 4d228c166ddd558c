"""The community's networks on stand-ins of their names and shapes, and a song sung end to end with them."""

from pathlib import Path
from typing import Any

import community
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from community import bring, contentvec, nsf
from torch import Tensor, nn

from resing import checkpoint, conversion_windows
from resing.audio import files
from resing.config import AudioConfig, ConvertOptions
from resing.conversion import Converter
from resing.errors import DownloadError
from resing.features import hubert
from resing.importers import diff_svc as importer
from resing.importers.diff_svc import Facts
from resing.nets.hubert import Hubert, fold_weight_norm
from resing.nets.nsf_hifigan import NSFHiFiGAN
from resing.synthesis import vocoder_nsf
from resing.synthesis.vocoder import Vocoder, phase_at_frames
from resing.voice import Voice

pytestmark = pytest.mark.usefixtures("reader_in_process")
AUDIO = AudioConfig()
DEMO = Path(checkpoint.__file__).parent / "assets" / "demo_lead.ogg"


# -- stand-ins, built from torch's own layers, independently of the networks under test


class SoftLayers(nn.Module):
    """HuBERT-Soft as published, of torch's own layers: its names and its arithmetic, small."""

    def __init__(self, width: int = 16, hidden: int = 128, inner: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.feature_extractor = nn.Module()
        kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
        for i, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
            conv = nn.Conv1d(width if i else 1, width, kernel, stride, bias=False)
            setattr(self.feature_extractor, f"conv{i}", conv)
        self.feature_extractor.norm0 = nn.GroupNorm(width, width)
        self.feature_projection = nn.Module()
        self.feature_projection.norm = nn.LayerNorm(width)
        self.feature_projection.projection = nn.Linear(width, hidden)
        self.positional_embedding = nn.Module()
        self.positional_embedding.conv = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(hidden, hidden, 128, padding=64, groups=16), dim=2
        )
        self.norm = nn.LayerNorm(hidden)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(hidden, hidden // 64, inner, 0.0, "gelu", batch_first=True)
            for _ in range(layers)
        )
        self.proj = nn.Linear(hidden, 256)
        self.masked_spec_embed = nn.Parameter(torch.rand(hidden))
        self.label_embedding = nn.Embedding(100, 256)

    def forward(self, audio: Tensor) -> Tensor:
        x = F.pad(audio, (40, 40))[:, None]
        for i in range(7):
            x = getattr(self.feature_extractor, f"conv{i}")(x)
            x = F.gelu(self.feature_extractor.norm0(x) if i == 0 else x)
        x = self.feature_projection.projection(self.feature_projection.norm(x.transpose(1, 2)))
        x = self.norm(x + F.gelu(self.positional_embedding.conv(x.transpose(1, 2))[..., :-1]).transpose(1, 2))
        for layer in self.encoder.layers:
            x = layer(x)
        return self.proj(x).transpose(1, 2)


def soft(seed: int = 0) -> tuple[SoftLayers, dict[str, Tensor]]:
    """A small HuBERT-Soft and its tensors under the published names."""
    torch.manual_seed(seed)
    net = SoftLayers().eval()
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    stored = {}
    for name, tensor in net.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        stored[f"module.{name}"] = tensor.detach().clone()
    return net, stored


# -- encoders


def test_hubert_soft_is_what_torchs_own_layers_make_of_its_weights():
    published, stored = soft()
    net = hubert.build("hubert-soft", stored)
    audio = torch.randn(2, 320 * 37)
    with torch.no_grad():
        ours, wanted = net(F.pad(audio, (40, 40))), published(audio)
    assert ours.shape == (2, 256, 37)
    assert torch.allclose(ours, wanted, atol=1e-5)


def test_weight_norm_is_folded_as_torch_does():
    for dimension, conv in (
        (0, nn.Conv1d(6, 4, 3)),
        (2, nn.Conv1d(6, 4, 3)),
        (0, nn.ConvTranspose1d(6, 4, 3)),
    ):
        net = nn.Sequential(nn.utils.parametrizations.weight_norm(conv, dim=dimension))
        with torch.no_grad():
            net[0].parametrizations.weight.original0.mul_(1.7)
        folded = fold_weight_norm(dict(net.state_dict()), kept=dimension)
        assert folded.keys() == {"0.weight", "0.bias"}
        assert torch.allclose(folded["0.weight"], net[0].weight, atol=1e-6)


def test_contentvec_layers():
    stored = contentvec()
    narrow, wide = hubert.build("contentvec-256", stored), hubert.build("contentvec-768", stored)
    assert len(list(narrow.encoder["layers"].children())) == 9
    assert len(list(wide.encoder["layers"].children())) == 12
    audio = torch.randn(1, 320 * 20 + 80)
    with torch.no_grad():
        assert narrow(audio).shape == (1, 256, 20) and wide(audio).shape == (1, 128, 20)


def test_an_encoder_hears_any_length_and_its_windows_agree():
    torch.manual_seed(0)
    encoder = hubert.HubertEncoder(Hubert(8, 64, 16, 1, 4))
    for samples in (1, 319, 320, 4000, 16000):
        audio = np.random.default_rng(0).normal(size=samples).astype(np.float32)
        assert encoder(audio).shape == (4, -(-samples // 320))
        assert np.array_equal(encoder(audio), encoder(audio))
    with pytest.raises(ValueError, match="cannot warp"):
        encoder(audio, warp=1.1)


def test_an_encoder_that_is_not_here_or_is_another_model():
    with pytest.raises(DownloadError, match="get it: resing models download contentvec"):
        hubert.load("contentvec-256")
    bring("contentvec", {"a.weight": torch.ones(2)})
    with pytest.raises(DownloadError, match=r"is no contentvec .* get it again: resing models download"):
        hubert.load("contentvec-256")
    bring("contentvec", contentvec())
    assert hubert.load("contentvec-256").encoder_id == "contentvec-256-unverified-abababababab"
    bring("hubert-soft", soft()[1])
    assert hubert.load("hubert-soft")(np.zeros(3200, np.float32)).shape == (256, 10)


def test_transformers_says_the_same():
    """The published ContentVec is a transformers HubertModel: the same weights, the same units."""
    transformers = pytest.importorskip("transformers", reason="the reference needs transformers")
    config = transformers.HubertConfig(
        hidden_size=128,
        num_hidden_layers=12,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        attn_implementation="eager",
    )
    model = transformers.HubertModel(config).eval()
    stored = {
        **model.state_dict(),
        "final_proj.weight": torch.randn(256, 128),
        "final_proj.bias": torch.ones(256),
    }
    audio = torch.randn(1, 320 * 20 + 80)
    with torch.no_grad():
        states = model(audio, output_hidden_states=True).hidden_states
        narrow = F.linear(states[9], stored["final_proj.weight"], stored["final_proj.bias"]).transpose(1, 2)
        assert torch.allclose(hubert.build("contentvec-256", stored)(audio), narrow, atol=1e-4)
        assert torch.allclose(
            hubert.build("contentvec-768", stored)(audio), states[12].transpose(1, 2), atol=1e-4
        )


# -- the vocoder


def sung(frames: int, seed: int = 0) -> dict[str, Any]:
    random = torch.Generator().manual_seed(seed)
    f0 = np.geomspace(150.0, 600.0, frames)
    return {
        "mel": torch.randn(1, AUDIO.n_mels, frames, generator=random) - 4,
        "f0": torch.from_numpy(f0.astype(np.float32))[None],
        "voiced": (torch.arange(frames) % 20 < 15).float()[None],
        "phase": torch.from_numpy(phase_at_frames(f0, AUDIO)[:-1].astype(np.float32))[None],
    }


def test_the_vocoder_is_even_and_its_blocks_are_the_whole():
    vocoder = Vocoder(vocoder_nsf.build(nsf(), AUDIO), AUDIO)
    song, halo = sung(90), vocoder.halo_frames
    whole = vocoder(**song)
    assert whole.shape == (1, 90 * 512) and torch.equal(vocoder(**song), whole)
    assert float(whole.std()) > 1e-3
    first, last = 40 - halo, 50 + halo
    part = vocoder(**{n: x[..., first:last] for n, x in song.items()}, start_frame=first)
    inside = part[:, halo * 512 : (halo + 10) * 512]
    assert torch.allclose(inside, whole[:, 40 * 512 : 50 * 512], atol=1e-4 * float(whole.abs().max()))
    assert not torch.equal(vocoder(**song, seed=1), whole)


def test_the_reach_of_the_vocoder_is_what_it_says():
    """A change in one frame of the mel is heard within the halo and not beyond it."""
    vocoder = Vocoder(vocoder_nsf.build(nsf(), AUDIO), AUDIO)
    song = sung(80)
    changed = song | {"mel": song["mel"].clone()}
    changed["mel"][..., 40] += 3
    differs = (vocoder(**song) != vocoder(**changed))[0].nonzero()
    assert 40 - differs.min() // 512 <= vocoder.halo_frames
    assert differs.max() // 512 - 40 <= vocoder.halo_frames
    assert differs.max() // 512 - 40 >= vocoder.halo_frames - 6


def test_the_published_size_has_its_parameters():
    with torch.device("meta"):
        count = sum(p.numel() for p in NSFHiFiGAN(128).parameters())
    assert round(count / 1e6, 1) == 14.2


def test_the_source_follows_the_melody():
    net = NSFHiFiGAN(128, 32)
    with torch.no_grad():
        net.m_source.l_linear.weight.zero_()
        net.m_source.l_linear.weight[0, 0] = 1.0
        net.m_source.l_linear.bias.zero_()
    frames, f0 = 86, np.full(86, 441.0)
    phase = torch.from_numpy(phase_at_frames(f0, AUDIO)[:-1].astype(np.float32))[None]
    args = torch.full((1, frames), 441.0), torch.ones(1, frames), phase, torch.zeros(1, frames * 512)
    with torch.no_grad():
        source = net.source(*args)[0, 0].numpy()
    spectrum = np.abs(np.fft.rfft(source[:44000] * np.hanning(44000)))
    assert abs(np.argmax(spectrum) * 44100 / 44000 - 441.0) < 1.1
    assert source.max() == pytest.approx(np.tanh(0.1), abs=1e-4)


def test_another_model_or_grid_is_no_such_vocoder():
    with pytest.raises(DownloadError, match="get it: resing models download nsf-hifigan --accept-licence"):
        vocoder_nsf.load()
    bring("nsf-hifigan", {"a.weight": torch.ones(2)})
    with pytest.raises(DownloadError, match="is no nsf-hifigan"):
        vocoder_nsf.load()
    with pytest.raises(ValueError, match="hop 512 and 128 mels, expected 256"):
        vocoder_nsf.build(nsf(), AudioConfig(hop_length=256))
    bring("nsf-hifigan", nsf())
    assert vocoder_nsf.for_voice("nsf-hifigan").vocoder_id == "nsf-hifigan-unverified-abababababab"
    assert not vocoder_nsf.for_voice("resing-vocoder").vocoder_id.startswith("nsf")


# -- end to end


@pytest.fixture
def song(tmp_path: Path) -> Path:
    audio = next(iter(files.read_blocks(DEMO, 44100, True, 0.0, 3.0)))
    files.write(tmp_path / "song.wav", audio, 44100)
    return tmp_path / "song.wav"


@pytest.mark.parametrize("family", list(community.FAMILIES))
@pytest.mark.parametrize("own_vocoder", [True, False])
def test_the_demo_song_is_sung_by_an_imported_voice(
    family: str, own_vocoder: bool, song: Path, tmp_path: Path
):
    config = community.settings(family, **community.SMALL, use_vec=True)
    voice = importer.read(*community.write_voice(tmp_path / "given", config), Facts("mine", "private"))
    voice.save(tmp_path / "nyaru.safetensors")
    bring("contentvec", contentvec())
    if own_vocoder:
        bring("nsf-hifigan", nsf())
    converter = Converter(Voice.load(tmp_path / "nyaru.safetensors"))
    out = tmp_path / "out.wav"
    record = converter.convert(song, out, ConvertOptions(sampler="plms", steps=10))
    assert files.probe(out).seconds == pytest.approx(3.0, abs=1e-3)
    assert record.options["steps"] == 10 and record.options["temperature"] == 1.0
    assert record.encoder_id.startswith("contentvec-256-unverified-")
    assert record.vocoder_id.startswith("nsf-hifigan-unverified-" if own_vocoder else "resing-vocoder")
    again = tmp_path / "again.wav"
    converter.convert(song, again, ConvertOptions(sampler="plms", steps=10))
    assert again.read_bytes() == out.read_bytes()
    default = converter.convert(song, again, ConvertOptions())
    assert default.options["sampler"] == "dpm-solver++" and default.options["steps"] == 20


def test_windows_of_an_imported_voice_join_without_a_trace(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = community.settings("44.1 kHz", **community.SMALL)
    voice = importer.read(*community.write_voice(tmp_path / "given", config), Facts("mine", "private"))
    bring("hubert-soft", soft()[1])
    bring("nsf-hifigan", nsf())
    converter, sound = Converter(voice), []
    for reaches in (8, 0):
        monkeypatch.setattr(conversion_windows, "DIFF_SVC_WINDOW_REACHES", reaches)
        out = tmp_path / f"{reaches}.wav"
        converter.convert(song, out, ConvertOptions(steps=3, window_seconds=0.5))
        sound.append(next(iter(files.read_blocks(out, 44100, True)))[0])
    assert np.abs(sound[0] - sound[1]).max() < 2e-4
