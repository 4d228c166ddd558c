"""Files come in: as a raw body, piece by piece to the disk, and are looked at before anybody uses them."""

import asyncio
import shutil
import unicodedata
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from resing.server import schema
from resing.server.access import Keys, require_token
from resing.server.database import BusyError
from resing.server.examine import examine
from resing.server.limits import Limits
from resing.server.places import new_id
from resing.server.store import Store

LEAST_FREE_BYTES = 1 << 30

router = APIRouter(prefix="/api/uploads", tags=["uploads"], dependencies=[Depends(require_token)])
_looking: dict[int, asyncio.Semaphore] = {}
RAW = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201, openapi_extra=RAW)
async def send(
    request: Request, store: Keys, name: Annotated[str, Query(min_length=1, max_length=255)]
) -> schema.Upload:
    """Send a song or a recording as the body; it is decoded once to see what it is, and kept for a day."""
    limits: Limits = request.app.state.setting.limits
    upload, shown = new_id(), plain(name)
    await asyncio.to_thread(check_room, store, limits)
    path = store.places.upload(upload)
    kept = False
    try:
        await save_body(request, path)
        async with _semaphore(limits.checks):
            about = await asyncio.to_thread(examine, path, shown, limits)
        await asyncio.to_thread(store.add_upload, shown, upload, about)
        kept = True
    finally:
        if not kept:
            path.unlink(missing_ok=True)
    return schema.Upload(**store.upload(upload))


@router.get("/{upload}")
def show(upload: schema.Id, store: Keys) -> schema.Upload:
    """What is known of a file that was sent."""
    return schema.Upload(**store.upload(upload))


@router.delete("/{upload}", status_code=204)
def remove(upload: schema.Id, store: Keys) -> Response:
    """Delete a file that was sent; one that a job needs stays."""
    store.upload(upload)
    store.remove_upload(upload)
    return Response(status_code=204)


async def save_body(request: Request, path: Path) -> None:
    """Write a request's body to a new file, which nobody else can read; the guard counts the bytes."""
    with open(path, "xb") as file:
        path.chmod(0o600)
        try:
            async for piece in request.stream():
                await asyncio.to_thread(file.write, piece)
        except ClientDisconnect as error:
            raise BusyError("the body ended before its stated length; send it again") from error


def check_room(store: Store, limits: Limits) -> None:
    """Refuse to take more while the disk is nearly full, or as much is kept as may be.

    Raises:
        BusyError: there is no room.
    """
    free = shutil.disk_usage(store.places.root).free
    folders = (store.places.uploads, store.places.jobs)
    held = sum(p.lstat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())
    if free < LEAST_FREE_BYTES or held + limits.upload_bytes > limits.stored_bytes:
        raise BusyError(
            f"{held / 1e9:.1f} GB are kept and {free / 1e9:.1f} GB are free, too little to take more; "
            "remove jobs that are over"
        )


def plain(name: str) -> str:
    """A file's name to be shown: its last part, without control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(c if unicodedata.category(c)[0] != "C" else "_" for c in last).strip()
    return text[-120:] or "unnamed"


def _semaphore(checks: int) -> asyncio.Semaphore:
    """How many files are looked at at once, in this event loop."""
    loop = id(asyncio.get_running_loop())
    return _looking.setdefault(loop, asyncio.Semaphore(checks))
