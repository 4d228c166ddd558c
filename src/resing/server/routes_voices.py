"""Voices: cards, sounds, export; import where it is allowed; and removal of one's own."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from resing import cache, pitch
from resing.errors import ResingError
from resing.server import schema
from resing.server.access import Keys, require_token
from resing.server.entries import UnknownError
from resing.server.places import new_id
from resing.server.routes_uploads import RAW, save_body
from resing.server.store import Store
from resing.voice import Voice, VoiceCard, find, survey, user_folder

router = APIRouter(prefix="/api/voices", tags=["voices"], dependencies=[Depends(require_token)])


class NoImportError(ResingError):
    """Voice files are not taken here."""

    code = "import"
    http_status = 403


@router.get("")
def voices(store: Keys) -> schema.Voices:
    """The cards of all voices."""
    cards, problems = survey()
    home = str(user_folder().parent)
    return schema.Voices(
        voices=[_answer(card, store) for card in cards],
        problems=[text.replace(home, "") for text in problems],
    )


@router.get("/{name}")
def voice(name: schema.VoiceName, store: Keys) -> schema.VoiceAnswer:
    """A voice's card."""
    return _answer(_card(name), store)


@router.get("/{name}/file", response_class=FileResponse)
def export(name: schema.VoiceName, store: Keys, full: bool = False) -> FileResponse:
    """The voice as one file; `full` puts the base model inside."""
    _card(name)
    place = Path(tempfile.mkdtemp(prefix="export-", dir=store.places.uploads))
    try:
        path = Voice.export(name, place, full)
    except BaseException:
        _tidy(place)
        raise
    done = BackgroundTask(_tidy, place)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name, background=done)


@router.get("/{name}/sample", response_class=FileResponse)
def sample(name: schema.VoiceName, store: Keys) -> FileResponse:
    """How the voice sounds; a job of the kind `sample` makes it."""
    path = store.places.samples / _sample_name(_card(name))
    if not path.is_file():
        raise UnknownError("this voice has not been heard yet; make a job of the kind sample")
    return FileResponse(path, media_type="audio/flac")


@router.delete("/{name}", status_code=204)
def remove(name: schema.VoiceName) -> Response:
    """Delete one of the user's own voices."""
    Voice.remove(name)
    return Response(status_code=204)


@router.post("", status_code=201, openapi_extra=RAW)
async def bring_in(
    request: Request, store: Keys, replace: Annotated[bool, Query()] = False
) -> schema.VoiceAnswer:
    """Take in a voice file, after every check; only where the server was started with --voice-import."""
    if not request.app.state.setting.voice_import:
        raise NoImportError(
            "voice files are not taken over the network; start with: resing serve --voice-import"
        )
    path = store.places.uploads / f".voice-{new_id()}.safetensors"
    try:
        await save_body(request, path)
        card = (await asyncio.to_thread(Voice.install, path, replace)).card
    except ResingError as error:
        raise type(error)(str(error).replace(str(path), "the file")) from error
    finally:
        path.unlink(missing_ok=True)
    return _answer(card, store)


def _card(name: str) -> VoiceCard:
    try:
        find(name)
        return next(card for card in survey()[0] if card.name == name)
    except (ResingError, StopIteration) as error:
        raise UnknownError(f"there is no voice {name} that can be opened") from error


def _answer(card: VoiceCard, store: Store) -> schema.VoiceAnswer:
    low, high = (pitch.note_name(float(pitch.hz_to_semitones(hz))) for hz in card.range_hz)
    return schema.VoiceAnswer(
        card=card.model_dump(mode="json"),
        own=find(card.name).parent == user_folder(),
        range=f"{low} to {high}",
        has_sample=(store.places.samples / _sample_name(card)).is_file(),
    )


def _sample_name(card: VoiceCard) -> str:
    return cache.key(card.model_dump_json()) + ".flac"


def _tidy(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()
