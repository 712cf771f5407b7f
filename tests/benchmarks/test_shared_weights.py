"""The driver that counts what ranks hold, whole and shared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shared_weights
from harness import ours
from harness.task import Task

from legibility.errors import UserError

PAGE = "# GPUs\n\n<!-- shared_weights -->\nold\n<!-- /shared_weights -->\n\nmore\n"


@pytest.fixture
def tiny(tiny_prover_dir, monkeypatch, tmp_path):
    """The driver with a tiny model, everything in this process, and a page of its own."""
    task = Task("s", str(tiny_prover_dir), prompts=2, samples=2, max_new_tokens=4, minibatch=4, warm=1, steps=1)
    started = []

    def run_here(_python, module, arguments, _folder, threads, ranks):
        asked = Task.load(arguments[0])
        started.append((module, asked.shard, threads, ranks))
        record = ours.run(asked, arguments[2])
        if asked.shard:  # this process holds all of it
            record["held"] = [{name: size // 2 for name, size in record["held"][0].items()}] * 2
        Path(arguments[1]).write_text(json.dumps(record))

    monkeypatch.setattr(shared_weights, "tasks", lambda cache, chosen: {name: task for name in chosen})
    monkeypatch.setattr(shared_weights, "run_module", run_here)
    monkeypatch.setattr(shared_weights, "PAGE", tmp_path / "gpus.md")
    shared_weights.PAGE.write_text(PAGE)
    return started


def test_measured_in_turns_and_written(tiny, tmp_path):
    out = tmp_path / "out.json"
    shared_weights.main(out, size=["0.76m"], turns=1)
    assert tiny == [("harness.ours", False, 1, 2), ("harness.ours", True, 1, 2)]
    ways = json.loads(out.read_text())["sizes"]["0.76m"]
    (whole,) = ways["whole on each rank"][0]["held"]
    # policy, reference and critic; gradients of policy and critic; two moments of each
    assert whole["weights"] * 2 == whole["gradients"] * 3 and whole["moments"] == 2 * whole["gradients"]
    shared_weights.main(out, write=True)
    page = shared_weights.PAGE.read_text()
    assert page.startswith("# GPUs") and page.endswith("more\n") and "old" not in page
    assert "| 0.500 |" in page and "| 1.000 |" in page and "1.00 [1.00–1.00]" in page


def test_an_unknown_size_is_refused(tmp_path):
    with pytest.raises(UserError, match="--size 7b: unknown"):
        shared_weights.main(tmp_path / "out.json", size=["7b"])
