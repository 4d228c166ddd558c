"""Who may come in: the token on every route, and a job's secret for what it made."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from resing.errors import ResingError
from resing.server.places import ID
from resing.server.store import Store


class TokenError(ResingError):
    """The request has no token, or a wrong one."""

    code = "token"
    http_status = 401


class SecretError(ResingError):
    """The request has not the job's secret."""

    code = "secret"
    http_status = 403


def cookie_name(request: Request) -> str:
    """Servers on other ports of this machine share its cookies, so each has a name of its own."""
    return f"resing-{request.url.port or 80}"


def require_token(request: Request) -> None:
    """Let in who has the token: a program in a header, the page in the cookie that it got for it.

    Raises:
        TokenError: it is missing or wrong.
    """
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        given = request.cookies.get(cookie_name(request), "")
    if not is_token(request, given):
        raise TokenError(
            "this server needs its token: open the address that it printed when it started, or send "
            "Authorization: Bearer TOKEN"
        )


def require_link(request: Request, token: Annotated[str, Query(max_length=100)] = "") -> None:
    """Let in to the front door who has the token in the address, too; see `require_token`.

    Raises:
        TokenError: it is missing or wrong.
    """
    if not is_token(request, token):
        require_token(request)


def is_token(request: Request, given: str) -> bool:
    """Whether a text is this server's token."""
    return hmac.compare_digest(given.encode(), request.app.state.token.encode())


def store_of(request: Request) -> Store:
    """The server's database."""
    store: Store = request.app.state.store
    return store


JobId = Annotated[str, Path(pattern=f"^{ID.pattern}$")]


def require_secret(
    job: JobId,
    request: Request,
    x_job_secret: Annotated[str, Header(max_length=100)] = "",
    secret: Annotated[str, Query(max_length=100)] = "",
) -> None:
    """Let in who has a job's secret, in the header X-Job-Secret or, where a browser plays a file, the query.

    Raises:
        UnknownError: there is no such job.
        SecretError: the secret is missing or wrong.
    """
    store = store_of(request)
    store.job(job)
    if not store.knows(job, x_job_secret or secret):
        raise SecretError(
            "what a job made can be had only with the secret that was told when it was accepted"
        )


TOKEN: tuple[Callable[..., None], ...] = (require_token, require_link)
"""One of these stands before every route."""
Keys = Annotated[Store, Depends(store_of)]
