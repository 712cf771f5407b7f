"""Requests to a server that is not there, hangs, talks nonsense, or breaks off: one line each, and in time."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from legibility.errors import UserError
from legibility.rollouts.server_requests import Server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _request(connected: socket.socket) -> bytes:
    """A whole request: its head, and as many bytes as that announces. What has come so far, of one broken off."""
    text = b""
    while b"\r\n\r\n" not in text:
        piece = connected.recv(65536)
        if not piece:
            return text
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"Content-Length: (\d+)", head) or [b"0"]
    while len(body) < int(length):
        piece = connected.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


@contextmanager
def answering(*pieces: bytes, pause: float = 0.0, wait: bool = False):
    """A server that reads a request and sends these bytes, `pause` seconds between them. wait: then it hangs."""
    listening, over, asked = socket.create_server(("127.0.0.1", 0)), threading.Event(), []

    def one(connected: socket.socket) -> None:
        with connected:
            asked.append(_request(connected))
            for piece in pieces:
                try:
                    connected.sendall(piece)
                except OSError:
                    return
                over.wait(pause)
            if wait:
                over.wait(30)

    def serve() -> None:
        while not over.is_set():
            try:
                threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
    finally:
        over.set()
        listening.close()


def refusal(address: str, *, timeout: float = 0.5, connect_timeout: float = 0.5) -> str:
    begun = time.monotonic()
    with pytest.raises(UserError) as wrong:
        Server(address, connect_timeout, timeout).post("/route", {"a": 1})
    assert time.monotonic() - begun < 10 and "\n" not in str(wrong.value)
    return str(wrong.value)


def test_answers():
    with answering(HEAD + b'Content-Length: 10\r\n\r\n{"a": ', b"[1]}", pause=0.05) as (address, asked):
        assert Server(address + "/below/", 1, 1).post("/route?x=1", {"b": 2}) == {"a": [1]}
        assert asked[0].startswith(b"POST /below/route?x=1 HTTP/1.1") and asked[0].endswith(b'{"b": 2}')
    with answering(HEAD + b"Content-Length: 0\r\n\r\n") as (address, asked):
        assert Server(address, 1, 1).post("/route") is None


def test_nobody_there():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        said = refusal(f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert "cannot be reached (Connection refused); start `vllm serve` there" in said
    assert "cannot be reached" in refusal("http://no.such.host.invalid:8000")
    assert "cannot be reached" in refusal(f"http://{'a' * 70}.invalid:8000")


def test_a_connection_that_nobody_takes(monkeypatch):
    """Packets that are dropped: connecting itself ends in time."""

    def lost(self) -> None:
        assert self.timeout == 0.5
        raise TimeoutError("timed out")

    monkeypatch.setattr("http.client.HTTPConnection.connect", lost)
    assert "cannot be reached (no connection within 0.5 seconds)" in refusal("http://10.255.255.1:8000")


def test_silence_and_answers_that_never_end():
    with answering(wait=True) as (address, _):
        assert "did not answer /route within 0.5 seconds" in refusal(address)
    with answering(HEAD + b"Content-Length: 99\r\n\r\n", wait=True) as (address, _):
        assert "did not answer /route within 0.5 seconds" in refusal(address)
    drip = [HEAD + b"Content-Length: 99\r\n\r\n", *[b" "] * 60]
    with answering(*drip, pause=0.1) as (address, _):  # every piece comes in time, the whole does not
        assert "did not answer /route within 0.5 seconds" in refusal(address)


def test_broken_answers():
    with answering() as (address, _):
        assert "broke off while answering /route (RemoteDisconnected)" in refusal(address)
    with answering(HEAD + b'Content-Length: 99\r\n\r\n{"a": 1}') as (address, _):
        assert "broke off while answering /route (IncompleteRead)" in refusal(address)
    with answering(HEAD + b"Content-Length: 5\r\n\r\n<htm>") as (address, _):
        assert "something that is no JSON; is it the address of a vLLM server?" in refusal(address)
    with answering(b"220 mail ready\r\n") as (address, _):
        assert "broke off while answering /route (BadStatusLine)" in refusal(address)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "first\\nsecond", "code": 500}}', "with 500: first second; its own log says why"),
        (b'{"detail": [{"msg": "field required"}]}', "with 500: [{'msg': 'field required'}]; its own log"),
        (b"Internal Server Error", "with 500: Internal Server Error; its own log"),
        (b"", "with 500; its own log"),
    ],
)
def test_what_a_server_refuses_is_told_in_its_words(body, said):
    head = f"HTTP/1.1 500 X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with answering(head + body) as (address, _):
        assert said in refusal(address)


def test_the_first_failure_ends_all_at_once():
    """One of many requests fails, the others hang: nobody waits for them, and the next request works."""
    first = threading.Event()

    def read(answer):
        raise UserError("stale")

    with answering(HEAD + b"Content-Length: 2\r\n\r\n{}") as (quick, _), answering(wait=True) as (hanging, asked):
        server = Server(hanging, 5, 60)
        post = server.post

        def half(path, body):
            if body["i"] == 3:
                first.wait(1)
                return Server(quick, 5, 5).post(path, body)
            return post(path, body)

        server.post = half
        begun = time.monotonic()
        threading.Timer(0.3, first.set).start()
        with pytest.raises(UserError, match="stale"):
            server.ask_all("/route", [{"i": i} for i in range(40)], 8, read)
        assert time.monotonic() - begun < 20 and len(asked) < 12
    with answering(HEAD + b"Content-Length: 2\r\n\r\n{}") as (quick, _):
        fresh = Server(quick, 5, 5)
        assert fresh.ask_all("/route", [{"i": i} for i in range(5)], 2, lambda answer: 1) == [1] * 5


def test_order_and_interruption():
    with answering(HEAD + b"Content-Length: 2\r\n\r\n{}") as (address, _):
        server, seen = Server(address, 5, 5), []

        def read(answer):
            seen.append(len(seen))
            return seen[-1]

        assert server.ask_all("/route", [{}] * 6, 1, read) == list(range(6))

        def stop(answer):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            server.ask_all("/route", [{}] * 6, 2, stop)
        assert server.ask_all("/route", [{}] * 3, 2, lambda answer: "again") == ["again"] * 3
