"""The driver of the comparison with TRL."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import ppo_vs_trl
import pytest
import scaling
from harness import ours

from legibility.errors import UserError
from tests.benchmarks.measured import record, small_peak, step


def test_bad_arguments_of_the_driver(tmp_path):
    with pytest.raises(UserError, match="known: nano"):
        ppo_vs_trl.main(workload=["big"])
    with pytest.raises(UserError, match="--trainer verl"):
        ppo_vs_trl.trainers(["verl"], [])
    taken = tmp_path / "out.json"
    taken.touch()
    with pytest.raises(UserError, match="exists already"):
        ppo_vs_trl.main(json_file=taken)
    with pytest.raises(UserError, match="--sweep colour: unknown; known: model size"):
        scaling.main(sweep=["colour"])


def test_driver_writes_its_keys(tiny_prover_dir, tmp_path, monkeypatch, capsys):
    def turn(name, task, pythons):
        if name.startswith("trl"):
            return record(name, *[step(9, 1, 1)] * 4)
        small = dataclasses.replace(task, model=str(tiny_prover_dir), prompts=4, max_new_tokens=8, steps=4, threads=1)
        return ours.run(small, name.split("-")[1])

    monkeypatch.setattr(ppo_vs_trl, "environment", lambda *_: Path(sys.executable))
    monkeypatch.setattr(ppo_vs_trl, "matmul_peak", small_peak)
    monkeypatch.setattr(ppo_vs_trl, "run_trainer", turn)
    out = tmp_path / "out.json"
    ppo_vs_trl.main(quick=True, json_file=out, trainer=["ours-detached", "trl-ppo", "trl-grpo", "trl-rloo"], threads=1)
    got = json.loads(out.read_text(encoding="utf-8"))
    for key in ("speedup_vs_trl_ppo", "speedup_vs_trl_grpo", "speedup_vs_trl_rloo", "matmul_fraction"):
        assert got[key] > 0
    assert got["speedups"]["nano"]["ours-detached vs trl-ppo"]["value"] == got["speedup_vs_trl_ppo"]
    assert got["summary"]["nano"]["ours-detached"]["steps"] == 4
    assert list(got["workloads"]["nano"]["records"]) == ["ours-detached", "trl-ppo", "trl-grpo", "trl-rloo"]
    monkeypatch.setattr(ppo_vs_trl, "run_trainer", None)  # nothing is left to run
    ppo_vs_trl.main(
        quick=True, json_file=out, trainer=["ours-detached", "trl-ppo", "trl-grpo", "trl-rloo"], threads=1, resume=True
    )
    assert json.loads(out.read_text(encoding="utf-8"))["workloads"] == got["workloads"]
    shown = capsys.readouterr().out
    assert "| TRL 1.12 PPO (separate critic) | 9.00" in shown and "speedup_vs_trl_ppo: " in shown
