"""What the source's singer says and the units do not, so that the voice can say it too.

The acoustic model can also sing the source's score in the source's own voice. Where the source itself sounds
otherwise, frame by frame, there is what its units leave unsaid: how open a vowel is, when a consonant closes.
What stays the same all along is the singer's voice, which the model knows only in part, and is left out. It
is heard in bands that are wider than the partials of a note, so that it holds in another key, and is brought
to the length of the other throat: formants lie higher in a short one.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resing.audio.mel import hz_to_mel, log_mel, mel_centres
from resing.config import AudioConfig
from resing.features.extract import Features, Recording, overlapping
from resing.features.f0 import fill_unvoiced
from resing.synthesis.acoustic import AcousticModel, normalise

BANDS = 32
FAINT_DB, CLEAR_DB = -40.0, -30.0
"""Frames below the first loudness say nothing, those above the second all."""
FEWEST_FRAMES = 6
LARGEST = 0.7
"""Of the networks' scale: 18 dB."""
WORDS_HZ, BEYOND_HZ = 3400.0, 5200.0
"""Up to the first a band counts in full, from the second on not at all: what lies above tells who sings."""
ALL_UP, NOTHING_UP = 5.0, 12.0
"""Semitones by which a note is moved up from which on less of it is added, and nothing."""
STRETCHES = np.exp(np.linspace(-0.22, 0.22, 23))
"""Factors on the formants that are tried."""
WINDOW_FRAMES = 1200
ACROSS = (0.25, 0.5, 0.25)
ALONG_FRAMES, REACH = 1.5, 4
"""Weights of neighbouring bands; spread of the Gaussian over neighbouring frames, and where it ends."""


@dataclass
class Sung:
    """Mels in bands, (BANDS, T): the source's, and the model's of its score by singer and voice."""

    source: np.ndarray
    singer: np.ndarray
    voice: np.ndarray


def articulation_of(
    recording: Recording,
    features: Features,
    f0: np.ndarray,
    model: AcousticModel,
    singer: Tensor,
    voice: Tensor,
) -> np.ndarray:
    """What to add to a mel that is sung from the units of `features`, (BANDS, T) float16.

    It is on the networks' scale. A band counts by how well the model follows the source in it: not at all
    where there is noise, or nothing. The higher a note is moved, the less is left of the formants under its
    partials: it fades, and an octave up there is nothing.

    Args:
        recording: the source.
        features: what is heard in it.
        f0: Hz > 0 everywhere, what is to be sung, (T,).
        model: sings in any voice.
        singer: vector of who sings in the source, (1, S).
        voice: vector of who is to sing, (1, S).
    """
    sung = _sung(recording, features, model, singer, voice)
    clear = np.clip((features.loudness - FAINT_DB) / (CLEAR_DB - FAINT_DB), 0.0, 1.0) * ~features.silent
    alive = clear > 0.5
    apart, left = sung.source - sung.singer, np.zeros_like(sung.source)
    for same in (features.voiced, ~features.voiced):
        frames = alive & same
        if frames.sum() >= FEWEST_FRAMES:
            left[:, same] = (apart - apart[:, frames].mean(axis=1, keepdims=True))[:, same]
    left *= clear * _alike(sung.source[:, alive], sung.singer[:, alive])[:, None]
    spoken = alive & features.voiced
    moved = stretch(_factor(sung.singer[:, spoken], sung.voice[:, spoken], features.audio), features.audio)
    hertz = _centres(features.audio)[:, None]
    share = np.clip((BEYOND_HZ - hertz) / (BEYOND_HZ - WORDS_HZ), 0.0, 1.0)
    smooth = _smooth(torch.from_numpy((share * (moved @ left)).astype(np.float32)))
    up = 12 * np.log2(f0 / fill_unvoiced(features.f0))
    near = np.clip((NOTHING_UP - up) / (NOTHING_UP - ALL_UP), 0.0, 1.0)
    return (near * smooth.clamp(-LARGEST, LARGEST).numpy()).astype(np.float16)


def stretch(factor: float, config: AudioConfig) -> np.ndarray:
    """Matrix (BANDS, BANDS) that brings what lies at f Hz to `factor` * f, on straight lines."""
    centres = _centres(config)
    mels = hz_to_mel(centres)
    at = np.interp(hz_to_mel(centres / factor), mels, np.arange(BANDS))
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(BANDS)[None]))


def _sung(
    recording: Recording, features: Features, model: AcousticModel, singer: Tensor, voice: Tensor
) -> Sung:
    config, frames = features.audio, len(features.f0)
    hop, reach = config.hop_length, model.net.decoder.reach
    halo = math.ceil((config.n_fft - hop) / 2 / hop)
    sung = Sung(*(np.zeros((BANDS, frames), np.float32) for _ in range(3)))
    score, start = (fill_unvoiced(features.f0), features.voiced, features.loudness), 0
    levelled = (block * np.float32(features.reference_gain) for block in recording.mono(config.sample_rate))
    for skip, piece in overlapping(levelled, WINDOW_FRAMES * hop, halo * hop, halo * hop):
        stop = min(start + WINDOW_FRAMES, frames)
        mel = normalise(log_mel(torch.from_numpy(piece.astype(np.float32))[None], config))
        sung.source[:, start:stop] = _pooled(mel)[:, skip // hop :][:, : stop - start]
        first, last = max(0, start - reach), min(frames, stop + reach)
        told = features.window(first, last), *(x[first:last] for x in score)
        units, f0, voiced, loudness = (torch.from_numpy(x.astype(np.float32))[None] for x in told)
        for who, into in ((singer, sung.singer), (voice, sung.voice)):
            mel = model.first(units, f0, voiced, loudness, who)
            into[:, start:stop] = _pooled(mel)[:, start - first :][:, : stop - start]
        start = stop
    return sung


def _pooled(mel: Tensor) -> np.ndarray:
    """Means of neighbouring bands of (1, M, T), (BANDS, T)."""
    return F.adaptive_avg_pool2d(mel, (BANDS, mel.shape[-1]))[0].numpy()


def _centres(config: AudioConfig) -> np.ndarray:
    """Frequency in Hz of each band's middle, (BANDS,)."""
    centres = mel_centres(config.n_mels, config.f_min, config.f_max)
    return np.array([part.mean() for part in np.array_split(centres, BANDS)])


def _moving(values: np.ndarray) -> np.ndarray:
    """(BANDS, T) without each band's mean."""
    return values - values.mean(axis=1, keepdims=True)


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of each band over time, 0 where it is negative, (BANDS,)."""
    if not one.shape[1]:
        return np.zeros(BANDS, np.float32)
    one, other = _moving(one), _moving(other)
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.clip((one * other).sum(axis=1) / (size + 1e-6), 0.0, 1.0)


def _factor(singer: np.ndarray, voice: np.ndarray, config: AudioConfig) -> float:
    """How much higher the voice's formants lie than the singer's: what makes the same sounds most alike."""
    if singer.shape[1] < FEWEST_FRAMES:
        return 1.0
    singer, voice = _moving(singer), _moving(voice)
    low = _centres(config) < BEYOND_HZ
    errors = [np.square(stretch(f, config) @ singer - voice)[low].sum() for f in STRETCHES]
    return float(STRETCHES[int(np.argmin(errors))])


def _smooth(values: Tensor) -> Tensor:
    """Weighted over neighbouring bands and frames, (BANDS, T)."""
    frames = torch.arange(-REACH, REACH + 1) / ALONG_FRAMES
    weights = torch.tensor(ACROSS)[:, None] * torch.softmax(-0.5 * frames.square(), 0)[None]
    wide = F.pad(values[None, None], (REACH, REACH, 1, 1), mode="replicate")
    return F.conv2d(wide, weights[None, None])[0, 0]
