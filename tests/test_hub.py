"""Whether the hub answers is known within a second, whatever the network does."""

from __future__ import annotations

import socket
import time

import pytest

from legibility import hub
from legibility.errors import UserError
from legibility.models.loading import load_causal, load_tokenizer
from legibility.problems.sources import from_hub


@pytest.fixture
def knocks(monkeypatch):
    """Connections that are tried; each hangs for longer than anyone waits."""
    tried = []

    def hang(door, timeout):
        tried.append(door)
        time.sleep(5)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(hub, "endpoint", lambda: "https://hub.invalid")
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub.answers.cache_clear()
    yield tried
    hub.answers.cache_clear()


def test_a_hub_out_of_reach_costs_two_seconds_once(knocks):
    import datasets  # noqa: F401  (slow to import, and none of the waiting that is measured)

    started = time.perf_counter()
    for load in (
        lambda: load_tokenizer("somebody/none", "prover"),
        lambda: load_causal("somebody/none", "float32", "cpu"),
    ):
        with pytest.raises(UserError, match=r"^prover\.model: cannot load 'somebody/none': the hub cannot be reached"):
            load()
    with pytest.raises(UserError, match="could not be loaded from the hub"):
        from_hub("somebody/none", None, "train", "give a folder")
    assert knocks == [("hub.invalid", 443)] and time.perf_counter() - started < 2


def test_switched_off_nothing_is_tried(knocks, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub.hub_reachable() and knocks == []


@pytest.mark.parametrize(
    ("proxies", "door"),
    [
        ({}, ("hub.invalid", 443)),
        ({"https": "http://proxy.invalid:3128"}, ("proxy.invalid", 3128)),
        ({"https": "proxy.invalid:3128"}, ("proxy.invalid", 3128)),
        ({"all": "socks5://proxy.invalid"}, ("proxy.invalid", 1080)),
    ],
)
def test_a_proxy_is_knocked_at_instead(proxies, door, monkeypatch):
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    monkeypatch.setattr(hub, "proxy_bypass", lambda host: False)
    assert hub._door("https://hub.invalid") == door


def test_an_open_door_is_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert hub.answers(server.getsockname())
