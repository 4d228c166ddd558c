"""Voices made with the presets big and classic, from recordings to a song, on small random stand-ins."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_community import bring, contentvec, nsf

from resing import config as settings
from resing.audio import files
from resing.config import PRESETS, AudioConfig, ConvertOptions, ModelConfig, TrainingConfig
from resing.conversion import Converter
from resing.errors import DatasetError, DownloadError, VoiceError
from resing.features import content
from resing.nets.rmvpe import Rmvpe
from resing.synthesis import acoustic, vocoder
from resing.training.create import create_voice, resume
from resing.voice import Voice

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6, adapter_rank=2)
SHORT = {
    "steps": 6,
    "batch_size": 2,
    "segment_frames": 32,
    "checkpoint_every": 3,
    "validate_every": 3,
}
FACTS = {"licence": "private", "consent": "nobody sings here"}


def rmvpe(seed: int = 3) -> dict[str, torch.Tensor]:
    """A small RMVPE under the published names, in half precision, that hears one of two notes."""
    torch.manual_seed(seed)
    net = Rmvpe(2, 1, 1, 8).eval()
    with torch.no_grad():
        net.fc[1].bias.fill_(-12.0)
        net.fc[1].bias[[140, 160]] = 2.0
    return {n: t.half() if t.is_floating_point() else t for n, t in net.state_dict().items()}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny random installation, and presets as small."""
    weights = tmp_path / "weights"
    for module, name in ((acoustic, "base"), (content, "content"), (vocoder, "vocoder")):
        monkeypatch.setattr(module, "EMBEDDED", weights / f"{name}.safetensors")
    torch.manual_seed(1)
    strangers = torch.randn(2, MODEL.speaker_dim), torch.tensor([200.0, 0.0])
    base = acoustic.AcousticModel(acoustic.build(MODEL, AUDIO), MODEL, strangers=strangers)
    acoustic.save_base(acoustic.EMBEDDED, base, AUDIO)
    small = content.ContentConfig(hidden=8, layers=1, n_units=4)
    content.save_content(content.EMBEDDED, content.build(small), small)
    thin = vocoder.VocoderConfig(hidden=8, layers=1)
    vocoder.save_vocoder(vocoder.EMBEDDED, vocoder.build(thin, AUDIO), thin, AUDIO)
    content.embedded.cache_clear()
    big = PRESETS["big"].model_copy(update={"model": MODEL.model_copy(update={"n_units": 128, "hidden": 12})})
    shape = PRESETS["classic"].diff_svc.model_copy(update={"channels": 8, "layers": 2})
    classic = PRESETS["classic"].model_copy(update={"diff_svc": shape})
    monkeypatch.setitem(settings.PRESETS, "big", big)
    monkeypatch.setitem(settings.PRESETS, "classic", classic)
    yield
    content.embedded.cache_clear()


@pytest.fixture
def recordings(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Half a minute of a synthetic singer."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, root in enumerate((196.0, 220.0)):
        notes = [(root * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9, 11, 12)] + [(0.0, 0.7)]
        files.write(folder / f"{number}.wav", sung_phrase(notes * 2)[None], AUDIO.sample_rate)
    return folder


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    audio = sung_phrase([(196.0, 1.0), (247.0, 1.0), (0.0, 0.5), (294.0, 0.5)])
    files.write(tmp_path / "song.wav", audio[None], AUDIO.sample_rate)
    return tmp_path / "song.wav"


def training(preset: str, **changes: object) -> TrainingConfig:
    return PRESETS[preset].training.model_copy(update=SHORT | changes)


def test_a_big_voice_from_recordings_to_a_song(recordings: Path, song: Path, tmp_path: Path):
    with pytest.raises(DownloadError, match=r"the preset big needs contentvec and rmvpe, not here; get it: resing"):
        create_voice("ada", recordings, preset="big", **FACTS)
    bring("contentvec", contentvec())
    bring("rmvpe", rmvpe())
    bring("nsf-hifigan", nsf())
    voice = create_voice("ada", recordings, preset="big", training=training("big"), **FACTS)
    card = voice.card
    assert card.encoder_id == "contentvec-768-unverified-abababababab" and card.encoder_hash == "ab" * 32
    assert (card.base_hash, card.vocoder_id, card.training["preset"]) == ("", "nsf-hifigan", "big")
    opened = Voice.load("ada")
    assert opened.full and opened.features == PRESETS["big"].features
    record = Converter(opened).convert(song, tmp_path / "out.wav", ConvertOptions(transpose=0, retries=0))
    assert record.vocoder_id.startswith("nsf-hifigan") and record.encoder_id == card.encoder_id
    sung, _ = files.read(tmp_path / "out.wav")
    assert np.isfinite(sung).all() and np.abs(sung).max() > 0.01
