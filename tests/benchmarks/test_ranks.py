"""The driver that sets ranks beside forks and threads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ranks
from harness import ours
from harness.task import Task

from legibility.errors import UserError
from legibility.planning.devices import gpu

PAGE = "# GPUs\n\n<!-- ranks -->\nold\n<!-- /ranks -->\n\nmore\n"


@pytest.fixture
def tiny(tiny_prover_dir, monkeypatch, tmp_path):
    """The driver with a tiny model, everything in this process, and a page and a figure of its own."""
    task = Task("ranks", str(tiny_prover_dir), prompts=2, samples=2, max_new_tokens=4, minibatch=4, warm=0, steps=1)
    started = []

    def run_here(_python, module, arguments, _folder, threads, ranks=1):
        started.append((module, threads, ranks))
        if module == "harness.sums":
            sums = [{"bytes": 1e3, "seconds": 1e-3}, {"bytes": 1e7, "seconds": 1e-2}]
            Path(arguments[0]).write_text(json.dumps({"ranks": 2, "sums": sums}))
        else:
            record = ours.run(Task.load(arguments[0]), arguments[2])
            Path(arguments[1]).write_text(json.dumps(record))

    monkeypatch.setattr(ranks, "tasks", lambda cache, chosen: {name: task for name in chosen})
    monkeypatch.setattr(ranks, "run_module", run_here)
    monkeypatch.setattr(ranks, "this_cpu", lambda threads: gpu("a10"))
    monkeypatch.setattr(ranks, "PAGE", tmp_path / "gpus.md")
    monkeypatch.setattr(ranks, "FIGURE", tmp_path / "ranks.png")
    ranks.PAGE.write_text(PAGE)
    return started


def test_measured_in_turns_gone_on_with_and_written(tiny, tmp_path):
    out = tmp_path / "out.json"
    ranks.main(out, size=["0.76m"], turns=1)
    assert tiny == [("harness.sums", 1, 2), ("harness.ours", 1, 1), ("harness.ours", 2, 1), ("harness.ours", 2, 1), ("harness.ours", 1, 2)]  # fmt: skip
    first = json.loads(out.read_text())["sizes"]["0.76m"]
    assert {way: len(turns) for way, turns in first.items()} == dict.fromkeys(ranks.WAYS, 1)
    rewards = [turns[0]["reward"] for turns in first.values()]
    assert all(reward == pytest.approx(rewards[0]) for reward in rewards), "every way writes the same text"
    ranks.main(out, size=["0.76m"], turns=2, resume=True)
    again = json.loads(out.read_text())["sizes"]["0.76m"]
    assert all(again[way][0] == first[way][0] and len(again[way]) == 2 for way in ranks.WAYS)
    ranks.main(out, write=True)
    page = ranks.PAGE.read_text()
    assert page.startswith("# GPUs") and page.endswith("more\n") and "old" not in page
    assert "| 0.76m | one thread |" in page and "1.00 |" in page and "H100 a rank | 32 |" in page
    assert ranks.FIGURE.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"size": ["7b"]}, "--size 7b: unknown"), ({"write": True}, "none.json: is not there; measure first")],
)
def test_bad_input(changes, said, tmp_path):
    with pytest.raises(UserError, match=said):
        ranks.main(tmp_path / "none.json", **changes)
    assert not list(tmp_path.iterdir())
