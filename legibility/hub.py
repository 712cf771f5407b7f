"""Whether the model hub can be reached, asked once a process: without it libraries try for half a minute a file."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

PATIENCE = 1.0  # seconds for one connection; retries that would take longer are the libraries' own


def endpoint() -> str:
    """Address of the hub."""
    from huggingface_hub import constants  # slow to import; only models and data sets of the hub need it

    return str(constants.ENDPOINT)


def hub_reachable() -> bool:
    """Whether something answers at the hub's address, or at the proxy in front of it. False where it is switched off."""
    return not switched_off() and answers(_door(endpoint()))


def switched_off() -> bool:
    """Whether the environment forbids the hub."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


@contextmanager
def only_what_answers(*, needed: bool = True) -> Iterator[None]:
    """Libraries read the hub's cache alone while it is out of reach, or not `needed`: every request fails at once.

    Their own switches (`local_files_only`) do not reach every request that they make on the way.
    """
    from huggingface_hub import constants  # slow to import, as above

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not needed or not hub_reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _door(address: str) -> tuple[str, int]:
    """Host and port that a request to an address goes to first."""
    place = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(place.scheme) or proxies.get("all")
    if proxy and place.hostname and not proxy_bypass(place.hostname):
        place = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    ports = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}
    return place.hostname or "", place.port or ports.get(place.scheme, 443)


@cache
def answers(door: tuple[str, int]) -> bool:
    """Whether a connection to (host, port) opens in PATIENCE seconds, looking its name up included."""
    found = threading.Event()

    def knock() -> None:
        try:
            socket.create_connection(door, timeout=PATIENCE).close()
        except OSError:
            return
        found.set()

    caller = threading.Thread(target=knock, daemon=True)  # a name that no server knows may take long to look up
    caller.start()
    caller.join(PATIENCE)
    return found.is_set()
