"""Whisper's encoder as a teacher: any layer's hidden states from a CTranslate2 model folder.

A tool for recipes only: the package never imports it and ships none of its weights. `model.bin` is read by
name, the log-mel front end and the encoder are plain torch.
Sources: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 2.2;
CTranslate2, python/ctranslate2/specs/model_spec.py (the file format).
"""

import itertools
import math
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F

from resing.audio.mel import mel_filterbank

SAMPLE_RATE = 16000
N_FFT = 400
HOP_LENGTH = 160
N_MELS = 80
CHUNK_SECONDS = 30
SAMPLES_PER_FRAME = 320  # hop of the mel times the stride of the second convolution: 50 frames a second

_NUMPY_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_BFLOAT16 = 5


def _numbers(file: BinaryIO, layout: str) -> tuple[int, ...]:
    """Little-endian numbers by their `struct` layout; ValueError where the file ends early."""
    size = struct.calcsize("<" + layout)
    data = file.read(size)
    if len(data) != size:
        raise ValueError(f"model.bin ends at byte {file.tell()}: expected {size} more bytes, got {len(data)}")
    return struct.unpack("<" + layout, data)


def _string(file: BinaryIO) -> str:
    """A string stored as 16-bit length (with the closing zero) and bytes."""
    (length,) = _numbers(file, "H")
    return file.read(length).rstrip(b"\0").decode()


def _array(data: bytes, type_id: int, dims: tuple[int, ...]) -> np.ndarray:
    """Array of a variable's bytes; bfloat16 is widened to float32."""
    if type_id == _BFLOAT16:
        bits = np.frombuffer(data, "<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(dims)
    if type_id not in _NUMPY_TYPES:
        raise ValueError(f"model.bin holds element type {type_id}: expected 0 to {_BFLOAT16}")
    return np.frombuffer(data, _NUMPY_TYPES[type_id]).reshape(dims)


def read_variables(path: str | Path) -> dict[str, np.ndarray]:
    """Every variable of a CTranslate2 `model.bin` (binary version 4 to 6) by name, aliases included, as
    stored."""
    with open(path, "rb") as file:
        (version,) = _numbers(file, "I")
        if not 4 <= version <= 6:
            raise ValueError(f"{path} has binary version {version}: expected 4 to 6")
        _string(file)  # the specification's name; its revision follows
        _, count = _numbers(file, "II")
        variables = {}
        for _ in range(count):
            name = _string(file)
            (rank,) = _numbers(file, "B")
            dims = _numbers(file, f"{rank}I")
            type_id, n_bytes = _numbers(file, "BI")
            variables[name] = _array(file.read(n_bytes), type_id, dims)
        for _ in range(_numbers(file, "I")[0]):
            alias, name = _string(file), _string(file)
            variables[alias] = variables[name]
    return variables


def dequantise(variables: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    """Float32 tensors of the variables whose name starts with `prefix` (removed); int8 and int16 by their
    scale."""
    tensors = {}
    for name, value in variables.items():
        if not name.startswith(prefix) or name.endswith("_scale"):
            continue
        real = value.astype(np.float32)
        scale = variables.get(f"{name}_scale")
        if scale is not None and value.dtype in (np.int8, np.int16):
            shape = (-1,) + (1,) * (real.ndim - 1) if scale.ndim else ()
            real = real / scale.astype(np.float32).reshape(shape)  # one scale a row, or one for all
        tensors[name[len(prefix) :]] = torch.from_numpy(np.ascontiguousarray(real))
    return tensors


def whisper_log_mel(audio: torch.Tensor) -> torch.Tensor:
    """Whisper's input features of mono audio at 16 kHz, (N,) -> (80, N // 160); N at least 201 samples."""
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(audio, N_FFT, HOP_LENGTH, window=window, center=True, return_complex=True)
    power = spectrum[:, :-1].abs().square()  # (201, T): the last, centred frame is dropped as Whisper does
    mel = mel_filterbank(SAMPLE_RATE, N_FFT, N_MELS, 0.0, SAMPLE_RATE / 2) @ power
    log_mel = torch.clamp(mel, min=1e-10).log10()
    log_mel = torch.maximum(log_mel, log_mel.max() - 8.0)
    return (log_mel + 4.0) / 4.0


class WhisperEncoder:
    """The encoder with its weights in float32.

    Attributes:
        n_layers: number of transformer layers.
        width: channels of the hidden states.
    """

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights
        self.n_layers = sum(name.endswith("ffn/linear_0/weight") for name in weights)
        self.width = weights["conv1/weight"].shape[0]
        self.n_heads = self.width // 64  # 64 channels a head in every Whisper size
        self.positions = weights["position_encodings/encodings"]  # (1500, width)

    @classmethod
    def load(cls, folder: str | Path) -> "WhisperEncoder":
        """The encoder of a CTranslate2 Whisper folder (model.bin)."""
        variables = read_variables(Path(folder) / "model.bin")
        return cls(dequantise(variables, "encoder/"))

    @torch.inference_mode()
    def layer(self, audio_16k: np.ndarray | torch.Tensor, layer: int = 4) -> torch.Tensor:
        """Hidden states after `layer` transformer layers (0 = convolutions and positions), without the final
        norm.

        Chunks of up to 30 s are run on their own, unpadded; each starts at position 0.

        Args:
            audio_16k: mono samples at 16 kHz, (N,).
            layer: 0 to n_layers.

        Returns:
            (ceil(N / 320), width) float32, frame `t` covers samples 320 t to 320 t + 320.
        """
        audio = torch.as_tensor(audio_16k, dtype=torch.float32)
        frames = math.ceil(len(audio) / SAMPLES_PER_FRAME)
        chunk = CHUNK_SECONDS * SAMPLE_RATE // SAMPLES_PER_FRAME
        parts = max(1, math.ceil(frames / chunk))
        edges = [round(frames * part / parts) for part in range(parts + 1)]  # equal parts: no short rest
        audio = F.pad(audio, (0, frames * SAMPLES_PER_FRAME - len(audio)))
        states = [
            self.run(
                whisper_log_mel(_at_least_one_window(audio[a * SAMPLES_PER_FRAME : b * SAMPLES_PER_FRAME])),
                layer,
            )[: b - a]
            for a, b in itertools.pairwise(edges)
        ]
        return torch.cat(states)  # (T, width)

    @torch.inference_mode()
    def run(self, log_mel: torch.Tensor, layer: int, final_norm: bool = False) -> torch.Tensor:
        """Hidden states of input features of at most 3000 frames, (80, T) -> (ceil(T / 2), width)."""
        if not 0 <= layer <= self.n_layers:
            raise ValueError(f"layer {layer} is not in this encoder: expected 0 to {self.n_layers}")
        w = self.weights
        x = F.gelu(F.conv1d(log_mel[None], w["conv1/weight"], w["conv1/bias"], padding=1))
        x = F.gelu(F.conv1d(x, w["conv2/weight"], w["conv2/bias"], stride=2, padding=1))[0].T  # (T, width)
        x = x + self.positions[: len(x)]
        for index in range(layer):
            x = x + self._attention(x, f"layer_{index}/self_attention")
            x = x + self._feed_forward(x, f"layer_{index}/ffn")
        return self._norm(x, "layer_norm") if final_norm else x

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (self.width,), self.weights[f"{name}/gamma"], self.weights[f"{name}/beta"])

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}/weight"], self.weights.get(f"{name}/bias"))

    def _attention(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Self-attention branch, (T, width); linear_0 holds queries, keys and values one after the other."""
        qkv = self._linear(self._norm(x, f"{name}/layer_norm"), f"{name}/linear_0")
        q, k, v = qkv.view(len(x), 3, self.n_heads, -1).permute(1, 2, 0, 3)  # (heads, T, 64) each
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
        return self._linear(mixed.transpose(0, 1).reshape(len(x), -1), f"{name}/linear_1")

    def _feed_forward(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Feed-forward branch, (T, width)."""
        hidden = F.gelu(self._linear(self._norm(x, f"{name}/layer_norm"), f"{name}/linear_0"))
        return self._linear(hidden, f"{name}/linear_1")


def _at_least_one_window(audio: torch.Tensor) -> torch.Tensor:
    """Audio padded to at least one STFT window, so that a chunk of one frame can be heard, (N,)."""
    return F.pad(audio, (0, max(0, N_FFT - len(audio))))
