"""Pages served on this machine: the socket they listen on and the Host headers they answer to.

Loopback unless told otherwise. On loopback only loopback names are answered, so that no page elsewhere can reach a
local server through a name of its own (DNS rebinding).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from legibility.errors import Interrupted, UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def listener(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UserError where the address cannot be used."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)  # from here on a request waits rather than being refused
    except OSError as error:
        made.close()
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from None
    except UnicodeError:
        made.close()
        raise UserError(f"--host {host}: not the name of a host; give one, or an address such as 127.0.0.1") from None
    return made


def run_until_stopped(made: Starlette, listening: socket.socket, name: str) -> None:
    """Answer until Ctrl-C or SIGTERM, which is how a server ends: nothing is lost, and there is nothing to go on with."""
    import uvicorn

    config = uvicorn.Config(made, log_level="warning", access_log=False, server_header=False)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except Interrupted:
        print(f"{name}: stopped", flush=True)


def own_url(host: str, listening: socket.socket) -> str:
    """The address to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}/"


def accepted_hosts(host: str) -> list[str] | None:
    """Host headers a server on this address answers to; None: any, since others are meant to reach it."""
    return [*LOOPBACK, "[::1]"] if host in LOOPBACK else None
