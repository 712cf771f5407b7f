"""The driver that sets the plan beside measured steps."""

from __future__ import annotations

import json
from pathlib import Path

import plan_check
import pytest

from legibility.errors import UserError

SAID = {
    "seconds": {"sampling": 0.3, "verifier": 0.1, "scoring": 0.1, "update": 0.6},
    "memory_mb": 100.0,
    "prompt": 38.0,
    "answer": 19.0,
    "longest_minibatch": 30.0,
    "prompt_for_verifier": 37.0,
    "device": {
        "name": "cpu", "memory": 24e9, "bfloat16": 9e10, "float32": 9e10, "bandwidth": 2e10, "link": 1e10, "source": "made up",
        "attention_share": 0.4, "bandwidth_share": 1.0, "call_seconds": 5e-6, "is_cpu": True,
    },
}  # fmt: skip


def test_sizes_are_calibrated_on_the_middle_one_and_set_beside_the_plan(tmp_path, monkeypatch, capsys):
    def run_here(_python, module, arguments, _folder, threads):
        assert (module, threads) == ("harness.parts", 1)
        Path(arguments[1]).write_text(json.dumps(SAID))

    nano = plan_check.nano_prover()
    monkeypatch.setattr(plan_check, "run_module", run_here)
    monkeypatch.setattr(plan_check, "grown_folder", lambda *_: nano)
    page = tmp_path / "plan.md"
    page.write_text("before\n<!-- plan_check -->\n<!-- /plan_check -->\nafter\n")
    monkeypatch.setattr(plan_check, "PAGE", page)
    plan_check.main(json_file=tmp_path / "out.json", cache=tmp_path, write=True)
    result = json.loads((tmp_path / "out.json").read_text())
    assert list(result["points"]) == ["nano", "5m", "15m"]
    assert result["points"]["5m"]["planned"]["seconds"]["update"] == pytest.approx(0.6, rel=1e-3)
    shown = page.read_text()
    assert shown.startswith("before") and shown.endswith("after\n") and "| 5m | update | 0.60 | 0.60 | 1.00 |" in shown
    assert "**whole step**" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists already"):
        plan_check.main(json_file=tmp_path / "out.json", cache=tmp_path)
