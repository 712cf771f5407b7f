"""The driver of the verifiers' cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import verifier_cost

from legibility.errors import UserError


def test_every_kind_is_measured_beside_the_last_token(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verifier_cost, "environment", lambda *_: "python")

    def run_here(_python, module, arguments, _folder, _threads):
        assert module == "harness.trl_reward"
        task = json.loads(Path(arguments[0]).read_text())
        assert len(task["rows"]) == 4 and task["rows"][0]["chosen"] != task["rows"][0]["rejected"]
        Path(arguments[1]).write_text(json.dumps({"training": 3.0}))

    monkeypatch.setattr(verifier_cost, "run_module", run_here)
    out = tmp_path / "cost.json"
    verifier_cost.main(json_file=out, turns=2, updates=2, problems=4, batch=2, threads=1, cache=tmp_path)
    result = json.loads(out.read_text())
    assert [set(turn) for turn in result["turns"]] == [{*verifier_cost.KINDS, verifier_cost.TRL}] * 2
    assert all(t > 0 for turn in result["turns"] for times in turn.values() for t in times.values())
    assert result["ratios"]["last_token"] == {"training": 1.0, "scoring": 1.0}
    assert capsys.readouterr().out.count("\n") == 2 + len(verifier_cost.KINDS) + 1
    with pytest.raises(UserError, match="exists already"):
        verifier_cost.main(json_file=out, problems=4, trl=False)


def test_ratios_are_of_one_turn_and_their_median():
    turns = [{"last_token": {"training": 1.0}, "token": {"training": x}} for x in (2.0, 9.0, 3.0)]
    turns[1]["last_token"]["training"] = 3.0
    assert verifier_cost.ratios(turns)["token"]["training"] == 3.0


def test_pairs_are_right_and_wrong_texts_of_one_problem():
    for problem, right, wrong in verifier_cost.pairs(5):
        assert right == problem.solution and wrong != right and "####" in wrong


def test_trls_trainer_takes_the_same_pairs(tiny_verifier_dir, tmp_path, monkeypatch):
    pytest.importorskip("trl")  # in an environment of its own elsewhere
    from harness import trl_reward

    monkeypatch.chdir(tmp_path)
    rows = [{"chosen": f"{k} + 1 = {k + 1}", "rejected": f"{k} + 1 = {k}"} for k in range(4)]
    task = {"model": str(tiny_verifier_dir), "rows": rows, "updates": 2, "batch": 2, "threads": 1}
    assert trl_reward.run(task)["training"] > 0
