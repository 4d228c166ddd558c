"""What ships: models within their limits, voices with complete cards, and the demo from end to end."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import resing
from resing import checkpoint
from resing.config import AudioConfig, FeaturesConfig
from resing.features.content import ContentEncoder
from resing.features.f0 import track
from resing.separation_unet import EMBEDDED, embedded
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.vocoder import Vocoder
from resing.voice import Voice

PACKAGE = Path(resing.__file__).parent
SHIPPED = sorted(p.stem for p in (PACKAGE / "weights" / "voices").glob("*.safetensors"))


def test_models_are_within_their_limits() -> None:
    sizes = {
        "vocoder": sum(p.numel() for p in Vocoder.load().net.parameters()),
        "content": sum(p.numel() for p in ContentEncoder.load().net.parameters()),
        "base": sum(p.numel() for p in AcousticModel.load().net.parameters()),
    }
    assert all(1e6 < size <= 8e6 for size in sizes.values()), sizes


def test_the_separator_ships_in_eight_bits_and_says_where_it_is_from() -> None:
    about = checkpoint.read_metadata(EMBEDDED)
    assert about["licence"] == "MIT" and "Deezer" in about["source"] and len(about["source_sha256"]) == 64
    assert about["id"] == embedded().separator_id
    assert EMBEDDED.stat().st_size < 20e6


def test_a_voice_is_opened_without_pytorchs_compiler() -> None:
    code = (
        "import sys; from resing.voice import Voice; Voice.load('kumi').acoustic;"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_are_voices_of_both_sexes_and_a_singer() -> None:
    cards = [Voice.load(PACKAGE / "weights" / "voices" / f"{name}.safetensors").card for name in SHIPPED]
    assert len(cards) >= 3
    assert {"female", "male"} <= {card.sex for card in cards}
    assert any(card.kind == "singing" for card in cards)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_voice_says_whose_it_is_and_fits_the_models(name: str) -> None:
    voice = Voice.load(PACKAGE / "weights" / "voices" / f"{name}.safetensors")
    card = voice.card
    assert card.whose and card.licence and card.consent and card.credit and card.languages
    assert card.minutes > 1 and card.f0_histogram and 60 < card.range_hz[0] < card.range_hz[1] < 1200
    assert voice.acoustic.base_hash == card.base_hash
    assert card.encoder_id == ContentEncoder.load().encoder_id


def test_the_demo_sings_the_same_notes_with_another_voice(tmp_path: Path) -> None:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "resing", "demo", "-o", str(tmp_path)], check=True, capture_output=True
    )
    assert time.monotonic() - began < 300
    made = {p.suffix for p in tmp_path.iterdir()}
    assert {".flac", ".png", ".json"} <= made
    out = tmp_path / "stems" / "converted.flac"
    before, rate = soundfile.read(PACKAGE / "assets" / "demo_lead.ogg", dtype="float32")
    before = before.mean(1)
    after, out_rate = soundfile.read(out, dtype="float32")
    after = after.mean(1)
    assert rate == out_rate and len(before) == len(after)
    audio, features = AudioConfig(), FeaturesConfig()
    frames = audio.frame_count(len(before))
    notes = [
        track(soxr.resample(x, rate, 16000), frames, audio, features, threads=1) for x in (before, after)
    ]
    sure = (notes[0][1] >= 0.9) & (notes[1][1] >= 0.9)
    assert sure.sum() >= 0.8 * (notes[0][1] >= 0.9).sum()
    cents = 1200 * np.log2(notes[1][0][sure] / notes[0][0][sure])
    key = round(float(np.median(cents)) / 100) * 100
    assert np.median(np.abs(cents - key)) < 15
    for path in (out, next(tmp_path.glob("*.flac"))):
        assert np.abs(soundfile.read(path)[0]).max() <= 10 ** (-1 / 20) + 1e-4
