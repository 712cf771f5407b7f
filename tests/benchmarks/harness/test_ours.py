"""This package's worker, and its plain form without shared prompts."""

from __future__ import annotations

import json

import pytest
from harness import ours
from harness.task import Task

from legibility.models import flat


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

    def watched(model, batch, **how):
        seen.append((flat.flat_decoder(model), len(batch.lengths)))
        return forward(model, batch, **how)

    monkeypatch.setattr("legibility.models.prover.packed_hidden", watched)
    task = Task(
        "tiny", str(tiny_prover_dir), prompts=4, samples=2, max_new_tokens=8, minibatch=4, warm=0, steps=1, threads=1
    )
    ours.run(task, "plain")
    assert seen and all(decoder is None and rows == 4 for decoder, rows in seen)
