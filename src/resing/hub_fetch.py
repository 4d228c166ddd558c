"""A file fetched over https, taken up again where the last attempt ended."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from resing.errors import DownloadError

SCHEMES = frozenset({"https"})
STALL_SECONDS = 30.0
BLOCK = 1 << 18
LARGEST_BYTES = 2 << 30
"""No model of the catalogue comes near; whatever promises more is refused."""
AGAIN = "run the same command again: it goes on from there"

Progress = Callable[[int, int | None], object]
"""Told of the bytes that are here and of those there will be, None where that is not known."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server that sends us elsewhere, but only over the allowed schemes."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        """The request for the new place."""
        return super().redirect_request(req, fp, code, msg, headers, _checked(newurl))


def fetch(url: str, part: Path, size: int | None = None, progress: Progress | None = None) -> None:
    """Fill `part` with the whole file at `url`, going on after the bytes that are there already.

    Args:
        url: https only, also where the server redirects to.
        part: the unfinished file; it stays after a broken connection.
        size: bytes there must be; None takes what the server says.
        progress: told how far it is; raise from it to cancel.

    Raises:
        DownloadError: the server cannot be reached, has no such file, stalls, or has one of another size.
    """
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have == size:
        return
    if have > (size or LARGEST_BYTES):
        part.unlink()
        have = 0
    with _open(url, have) as answer:
        if answer.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise DownloadError(f"{url}: what was fetched before does not fit; it is deleted, run it again")
        resumed = have > 0 and _resumes_at(answer, have)
        have = have if resumed else 0
        total = _total(url, answer, have, size)
        with open(part, "ab" if resumed else "wb") as file:
            for block in _blocks(url, answer, part):
                have += len(block)
                if have > (size or total or LARGEST_BYTES):
                    raise _wrong_size(url, f"more than {size or total or LARGEST_BYTES}", size or total)
                file.write(block)
                if progress is not None:
                    progress(have, total)
    if total is not None and have < total:
        raise DownloadError(f"{url}: the connection broke off after {have} of {total} bytes; {AGAIN}")


def _checked(url: str) -> str:
    if urllib.parse.urlsplit(url).scheme not in SCHEMES:
        raise DownloadError(f"{url:.200}: got another scheme, expected {' or '.join(SCHEMES)}; not fetched")
    return url


def _open(url: str, have: int) -> Any:
    request = urllib.request.Request(_checked(url), headers={"User-Agent": "resing"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=STALL_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error
        error.close()
        there = "it is not there any more" if error.code in (404, 410) else "the server refuses it"
        raise DownloadError(
            f"{url}: {there} (HTTP {error.code}); try later, or get it elsewhere: --from FILE"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{url}: cannot be reached ({getattr(error, 'reason', error)}); connect to the network, or fetch "
            "it on another machine and give it with --from FILE"
        ) from error


def _resumes_at(answer: Any, have: int) -> bool:
    """Whether the server goes on at byte `have` instead of sending everything again."""
    told = answer.headers.get("Content-Range", "")
    return answer.status == http.HTTPStatus.PARTIAL_CONTENT and told.startswith(f"bytes {have}-")


def _total(url: str, answer: Any, have: int, size: int | None) -> int | None:
    told = answer.headers.get("Content-Length", "")
    total = have + int(told) if told.isascii() and told.isdigit() else None
    if total is not None and (total > LARGEST_BYTES or size not in (None, total)):
        raise _wrong_size(url, str(total), size)
    return total if total is not None else size


def _wrong_size(url: str, got: str, expected: int | None) -> DownloadError:
    return DownloadError(
        f"{url}: got {got} bytes, expected {expected or f'at most {LARGEST_BYTES}'}: not the published file; "
        "not kept"
    )


def _blocks(url: str, answer: Any, part: Path) -> Iterator[bytes]:
    while True:
        try:
            block = answer.read(BLOCK)
        except TimeoutError as error:
            raise DownloadError(f"{url}: nothing came for {STALL_SECONDS:g} s; {AGAIN}") from error
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"{url}: the connection broke off ({error}); {AGAIN}") from error
        if not block:
            return
        yield block
