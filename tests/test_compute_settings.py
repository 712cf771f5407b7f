"""Settings of the machine: how often a phase is saved, where a server is."""

from __future__ import annotations

import pytest

from legibility.compute_settings import ComputeSettings, VLLMSettings, seconds
from legibility.config_file import load_config
from legibility.errors import UserError


@pytest.mark.parametrize(("time", "expected"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("0.5m", 30)])
def test_times(time, expected):
    assert seconds(time) == expected
    assert ComputeSettings(checkpoint_every=time).checkpoint_every == time


@pytest.mark.parametrize("value", [1, 50, None])
def test_steps_and_none(value):
    assert ComputeSettings(checkpoint_every=value).checkpoint_every == value


@pytest.mark.parametrize("value", ["0", "-5", "20", "true", "1.5", "0m", "'20 minutes'", "''", "[20m]"])
def test_anything_else_is_one_line(tiny_config_file, value):
    with pytest.raises(UserError) as wrong:
        load_config(
            tiny_config_file,
            [f"compute.checkpoint_every={value}"] if value != "20" else ["compute.checkpoint_every='20'"],
        )
    said = str(wrong.value)
    assert "compute.checkpoint_every: write a number of steps (50) or a time" in said and "\n" not in said


@pytest.mark.parametrize("address", ["http://localhost:8000", "https://gpu-7.example:443/below", "http://[::1]:8000"])
def test_addresses(address):
    assert VLLMSettings(server=address).server == address


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000",
        "gpu-7",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://me:pw@host",
        "8000",
    ],
)
def test_what_is_no_address_is_one_line(tiny_config_file, address):
    with pytest.raises(UserError) as wrong:
        load_config(tiny_config_file, [f"compute.vllm.server={address}"])
    said = str(wrong.value)
    assert 'compute.vllm.server: write an address such as "http://localhost:8000"' in said and "\n" not in said
