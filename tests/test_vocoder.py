"""The vocoder: it obeys f0, blocks equal the whole, and noise is keyed by place."""

import math

import numpy as np
import pytest
import soxr
import torch

from resing.audio.mel import log_mel
from resing.config import AudioConfig, FeaturesConfig
from resing.features.f0 import track
from resing.nets.source_filter import pulse_train
from resing.synthesis.noise import frame_noise
from resing.synthesis.vocoder import Vocoder, VocoderConfig, build, phase_at_frames, save_vocoder

AUDIO = AudioConfig()
TINY = VocoderConfig(hidden=16, layers=2, points=24)


@pytest.fixture
def vocoder() -> Vocoder:
    torch.manual_seed(0)
    return Vocoder(build(TINY, AUDIO), AUDIO)


def glide(frames: int) -> np.ndarray:
    return np.geomspace(110, 440, frames).astype(np.float32) * (1 + 0.02 * np.sin(np.arange(frames))).astype(
        np.float32
    )


def test_pulses_are_the_sum_of_all_harmonics_below_nyquist() -> None:
    f0 = torch.full((1, 8), 1000.0)
    phase = torch.from_numpy(phase_at_frames(f0[0].numpy(), AUDIO)[:-1]).float()[None]
    pulses = pulse_train(f0, phase, AUDIO.hop_length, AUDIO.sample_rate)[0].double()
    n = torch.arange(1, len(pulses) + 1, dtype=torch.float64)
    harmonics = torch.arange(1, 23, dtype=torch.float64)
    expected = torch.cos(2 * math.pi * 1000.0 / 44100 * harmonics[:, None] * n).sum(0) * math.sqrt(
        4 * 1000 / 44100
    )
    assert (pulses - expected).abs().max() < 5e-3 * expected.abs().max()
    assert pulses.square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_phase_at_frames_is_the_sum_of_the_samplewise_pitch() -> None:
    f0 = glide(50)
    phase = phase_at_frames(f0, AUDIO)
    centres = (np.arange(50) + 0.5) * 512
    samples = np.interp(np.arange(50 * 512) + 0.5, centres, f0)
    expected = np.concatenate([[0.0], np.cumsum(samples.reshape(50, 512).sum(1))]) / 44100
    difference = (phase - expected + 0.5) % 1 - 0.5
    assert np.abs(difference).max() < 1e-5


def test_a_block_is_the_whole(vocoder: Vocoder) -> None:
    torch.manual_seed(1)
    frames, halo = 120, vocoder.halo_frames
    mel, f0 = torch.randn(1, 128, frames) - 5, torch.from_numpy(glide(120))[None]
    voiced = torch.ones(1, frames)
    phase = torch.from_numpy(phase_at_frames(f0[0].numpy(), AUDIO)[:-1]).float()[None]
    whole = vocoder(mel, f0, voiced, phase=phase, seed=3)
    for start, stop in ((0, 40), (40, 71), (71, 120)):
        first, last = max(0, start - halo), min(frames, stop + halo)
        part = slice(first, last)
        block = vocoder(
            mel[..., part], f0[:, part], voiced[:, part], phase=phase[:, part], start_frame=first, seed=3
        )
        inner = block[:, (start - first) * 512 : (stop - first) * 512]
        assert (inner - whole[:, start * 512 : stop * 512]).abs().max() < 1e-4
    assert whole.abs().max() > 1e-3


def test_weights_survive_the_disk(vocoder: Vocoder, tmp_path) -> None:
    path = tmp_path / "vocoder.safetensors"
    save_vocoder(path, vocoder.net, TINY, AUDIO, trained_on=["nothing"])
    again = Vocoder.load(path)
    assert again.vocoder_id.startswith("resing-vocoder-")
    mel, f0 = torch.zeros(1, 128, 10) - 5, torch.full((1, 10), 200.0)
    phase = torch.zeros(1, 10)
    a, b = (v(mel, f0, torch.ones(1, 10), phase=phase) for v in (vocoder, again))
    torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("start", [-70, 0, 63, 64, 1000])
def test_noise_is_the_same_wherever_one_looks_from(start: int) -> None:
    whole = frame_noise(7, start - 5, 200, 4)
    assert torch.equal(frame_noise(7, start, 100, 4), whole[:, 5:105])
    assert not torch.equal(frame_noise(8, start, 100, 4), whole[:, 5:105])


def test_noise_is_standard_normal() -> None:
    noise = frame_noise(0, 0, 4000, 8)
    assert noise.mean().abs() < 0.02 and (noise.std() - 1).abs() < 0.02


@pytest.mark.parametrize("note", [130.8, 261.6, 523.3])
def test_the_shipped_vocoder_sings_the_note_it_is_given(note: float, sung_vowel) -> None:
    vocoder = Vocoder.load()
    sung = 0.3 * sung_vowel(note, 1.5, sample_rate=44100, vibrato_cents=0.0)
    mel = log_mel(torch.from_numpy(sung)[None], AUDIO)
    frames = mel.shape[-1]
    f0 = torch.full((1, frames), note)
    phase = torch.from_numpy(phase_at_frames(f0[0].numpy(), AUDIO)[:-1]).float()[None]
    audio = vocoder(mel, f0, torch.ones(1, frames), phase=phase)[0].numpy()
    heard, _ = track(soxr.resample(audio, 44100, 16000), frames, AUDIO, FeaturesConfig(), threads=1)
    middle = heard[15:-15]
    assert (middle > 0).mean() > 0.9
    assert abs(1200 * np.log2(np.median(middle[middle > 0]) / note)) < 10
