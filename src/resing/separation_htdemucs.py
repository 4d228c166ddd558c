"""Hybrid Transformer Demucs as a separator, for those who install it: `pip install 'resing[separate]'`.

S. Rouard, F. Massa, A. Défossez, "Hybrid transformers for music source separation", ICASSP 2023. The weights
(MIT, 84 MB) come from the Hugging Face hub at a fixed revision and are checked before they are opened.
"""

from typing import Any, Self

import numpy as np
import torch

from resing import checkpoint
from resing.errors import ConfigError, DownloadError

REPOSITORY = "adefossez/HTDemucs"
REVISION = "bf35a81b663819a8255c8fefee17f9d812b786b5"
FILE = "955717e8.safetensors"
SHA256 = "d9fa14133cfcc034a6758923bb3a8ca9f8dfd0b582134643bbf83f72c17576dd"
OVERLAP_SECONDS = 1.5
SOURCE = "vocals"


class HTDemucsSeparator:
    """Vocals of a window of music, 7.8 s for the model as published.

    Args:
        model: a `demucs.htdemucs.HTDemucs` for stereo with a source called vocals, whose segment is 1 s
            at least.
        separator_id: short name and hash.
    """

    def __init__(self, model: Any, separator_id: str = "untrained") -> None:
        self.model, self.separator_id = model.eval().requires_grad_(False), separator_id
        self.sample_rate = int(model.samplerate)
        self.window_samples = int(model.segment * model.samplerate)
        self.hop_seconds = max(int(model.segment - OVERLAP_SECONDS), int(model.segment / 2) + 1)
        self._source = model.sources.index(SOURCE)

    @classmethod
    def load(cls) -> Self:
        """The published model, from the hub or from its cache.

        Raises:
            ConfigError: demucs is not installed.
            DownloadError: the weights cannot be had or are not those that were published.
        """
        try:
            from demucs.hf import load_safetensors_model
            from huggingface_hub import hf_hub_download
        except ImportError as error:
            raise ConfigError(
                f"the separator htdemucs needs the package demucs, which is not here ({error}); "
                "pip install 'resing[separate]', or use the separator that ships"
            ) from error
        try:
            path = hf_hub_download(REPOSITORY, FILE, revision=REVISION)
        except (OSError, ValueError) as error:
            raise DownloadError(
                f"{FILE} of {REPOSITORY} could not be fetched ({error}); connect to the network once, "
                "or use the separator that ships"
            ) from error
        found = checkpoint.file_hash(path)
        if found != SHA256:
            raise DownloadError(
                f"{path} has SHA-256 {found}, expected {SHA256}; delete it, so that it is fetched again"
            )
        return cls(load_safetensors_model(path), f"htdemucs-{SHA256[:12]}")

    @torch.inference_mode()
    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """The vocals of `audio`, both (2, window_samples) float32."""
        sources = self.model(torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None])
        vocals: np.ndarray = sources[0, self._source].numpy()
        return vocals
