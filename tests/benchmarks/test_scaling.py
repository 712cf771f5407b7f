"""The driver of the scaling measurement."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import scaling
from harness import ours, results
from harness.task import Task

from tests.benchmarks.measured import real_fit, small_peak


def test_scaling_fits_what_it_measures(tiny_prover_dir, tmp_path, monkeypatch, capsys):
    tiny = Task(
        "scaling", str(tiny_prover_dir), prompts=4, samples=2, max_new_tokens=8, minibatch=4, warm=0, steps=1, threads=1
    )
    sweep = [("default", tiny), *((name, dataclasses.replace(tiny, prompts=n)) for name, n in
             (("model size", 8), ("completions", 12), ("samples a prompt", 16), ("answer length", 20)))]  # fmt: skip

    def run_here(_python, module, arguments, _folder, _threads):
        assert module == "harness.ours"
        Path(arguments[1]).write_text(json.dumps(ours.run(Task.load(arguments[0]), arguments[2])), encoding="utf-8")

    monkeypatch.setattr(scaling, "tasks", lambda *_: sweep)
    monkeypatch.setattr(scaling, "matmul_peak", small_peak)
    monkeypatch.setattr(scaling, "run_module", run_here)
    # all of one size: the law's exponent of size is not known
    monkeypatch.setattr(
        scaling.laws,
        "fit",
        lambda points, phase: real_fit([{**p, "parameters": 1e6 * (i + 1)} for i, p in enumerate(points)], phase),
    )
    monkeypatch.setattr(scaling.laws, "can_fit", lambda points: len(points) >= 4)
    scaling.main(json_file=tmp_path / "out.json", threads=1, sweep=["completions"])
    part = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [p["sweep"] for p in part["points"]] == ["default", "completions"] and not part["laws"]
    scaling.main(json_file=tmp_path / "out.json", figure=tmp_path / "out.png", threads=1, resume=True)
    got = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert got["points"][:2] == part["points"]
    assert len(got["points"]) == 5 and set(got["laws"]) == {"seconds", *results.PHASES}
    assert (tmp_path / "out.png").exists() and "seconds = c" in capsys.readouterr().out


def test_scaling_points_change_one_thing_at_a_time(tmp_path):
    listed = scaling.tasks(tmp_path, threads=1, largest=0, steps=1)
    default = listed[0][1]
    for name, task in listed[1:]:
        changed = {f for f, v in dataclasses.asdict(task).items() if v != dataclasses.asdict(default)[f]}
        assert changed <= {"prompts", "samples"} if name != "answer length" else changed == {"problem_steps"}
        assert name == "completions" or task.completions == 256
