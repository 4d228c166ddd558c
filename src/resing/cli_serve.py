"""`resing serve`: the page and the API, for this machine."""

import ipaddress
import socket
from typing import Annotated

from cyclopts import Parameter

from resing.cli_output import say
from resing.errors import ConfigError

Switch = Parameter(negative="", show_default=False)


def serve(
    *,
    port: int = 8765,
    host: str = "127.0.0.1",
    allow_remote: Annotated[bool, Switch] = False,
    allow_host: Annotated[list[str] | None, Parameter(negative="", show_default=False)] = None,
    voice_import: Annotated[bool, Switch] = False,
    new_token: Annotated[bool, Switch] = False,
) -> None:
    """Open Resing as a page in the browser, and as an HTTP API for programs.

    Args:
        port: where it listens; 0 takes any that is free.
        host: address to listen at.
        allow_remote: let other machines in; the token and what is sung then travel unencrypted.
        allow_host: a name by which other machines reach this one, may be repeated.
        voice_import: take voice files over the network.
        new_token: make another token; the old address opens nothing any more.
    """
    try:
        from resing.server.run import run_server
    except ImportError as error:
        raise ConfigError(
            f"the page needs a few packages more ({error}); pip install 'resing[web]'"
        ) from error
    if not is_loopback(host) and not allow_remote:
        raise ConfigError(
            f"--host {host} lets other machines in, who then hold the token if they hear it on the network; "
            "if that is meant, add --allow-remote and --allow-host NAME, better behind a proxy with TLS"
        )
    run_server(
        host,
        port,
        more_hosts=allow_host or (),
        voice_import=voice_import,
        new_token=new_token,
        tell=lambda address: say(
            f"Resing is at {address}\nCtrl-C ends it; jobs then wait for the next start."
        ),
    )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(str(a).partition("%")[0]).is_loopback for a in found)
    except (OSError, ValueError):
        return False
