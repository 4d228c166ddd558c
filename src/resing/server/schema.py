"""What goes over the wire: requests, answers, and nothing that `config.py` has already.

A request is kept as JSON in the database, so a job can be taken up after a crash and done again later.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from resing.config import ConvertOptions, PresetName, Settings, SongOptions, TrainingConfig
from resing.server.database import State
from resing.server.places import ID, check_id
from resing.training.request import VoiceFacts
from resing.voice_file import NAME

Id = Annotated[str, Field(pattern=f"^{ID.pattern}$"), AfterValidator(check_id)]
VoiceName = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]

WINDOW_SECONDS = (1.0, 60.0)
LARGEST_TRAINING = {"steps": 20000, "batch_size": 64, "segment_frames": 1024, "patience": 1000}


class Listen(Settings):
    """Hear which notes a song has, and in which key each voice would sing it."""

    kind: Literal["listen"]
    upload: Id


class Convert(Settings):
    """Sing a song in a voice: `options` and `song` are those of the command line."""

    kind: Literal["convert"]
    upload: Id
    voice: VoiceName
    options: ConvertOptions = ConvertOptions()
    song: SongOptions = SongOptions()
    preview: bool = False

    @model_validator(mode="after")
    def _no_paths(self) -> Self:
        if self.options.pitch_file is not None:
            raise ValueError("options.pitch_file names a file of the server; expected null")
        low, high = WINDOW_SECONDS
        if not low <= self.options.window_seconds <= high:
            raise ValueError(f"options.window_seconds: expected {low} to {high}")
        return self


class Retake(Settings):
    """Sing one phrase of a conversion once more: the song as it was, with another take put in.

    The phrase is the one that covers most of the place, in seconds of the song that was sent.
    """

    kind: Literal["retake"]
    job: Id
    start_seconds: float = Field(ge=0)
    end_seconds: float = Field(gt=0)

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if not self.start_seconds < self.end_seconds:
            raise ValueError("end_seconds: expected more than start_seconds")
        return self


class Score(Settings):
    """Judge what a conversion made, phrase by phrase."""

    kind: Literal["score"]
    job: Id


class Sample(Settings):
    """Let a voice sing a few bars, so that one hears whom one chooses."""

    kind: Literal["sample"]
    voice: VoiceName


class Recordings(Settings):
    """Look at recordings of a voice: how much, how high, how clean; heard as the preset of the voice will."""

    kind: Literal["recordings"]
    uploads: Annotated[tuple[Id, ...], Field(min_length=1, max_length=1000)]
    songs: bool = False
    preset: PresetName = "embedded"


class CreateVoice(Settings):
    """Make a voice of recordings that were looked at, with the preset they were looked at for."""

    kind: Literal["voice"]
    recordings: Id
    facts: VoiceFacts
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _within_reason(self) -> Self:
        if not NAME.fullmatch(self.facts.name):
            raise ValueError("facts.name: expected up to 64 letters, digits, - and _")
        for name, most in LARGEST_TRAINING.items():
            if not 1 <= getattr(self.training, name) <= most:
                raise ValueError(f"training.{name}: expected 1 to {most}")
        return self


Request = Annotated[
    Listen | Convert | Retake | Score | Sample | Recordings | CreateVoice, Field(discriminator="kind")
]


class Answer(BaseModel):
    """An answer of the server."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """What went wrong: a short name for programs, and a sentence that says what to do."""

    code: str
    message: str


class Failure(Answer):
    """The body of every answer that is not a success."""

    error: Problem


class Upload(Answer):
    """A file that was sent and looked at; `peaks` are the loudest samples of equal stretches, 0 to 1."""

    id: str
    name: str
    bytes: int
    seconds: float
    sample_rate: int
    channels: int
    peaks: list[float]


class Progress(Answer):
    """How far a job is: the stage, how much of it, seconds left in all where that is known, figures."""

    stage: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    remark: str = ""
    figures: dict[str, float] = {}


class File(Answer):
    """A file that a job made."""

    name: str
    bytes: int


class Job(Answer):
    """A job as everybody with the token sees it; what it made needs its secret."""

    id: str
    kind: str
    title: str
    state: State
    request: dict[str, JsonValue]
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    attempts: int
    cancelling: bool
    ahead: int
    progress: Progress
    error: Problem | None
    files: list[File]


class NewJob(Answer):
    """A job that was accepted, and the secret that opens what it will make; it is told only this once."""

    job: Job
    secret: str


class Line(Answer):
    """A line of a job's log."""

    time: float
    text: str


class Result(Answer):
    """What a job found out, by its kind."""

    job: Job
    result: dict[str, JsonValue]


class VoiceAnswer(Answer):
    """A voice's card, whether it is the user's own, and whether it can be heard at once."""

    card: dict[str, Any]
    own: bool
    range: str
    has_sample: bool


class Voices(Answer):
    """All voices, and what is wrong with files that are none."""

    voices: list[VoiceAnswer]
    problems: list[str]


class About(Answer):
    """What this server is and allows."""

    version: str
    limits: dict[str, float]
    voice_import: bool
    defaults: dict[str, Any]
