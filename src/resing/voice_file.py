"""What a voice file holds and how it is checked: nothing in it is believed unseen (docs/voice-format.md)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from torch import Tensor

from resing import checkpoint
from resing.config import AudioConfig, DiffSvcConfig, FeaturesConfig, ModelConfig, explain
from resing.errors import VoiceError
from resing.features import content, hubert
from resing.nets.acoustic import AcousticNet
from resing.nets.adapter import adapter_tensors, add_adapters
from resing.synthesis import acoustic, diff_svc, vocoder

FORMAT, VERSION, LATEST_VERSION = "resing-voice", 1, 2
"""1: a change of the base that ships, or all of it; 2: networks of another shape, or other encoders."""
FULL_BAND_HZ = 22050.0
MAX_VOICE_BYTES = 256 << 20
ADAPTED = ("decoder", "denoiser", "film")
"""The parts of the acoustic network that a voice may change."""
LIMITS = {  # largest shapes believed, so that a file cannot ask for endless time or memory
    "n_units": 1024,
    "hidden": 2048,
    "decoder_layers": 64,
    "denoiser_layers": 64,
    "kernel_size": 63,
    "expansion": 8,
    "speaker_dim": 1024,
    "adapter_rank": 256,
}
AGAIN = "train it again here (resing voice create), or install the version it was made with"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]
AnyModel = TypeVar("AnyModel", bound=BaseModel)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds line breaks or control characters")
    return text


Line = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]
"""One line of text that a terminal can show: no line breaks, no escape sequences."""
Semitone = Annotated[str, Field(pattern="^([0-9]|[1-9][0-9]|1[01][0-9]|12[0-7])$")]


class VoiceCard(BaseModel):
    """What a voice says about itself.

    Attributes:
        name: letters, digits, - and _.
        whose: the person, character or synthesiser heard.
        licence: terms of the voice's use.
        consent: how the person agreed, or why nobody has to.
        source: where the recordings come from.
        credit: the line to print where the voice is used.
        languages: heard in the recordings.
        sex: of the voice heard.
        kind: of the recordings.
        minutes: of recordings used.
        range_hz: lowest and highest note that the voice sings well, Hz.
        f0_histogram: minutes heard on each MIDI semitone.
        bandwidth_hz: up to where the recordings hold sound, Hz.
        created: day, ISO 8601.
        encoder_id: content encoder the voice was trained on; it must be installed.
        encoder_hash: SHA-256 of that encoder's file.
        base_hash: base model the voice is a change of; it must be installed, unless the voice is full.
        vocoder_id: vocoder the voice was heard with in training.
        recordings: number of files used.
        training: steps, seconds, validation figures and the like.
        imported: converted from another system's format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=f"^{NAME.pattern}$")
    whose: Line = ""
    licence: Line = Field(min_length=1)
    consent: Line = Field(min_length=1)
    source: Line = ""
    credit: Line = ""
    languages: list[Line] = Field(default=[], max_length=100)
    sex: Literal["female", "male", "unstated"] = "unstated"
    kind: Literal["singing", "speech", "synthetic singing"] = "singing"
    minutes: float = Field(default=0.0, ge=0)
    range_hz: tuple[float, float]
    f0_histogram: dict[Semitone, Annotated[float, Field(ge=0)]] = {}
    bandwidth_hz: float = Field(default=FULL_BAND_HZ, ge=1000, le=96000)
    created: Line = ""
    encoder_id: Line
    encoder_hash: Line = ""
    base_hash: Line
    vocoder_id: Line = ""
    recordings: int = Field(default=0, ge=0)
    training: dict[str, JsonValue] = {}
    imported: bool = False

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if not 10.0 <= self.range_hz[0] < self.range_hz[1] <= 10000.0:
            raise ValueError(f"range_hz {self.range_hz}: expected lowest < highest note, from 10 to 10000 Hz")
        return self


@dataclass(frozen=True)
class Installed:
    """The models of this installation that a voice depends on."""

    base_hash: str
    encoder_id: str
    vocoder_id: str
    model: ModelConfig
    audio: AudioConfig

    @classmethod
    def read(cls) -> "Installed":
        """What the package's weights say of themselves, without loading them.

        Raises:
            VoiceError: a model is missing or damaged.
        """
        base, encoder, vocoder_ = (_part(p) for p in (acoustic.EMBEDDED, content.EMBEDDED, vocoder.EMBEDDED))
        model, audio = ModelConfig(**base["model"]), AudioConfig(**base["audio"])
        return cls(base["hash"], encoder["id"], vocoder_["id"], model, audio)


def _part(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise VoiceError(
            f"{path} is missing from this installation; run: pip install --force-reinstall resing"
        )
    return checkpoint.read_metadata(path)


def add_voice_adapters(net: AcousticNet, rank: int) -> None:
    """Put fresh adapters on the parts that a voice may change and freeze the rest."""
    net.requires_grad_(False)
    for part in ADAPTED:
        add_adapters(getattr(net, part), rank)


@dataclass(frozen=True)
class Contents:
    """A voice file that passed every check.

    Attributes:
        tensors: by name in the file: "speaker" (S,), then "adapter.*", or "net.*" in a full voice.
        diff_svc: shape of a voice as Diff-SVC makes them, whose "net.*" are that system's; else None.
    """

    card: VoiceCard
    model: ModelConfig
    audio: AudioConfig
    features: FeaturesConfig
    tensors: dict[str, Tensor]
    diff_svc: DiffSvcConfig | None = None


def header(contents: Contents) -> dict[str, Any]:
    """The JSON that a voice file carries beside its tensors."""
    own_shape = {"diff_svc": contents.diff_svc.model_dump()} if contents.diff_svc else {}
    sections = {
        "card": contents.card.model_dump(mode="json"),
        "model": contents.model.model_dump(),
        "audio": contents.audio.model_dump(),
        "features": contents.features.model_dump(),
        "content_hash": checkpoint.tensors_hash(contents.tensors),
        **own_shape,
    }
    return {"format": FORMAT, "version": _version(sections), **sections}


def _version(metadata: dict[str, Any]) -> int:
    """The least version of the format that says all that is in a header."""
    features = metadata.get("features")
    kind = features.get("content_encoder") if isinstance(features, dict) else None
    return LATEST_VERSION if "diff_svc" in metadata or kind in list(hubert.MODELS) else VERSION


def read_header(path: Path) -> dict[str, Any]:
    """The JSON of a file of the right size, format and version.

    Raises:
        VoiceError: it is missing, too large, no voice, or of a newer version.
    """
    if path.is_file() and path.stat().st_size > MAX_VOICE_BYTES:
        raise VoiceError(f"{path} is larger than {MAX_VOICE_BYTES >> 20} MB: not a voice; check the path")
    metadata = checkpoint.read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise VoiceError(f"{path} is no voice (format {metadata.get('format')!r:.40}, expected {FORMAT!r})")
    version = metadata.get("version")
    if version != _version(metadata):
        raise VoiceError(
            f"{path} has version {version!r:.20} of the voice format, this Resing reads up to "
            f"{LATEST_VERSION}; run: pip install --upgrade resing"
        )
    return metadata


def read_card(path: Path) -> VoiceCard:
    """The card alone, without the tensors.

    Raises:
        VoiceError: the file or its card is not valid.
    """
    return _section(path, read_header(path), "card", VoiceCard)


def read_contents(path: Path) -> Contents:
    """Everything in a voice file, checked against itself and against this installation.

    Raises:
        VoiceError: a check fails; says which, and what to do.
    """
    metadata = read_header(path)
    card = _section(path, metadata, "card", VoiceCard)
    model = _section(path, metadata, "model", ModelConfig)
    audio = _section(path, metadata, "audio", AudioConfig)
    features = _section(path, metadata, "features", FeaturesConfig)
    diff_svc_ = _section(path, metadata, "diff_svc", DiffSvcConfig) if "diff_svc" in metadata else None
    _check_limits(path, model)
    tensors, _ = checkpoint.load(path)
    full = any(name.startswith("net.") for name in tensors)
    if diff_svc_:
        _check_diff_svc(path, card, audio, diff_svc_)
        expected = expected_diff_svc(model, diff_svc_)
    elif features.content_encoder in hubert.MODELS:
        _check_own(path, card, audio, features.content_encoder)
        expected = expected_tensors(model, audio, adapters=False, full=True)
    else:
        _check_installed(path, card, model, audio, full)
        changed = not full and any(name.startswith("adapter.") for name in tensors)
        expected = expected_tensors(model, audio, adapters=changed, full=full)
    _check_tensors(path, tensors, expected)
    if checkpoint.tensors_hash(tensors) != metadata.get("content_hash"):
        raise VoiceError(
            f"{path} is damaged: its weights are not those it was saved with; get the file again"
        )
    return Contents(card, model, audio, features, tensors, diff_svc_)


def _section(path: Path, metadata: dict[str, Any], key: str, model: type[AnyModel]) -> AnyModel:
    if key not in metadata:
        raise VoiceError(f"{path} is damaged: its header holds no {key!r}; get the file again")
    try:
        return model.model_validate(metadata[key])
    except ValidationError as error:
        raise VoiceError(
            f"{path}: its {key} is not valid: {explain(error, model)}; get the file again"
        ) from error


def _check_limits(path: Path, model: ModelConfig) -> None:
    for key, limit in LIMITS.items():
        if not 1 <= getattr(model, key) <= limit:
            got = getattr(model, key)
            raise VoiceError(
                f"{path}: its model asks for {key} = {got}, expected 1 to {limit}; get the file again"
            )


def _check_installed(path: Path, card: VoiceCard, model: ModelConfig, audio: AudioConfig, full: bool) -> None:
    """The voice's encoder, signal and (unless full) base model are the ones of this installation."""
    installed = Installed.read()
    _check_encoder(path, card, installed)
    repair = AGAIN
    if not full and card.base_hash != installed.base_hash:
        raise VoiceError(
            f"{path}: the voice {card.name} needs the base model {card.base_hash[:12]}, "
            f"installed is {installed.base_hash[:12]}; {repair}, or ask its maker for a full export"
        )
    own = {"adapter_rank"} if not full else set(ModelConfig.model_fields) - {"n_units"}
    if audio != installed.audio or model.model_dump(exclude=own) != installed.model.model_dump(exclude=own):
        raise VoiceError(
            f"{path}: the voice {card.name} has other settings than the models installed; {repair}"
        )


def _check_encoder(path: Path, card: VoiceCard, installed: Installed) -> None:
    if card.encoder_id != installed.encoder_id:
        raise VoiceError(
            f"{path}: the voice {card.name} needs the content encoder {card.encoder_id}, "
            f"installed is {installed.encoder_id}; {AGAIN}"
        )


def _check_diff_svc(path: Path, card: VoiceCard, audio: AudioConfig, shape: DiffSvcConfig) -> None:
    """A voice taken over says so on its card, one made here has our encoder; the rest is of the house."""
    own = shape.encoder == "embedded"
    if own:
        _check_encoder(path, card, Installed.read())
    if (not own and card.encoder_id != shape.encoder) or card.imported == own or audio != AudioConfig():
        raise VoiceError(f"{path}: its card and its settings contradict each other; get the file again")


def _check_own(path: Path, card: VoiceCard, audio: AudioConfig, kind: str) -> None:
    """A voice with an acoustic model of its own names the encoder that its settings name."""
    if not card.encoder_id.startswith(f"{kind}-") or card.imported or audio != AudioConfig():
        raise VoiceError(f"{path}: its card and its settings contradict each other; get the file again")


def _check_tensors(path: Path, tensors: dict[str, Tensor], expected: Shapes) -> None:
    """Names, shapes and number formats are exactly those that the model needs."""
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise VoiceError(f"{path} is damaged: tensor {name:.80} is missing; get the file again")
        if name not in expected:
            raise VoiceError(
                f"{path}: unexpected tensor {name!r:.80}; get the file again from where it was made"
            )
        got, wanted = (tuple(tensors[name].shape), tensors[name].dtype), expected[name]
        if got != wanted:
            raise VoiceError(
                f"{path} is damaged: tensor {name} is {got[1]} {list(got[0])}, "
                f"expected {wanted[1]} {list(wanted[0])}; get the file again"
            )


def expected_tensors(model: ModelConfig, audio: AudioConfig, adapters: bool, full: bool) -> Shapes:
    """Shape and number format of every tensor that a voice file must hold, by name."""
    expected: Shapes = {"speaker": ((model.speaker_dim,), torch.float32)}
    with torch.device("meta"):
        net = acoustic.build(model, audio)
        if full:
            expected |= {f"net.{n}": (tuple(t.shape), torch.float32) for n, t in net.state_dict().items()}
        if adapters:
            add_voice_adapters(net, model.adapter_rank)
            changes = adapter_tensors(net).items()
            expected |= {f"adapter.{n}": (tuple(p.shape), torch.float16) for n, p in changes}
    return expected


def expected_diff_svc(model: ModelConfig, shape: DiffSvcConfig) -> Shapes:
    """As `expected_tensors`, for a voice as Diff-SVC makes them; its vector does not steer it."""
    with torch.device("meta"):
        net = diff_svc.build(shape).state_dict()
    weights = {f"net.{name}": (tuple(tensor.shape), torch.float32) for name, tensor in net.items()}
    return {"speaker": ((model.speaker_dim,), torch.float32)} | weights
