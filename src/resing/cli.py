"""The `resing` command. Heavy libraries are imported inside commands, so that `--help` is instant."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from resing import (
    __version__,
    cli_cache,
    cli_convert,
    cli_doctor,
    cli_jobs,
    cli_models,
    cli_score,
    cli_serve,
    cli_train,
    cli_voice,
)
from resing.cli_output import Json, progress, say, show_json
from resing.cli_told import describe
from resing.errors import ResingError

INTERRUPTED, TERMINATED = 130, 143
USAGE = 2

app = App(
    name="resing",
    help="Your song, sung by another voice, on your own machine.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(cli_convert.convert)
app.command(cli_convert.repeat)
app.command(cli_voice.app)
cli_voice.app.command(cli_train.create)
cli_voice.app.command(cli_train.clone)
app.command(cli_train.prepare)
app.command(cli_train.train)
app.command(cli_train.resume)
app.command(cli_score.score)
app.command(cli_score.compare)
app.command(cli_cache.app)
app.command(cli_models.app)
app.command(cli_doctor.doctor)
app.command(cli_serve.serve)
app.command(cli_jobs.app)


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(["--out", "-o"])] = Path("demo_out"),
    voice: str | None = None,
    json: Json = False,
) -> None:
    """Sing the bundled song in a bundled voice: audio, stems and a picture.

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
    say(f"The lead before and after, accompaniment and mix: {made.stems}")
    say(f"Picture: {made.picture}")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. A failure the user can repair is one line on stderr."""
    try:
        return app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
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


def main() -> None:
    """The `resing` command."""
    # Read by OpenMP when torch loads: waiting threads sleep, else a shared machine is ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(run())


def _fail(message: str) -> None:
    say("resing: " + " ".join(message.split()))
