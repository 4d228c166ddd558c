"""`resing jobs`: what the server was asked for, seen and steered from the command line."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cyclopts import App

from resing.cli_output import Json, clock, say, show_json, show_table
from resing.errors import ConfigError

if TYPE_CHECKING:
    from resing.server.entries import Entry
    from resing.server.store import Store

app = App(name="jobs", help="Jobs of `resing serve`: list, show, cancel, retry; whether it runs or not.")


@app.command(name="list")
def list_jobs(*, json: Json = False) -> None:
    """List the newest jobs."""
    found = _store().jobs()
    if json:
        show_json([_record(entry) for entry in found])
        return
    rows = [[e.id, e.state, e.kind, _how_far(e), _when(e.created), e.title] for e in found]
    show_table(["job", "state", "kind", "done", "asked for", ""], rows)


@app.command
def show(job: str, /, *, json: Json = False) -> None:
    """Show a job: what was asked, how far it is, what it said, and where its files lie.

    Args:
        job: its id, or the first letters of it.
    """
    store = _store()
    entry = _find(store, job)
    folder = store.places.job(entry.id)
    lines = store.log(entry.id)
    if json:
        told = [{"time": time, "text": text} for time, text in lines]
        show_json(_record(entry) | {"folder": str(folder), "log": told})
        return
    facts = [["job", entry.id], ["state", entry.state], ["what", entry.title], ["done", _how_far(entry)]]
    facts += [["error", entry.error["message"]]] if entry.error else []
    facts += [["files", str(folder)]] if folder.is_dir() else []
    show_table(["", ""], facts)
    for time, text in lines:
        say(f"{_when(time)}  {text}")


@app.command
def cancel(job: str, /, *, json: Json = False) -> None:
    """End a waiting or running job.

    Args:
        job: its id, or the first letters of it.
    """
    store = _store()
    entry = store.cancel(_find(store, job).id)
    if json:
        show_json(_record(entry))
    say("Cancelled." if entry.state == "cancelled" else "It ends as soon as its worker hears of it.")


@app.command
def retry(job: str, /, *, json: Json = False) -> None:
    """Put a failed or cancelled job into the queue again; it is done when the server runs.

    Args:
        job: its id, or the first letters of it.
    """
    from resing.server.limits import Limits

    store = _store()
    entry = store.retry(_find(store, job).id, Limits().waiting)
    if json:
        show_json(_record(entry))
    say("Queued.")


def _store() -> "Store":
    from resing.server.places import Places
    from resing.server.store import Store

    return Store(Places.usual())


def _find(store: "Store", name: str) -> "Entry":
    """The one job whose id begins so."""
    found = [entry for entry in store.jobs() if entry.id.startswith(name)] if name else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{len(found)} jobs begin with {name!r}; give more letters: resing jobs list")
    return store.job(name)


def _record(entry: "Entry") -> dict[str, Any]:
    return {name: value for name, value in vars(entry).items() if name not in ("result", "owner")}


def _how_far(entry: "Entry") -> str:
    if entry.state != "running":
        return ""
    left = entry.progress.get("seconds_left")
    return f"{entry.progress.get('share', 0):.0%}" + (f", {clock(left)} left" if left else "")


def _when(time: float) -> str:
    return datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M:%S")
