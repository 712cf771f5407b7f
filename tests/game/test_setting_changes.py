"""What may change while a run is played: how a server is reached, not whether there is one."""

from __future__ import annotations

import pytest

from legibility.config import Config
from legibility.game.setting_changes import changed_settings


def compute(**vllm) -> Config:
    return Config.model_validate({"compute": {"engine": "vllm", "vllm": vllm}})


@pytest.mark.parametrize(
    "change",
    [
        {"server": "http://b:8000"},
        {"timeout": 30},
        {"transfer": "nccl", "nccl_host": "10.0.0.1", "nccl_port": 29500},
        {"folder": "/dev/shm", "parallel_requests": 8, "connect_timeout": 1},
    ],
)
def test_how_a_server_is_reached_may_change(change):
    begun = {"server": "http://a:8000"}
    assert changed_settings(compute(**begun), compute(**{**begun, **change})) == []


@pytest.mark.parametrize(("before", "after"), [({}, {"server": "http://a:1"}), ({"server": "http://a:1"}, {})])
def test_whether_there_is_a_server_may_not(before, after):
    (changed,) = changed_settings(compute(**before), compute(**after))
    assert changed.name == "compute.vllm.server"


def test_other_settings_may_not():
    assert [str(c) for c in changed_settings(compute(), compute(max_length=8))] == [
        "compute.vllm.max_length: 4096 -> 8"
    ]
