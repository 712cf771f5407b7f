"""Devices: the table, and this machine measured."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from legibility.errors import UserError
from legibility.planning.devices import GPUS, gpu, this_cpu


def test_the_table_has_what_data_sheets_say():
    assert gpu("H100").bfloat16 == 989e12 and gpu("h100").memory == 80e9 and gpu("a100").bandwidth == 2039e9
    assert len({d.name for d in GPUS}) == len(GPUS)
    for d in GPUS:
        assert d.source and d.float32 < d.bfloat16 and d.usable < d.memory and 0 < d.utilization <= 1
        assert d.rate("bfloat16") == d.bfloat16 and d.rate("float32") == d.float32


def test_an_unknown_one_is_told_what_there_is():
    with pytest.raises(UserError, match=r"--gpu: no figures of 'h1000'; known are a10, .*h100"):
        gpu("h1000")


def test_this_machine_is_measured_and_its_threads_stay():
    before = torch.get_num_threads()
    found = this_cpu(1)
    assert torch.get_num_threads() == before and found.is_cpu and "1 thread" in found.source
    assert 1e9 < found.float32 < 1e14 and 1e8 < found.bandwidth < 1e13 and 1e-8 < found.call_seconds < 1e-2
    assert dataclasses.replace(found, utilization=0.5).rate("float32") == found.float32
