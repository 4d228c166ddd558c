"""`resing convert` and `resing repeat`: a song, or a folder of songs, in another voice."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import Parameter, Token
from pydantic import ValidationError

from resing.cli_output import Json, Progress, clock, progress, say, show_json
from resing.cli_told import describe, tell_range
from resing.config import ConvertOptions, MixOptions, SongOptions, explain
from resing.errors import ConfigError

if TYPE_CHECKING:
    from resing.conversion_record import ConversionRecord
    from resing.separation import Separator
    from resing.song.arrange import Arranger
    from resing.voice import Voice

WORTH_SAYING_SECONDS = 10.0
_MIX = ", ".join(f"{name}={field.default}" for name, field in MixOptions.model_fields.items())


def parse_time(text: str) -> float:
    """Seconds of "75", "75.5", "1:15" or "0:01:15.5".

    Raises:
        ValueError: it is none of these.
    """
    parts = text.split(":")
    try:
        *whole, last = parts
        numbers = [float(int(part)) for part in whole] + [float(last)]
    except ValueError:
        numbers = []
    if (
        not 1 <= len(numbers) <= 3
        or not all(0 <= n < float("inf") for n in numbers)
        or max(numbers[1:] or [0]) >= 60
    ):
        raise ValueError(f"got {text!r}, expected seconds, m:ss or h:mm:ss, such as 0:40")
    return sum(number * 60**place for place, number in enumerate(reversed(numbers)))


def _time(_: Any, tokens: Sequence[Token]) -> float:
    return parse_time(tokens[0].value)


def _transpose(_: Any, tokens: Sequence[Token]) -> float | str:
    text = tokens[0].value
    try:
        return text if text in ("auto", "octaves") else float(text)
    except ValueError:
        raise ValueError(f"got {text!r}, expected auto, octaves, or semitones, such as -3 or 2.5") from None


def _option(field: str, text: str, **more: Any) -> Parameter:
    """A flag for a field of ConvertOptions, whose default and choices it shows."""
    known = ConvertOptions.model_fields[field]
    choices = [c for c in get_args(known.annotation) if isinstance(c, str)]
    if choices and "converter" not in more:
        more["choices"] = choices
    return Parameter(help=text, show_default=lambda _: known.default, **more)


def _plain(text: str, **more: Any) -> Parameter:
    return Parameter(help=text, show_default=False, **more)


@Parameter(name="*")
@dataclass
class Singing:
    """Flags that say how the lead is sung, by the names of ConvertOptions."""

    transpose: Annotated[
        float | str | None,
        _option(
            "transpose",
            "semitones up (-3: three down), or auto: the key that fits the voice, in octaves where music "
            "is there.",
            converter=_transpose,
            metavar="auto|N",
        ),
    ] = None
    start_seconds: Annotated[
        float | None,
        _plain("start here, as m:ss or seconds.", name="--from", metavar="TIME", converter=_time),
    ] = None
    end_seconds: Annotated[
        float | None, _plain("end here, as m:ss or seconds.", name="--to", metavar="TIME", converter=_time)
    ] = None
    seed: Annotated[int | None, _option("seed", "another number gives another take.")] = None
    retries: Annotated[
        int | None, _option("retries", "how often a phrase that comes out breathy or rough is tried again.")
    ] = None
    retry_budget: Annotated[
        float | None, _option("retry_budget", "times the work of singing that trying again may take.")
    ] = None
    steps: Annotated[int | None, _option("steps", "of the sampler: more is slower, 0 skips it.")] = None
    temperature: Annotated[
        float | None, _option("temperature", "noise that the sampler starts from: less is calmer.")
    ] = None
    guidance: Annotated[
        float | None,
        _option("guidance", "leads the sound further away from the song's singer: 0 not at all, .5 clearly."),
    ] = None
    articulation: Annotated[
        float | None,
        _option("articulation", "how much of the singer's own way to say the words is kept, 0 to 1."),
    ] = None
    dynamics: Annotated[
        float | None, _option("dynamics", "how far it rises and falls with the source, 0 to 1.")
    ] = None
    sampler: Annotated[str | None, _option("sampler", "how the mel is drawn from noise.")] = None
    out_of_range: Annotated[
        str | None,
        _option(
            "out_of_range",
            "notes the voice does not have: keep them, fold them by octaves, or clamp them to its limit.",
        ),
    ] = None
    dereverb: Annotated[
        bool | None,
        _plain("hear the lead without its late reverb; the mix gives it back.", negative=""),
    ] = None
    pitch_file: Annotated[
        Path | None, _plain("sing this melody, an edited --pitch-out; only what changed is sung anew.")
    ] = None
    tune: Annotated[
        str | None,
        _option("tune", 'pull notes onto a scale: "C major", "A minor", chromatic.', metavar="SCALE"),
    ] = None
    tune_strength: Annotated[float | None, _option("tune_strength", "how far --tune pulls them, 0 to 1.")] = (
        None
    )

    def options(self) -> ConvertOptions:
        """What was given; the rest keeps the model's defaults.

        Raises:
            ConfigError: one is out of its range.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.pitch_file:
            given["pitch_file"] = str(self.pitch_file.absolute())
        return _built(ConvertOptions, given)


@Parameter(name="*")
@dataclass
class Mixing:
    """Flags that say what is done to a song beside singing, by the names of SongOptions."""

    a_cappella: Annotated[
        bool | None,
        _plain("the source is a voice alone, or is not (--no-a-cappella); left out, it is heard."),
    ] = None
    separator: Annotated[
        str | None, _plain("embedded, or htdemucs (pip install 'resing[separate]').", metavar="NAME")
    ] = None
    shift_accompaniment: Annotated[
        bool | None, _plain("move the accompaniment to the lead's new key.", negative="")
    ] = None
    backing: Annotated[
        str | None,
        _plain(
            "backing vocals: convert, with the lead; nothing here tells them from it.",
            metavar="convert",
        ),
    ] = None
    mix: Annotated[
        list[str] | None, _plain(f"how the lead is placed, may be repeated. Defaults: {_MIX}.", negative="")
    ] = None

    def options(self) -> SongOptions:
        """What was given; the rest keeps the model's defaults.

        Raises:
            ConfigError: a setting is unknown or out of its range.
        """
        if self.backing not in (None, "convert"):
            raise ConfigError(
                f"--backing {self.backing}: no separator here tells backing vocals from the lead, so both "
                "are converted (--backing convert); to keep or drop them give stems of your own: "
                "resing convert LEAD --accompaniment REST"
            )
        own = {"mix", "backing"}
        given = {name: value for name, value in asdict(self).items() if value is not None and name not in own}
        pairs = [text.partition("=") for text in self.mix or []]
        for name, sign, _ in pairs:
            if not sign:
                raise ConfigError(f"--mix {name}: expected NAME=VALUE, such as --mix match_reverb=0")
        given["mix"] = _built(MixOptions, {name: value for name, _, value in pairs})
        return _built(SongOptions, given)


def convert(
    source: Path,
    /,
    *,
    out: Annotated[Path, Parameter(["--out", "-o"])],
    voice: str | None = None,
    reference: Annotated[
        Path | None, _plain("instead of --voice: 10 to 30 s of a voice, which a preview is made of.")
    ] = None,
    consent: Annotated[
        str | None, _plain("with --reference: how that person agreed, such as 'my own voice'.")
    ] = None,
    singing: Singing | None = None,
    mixing: Mixing | None = None,
    preview: Annotated[bool, _plain("only the 15 s where the singing is loudest.", negative="")] = False,
    accompaniment: Annotated[
        Path | None, _plain("what is played, where the source is the lead of a song you have in stems.")
    ] = None,
    stems: Annotated[
        Path | None, _plain("folder for lead, accompaniment, converted lead and mix, all in sync.")
    ] = None,
    pitch_out: Annotated[
        Path | None, _plain("write the melody that was heard to this .csv, to be edited.")
    ] = None,
    json: Json = False,
) -> int | None:
    """Sing a song in another voice: separate the lead, convert it, mix it back.

    Args:
        source: a song, or vocals alone: any audio file, a video with sound, or a folder of them.
        voice: name of a voice (see `resing voice list`), or a voice file.
        out: .wav, .flac, .mp3, .opus or .ogg, or for a folder of songs a folder; beside each output goes
            OUT.json, from which it can be made again.
    """
    options, song = (singing or Singing()).options(), (mixing or Mixing()).options()
    from resing.conversion import Converter
    from resing.song.arrange import Arranger
    from resing.song.pace import Pace
    from resing.synthesis import vocoder_nsf

    singer = _singer(voice, reference, consent)
    if vocoder_nsf.missing(singer.card.vocoder_id):
        say(vocoder_nsf.advice())
    arranger = Arranger(Converter(singer), song)
    if source.is_dir():
        if preview or accompaniment or stems or pitch_out or options.pitch_file:
            raise ConfigError(
                "--preview, --accompaniment, --stems, --pitch-out and --pitch-file take a song, not a folder"
            )
        return _convert_folder(arranger, source, out, options, json)
    arranger.check(source, out, options, pitch_out)
    with progress() as bars:
        if preview:
            separator = None if accompaniment or arranger.is_alone(source) else arranger.separator
            options = _preview(source, separator, options, bars)
        estimate = Pace.known().estimate(arranger.stages(source, options, accompaniment))
        if estimate >= WORTH_SAYING_SECONDS:
            most = "At most" if options.pitch_file else "About"
            bars.say(f"{most} {clock(estimate)} to go.")
        record = arranger.convert(
            source,
            out,
            options,
            bars.report,
            accompaniment=accompaniment,
            stems=stems,
            pitch_out=pitch_out,
            range_heard=lambda key, lies: tell_range(key, asdict(lies), bars.say),
        )
    _learn(record)
    if json:
        show_json(record)
    describe(record, range_told=True)
    return None


def repeat(
    record: Path,
    /,
    *,
    out: Annotated[Path, Parameter(["--out", "-o"])],
    voice: str | None = None,
    anew: Annotated[str | None, Parameter(show_default=False)] = None,
    json: Json = False,
) -> None:
    """Make an output again from the OUT.json beside it, bit for bit on the same machine.

    Args:
        record: the OUT.json.
        out: file to write.
        voice: name or file of the voice, if it is no longer known by the name in the record.
        anew: a place such as 1:12-1:15; another take of the phrase there is put in, the rest stays as it was.
    """
    from resing.song.arrange import repeat as repeat_song

    place = _place(anew) if anew else None
    with progress() as bars:
        made = repeat_song(record, out, voice, bars.report, anew=place)
    if json:
        show_json(made)
    describe(made)


def _singer(voice: str | None, reference: Path | None, consent: str | None) -> "Voice":
    """The voice that is asked for, or the preview of the one in a clip."""
    if (voice is None) == (reference is None):
        raise ConfigError("say whose voice: either --voice NAME or --reference CLIP; see: resing voice list")
    if reference is None:
        from resing.voice import Voice

        return Voice.load(str(voice))
    if not consent:
        raise ConfigError(
            '--reference needs --consent "...": how the person heard in the clip agreed to this.'
        )
    from resing.training.clone import preview_of

    singer = preview_of(reference, consent)
    say(f"Singing with {singer.card.name}. {singer.card.training['summary']}")
    return singer


def _place(text: str) -> tuple[float, float]:
    """From where to where, in seconds."""
    start, dash, end = text.partition("-")
    try:
        first, last = parse_time(start), parse_time(end)
    except ValueError:
        first = last = 0.0
    if not dash or not first < last:
        raise ConfigError(f"--anew: got {text!r}, expected a place in the song such as 1:12-1:15")
    return first, last


def _built(model: Any, given: dict[str, Any]) -> Any:
    try:
        return model(**given)
    except ValidationError as error:
        raise ConfigError(explain(error, model)) from error


def _convert_folder(
    arranger: "Arranger", folder: Path, out: Path, options: ConvertOptions, json: bool
) -> int:
    """Exit status 1 if a song failed."""
    from resing.song.batch import convert_folder

    with progress() as bars:
        done = convert_folder(
            arranger,
            folder,
            out,
            options,
            bars.report,
            lambda d: bars.say(f"{d.outcome}: {d.out}" if d.outcome != "failed" else f"failed: {d.message}"),
        )
    if json:
        show_json(done)
    counts = {word: sum(d.outcome == word for d in done) for word in ("made", "kept", "failed")}
    say(", ".join(f"{number} {word}" for word, number in counts.items() if number) + ".")
    return int(counts["failed"] > 0)


def _preview(
    source: Path, separator: "Separator | None", options: ConvertOptions, bars: Progress
) -> ConvertOptions:
    """The options for the passage that shows most."""
    from resing.song.passage import loudest_sung

    start, end = loudest_sung(source, separator, progress=lambda s: bars.report("search", s, 1.0))
    bars.say(f"Preview of {clock(start)} to {clock(end)}.")
    return options.model_copy(update={"start_seconds": start, "end_seconds": end})


def _learn(record: "ConversionRecord") -> None:
    """Remember how long it took, but for singing of which a part only was anew."""
    from resing.song.pace import Pace

    whole = record.sung_seconds is None or record.sung_seconds > record.seconds - 1
    times = {stage: seconds for stage, seconds in record.times.items() if whole or stage != "sing"}
    Pace.known().learn(record.seconds, times)
