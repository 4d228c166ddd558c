"""Record tests/data/librosa_mel.npz, librosa's mel of a signal, which tests/test_mel.py compares ours to.

librosa is not a dependency: run this in an environment of its own, with `pip install librosa==0.11.0`. The
signal is made from its formula in both places, so that the file holds librosa's answer only; librosa runs in
float64, so that the answer is not blurred by rounding.
"""

from pathlib import Path

import librosa
import numpy as np

SAMPLE_RATE, N_FFT, HOP_LENGTH, N_MELS, F_MIN, F_MAX, FLOOR = 44100, 2048, 512, 128, 40.0, 16000.0, 1e-5
OUT = Path(__file__).resolve().parents[1] / "tests" / "data" / "librosa_mel.npz"


def reference_signal(samples: int) -> np.ndarray:
    """A sweep from 50 Hz to 15 kHz with three partials, fading from loud to very quiet, (N,) float32."""
    t = np.arange(samples) / SAMPLE_RATE
    seconds = samples / SAMPLE_RATE
    phase = 2 * np.pi * 50 * seconds / np.log(300) * (300 ** (t / seconds) - 1)
    partials = np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.25 * np.sin(0.5 * phase + 2)
    return (0.4 * 10 ** (-3 * t / seconds) * partials).astype(np.float32)


def librosa_mel(audio: np.ndarray) -> np.ndarray:
    """librosa's natural-log mel, (M, T), with the house padding: reflect (n_fft - hop) / 2, no centring."""
    audio = audio.astype(np.float64)
    pad = (N_FFT - HOP_LENGTH) // 2
    audio = np.pad(np.pad(audio, (0, -len(audio) % HOP_LENGTH)), pad, mode="reflect")
    mel = librosa.feature.melspectrogram(
        y=audio, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, win_length=N_FFT, window="hann",
        center=False, power=1.0, n_mels=N_MELS, fmin=F_MIN, fmax=F_MAX, htk=False, norm="slaney",
    )  # fmt: skip
    return np.log(np.maximum(mel, FLOOR)).astype(np.float32)


def main() -> None:
    """Write the file."""
    audio = reference_signal(20_001)
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=F_MIN, fmax=F_MAX)
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, mel=librosa_mel(audio), filters=filters, version=np.array(librosa.__version__))


if __name__ == "__main__":
    main()
