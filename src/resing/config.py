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


TRIAL_ROWS = 2
"""Segments in the batch by which a GPU's memory is measured."""


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
    """How a recording is heard: pitch range in Hz, the content encoder by its kind, and the pitch tracker."""

    f0_min: float = 50.0
    f0_max: float = 1500.0
    f0_confidence: float = 0.5
    content_encoder: str = "resing-content-1"
    f0_tracker: Literal["swift-f0", "rmvpe"] = Field(
        default="swift-f0", exclude_if=lambda name: name == "swift-f0"
    )


class ModelConfig(Settings):
    """Shape of the acoustic model (channels, layers) and what its denoiser is trained to predict."""

    n_units: int = 72
    hidden: int = 256
    decoder_layers: int = 7
    denoiser_layers: int = 6
    kernel_size: int = 7
    expansion: int = 3
    speaker_dim: int = 128
    target: Literal["flow", "ddpm-eps", "ddpm-v"] = "flow"
    prior_sigma: float = 0.3
    adapter_rank: int = 8


class DiffSvcConfig(Settings):
    """Shape and arithmetic of a voice as Diff-SVC makes them, under this project's names.

    Attributes:
        audio: the signal its mels are of.
        encoder: of the units it was trained on; "embedded" is the one that ships.
        f0_min, f0_max: Hz; the pitches its table spreads over `f0_bins` - 1 rows.
        pitches: rows of the table.
        hidden: width of the units and the pitch vectors.
        channels, layers, dilation_cycle: of the denoiser.
        steps: of the noise schedule.
        start_step: K_step: sampling starts from pure noise below this step.
        speed_up: steps between two calls of the network that its maker set.
        smooth_units: units are taken on a straight line between two, as this project trains; else each frame
            has the one it falls to, as Diff-SVC does.
    """

    audio: AudioConfig
    encoder: Literal["hubert-soft", "contentvec-256", "embedded"]
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
    smooth_units: bool = Field(default=False, exclude_if=lambda smooth: not smooth)

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if not self.f0_min < self.f0_max:
            raise ValueError(f"f0_min {self.f0_min} Hz is not below f0_max {self.f0_max} Hz")
        if self.start_step > self.steps or self.f0_bins > self.pitches or self.channels % 2:
            raise ValueError("K_step, f0_bin or residual_channels do not fit the other settings")
        return self


class TrainingConfig(Settings):
    """How a voice is trained.

    Attributes:
        steps: at most so many; fewer where there are few recordings.
        steps_at_least, steps_per_minute: steps however little there is, and more for each minute.
        batch_size: segments in a batch; auto: what a GPU's memory holds, 8 without one.
        device: auto is a GPU where there is one.
        precision: of the arithmetic; auto is bf16 on a GPU that has it, fp32 elsewhere.
        audition_share: of the training's time that auditions may take; 0: none.
    """

    steps: int = 1500
    steps_at_least: int = 150
    steps_per_minute: int = 40
    batch_size: int | Literal["auto"] = 8
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    segment_frames: int = 128
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    gradient_clip: float = 1.0
    checkpoint_every: int = 100
    validate_every: int = 100
    patience: int = 5
    audition_share: float = Field(default=0.1, ge=0)
    seed: int = 0

    @property
    def rows(self) -> int:
        """Segments in a batch; those of a trial while that is not decided."""
        return TRIAL_ROWS if self.batch_size == "auto" else self.batch_size


class Preset(Settings):
    """What a voice is made with: how it is heard, which networks learn, how, and what it sounds through.

    Attributes:
        features: encoder and tracker.
        model: shape of an acoustic model of the voice's own; None: adapters on the one that ships.
        diff_svc: shape of a Diff-SVC in place of either; its width becomes that of the units.
        vocoder: of the catalogue of community models; "" is the one that ships.
        training: the defaults, before `--set`.
    """

    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig | None = None
    diff_svc: DiffSvcConfig | None = None
    vocoder: str = ""
    training: TrainingConfig = TrainingConfig()


FROM_NOTHING = TrainingConfig(
    steps=60000,
    steps_at_least=5000,
    steps_per_minute=1500,
    batch_size="auto",
    learning_rate=4e-4,
    ema_decay=0.999,
    checkpoint_every=500,
    validate_every=500,
    patience=10,
    device="auto",
    precision="auto",
)
"""For networks that begin with no base under them."""

PRESETS = {
    "embedded": Preset(),
    "big": Preset(
        features=FeaturesConfig(content_encoder="contentvec-768", f0_tracker="rmvpe"),
        model=ModelConfig(n_units=768, hidden=512, decoder_layers=6, denoiser_layers=12),
        vocoder="nsf-hifigan",
        training=FROM_NOTHING,
    ),
    "classic": Preset(
        diff_svc=DiffSvcConfig(
            audio=AudioConfig(),
            encoder="embedded",
            f0_min=40.0,
            f0_max=1100.0,
            f0_bins=256,
            pitches=300,
            hidden=72,
            channels=384,
            layers=20,
            dilation_cycle=4,
            steps=1000,
            start_step=1000,
            smooth_units=True,
        ),
        training=FROM_NOTHING,
    ),
}
"""embedded: all that ships. big: the community's models, for a GPU. classic: Diff-SVC, the system before."""
PresetName = Literal["embedded", "big", "classic"]


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
    guidance: float = Field(default=0.0, ge=0, le=2)
    articulation: float = Field(default=0.5, ge=0, le=1)
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
