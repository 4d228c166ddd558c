"""A voice from one clip: its own vector, kept with its consent, refused when too short."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_create import FACTS, installed

from resing.audio import files
from resing.cli import run
from resing.config import AudioConfig
from resing.errors import AudioError, ConfigError, DatasetError, VoiceError
from resing.training.clone import clone_voice, preview_of
from resing.voice import Voice, user_folder

RATE = AudioConfig().sample_rate
__all__ = ["installed"]


@pytest.fixture
def clip(tmp_path: Path, sung_phrase) -> Path:
    """Twelve seconds of a synthetic singer."""
    notes = [(220.0 * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9)] * 2
    files.write(tmp_path / "clip.wav", sung_phrase(notes)[None], RATE)
    return tmp_path / "clip.wav"


def test_a_clip_becomes_a_preview_with_its_range_and_consent(clip: Path) -> None:
    voice = clone_voice("anna", clip, whose="Anna", **FACTS)
    card = Voice.load("anna").card
    assert card == voice.card and card.consent == FACTS["consent"] and card.whose == "Anna"
    assert card.training["preview"] and "A preview from" in card.training["summary"]
    assert 160 < card.range_hz[0] < 175 and 450 < card.range_hz[1] < 490  # nine semitones from its middle
    assert not voice.adapters and abs(float(voice.speaker.square().mean()) - 1) < 1e-3
    with pytest.raises(VoiceError, match="exists already"):
        clone_voice("anna", clip, **FACTS)


def test_the_vector_is_the_clips_own(clip: Path, tmp_path: Path, sung_phrase) -> None:
    low = [(110.0 * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9)] * 2
    files.write(tmp_path / "low.wav", 0.3 * sung_phrase(low)[None], RATE)
    quiet = files.read(clip, RATE)[0] * 0.25
    files.write(tmp_path / "quiet.wav", quiet, RATE)
    one, other, same = (
        clone_voice(n, tmp_path / f"{f}.wav", **FACTS).speaker
        for n, f in (("one", "clip"), ("other", "low"), ("same", "quiet"))
    )
    assert torch.dist(one, same) < 0.1 * torch.dist(one, other)


def test_a_reference_sings_at_once_and_is_kept(clip: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.wav"
    asked = ["convert", str(clip), "--reference", str(clip), "-o", str(out), "--a-cappella", "--to", "2"]
    assert run(asked) == 2 and "--consent" in capsys.readouterr().err and not out.exists()
    assert run([*asked, "--consent", "my own voice"]) == 0 and out.exists()
    assert "A preview from" in capsys.readouterr().err
    (kept,) = user_folder().glob("preview-*.safetensors")
    written = kept.stat().st_mtime_ns
    assert preview_of(clip, "my own voice").card.consent == "my own voice"
    assert kept.stat().st_mtime_ns == written
    assert preview_of(clip, "hers, by letter").card.consent == "hers, by letter"
    assert run([*asked[:2], "-o", str(out)]) == 2 and "--reference" in capsys.readouterr().err


def test_what_no_voice_can_be_heard_in_is_refused(tmp_path: Path, clip: Path) -> None:
    files.write(tmp_path / "short.wav", files.read(clip, RATE)[0][:, : 3 * RATE], RATE)
    noise = np.random.default_rng(0).standard_normal((1, 12 * RATE)).astype(np.float32) * 0.1
    files.write(tmp_path / "noise.wav", noise, RATE)
    for name in ("short", "noise"):
        with pytest.raises(DatasetError, match="Give a longer clip"):
            clone_voice(name, tmp_path / f"{name}.wav", **FACTS)
    with pytest.raises(AudioError, match="one recording"):
        clone_voice("none", tmp_path / "none.wav", **FACTS)
    with pytest.raises(ConfigError, match="consent"):
        clone_voice("none", clip, licence="private", consent=" ")
    assert not list(user_folder().glob("*.safetensors"))
