"""The application: guard, token, routes, and one shape for everything that goes wrong."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from resing import __version__
from resing.errors import ResingError
from resing.server import routes_jobs, routes_page, routes_uploads, routes_voices
from resing.server.access import TokenError
from resing.server.guard import Guard, refuse
from resing.server.keeper import Keeper
from resing.server.limits import Limits
from resing.server.places import Places
from resing.server.schema import Failure
from resing.server.store import Store

CLOSED = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Resing</title>"
    "<h1>This door has a key</h1><p>Open the address that <code>resing serve</code> printed when it started: "
    "it ends in <code>?token=...</code></p>"
)
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": text}
    for status, text in {
        400: "The request cannot be understood.",
        401: "The token is missing or wrong.",
        403: "Another site asks, or the job's secret is missing.",
        404: "There is no such thing here, or not any more.",
        409: "Not in this state.",
        413: "Too large.",
        422: "A value is wrong.",
        429: "Too many requests.",
        503: "No room now.",
    }.items()
}


@dataclass(frozen=True)
class Setting:
    """How a server is set up.

    Attributes:
        token: what opens the door.
        hosts: names and ports that it answers to.
        limits: caps.
        voice_import: whether voice files may be brought in over the network.
        work: whether workers are started; without, jobs only wait.
    """

    token: str
    hosts: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    voice_import: bool = False
    work: bool = True


def create_app(places: Places, setting: Setting) -> ASGIApp:
    """The server as an ASGI application; `guarded.app` is the FastAPI behind the guard."""
    store = Store(places)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if not setting.work:
            yield
            return
        with Keeper(store, setting.limits):
            yield

    app = FastAPI(
        title="Resing",
        version=__version__,
        description="Singing voice conversion on your own machine.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=life,
        responses=FAILURES,
        redirect_slashes=False,
    )
    app.state.store, app.state.setting, app.state.token = store, setting, setting.token
    for routes in (routes_page, routes_voices, routes_uploads, routes_jobs):
        app.include_router(routes.router)
    app.add_exception_handler(ResingError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    bodies = {"/api/uploads": setting.limits.upload_bytes, "/api/voices": setting.limits.voice_bytes}
    return Guard(app, setting.limits, setting.hosts, bodies)


def local_hosts(port: int, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Values of Host for this machine, with and without a port where the port is the usual one."""
    names = ("127.0.0.1", "localhost", "[::1]", *(name.lower() for name in more))
    return tuple(f"{name}:{port}" for name in names) + (names if port == 80 else ())


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ResingError)
    if isinstance(error, TokenError) and request.url.path == "/":
        return HTMLResponse(CLOSED, error.http_status)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, TokenError) else {}
    return refuse(HTTPException(error.http_status, str(error), headers), error.code)


async def _answer_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refuse(error)


async def _answer_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    got = f": got {first['input']!r:.60}" if "input" in first and first["type"] != "missing" else ""
    message = f"{where or 'the body'}{got}; {first['msg']}"
    message = message.encode("utf-8", "replace").decode()
    return refuse(HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, message), "invalid")
