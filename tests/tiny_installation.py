"""A small installation for tests: models that nobody trained, in files of their own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from resing import voice as library
from resing.audio import files
from resing.config import AudioConfig, ModelConfig
from resing.features import content
from resing.synthesis import acoustic, vocoder
from resing.voice import Voice, VoiceCard, user_folder

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6, adapter_rank=2)


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put base, encoder and vocoder in the places of those that ship, and RESING_HOME into the folder."""
    for module, name in ((acoustic, "base"), (content, "content"), (vocoder, "vocoder")):
        patch.setattr(module, "EMBEDDED", folder / f"{name}.safetensors")
    patch.setattr(library, "SHIPPED", folder / "voices")
    patch.setenv("RESING_HOME", str(folder / "home"))
    torch.manual_seed(1)
    strangers = torch.randn(2, MODEL.speaker_dim), torch.tensor([200.0, 0.0])
    base = acoustic.AcousticModel(acoustic.build(MODEL, AUDIO), MODEL, strangers=strangers)
    acoustic.save_base(acoustic.EMBEDDED, base, AUDIO)
    small = content.ContentConfig(hidden=8, layers=1, n_units=4)
    content.save_content(content.EMBEDDED, content.build(small), small)
    thin = vocoder.VocoderConfig(hidden=8, layers=1)
    vocoder.save_vocoder(vocoder.EMBEDDED, vocoder.build(thin, AUDIO), thin, AUDIO)
    encoder = content.ContentEncoder.load(content.EMBEDDED)
    patch.setattr(content, "embedded", lambda: encoder)


def add_voice(name: str) -> None:
    """Put a voice among the user's own."""
    installed = library.Installed.read()
    facts = {"licence": "private", "consent": "nobody sings here", "range_hz": (110, 440), "sex": "female"}
    card = VoiceCard(name=name, **facts, encoder_id=installed.encoder_id, base_hash=installed.base_hash)
    user_folder().mkdir(parents=True, exist_ok=True)
    Voice(card, MODEL, AUDIO, torch.ones(6)).save(user_folder() / f"{name}.safetensors")


def sing_recordings(folder: Path, sung_phrase: Callable[..., np.ndarray]) -> None:
    """Write half a minute of a synthetic singer."""
    for number, root in enumerate((196.0, 220.0)):
        notes = [(root * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9, 11, 12)] + [(0.0, 0.7)]
        files.write(folder / f"{number}.wav", sung_phrase(notes * 2)[None], AUDIO.sample_rate)
