"""The benchmarks' own code: work counts, tables, laws and the worker of this package; no TRL needed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import fill_tables
import ppo_vs_trl
import pytest
import scaling
import torch
from harness import clock, environments, figures, laws, ours, results, stored, tables
from harness.grow import grow
from harness.reward import _unique_tokens
from harness.task import Task

from legibility.errors import UserError
from legibility.models import flat
from tests.support import llama

PARAMETERS = {"body": 1000, "head": 100, "verifier": 10}


def step(total: float, rollout: float, scoring: float, **changes):
    return {
        "total": total, "rollout": rollout, "scoring": scoring, "update": total - rollout - scoring, "completions": 4,
        "prompts": 2, "generated_tokens": 40, "longest": 15, "prompt_tokens": 60, "verifier_tokens": 80, "reward": 0.0,
        "accuracy_helpful": 0.5, "accuracy_sneaky": 0.1, **changes,
    }  # fmt: skip


def record(trainer: str, *steps, **changes):
    return {
        "trainer": trainer, "task": "nano", "steps": list(steps), "warm_steps": [], "optimizer_steps": 8, "peak_mb": 900.0,
        "loaded_mb": 400.0, "parameters": PARAMETERS, "versions": {"torch": "2"}, **changes,
    }  # fmt: skip


def result_file(**changes):
    """A result file of a run with two turns."""
    task = dataclasses.asdict(Task("nano", "folder"))
    runs = {
        "ours-detached": [record("ours-detached", step(1, 0.2, 0.2), step(2, 0.4, 0.4)), record("ours-detached", step(1.5, 0.3, 0.3))],
        "trl-ppo": [record("trl-ppo", step(9, 1, 1)), record("trl-ppo", step(6, 1, 1), peak_mb=1400.0)],
    }  # fmt: skip
    return {
        "schema": 1, "benchmark": "ppo_vs_trl", "quick": False, "date": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "a processor", "cores": 2, "memory_gb": 8.0}, "commit": "abc", "threads": 2,
        "versions": {"torch": "2", "trl": None}, "matmul_gflops": 0.001, "workloads": {"nano": {"task": task, "records": runs}},
        "learning": {}, "skipped": ["x (why)"], **changes,
    }  # fmt: skip


# ---------------------------------------------------------------- numbers and tables


def test_operations_by_hand():
    # 100 unique tokens; 40 of them predicted: 2 * (1000 * 100 + 100 * 40) forwards
    assert results.operations(step(1, 0.2, 0.2), PARAMETERS, 2, critic=False) == {
        "rollout": 208_000, "scoring": 208_000 + 2 * 10 * 80, "update": 6 * 208_000,
    }  # fmt: skip
    with_critic = results.operations(step(1, 0.2, 0.2), PARAMETERS, 2, critic=True)
    assert with_critic["scoring"] == 208_000 + 200_000 + 1600
    assert with_critic["update"] == 6 * (208_000 + 200_000)


def test_summary_pools_the_steps_of_all_turns():
    s = results.summary(result_file())["nano"]
    own = s["ours-detached"]
    assert (own["seconds"], own["fastest"], own["slowest"], own["steps"], own["turns"]) == (1.5, 1, 2, 3, 2)
    assert own["by_turn"] == [1.5, 1.5]
    assert own["mean_length"] == 10 and own["mean_prompt"] == 30
    # in the middle step scoring and update take 1.2 of 1.5 s: (209,600 + 1,248,000) operations at a peak of 1e6 a second
    assert own["matmul_fraction_update_and_scoring"] == pytest.approx((209_600 + 1_248_000) / 1.2 / 1e6)
    assert s["trl-ppo"]["peak_mb"] == 1400
    assert results.speedup(s, "ours-detached", "trl-ppo") == {"value": 5.0, "low": 4.0, "high": 6.0}
    s["trl-ppo"]["by_turn"] = [9.0]  # stopped before its second turn
    s["ours-detached"]["by_turn"] = [1.5, 3.0]
    assert results.speedup(s, "ours-detached", "trl-ppo") == {"value": 5.0, "low": 3.0, "high": 6.0}


def test_headline_says_null_for_what_did_not_run():
    found = results.headline(result_file())
    assert found["speedup_vs_trl_ppo"] == 5.0
    assert found["speedup_vs_trl_grpo"] is None and found["speedup_vs_trl_ppo_separate_critic"] is None
    assert set(found) >= {"speedup_vs_trl_rloo", "matmul_fraction"}
    assert set(results.headline(result_file(workloads={})).values()) == {None}


def test_learned_compares_ends_with_their_error():
    steps = [step(1, 0, 0, accuracy_helpful=a, completions=200) for a in (0.2,) * 5 + (0.4,) * 5 + (0.5,) * 5]
    got = results.learned(steps)
    assert (got["first"], got["last"], got["gain"]) == pytest.approx((0.2, 0.5, 0.3))
    assert got["error"] == pytest.approx((0.2 * 0.8 / 500 + 0.5 * 0.5 / 500) ** 0.5)


def test_apart_averages_over_steps_by_seed():
    one, other = (
        [step(1, 0, 0, accuracy_helpful=a, completions=200) for a in series] for series in ((0.5, 0.6), (0.5, 0.4))
    )
    (got,) = results.apart([record("ours-detached", *one)], [record("ours-plain", *other)])
    assert got["difference"] == pytest.approx(0.1)
    assert got["error"] == pytest.approx((2 * 0.25 / 100 + 2 * 0.24 / 100) ** 0.5 / 2)
    runs = {"ours-detached": [record("ours-detached", *one * 5)], "ours-plain": [record("ours-plain", *other * 5)]}
    assert "by seed (± standard error): +0.1000 ± 0.0221." in tables.versus(result_file(learning=runs))
    assert results.apart([], []) == []


def test_tables_show_every_trainer_and_what_was_skipped():
    text = tables.versus(result_file(learning={"trl-ppo": [record("trl-ppo", *[step(2, 1, 0.5)] * 12)]}))
    assert "| legibility, value head (default) | 1.50 [1.00–2.00] | 0.30 | 0.30 | 0.90 |" in text
    assert "5.0× [4.0–6.0]" in text
    assert "| TRL 1.12 PPO (separate critic) | 0.500 | 0.500 | +0.000 [+0.000, +0.000] | 0 of 1 | 12 | 24 |" in text
    assert "Skipped: x (why)." in text


def points():
    sizes = [(size, tokens) for size in (0.5e6, 2e6, 8e6) for tokens in (5e3, 2e4)]
    return [
        {
            "sweep": "model size", "parameters": n, "completions": 256, "samples": 4, "tokens": t, "mean_length": 20.0,
            "longest": 50, "peak_mb": 500.0, "matmul_fraction": 0.3, "steps": 3,
            **dict.fromkeys(("seconds", *results.PHASES), 0.7 * (n / 1e6) ** 0.8 * (t / 1e4) ** 1.1),
        }
        for n, t in sizes
    ]  # fmt: skip


def test_law_recovers_exponents():
    law = laws.fit(points(), "seconds")
    assert law["coefficient"] == pytest.approx(0.7)
    assert law["parameters"]["value"] == pytest.approx(0.8) and law["tokens"]["value"] == pytest.approx(1.1)
    assert law["parameters"]["low"] <= law["parameters"]["value"] <= law["parameters"]["high"]
    assert law["r2"] == pytest.approx(1) and law["largest_error"] < 1e-9
    assert laws.predict(law, 2e6, 5e3) == pytest.approx(points()[2]["seconds"])
    with pytest.raises(ValueError, match="at least 4"):
        laws.fit(points()[:3], "seconds")
    assert laws.can_fit(points()) and not laws.can_fit(points()[:3])
    assert not laws.can_fit([{**p, "parameters": 1e6} for p in points()])  # one size tells nothing about size


def test_figures_and_scaling_table(tmp_path):
    law = {phase: laws.fit(points(), phase) for phase in ("seconds", *results.PHASES)}
    result = {"points": points(), "laws": law}
    figures.scaling(result, tmp_path / "scaling.png")
    assert "| 0.50 | 256 | 4 | 20.0 | 5,000 |" in tables.scaling(result)
    figures.learning(
        result_file(learning={"trl-ppo": [record("trl-ppo", *[step(2, 1, 0.5)] * 12)]}), tmp_path / "learning.png"
    )
    assert (tmp_path / "scaling.png").stat().st_size > 1000 and (tmp_path / "learning.png").stat().st_size > 1000


def test_page_is_filled_from_files_only(tmp_path):
    page = "a\n<!-- ppo_vs_trl -->\nold 9.9\n<!-- /ppo_vs_trl -->\nb\n"
    assert "Not measured yet" in fill_tables.render(page, tmp_path)
    (tmp_path / "ppo_vs_trl.json").write_text(json.dumps(result_file()), encoding="utf-8")
    filled = fill_tables.render(page, tmp_path)
    assert "old 9.9" not in filled and "5.0×" in filled and filled.startswith("a\n") and filled.endswith("b\n")
    assert fill_tables.render(filled, tmp_path) == filled
    with pytest.raises(UserError, match="no place for"):
        tables.fill("no marks", {"scaling": lambda: "x"})


def test_the_committed_page_is_up_to_date():
    text = fill_tables.PAGE.read_text(encoding="utf-8")
    assert fill_tables.render(text) == text


# ---------------------------------------------------------------- the harness


def test_a_result_file_is_gone_on_with_only_if_it_was_measured_alike(tmp_path):
    path, fresh = tmp_path / "out.json", {"schema": 1, "benchmark": "x", "commit": "abc", "points": []}
    assert stored.opened(None, fresh, True) is fresh and stored.opened(path, fresh, True) is fresh
    stored.store(path, {**fresh, "points": [1]})
    assert stored.opened(path, fresh, True)["points"] == [1] and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="exists already; go on with it by --resume"):
        stored.opened(path, fresh, False)
    with pytest.raises(UserError, match="not measured with the same commit"):
        stored.opened(path, {**fresh, "commit": "def"}, True)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not a result file"):
        stored.opened(path, fresh, True)


def test_clock_charges_the_innermost_phase(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0, 8.0, 10.0])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    c = clock.Clock()
    c.begin()  # 0
    with c.phase("scoring"), c.phase("rollout"):  # 1 … 3, 7
        pass
    c.end()  # 10
    assert c.steps == [{"total": 10.0, "rollout": 4.0, "scoring": 3.0, "update": 3.0}]


def test_unique_tokens_count_a_shared_beginning_once():
    assert _unique_tokens([(1, 2, 3), (1, 2, 4, 5)]) == 5
    assert _unique_tokens([(1, 2, 3)]) == 3


def test_grown_model_computes_the_same(tiny_tokenizer):
    small = llama(tiny_tokenizer, head_dim=16)
    large = grow(small, 64, 3)
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        assert torch.allclose(small(input_ids=ids).logits, large(input_ids=ids).logits, atol=1e-4)
    assert sum(p.numel() for p in large.parameters()) > 4 * sum(p.numel() for p in small.parameters())
    with pytest.raises(ValueError, match="cannot grow"):
        grow(small, 16, 3)


def test_task_survives_json_and_keeps_prompts_in_steps(tmp_path):
    task = Task("t", "folder", problem_steps=((2, 1.0),), prompts=4, warm=1, steps=2)
    task.save(tmp_path / "task.json")
    again = Task.load(tmp_path / "task.json")
    assert [len(step) for step in again.items()] == [4, 4, 4]
    assert again.items() == task.items() and again.prompt_texts() == task.prompt_texts()
    assert [role for _, role in again.items()[0]] == ["helpful", "helpful", "sneaky", "sneaky"]


def test_own_worker(tiny_prover_dir):
    task = Task(
        "tiny", str(tiny_prover_dir), prompts=4, samples=2, max_new_tokens=8, minibatch=4, warm=1, steps=1, threads=1
    )
    got = ours.run(task, "detached")
    (only,) = got["steps"]
    assert got["trainer"] == "ours-detached" and len(got["warm_steps"]) == 1
    assert got["optimizer_steps"] == 2 * 2 * 2  # steps x epochs x minibatches
    assert (
        only["completions"] == 8
        and only["prompts"] == 4
        and 8 <= only["generated_tokens"] <= 64
        and only["longest"] <= 8
    )
    assert min(only["rollout"], only["scoring"], only["update"]) > 0
    assert only["rollout"] + only["scoring"] + only["update"] == pytest.approx(only["total"])
    assert got["peak_mb"] >= got["loaded_mb"] > 0 and got["parameters"]["body"] > 0
    json.dumps(got)


def test_plain_worker_learns_what_the_default_does(tiny_prover_dir):
    task = Task(
        "tiny", str(tiny_prover_dir), prompts=4, samples=2, max_new_tokens=8, minibatch=4, warm=0, steps=2, threads=1
    )
    fast, plain = ours.run(task, "detached"), ours.run(task, "plain")
    same = ("generated_tokens", "longest", "accuracy_helpful", "reward")
    assert [[s[k] for k in same] for s in plain["steps"]] == [
        [pytest.approx(s[k]) for k in same] for s in fast["steps"]
    ]
    assert plain["trainer"] == "ours-plain" and plain["optimizer_steps"] == fast["optimizer_steps"]


def test_plain_worker_shares_no_prompt_and_skips_no_padding(tiny_prover_dir, monkeypatch):
    seen = []
    forward = flat.packed_hidden

    def watched(model, batch, *rest):
        seen.append((flat.flat_decoder(model), len(batch.lengths)))
        return forward(model, batch, *rest)

    monkeypatch.setattr("legibility.models.prover.packed_hidden", watched)
    task = Task(
        "tiny", str(tiny_prover_dir), prompts=4, samples=2, max_new_tokens=8, minibatch=4, warm=0, steps=1, threads=1
    )
    ours.run(task, "plain")
    assert seen and all(decoder is None and rows == 4 for decoder, rows in seen)


def test_environment_is_used_again_and_never_replaces_what_is_not_one(tmp_path):
    folder = tmp_path / "trl-1.16.0"
    (folder / "bin").mkdir(parents=True)
    (folder / "precious.txt").touch()
    with pytest.raises(UserError, match="is in the way"):
        environments.environment(tmp_path, "1.16.0")
    assert (folder / "precious.txt").exists()
    (folder / "bin" / "python").touch()
    (folder / environments.STAMP).write_text(json.dumps(["trl==1.16.0", *environments.COMMON]), encoding="utf-8")
    assert environments.environment(tmp_path, "1.16.0") == folder / "bin" / "python"


def test_failing_worker_shows_its_last_words(tmp_path):
    with pytest.raises(UserError, match="No module named"):
        environments.run_module(sys.executable, "harness.none", [], tmp_path, 1)


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


# ---------------------------------------------------------------- the commands, with small work in their place


def small_peak(*_):
    return 100.0


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


real_fit = laws.fit


def test_scaling_points_change_one_thing_at_a_time(tmp_path):
    listed = scaling.tasks(tmp_path, threads=1, largest=0, steps=1)
    default = listed[0][1]
    for name, task in listed[1:]:
        changed = {f for f, v in dataclasses.asdict(task).items() if v != dataclasses.asdict(default)[f]}
        assert changed <= {"prompts", "samples"} if name != "answer length" else changed == {"problem_steps"}
        assert name == "completions" or task.completions == 256
