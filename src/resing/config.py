"""Every setting and its one default; torch-free, so the command line can import it at once.

Sections are named by what must be redone when they change: `audio` and `features` need a new
`prepare`, `model` a new `train`, `training` only a `resume`.
"""

import difflib
import hashlib
import json
import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Settings(BaseModel):
    """A frozen section of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AudioConfig(Settings):
    """The house signal: the mel that the community's 44.1 kHz NSF-HiFiGAN vocoders take."""

    sample_rate: int = 44100
    hop_length: int = 512
    win_length: int = 2048
    n_fft: int = 2048
    n_mels: int = 128
    f_min: float = 40.0
    f_max: float = 16000.0
    mel_floor: float = 1e-5

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def frame_count(self, samples: int) -> int:
        """Number of frames that cover `samples` samples; the only place that computes it."""
        return math.ceil(samples / self.hop_length)


class FeaturesConfig(Settings):
    """How a recording is heard: pitch range in Hz and the content encoder by its id."""

    f0_min: float = 50.0
    f0_max: float = 1500.0
    f0_confidence: float = 0.5
    content_encoder: str = "resing-content-1"


class ModelConfig(Settings):
    """Shape of the acoustic model (channels, layers) and what its denoiser is trained to predict."""

    n_units: int = 72
    hidden: int = 256
    decoder_layers: int = 5
    denoiser_layers: int = 6
    kernel_size: int = 7
    expansion: int = 3
    speaker_dim: int = 128
    target: Literal["flow", "ddpm-eps", "ddpm-v"] = "flow"
    prior_sigma: float = 0.3
    adapter_rank: int = 16


class DiffSvcConfig(Settings):
    """Shape and arithmetic of a voice taken over from Diff-SVC, under this project's names.

    Attributes:
        audio: the signal its mels are of.
        encoder: of the units it was trained on.
        f0_min, f0_max: Hz; the pitches its table spreads over `f0_bins` - 1 rows.
        pitches: rows of the table.
        hidden: width of the units and the pitch vectors.
        channels, layers, dilation_cycle: of the denoiser.
        steps: of the noise schedule.
        start_step: K_step: sampling starts from pure noise below this step.
        speed_up: steps between two calls of the network that its maker set.
    """

    audio: AudioConfig
    encoder: Literal["hubert-soft", "contentvec-256"]
    f0_min: float = Field(gt=0, le=2000)
    f0_max: float = Field(gt=0, le=10000)
    f0_bins: int = Field(ge=8, le=4096)
    pitches: int = Field(ge=8, le=4096)
    hidden: int = Field(ge=1, le=1024)
    channels: int = Field(ge=4, le=1024)
    layers: int = Field(ge=1, le=64)
    dilation_cycle: int = Field(ge=1, le=10)
    steps: int = Field(ge=2, le=4000)
    start_step: int = Field(ge=2, le=4000)
    speed_up: int = Field(default=10, ge=1, le=1000)

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if not self.f0_min < self.f0_max:
            raise ValueError(f"f0_min {self.f0_min} Hz is not below f0_max {self.f0_max} Hz")
        if self.start_step > self.steps or self.f0_bins > self.pitches or self.channels % 2:
            raise ValueError("K_step, f0_bin or residual_channels do not fit the other settings")
        return self


class TrainingConfig(Settings):
    """How a voice is trained from the base model."""

    steps: int = 1500
    batch_size: int = 8
    segment_frames: int = 128
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    gradient_clip: float = 1.0
    checkpoint_every: int = 100
    validate_every: int = 100
    patience: int = 5
    seed: int = 0


class ConvertOptions(Settings):
    """How a song is sung: what `resing convert` and `resing.convert` take."""

    transpose: float | Literal["auto", "octaves"] = "auto"
    out_of_range: Literal["keep", "fold", "clamp"] = "fold"
    dereverb: bool = False
    pitch_file: str | None = None
    tune: str | None = None
    tune_strength: float = Field(default=1.0, ge=0, le=1)
    sampler: Literal["auto", "euler", "heun", "ddim", "dpm-solver++", "plms", "ancestral"] = "auto"
    steps: int = Field(default=2, ge=0, le=1000)
    temperature: float = Field(default=0.3, ge=0, le=1.5)
    dynamics: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    retries: int = Field(default=1, ge=0, le=20)
    retry_budget: float = Field(default=0.75, ge=0)
    start_seconds: float = Field(default=0.0, ge=0)
    end_seconds: float | None = None
    window_seconds: float = Field(default=15.0, gt=0)


class MixOptions(Settings):
    """How a converted lead takes the original lead's place; amounts are shares of the way to the original."""

    match_loudness: bool = True
    match_tone: float = Field(default=1.0, ge=0, le=1)
    match_reverb: float = Field(default=1.0, ge=0, le=1)
    match_width: float = Field(default=1.0, ge=0, le=1)
    de_ess: bool = True
    limit: bool = True
    lead_gain_db: float = Field(default=0.0, ge=-24, le=24)


class SongOptions(Settings):
    """What is done to a song beside singing its lead; `a_cappella` None: heard in it."""

    a_cappella: bool | None = None
    separator: Literal["embedded", "htdemucs"] = "embedded"
    shift_accompaniment: bool = False
    mix: MixOptions = MixOptions()


def settings_hash(*sections: Settings) -> str:
    """SHA-256 (first 16 hex digits) over the settings, to tell whether prepared data still fits."""
    text = json.dumps([s.model_dump() for s in sections], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, in one line: which setting, got, expected, nearest right name."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), model.model_fields, n=1, cutoff=0.5)
        return f"unknown setting {where}; did you mean {near[0]}?" if near else f"unknown setting {where}"
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: got {first['input']!r:.60}; {first['msg']}"
