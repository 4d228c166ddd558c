"""The `resing` command. Heavy libraries are imported inside commands, so that `--help` is instant."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from resing import __version__, cli_cache, cli_options, cli_score, cli_train, cli_voice
from resing.cli_output import Json, clock, progress, say, show_json
from resing.errors import ResingError

if TYPE_CHECKING:
    from resing.conversion_record import ConversionRecord

INTERRUPTED, TERMINATED = 130, 143
USAGE = 2
WEAK_PLACES = 5
STRETCH_GAP_SECONDS = 2.0
DOUBT_SHARE = 0.02
"""Less of a song in doubt than this is not worth a word."""

app = App(
    name="resing",
    help="Your song, sung by another voice, on your own machine.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(cli_voice.app)
cli_voice.app.command(cli_train.create)
app.command(cli_train.prepare)
app.command(cli_train.train)
app.command(cli_train.resume)
app.command(cli_score.score)
app.command(cli_score.compare)
app.command(cli_cache.app)


@app.command
def convert(
    source: Path,
    /,
    *,
    voice: str,
    out: Annotated[Path, Parameter(["--out", "-o"])],
    transpose: cli_options.Transpose = None,
    from_: cli_options.From = None,
    to: cli_options.To = None,
    seed: cli_options.Seed = None,
    steps: cli_options.Steps = None,
    temperature: cli_options.Temperature = None,
    dynamics: cli_options.Dynamics = None,
    sampler: cli_options.Sampler = None,
    out_of_range: cli_options.OutOfRange = None,
    pitch_out: cli_options.PitchOut = None,
    pitch_file: cli_options.PitchFile = None,
    tune: cli_options.Tune = None,
    tune_strength: cli_options.TuneStrength = None,
    json: Json = False,
) -> None:
    """Sing a cappella vocals in another voice.

    Args:
        source: the vocals: any audio file, or a video with sound.
        voice: name of a voice (see `resing voice list`), or a voice file.
        out: .wav, .flac, .mp3, .opus or .ogg; beside it goes OUT.json, from which it can be made again.
    """
    options = cli_options.build_options(
        transpose=transpose,
        start_seconds=from_,
        end_seconds=to,
        seed=seed,
        steps=steps,
        temperature=temperature,
        dynamics=dynamics,
        sampler=sampler,
        out_of_range=out_of_range,
        tune=tune,
        tune_strength=tune_strength,
        pitch_file=str(pitch_file.absolute()) if pitch_file else None,
    )
    from resing.conversion import Converter
    from resing.voice import Voice

    with progress() as bars:
        record = Converter(Voice.load(voice)).convert(
            source, out, options, progress=bars.report, pitch_out=pitch_out
        )
    if json:
        show_json(record)
    describe(record)


@app.command
def repeat(
    record: Path,
    /,
    *,
    out: Annotated[Path, Parameter(["--out", "-o"])],
    voice: str | None = None,
    json: Json = False,
) -> None:
    """Make an output again from the OUT.json beside it, bit for bit on the same machine.

    Args:
        record: the OUT.json.
        out: file to write.
        voice: name or file of the voice, if it is no longer known by the name in the record.
    """
    from resing.conversion import repeat as repeat_conversion

    with progress() as bars:
        made = repeat_conversion(record, out, voice, bars.report)
    if json:
        show_json(made)
    describe(made)


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(["--out", "-o"])] = Path("demo_out"),
    voice: str | None = None,
    json: Json = False,
) -> None:
    """Sing the bundled song in a bundled voice: audio and a picture.

    Args:
        out: folder for the files.
        voice: name of a voice, or a voice file.
    """
    from resing.demo import make_demo

    with progress() as bars:
        made = make_demo(out, voice, bars.report)
    if json:
        show_json(made.record)
    describe(made.record)
    say(f"Compare with the source: {made.source}")
    say(f"Picture: {made.picture}")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. A failure the user can repair is one line on stderr."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_none")
    except CycloptsError as error:
        _fail(f"{error} See: {' '.join(['resing', *(error.command_chain or ())])} --help")
        return USAGE
    except ResingError as error:
        _fail(str(error))
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror}; free some space or choose another folder")
        return ResingError.exit_code
    except KeyboardInterrupt:
        _fail("cancelled")
        return INTERRUPTED
    return 0


def main() -> None:
    """The `resing` command."""
    # Read by OpenMP when torch loads: waiting threads sleep, else a shared machine is ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(run())


def _fail(message: str) -> None:
    say("resing: " + " ".join(message.split()))


def describe(record: "ConversionRecord") -> None:
    """What a conversion did, in sentences."""
    key = f"{record.transpose:+g} semitones" if record.transpose else "as it was sung"
    say(f"Wrote {record.out} ({clock(record.seconds)}), sung by {record.voice}. Key: {key}.")
    say(range_text(record.range))
    places = weak_places(record.range["moved"])
    for place in places[:WEAK_PLACES]:
        say(f"  {place}")
    if len(places) > WEAK_PLACES:
        say(f"  and {len(places) - WEAK_PLACES} more, see {record.out}.json; try another --transpose.")
    tell_doubts(record)
    if record.limited_db >= 0.1:
        say(f"Kept {record.limited_db:.1f} dB below the source's level, so that nothing clips.")
    if record.sung_seconds is not None and record.sung_seconds < record.seconds - 1:
        say(f"Sang {clock(record.sung_seconds)} anew, where the melody changed; the rest is as it was.")
    say(f"Took {sum(record.times.values()):.1f} s, {record.real_time_factor:.2f} of real time.")


def tell_doubts(record: "ConversionRecord") -> None:
    """The longest stretches where the note that was heard is not sure, and how to put them right."""
    if record.reverberant:
        say("The vocals have a long reverb; a drier recording would be sung more clearly.")
    doubts = sorted(record.doubts, key=lambda d: d["start_seconds"] - d["end_seconds"])
    seconds = sum(doubt["end_seconds"] - doubt["start_seconds"] for doubt in doubts)
    if seconds < DOUBT_SHARE * record.seconds:
        return
    say(f"Not sure of the notes for {seconds:.1f} s; --pitch-out FILE.csv and --pitch-file correct them:")
    for doubt in doubts[:WEAK_PLACES]:
        say(f"  {clock(doubt['start_seconds'])}-{clock(doubt['end_seconds'])}: {doubt['reason']}")


def range_text(found: dict[str, Any]) -> str:
    """How the song lies in the voice's range, in a sentence.

    Args:
        found: a `pitch.RangeReport` as a record keeps it.
    """
    text = f"In the voice's range: {found['inside']:.0%} of the singing"
    if near := found.get("near"):
        text += f" ({near:.0%} on notes that its recordings hardly have)"
    sides = (("below", "below it"), ("above", "above it"))
    return text + "".join(f", {found[side]:.0%} {word}" for side, word in sides if found[side]) + "."


def weak_places(moved: Sequence[dict[str, Any]]) -> list[str]:
    """Stretches of notes outside the voice's range, longest first, each in a few words.

    Args:
        moved: notes as `pitch.Moved` records them, in order of time.
    """
    stretches: list[list[dict[str, Any]]] = []
    for note in moved:
        near = stretches and note["start_seconds"] - stretches[-1][-1]["end_seconds"] < STRETCH_GAP_SECONDS
        if near:
            stretches[-1].append(note)
        else:
            stretches.append([note])
    stretches.sort(key=lambda notes: notes[0]["start_seconds"] - notes[-1]["end_seconds"])
    return [
        f"{clock(notes[0]['start_seconds'])}-{clock(notes[-1]['end_seconds'])}: "
        + ", ".join(dict.fromkeys(_told(note) for note in notes[:3]))
        + (", ..." if len(notes) > 3 else "")
        for notes in stretches
    ]


def _told(note: dict[str, Any]) -> str:
    kept = note["note"] == note["sung"]
    return f"{note['note']} kept" if kept else f"{note['note']} sung as {note['sung']}"
