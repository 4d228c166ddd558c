"""Jobs: asked for, watched, cancelled, tried again, and what they made."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response
from starlette.responses import FileResponse, StreamingResponse

from resing.server import schema
from resing.server.access import JobId, Keys, require_secret, require_token
from resing.server.database import OVER, BusyError
from resing.server.entries import Entry, StateError, UnknownError, asked_of
from resing.server.examine import TooLargeError
from resing.server.limits import Limits
from resing.server.store import Store
from resing.training.request import runs_folder
from resing.voice import find

router = APIRouter(prefix="/api/jobs", tags=["jobs"], dependencies=[Depends(require_token)])
secret = Depends(require_secret)
FILE = re.compile(r"[a-z]{1,20}\.(flac|wav|mp3|json|html)")
TYPES = {
    "flac": "audio/flac",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "json": "application/json",
    "html": "text/html",
}
ABOUT = re.compile(r"^(Judging )?(Another take at [0-9]+:[0-9]{2}: )?")
"""What the title of a job says before that of the conversion it is about."""
STREAM_SECONDS, QUIET_SECONDS = 0.3, 15.0


@router.post("", status_code=202)
def create(request: Request, store: Keys, asked: Annotated[schema.Request, Body()]) -> schema.NewJob:
    """Ask for work; from the answer on, the job is not lost."""
    limits: Limits = request.app.state.setting.limits
    title, needs = _look(asked, store, limits)
    job, key = store.add_job(asked.model_dump(mode="json"), title, needs, limits.waiting)
    return schema.NewJob(job=describe(store.job(job), store, limits), secret=key)


@router.get("")
def jobs(request: Request, store: Keys) -> list[schema.Job]:
    """The newest jobs."""
    return [describe(entry, store, request.app.state.setting.limits) for entry in store.jobs()]


@router.get("/{job}")
def show(job: JobId, request: Request, store: Keys) -> schema.Job:
    """How a job is doing."""
    return describe(store.job(job), store, request.app.state.setting.limits)


@router.get("/{job}/log")
def log(job: JobId, store: Keys) -> list[schema.Line]:
    """What a job said."""
    store.job(job)
    return [schema.Line(time=time, text=text) for time, text in store.log(job)]


@router.get("/{job}/events", response_class=StreamingResponse)
async def events(job: JobId, request: Request, store: Keys) -> StreamingResponse:
    """The job each time it changes, as server-sent events, until it is over."""
    state, limits = request.app.state, request.app.state.setting.limits
    await asyncio.to_thread(store.job, job)
    if getattr(state, "streams", 0) >= limits.streams:
        raise BusyError(f"{limits.streams} streams are open, which is all that may; ask for the job instead")
    return StreamingResponse(
        _stream(job, request, store), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


@router.post("/{job}/cancel")
def cancel(job: JobId, request: Request, store: Keys) -> schema.Job:
    """End a job."""
    return describe(store.cancel(job), store, request.app.state.setting.limits)


@router.post("/{job}/retry", status_code=202)
def retry(job: JobId, request: Request, store: Keys) -> schema.Job:
    """Put a failed or cancelled job into the queue again."""
    limits: Limits = request.app.state.setting.limits
    return describe(store.retry(job, limits.waiting), store, limits)


@router.delete("/{job}", status_code=204, dependencies=[secret])
def remove(job: JobId, store: Keys) -> Response:
    """Forget a job that is over, with what it made."""
    store.remove_job(job)
    return Response(status_code=204)


@router.get("/{job}/result", dependencies=[secret])
def result(job: JobId, request: Request, store: Keys) -> schema.Result:
    """What a job found out."""
    entry = _done(job, store)
    return schema.Result(
        job=describe(entry, store, request.app.state.setting.limits), result=entry.result or {}
    )


@router.get("/{job}/curve", dependencies=[secret])
def curve(job: JobId, store: Keys) -> dict[str, list[dict[str, float]]]:
    """Losses of a training so far, and what its validations found."""
    entry = store.job(job)
    if entry.kind != "voice":
        raise StateError("only the making of a voice has curves")
    run = runs_folder() / entry.request["facts"]["name"]
    told: dict[str, list[dict[str, float]]] = {}
    for name in ("losses", "validation"):
        path = run / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        read = [json.loads(line) for line in lines if line.endswith("}")]
        told[name] = read[:: max(1, len(read) // 400)]
    return told


@router.get("/{job}/files/{name}", dependencies=[secret], response_class=FileResponse)
def file(job: JobId, name: str, store: Keys) -> FileResponse:
    """A file that a job made; of a voice in the making, best.flac is how it sounds at its best so far."""
    entry = store.job(job)
    if entry.kind != "voice":
        _done(job, store)
    folder = store.places.job(job)
    if not FILE.fullmatch(name) or name not in {path.name for path in folder.glob("*") if path.is_file()}:
        raise UnknownError("the job made no such file")
    path = folder / name
    if path.is_symlink() or path.resolve().parent != folder.resolve():
        raise UnknownError("the job made no such file")
    suffix = name.rpartition(".")[2]
    return FileResponse(path, media_type=TYPES[suffix], filename=_download_name(entry, name))


def describe(entry: Entry, store: Store, limits: Limits) -> schema.Job:
    """A job as it is told of."""
    finished = entry.finished
    return schema.Job(
        id=entry.id,
        kind=entry.kind,
        title=entry.title,
        state=entry.state,
        request=entry.request,
        created=entry.created,
        started=entry.started,
        finished=finished,
        expires=None if finished is None else max(finished, entry.used) + limits.kept_seconds,
        attempts=entry.attempts,
        cancelling=entry.cancel is not None and entry.state == "running",
        ahead=store.ahead(entry),
        progress=schema.Progress(**entry.progress),
        error=schema.Problem(**entry.error) if entry.error else None,
        files=_files(entry, store),
    )


def _files(entry: Entry, store: Store) -> list[schema.File]:
    if entry.state != "done" and entry.kind != "voice":
        return []
    paths = sorted(store.places.job(entry.id).glob("*"))
    return [schema.File(name=p.name, bytes=p.stat().st_size) for p in paths if FILE.fullmatch(p.name)]


def _look(asked: schema.Request, store: Store, limits: Limits) -> tuple[str, list[str]]:
    """A title, and the uploads and jobs that a request needs; refused here rather than in the queue."""
    match asked:
        case schema.Listen():
            return store.upload(asked.upload)["name"], [asked.upload]
        case schema.Convert():
            find(asked.voice)
            return f"{store.upload(asked.upload)['name']}, sung by {asked.voice}", [asked.upload]
        case schema.Retake():
            made = _of(store, asked.job, "convert", "retake")
            upload, seconds = asked_of(made)["upload"], round(asked.start_seconds)
            store.upload(upload)
            place = f"{seconds // 60}:{seconds % 60:02d}"
            return f"Another take at {place}: {ABOUT.sub('', made.title)}", [asked.job, upload]
        case schema.Score():
            return f"Judging {_of(store, asked.job, 'convert', 'retake').title}", [asked.job]
        case schema.Sample():
            find(asked.voice)
            return f"How {asked.voice} sounds", []
        case schema.Recordings():
            if len(asked.uploads) > limits.recordings:
                raise TooLargeError(
                    f"{len(asked.uploads)} recordings, expected up to {limits.recordings}; join some"
                )
            names = [store.upload(upload)["name"] for upload in asked.uploads]
            return f"{len(names)} recordings", list(asked.uploads)
        case schema.CreateVoice():
            _of(store, asked.recordings, "recordings")
            _refuse_taken(asked.facts.name, store)
            return f"The voice {asked.facts.name}", [asked.recordings]


def _of(store: Store, job: str, *kinds: str) -> Entry:
    """A job that is done, of one of some kinds."""
    entry = store.job(job)
    if entry.kind not in kinds or entry.state != "done":
        wanted = " or ".join(kinds)
        raise StateError(f"expected a job of the kind {wanted} that is done, got {entry.kind}, {entry.state}")
    return entry


def _refuse_taken(name: str, store: Store) -> None:
    from resing.server.work_voice import refuse_taken

    refuse_taken(name)
    for entry in store.jobs():
        if entry.kind == "voice" and entry.state not in OVER and entry.request["facts"]["name"] == name:
            raise StateError(f"the voice {name} is being made already; choose another name")


def _done(job: str, store: Store) -> Entry:
    entry = store.job(job)
    if entry.state != "done":
        raise StateError(f"the job is {entry.state}; what it makes can be had when it is done")
    return entry


def _download_name(entry: Entry, name: str) -> str:
    """SONG_VOICE.flac for the song, SONG_VOICE_lead.flac for the rest."""
    part, _, suffix = name.rpartition(".")
    song, _, voice = ABOUT.sub("", entry.title).partition(", sung by ")
    stem = re.sub(r"[^\w .()-]+", "_", song.rpartition(".")[0] or song)
    named = "_".join(filter(None, [stem, voice, "" if part == "song" else part]))
    return f"{named}.{suffix}"


async def _stream(job: str, request: Request, store: Store) -> AsyncIterator[str]:
    state = request.app.state
    state.streams = getattr(state, "streams", 0) + 1
    try:
        last, quiet = "", 0.0
        while not await request.is_disconnected():
            entry = await asyncio.to_thread(store.job, job)
            told = (await asyncio.to_thread(describe, entry, store, state.setting.limits)).model_dump_json()
            if told != last:
                last, quiet = told, 0.0
                yield f"data: {told}\n\n"
            if entry.state in OVER:
                return
            if quiet >= QUIET_SECONDS:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(STREAM_SECONDS)
            quiet += STREAM_SECONDS
    except UnknownError:
        yield "event: gone\ndata: {}\n\n"
    finally:
        state.streams -= 1
