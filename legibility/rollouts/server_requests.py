"""Requests to a vLLM server: JSON over HTTP, each with an end, and every failure one line for people.

One connection a request, so that a server that was restarted is met as it is now. `Server.ask_all` sends many at
once; where one fails, or the command is interrupted, the others are broken off and vLLM drops their work. Nothing is
sent again by itself: what a server did with a request that broke off is not known.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from legibility.errors import UserError

T = TypeVar("T")
KEY = "VLLM_API_KEY"
"""The environment variable that holds the server's key, as for vLLM itself."""
SETTING = "compute.vllm.server"
LARGEST_ANSWER = 2**30


class Server:
    """A server by its address. connect_timeout: seconds for reaching it and for light answers; timeout: for the others."""

    def __init__(self, address: str, connect_timeout: float, timeout: float) -> None:
        self.address, self.connect_timeout, self.timeout = address.rstrip("/"), connect_timeout, timeout
        parts = urlsplit(self.address)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._root = parts.path
        self._open: set[socket.socket] = set()
        self._lock, self._broken_off = threading.Lock(), False

    def get(self, path: str, *, slow: bool = False) -> Any:
        """The JSON of a GET. slow: one that may take its time. Raises UserError for every failure."""
        return self._exchange("GET", path, None, self.timeout if slow else min(self.connect_timeout, self.timeout))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a POST, None of an empty answer. Raises UserError for every failure."""
        return self._exchange("POST", path, body, self.timeout)

    def ask_all(
        self, path: str, bodies: Sequence[Mapping[str, Any]], together: int, read: Callable[[Any], T]
    ) -> list[T]:
        """`read` of the answer to every body, in their order, `together` at once. Raises what the first failure raises."""
        pool = ThreadPoolExecutor(max(1, min(together, len(bodies))), thread_name_prefix="vllm")
        try:
            asked = [pool.submit(self._ask_and_read, path, body, read) for body in bodies]
            _first_failure(as_completed(asked))
            return [answer.result() for answer in asked]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self._break_off()
            raise
        finally:
            pool.shutdown(wait=True)
            self._broken_off = False

    def _ask_and_read(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        return read(self.post(path, body))

    def _break_off(self) -> None:
        """End all requests under way, and those that threads are about to send."""
        with self._lock:
            self._broken_off = True
            for connected in self._open:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)  # a thread that waits for it wakes up

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> Any:
        status, answer = self._ask(method, path, body, seconds)
        if status != 200:
            raise UserError(self._refusal(path, status, answer))
        if not answer.strip():
            return None
        try:
            return json.loads(answer)
        except ValueError:
            raise UserError(
                f"{SETTING}: {self.address} answers {path} with something that is no JSON; is it the address of a vLLM server?"
            ) from None

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> tuple[int, bytes]:
        """Status and text of an answer that has arrived whole within `seconds`."""
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        content = None if body is None else json.dumps(body)
        end, connection = time.monotonic() + seconds, self._connection()
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:  # the latter of a host name that cannot be one
            raise UserError(self._unreachable(error)) from None
        connected = connection.sock  # http.client forgets it before the answer is read
        try:
            with self._lock:
                self._open.add(connected)
                if self._broken_off:
                    raise ConnectionAbortedError
            connected.settimeout(seconds)
            connection.request(method, self._root + path, content, headers)
            response, received = connection.getresponse(), bytearray()
            while piece := response.read1(1 << 16):
                received += piece
                left = end - time.monotonic()
                if left <= 0 or len(received) > LARGEST_ANSWER:
                    raise TimeoutError
                connected.settimeout(left)
            if response.length:  # more was announced
                raise http.client.IncompleteRead(bytes(received))
            return response.status, bytes(received)
        except TimeoutError:
            raise UserError(
                f"{SETTING}: {self.address} did not answer {path} within {seconds:g} seconds; look at the server, or raise "
                f"compute.vllm.{'timeout' if seconds == self.timeout else 'connect_timeout'}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"{SETTING}: {self.address} broke off while answering {path} ({type(error).__name__}), so it ended or was "
                "restarted; what was finished is kept: start it again and go on with --resume"
            ) from None
        finally:
            with self._lock:
                self._open.discard(connected)
            connection.close()
            connected.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self.connect_timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self.connect_timeout)

    def _unreachable(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            why = f"no connection within {self.connect_timeout:g} seconds"
        else:
            why = getattr(error, "strerror", None) or " ".join(str(error).split())[:100] or type(error).__name__
        return (
            f"{SETTING}: {self.address} cannot be reached ({why}); start `vllm serve` there (docs/gpus.md has the command), "
            "or set it to null for vLLM in this process"
        )

    def _refusal(self, path: str, status: int, answer: bytes) -> str:
        said = _message(answer)
        if status in (401, 403):
            return f"{SETTING}: {self.address} wants another key ({status}); put it into the environment variable {KEY}"
        if status == 404:
            return (
                f"{SETTING}: {self.address} has no {path}{said}; it has to be vLLM 0.29 or later, started with "
                "VLLM_SERVER_DEV_MODE=1"
            )
        return f"{SETTING}: {self.address} answers {path} with {status}{said}; its own log says why"


def _first_failure(done: Iterable[Future[Any]]) -> None:
    for future in done:
        future.result()


def _message(answer: bytes) -> str:
    """What a refusal says, in one short line that begins with a colon; nothing where it says nothing."""
    try:
        content = json.loads(answer)
        content = content.get("error", content.get("detail", content)) if isinstance(content, dict) else content
        text = str(content.get("message", content) if isinstance(content, dict) else content)
    except ValueError:
        text = answer.decode("utf-8", "replace")
    text = " ".join(text.split())
    return f": {text[:200]}" if text else ""
