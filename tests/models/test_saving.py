"""Weights are as readable as everything else that is written."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from legibility.config import PPOSettings, ProverSettings
from legibility.models.prover import Prover
from legibility.models.saving import mode, save_tensors
from legibility.player_settings import LoraSettings
from legibility.ppo import PPO
from tests.support import ROOT, load_verifier


@pytest.fixture(params=[0o022, 0o002, 0o077])
def mask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}


def test_every_file_of_a_model_follows_the_umask(mask, tiny_prover_dir, tiny_verifier_dir, tmp_path):
    """On the old code every safetensors file had mode 0600."""
    prover = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
    PPO(prover, PPOSettings(critic="separate")).save(tmp_path / "ppo")
    lora = LoraSettings(r=2, alpha=4)
    Prover.load(ProverSettings(model=str(tiny_prover_dir), lora=lora), "cpu").save(tmp_path / "lora")
    load_verifier(tiny_verifier_dir, score="likelihood").save(tmp_path / "verifier")
    save_tensors({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    found = modes(tmp_path)
    assert set(found.values()) == {0o666 & ~mask}
    assert sum(name.endswith(".safetensors") for name in found) == 7


def test_asking_for_the_umask_leaves_it(mask):
    assert mode(0o666) == 0o666 & ~mask and mode(0o777) == 0o777 & ~mask
    assert os.umask(mask) == mask


def test_weights_are_written_in_one_place():
    """Every other call would make files that only their owner can read."""
    calls = {
        path.name
        for path in (ROOT / "legibility").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "save_file(" in line or (".save_pretrained(" in line and "tokenizer" not in line and "config" not in line)
    }
    assert calls == {"saving.py"}
