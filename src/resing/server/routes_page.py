"""The page and its files, and what the server says of itself."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from resing import __version__
from resing.config import ConvertOptions, SongOptions, TrainingConfig
from resing.server import schema
from resing.server.access import cookie_name, is_token, require_link, require_token
from resing.server.entries import UnknownError

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
COOKIE_SECONDS = 30 * 24 * 3600

router = APIRouter()
closed = APIRouter(dependencies=[Depends(require_token)])


@cache
def page_files() -> dict[str, Path]:
    """The page's files by name: what is not among them is not there."""
    return {path.name: path for path in PAGE.iterdir() if path.suffix in KINDS}


def _page(name: str) -> Response:
    path = page_files()[name]
    return FileResponse(path, media_type=f"{KINDS[path.suffix]}; charset=utf-8")


@router.get("/", include_in_schema=False, dependencies=[Depends(require_link)])
def front(request: Request, token: str = "") -> Response:
    """The page; with the token in the address, a cookie in its place."""
    if not is_token(request, token):
        return _page("index.html")
    answer = RedirectResponse("/", 303)
    answer.set_cookie(cookie_name(request), token, COOKIE_SECONDS, httponly=True, samesite="strict")
    return answer


@closed.get("/page/{name}", include_in_schema=False)
def page_file(name: str) -> Response:
    """A file of the page."""
    if name not in page_files():
        raise UnknownError("there is no such page")
    return _page(name)


@closed.get("/favicon.ico", include_in_schema=False)
def icon() -> Response:
    """The picture in a browser's tab."""
    return _page("icon.svg")


@closed.get("/api/docs", include_in_schema=False)
def documentation() -> Response:
    """A page that lists what the API can do; it needs no network."""
    return _page("docs.html")


@closed.get("/api/openapi.json", include_in_schema=False)
def description(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@closed.get("/api/about")
def about(request: Request) -> schema.About:
    """Version, limits, and the default of every setting."""
    setting = request.app.state.setting
    models: dict[str, Any] = {"options": ConvertOptions, "song": SongOptions, "training": TrainingConfig}
    return schema.About(
        version=__version__,
        limits=setting.limits.model_dump(),
        voice_import=setting.voice_import,
        defaults={name: model().model_dump(mode="json") for name, model in models.items()},
    )


router.include_router(closed)
