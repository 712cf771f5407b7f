"""The driver of the warm start's cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import warm_start_cost
from transformers import AutoModelForCausalLM, AutoTokenizer

from legibility.errors import UserError
from legibility.models.warm_start import batches


@pytest.mark.parametrize("full", [True, False], ids=["full", "lora"])
def test_both_ways_lose_the_same_at_every_step(full, tiny_prover_dir):
    """Packed rows with logits of the completions alone are the padded trainer's loss, to 1e-5, and so are its gradients:
    the losses of later steps stay equal."""
    base, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_prover_dir),
        AutoTokenizer.from_pretrained(tiny_prover_dir),
    )
    rows = warm_start_cost.pairs(str(tiny_prover_dir), 20)
    assert len({len(x) for x in rows}) > 3 and len({len(x.completion) for x in rows}) > 3
    chosen = list(batches(rows, 6, 5, np.random.default_rng(0)))
    found = {
        way: warm_start_cost.one_turn(way, base, tokenizer, chosen, full)["losses"] for way in warm_start_cost.WAYS
    }
    assert found["packed"] == pytest.approx(found["padded"], abs=1e-5)
    assert len(set(found["packed"])) == 6
    untouched = AutoModelForCausalLM.from_pretrained(tiny_prover_dir)
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), untouched.parameters(), strict=True))


def test_a_run_writes_its_turns_and_says_the_ratio(tiny_prover_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warm_start_cost, "resolve", lambda *_: str(tiny_prover_dir))
    out = tmp_path / "out.json"
    warm_start_cost.main(json_file=out, size="nano", full=True, turns=2, steps=2, batch=3, threads=1, cache=tmp_path)
    result = json.loads(out.read_text())
    assert [set(turn) for turn in result["turns"]] == [{"padded", "packed"}] * 2 and result["padding"] > 1
    assert "times as fast" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists already"):
        warm_start_cost.main(json_file=out, size="nano")


def test_the_ratio_is_of_one_turn():
    def turn(padded, packed, loss):
        made = {"padded": (padded, 1.0), "packed": (packed, loss)}
        return {way: {"seconds": s, "tokens": 10, "losses": [x]} for way, (s, x) in made.items()}

    found = warm_start_cost.summary([turn(2, 1, 1.0), turn(9, 3, 1.25), turn(5, 1, 1.0)])
    assert (found["faster"], found["least"], found["most"], found["loss_gap"]) == (3, 2, 5, 0.25)
    assert found["packed_tokens_per_cpu_second"] == 10
