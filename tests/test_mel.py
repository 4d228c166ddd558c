"""The house mel: against librosa, and where theory says what must come out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from resing.audio.mel import hann_window, hz_to_mel, log_mel, mel_centres, mel_filterbank, mel_to_hz
from resing.config import AudioConfig

CONFIG = AudioConfig()
REFERENCE = Path(__file__).parent / "data" / "librosa_mel.npz"  # by scripts/record_librosa_mel.py
SHAPE = (CONFIG.sample_rate, CONFIG.n_fft, CONFIG.n_mels, CONFIG.f_min, CONFIG.f_max)


def reference_signal(samples: int) -> np.ndarray:
    """The signal of scripts/record_librosa_mel.py, by the same formula, (N,) float32."""
    t = np.arange(samples) / CONFIG.sample_rate
    seconds = samples / CONFIG.sample_rate
    phase = 2 * np.pi * 50 * seconds / np.log(300) * (300 ** (t / seconds) - 1)
    partials = np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.25 * np.sin(0.5 * phase + 2)
    return (0.4 * 10 ** (-3 * t / seconds) * partials).astype(np.float32)


def mel_of(audio: np.ndarray) -> torch.Tensor:
    return log_mel(torch.from_numpy(audio.astype(np.float32))[None], CONFIG)[0]  # (M, T)


def sine(hz: float, seconds: float = 0.5, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(
        2 * np.pi * hz * np.arange(round(seconds * CONFIG.sample_rate)) / CONFIG.sample_rate
    )


def test_equals_librosa():
    """Tolerance 1e-4 in natural log (0.001 dB) in every band; measured 6e-7."""
    with np.load(REFERENCE, allow_pickle=False) as reference:
        theirs = reference["mel"]
    ours = log_mel(torch.from_numpy(reference_signal(20_001))[None].double(), CONFIG)[0].numpy()
    assert ours.shape == theirs.shape == (128, 40)
    assert theirs.max() - theirs.min() > 8  # the signal does reach from the floor to loud
    assert np.abs(ours - theirs).max() < 1e-4


def test_equals_librosa_in_float32():
    """1e-4 within 70 dB of a frame's loudest band; below that float32 itself rounds, by about 0.002."""
    with np.load(REFERENCE, allow_pickle=False) as reference:
        theirs = reference["mel"]
    error = np.abs(mel_of(reference_signal(20_001)).numpy() - theirs)
    loud = theirs > theirs.max(axis=0) - 70 * np.log(10) / 20
    assert loud.mean() > 0.5 and error[loud].max() < 1e-4 and error.max() < 5e-3


def test_filters_equal_librosa():
    with np.load(REFERENCE, allow_pickle=False) as reference:
        filters = reference["filters"]
    assert np.abs(mel_filterbank(*SHAPE).numpy() - filters).max() < 1e-8


def test_reference_is_small():
    assert REFERENCE.stat().st_size < 100_000


@pytest.mark.parametrize("hz", [100.0, 440.0, 1000.0, 5000.0, 15000.0])
def test_a_sine_peaks_in_the_band_of_its_frequency(hz):
    centres = mel_centres(CONFIG.n_mels, CONFIG.f_min, CONFIG.f_max)
    peak = mel_of(sine(hz))[:, 5:-5].argmax(dim=0)
    nearest = int(np.argmin(np.abs(hz_to_mel(centres) - hz_to_mel(np.float64(hz)))))
    assert (peak - nearest).abs().max() <= 1


def test_a_band_has_the_level_that_theory_gives():
    """A sine on a bin: |X| of its three bins is A/2 * sum(window) * (1/2, 1, 1/2)."""
    step = CONFIG.sample_rate / CONFIG.n_fft
    bins = np.zeros(CONFIG.n_fft // 2 + 1)
    bins[99:102] = 0.25 * float(hann_window(CONFIG.win_length).sum()) * np.array([0.5, 1.0, 0.5])
    expected = mel_filterbank(*SHAPE).numpy() @ bins
    loud = expected > 1e-2
    middle = mel_of(sine(100 * step))[:, 10].exp().numpy()
    assert loud.sum() >= 2 and np.allclose(middle[loud], expected[loud], rtol=1e-3)


def test_twice_the_amplitude_is_log_two_more():
    difference = mel_of(sine(440, amplitude=0.5)) - mel_of(sine(440, amplitude=0.25))
    loud = mel_of(sine(440, amplitude=0.25)) > np.log(1e-3)
    assert torch.allclose(difference[loud], torch.tensor(np.log(2.0), dtype=torch.float32), atol=1e-3)


@pytest.mark.parametrize("samples", [1, 100, 511, 512, 513, 768, 769, 5120, 44100])
def test_frame_count(samples):
    mel = log_mel(torch.zeros(2, samples), CONFIG)
    assert mel.shape == (2, CONFIG.n_mels, CONFIG.frame_count(samples))
    assert CONFIG.frame_count(samples) == -(-samples // CONFIG.hop_length)
    assert torch.all(mel == np.float32(np.log(np.float32(CONFIG.mel_floor))))  # silence is the floor


@pytest.mark.parametrize("frame", [2, 5, 10, 17])
def test_frames_are_centred_on_the_middle_of_their_hop(frame):
    """An impulse at frame * hop + hop / 2 peaks in that frame, and its neighbours are equal."""
    audio = np.zeros(20 * CONFIG.hop_length)
    audio[frame * CONFIG.hop_length + CONFIG.hop_length // 2] = 1.0
    level = mel_of(audio).exp().sum(dim=0)
    assert int(level.argmax()) == frame
    assert level[frame - 1] == pytest.approx(float(level[frame + 1]), rel=1e-4)
    # Hann at n_fft/2 is 1, a hop beside it cos(pi * hop / n_fft)^2
    assert level[frame + 1] / level[frame] == pytest.approx(
        np.cos(np.pi * CONFIG.hop_length / CONFIG.n_fft) ** 2, rel=1e-4
    )


def test_shifting_by_a_hop_shifts_by_a_frame():
    audio = reference_signal(20 * CONFIG.hop_length)
    later = np.concatenate([np.zeros(CONFIG.hop_length, np.float32), audio])
    assert torch.allclose(mel_of(audio)[:, 3:15], mel_of(later)[:, 4:16], atol=1e-4)


def test_batch_is_single():
    audio = torch.from_numpy(np.stack([reference_signal(9000), reference_signal(9000)[::-1].copy()]))
    batch = log_mel(audio, CONFIG)
    assert torch.allclose(batch[0], log_mel(audio[:1], CONFIG)[0], atol=1e-5)
    assert torch.allclose(batch[1], log_mel(audio[1:], CONFIG)[0], atol=1e-5)


def test_mel_scale_is_slaneys():
    """Linear below 1 kHz, 27 log steps to 6.4 kHz above (Slaney, Auditory Toolbox, 1998)."""
    assert hz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0])) == pytest.approx([0.0, 3.0, 15.0, 42.0])
    hz = np.array([40.0, 440.0, 999.0, 1000.0, 1001.0, 16000.0])
    assert mel_to_hz(hz_to_mel(hz)) == pytest.approx(hz)
