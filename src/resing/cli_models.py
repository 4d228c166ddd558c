"""`resing models ...`: the community's models on this machine."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from resing.cli_output import Json, progress, say, show_json, show_table

app = App(name="models", help="Models of the community: list, fetch and check them.")
Flag = Parameter(negative="", show_default=False)


@app.command(name="list")
def list_models(*, json: Json = False) -> None:
    """List the models that can be fetched, and which are here."""
    from resing import hub

    held = hub.survey()
    if json:
        show_json([one.record() for one in held])
        return
    rows = [
        [m.name, m.what, f"{m.size / 1e6:.0f} MB" if m.size else "unknown", m.licence, one.state]
        for one in held
        for m in [one.model]
    ]
    show_table(["model", "what", "size", "licence", ""], rows)


@app.command
def download(
    name: str,
    /,
    *,
    accept_licence: Annotated[bool, Flag] = False,
    file: Annotated[Path | None, Parameter(name="--from", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Fetch a model once; an interrupted download goes on where it was.

    Args:
        name: of the model, see `resing models list`.
        accept_licence: you have read its licence, which forbids commercial use.
        file: the published file, fetched on another machine.
    """
    from resing import hub

    with progress() as bars:
        held = hub.download(name, accept_licence=accept_licence, source=file, progress=bars.report)
    if json:
        show_json(held.record())
    say(f"{name} is {held.state}: {held.path}. Licence: {held.model.licence}.")
    _warn(held)


@app.command
def verify(name: str | None = None, /, *, json: Json = False) -> None:
    """Read models through and check them against their hashes.

    Args:
        name: of a model; left out, every one that is here.
    """
    from resing import hub

    names = [name] if name else [held.model.name for held in hub.survey() if held.here]
    checked = [hub.verify(one) for one in names]
    if json:
        show_json([held.record() for held in checked])
    for held in checked:
        say(f"{held.model.name} is undamaged, SHA-256 of its published file {held.source_sha256}.")
        _warn(held)
    if not checked:
        say("No models are here: resing models list")


@app.command
def path(name: str, /) -> None:
    """Print where a model lies.

    Args:
        name: of the model.
    """
    from resing import hub

    sys.stdout.write(f"{hub.locate(name)}\n")


def _warn(held: object) -> None:
    from resing.hub import Held

    if isinstance(held, Held) and held.verified is False:
        say(
            f"{held.model.name} is unverified: no hash was published; it is pinned to what came first, "
            f"{held.source_sha256[:12]}."
        )
