"""The server's process: one for each user, a socket, and the HTTP library between them."""

import socket
from collections.abc import Callable, Iterable

import uvicorn
from filelock import FileLock, Timeout

from resing.errors import ConfigError
from resing.server.app import Setting, create_app, local_hosts
from resing.server.limits import Limits
from resing.server.places import Places

HEADER_BYTES = 16 << 10
IDLE_SECONDS = 15
FAREWELL_SECONDS = 2


def run_server(
    host: str,
    port: int,
    tell: Callable[[str], object],
    *,
    more_hosts: Iterable[str] = (),
    voice_import: bool = False,
    new_token: bool = False,
    limits: Limits | None = None,
) -> None:
    """Serve until the process is told to stop.

    Args:
        host: address to listen at.
        port: 0 takes any that is free.
        tell: told the address to open, with the token in it, when the socket is open.
        more_hosts: names beside localhost by which it is known.
        voice_import: whether voice files may be brought in.
        new_token: whether to make another token.
        limits: caps.

    Raises:
        ConfigError: the port is taken, or another server runs.
    """
    places, limits = Places.usual(), limits or Limits()
    try:
        with FileLock(places.root / "server.lock", timeout=1.0):
            token = places.token(new_token)
            with _listen(host, port) as listening:
                at = listening.getsockname()[1]
                setting = Setting(token, local_hosts(at, more_hosts), limits, voice_import)
                config = uvicorn.Config(
                    create_app(places, setting),
                    http="h11",
                    ws="none",
                    lifespan="on",
                    access_log=False,
                    log_level="warning",
                    server_header=False,
                    proxy_headers=False,
                    limit_concurrency=limits.connections,
                    timeout_keep_alive=IDLE_SECONDS,
                    timeout_graceful_shutdown=FAREWELL_SECONDS,
                    h11_max_incomplete_event_size=HEADER_BYTES,
                )
                shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
                tell(f"http://{f'[{shown}]' if ':' in shown else shown}:{at}/?token={token}")
                uvicorn.Server(config).run([listening])
    except Timeout as error:
        raise ConfigError(
            "a server of yours runs already; use that one, or end it first (another RESING_HOME is apart)"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened at ({error.strerror}); choose another: --port 0"
        ) from error
    return listening
