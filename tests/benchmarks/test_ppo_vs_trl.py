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
from harness.environments import run_module
from harness.task import Task

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


def test_ranks_are_those_of_every_trainer(tmp_path, monkeypatch, capsys):
    """Torchrun starts both packages' workers; what has no ranks is named; a file of ranks takes nothing else."""
    started = []

    def run_module(python, module, arguments, folder, threads, ranks=1):
        task = json.loads(Path(arguments[0]).read_text())
        started.append((module, ranks, task["ranks"], threads, task["workers"]))
        Path(arguments[1]).write_text(json.dumps(record(f"x-{arguments[2]}", *[step(9, 1, 1)] * 3)))

    monkeypatch.setattr(ppo_vs_trl, "environment", lambda *_: Path(sys.executable))
    monkeypatch.setattr(ppo_vs_trl, "matmul_peak", small_peak)
    monkeypatch.setattr(ppo_vs_trl, "run_module", run_module)
    out = tmp_path / "out.json"
    ppo_vs_trl.main(quick=True, json_file=out, threads=2, ranks=2)
    assert started == [("harness.ours", 2, 2, 1, 1)] * 2 + [("harness.trl_group", 2, 2, 1, 1)] * 2
    shown = capsys.readouterr().out
    assert "skipped: trl-ppo (measured as one process, so not in 2 ranks)" in shown
    assert "every trainer as 2 ranks of torchrun, 1 thread each." in shown
    with pytest.raises(UserError, match="same ranks"):
        ppo_vs_trl.main(quick=True, json_file=out, threads=2, resume=True)
    with pytest.raises(UserError, match="--ranks 2: has to divide --threads 3"):
        ppo_vs_trl.main(quick=True, threads=3, ranks=2)
    with pytest.raises(UserError, match=r"--ranks 2: .* leaves no --workers"):
        ppo_vs_trl.main(quick=True, threads=2, workers=2, ranks=2)


@pytest.mark.slow
def test_trl_shares_minibatches_over_ranks(tiny_prover_dir, tmp_path):
    """Two ranks by gloo: as many optimizer steps as one process makes, and the record is of all completions."""
    pytest.importorskip("trl")  # in an environment of its own elsewhere
    task = dataclasses.replace(
        Task("t", str(tiny_prover_dir)), prompts=4, samples=2, minibatch=4, max_new_tokens=6, warm=0, steps=1, threads=1,
        ranks=2,
    )  # fmt: skip
    task.save(tmp_path / "task.json")
    arguments = [str(tmp_path / "task.json"), str(tmp_path / "out.json"), "grpo"]
    run_module(sys.executable, "harness.trl_group", arguments, tmp_path, 1, ranks=2)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["optimizer_steps"] == 2 * task.epochs and len(found["steps"]) == 1
    assert found["steps"][0]["completions"] == 8 and found["steps"][0]["prompts"] == 4
    assert found["peak_mb"] > 1.5 * found["loaded_mb"], "memory of both ranks"
