"""What every request passes before anything looks at it: who asks from where, how much, how often, how fast.

A page of another site cannot reach the server, neither by a name that it lets point here (Host) nor by a form
or script (Origin, Sec-Fetch-Site); what the page of ours loads can come from here alone (CSP).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resing.server.limits import Limits

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}
OWN_SITES = ("same-origin", "none")
DEAR = 10
"""What a request that makes work costs, in requests."""
MOST_ADDRESSES = 4096
MOST_ADDRESS_BYTES, MOST_HEADER_BYTES = 4 << 10, 16 << 10


class Guard:
    """The application behind a guard.

    Args:
        app: what is guarded.
        limits: on bodies and rates.
        hosts: values of Host that are us, with the port.
        bodies: most bytes of a body by path, where they differ from `limits.body_bytes`.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, hosts: Iterable[str], bodies: Mapping[str, int] | None = None
    ) -> None:
        self.app, self.limits = app, limits
        self.hosts, self.bodies = frozenset(hosts), dict(bodies or {})
        self.rates = Rates(limits.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sending = _with_headers(send)
        try:
            self._check(scope)
        except HTTPException as error:
            await refuse(error)(scope, receive, sending)
            return
        most = self.bodies.get(scope["path"], self.limits.body_bytes)
        await self.app(scope, self._measured(receive, most), sending)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_ADDRESS_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large")
        if headers.getlist("host") == [] or any(h.lower() not in self.hosts for h in headers.getlist("host")):
            raise HTTPException(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this name is not the server's; open it as it was printed, or allow it: --allow-host NAME",
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin.lower().partition("://")[2] not in self.hosts:
            raise HTTPException(HTTPStatus.FORBIDDEN, "requests of other sites are not answered")
        if site is not None and site not in OWN_SITES and scope["path"] != "/":
            raise HTTPException(HTTPStatus.FORBIDDEN, "requests of other sites are not answered")
        cost = DEAR if scope["method"] == "POST" else 1
        if not self.rates.take((scope.get("client") or ("",))[0], cost):
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS, "too many requests; wait a moment", {"Retry-After": "5"}
            )
        length = headers.get("content-length", "0")
        most = self.bodies.get(scope["path"], self.limits.body_bytes)
        if not length.isdecimal() or int(length) > most:
            raise _too_large(most)

    def _measured(self, receive: Receive, most: int) -> Receive:
        """A body's pieces, as long as they come fast enough and are not too many."""
        took, began = 0, time.monotonic()

        async def measured() -> Message:
            nonlocal took
            left = self.limits.upload_seconds - (time.monotonic() - began)
            try:
                async with asyncio.timeout(max(0.0, min(self.limits.stall_seconds, left))):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly; try again", {"Connection": "close"}
                ) from None
            took += len(message.get("body", b""))
            if took > most:
                raise _too_large(most)
            return message

        finished = False

        async def until_the_end() -> Message:
            """After the body, `receive` waits for the client to leave, which may take as long as it likes."""
            nonlocal finished
            message = await (receive() if finished else measured())
            finished = finished or not message.get("more_body", False)
            return message

        return until_the_end


class Rates:
    """A bucket of requests for each address, which fills again at a steady rate.

    Args:
        per_minute: requests; a minute's worth may come at once.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, cost: float) -> bool:
        """Whether an address may make a request of this cost now."""
        now = time.monotonic()
        left, since = self._buckets.pop(address, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - since) * self.per_minute / 60)
        allowed = left >= cost
        self._buckets[address] = (left - cost if allowed else left, now)
        while len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


def refuse(error: HTTPException, code: str = "") -> JSONResponse:
    """The answer to a request that is refused, in the one shape that all failures have."""
    name = code or HTTPStatus(error.status_code).name.lower()
    body = {"error": {"code": name, "message": str(error.detail)}}
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


def _too_large(most: int) -> HTTPException:
    text = f"the body is larger than the {most} bytes that may be"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, {"Connection": "close"})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
