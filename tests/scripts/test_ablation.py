"""Games of several settings, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from legibility.errors import UserError
from tests.evaluation.summaries import runs_by_seed
from tests.support import script


@pytest.fixture
def runs(tiny_run, tmp_path) -> list[Path]:
    """Three seeds of one variant and one of another."""
    seeds = runs_by_seed(tiny_run, tmp_path)
    (tmp_path / "more").mkdir()
    other = runs_by_seed(tiny_run, tmp_path / "more")[0]
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["verifier"]["l2"] = 0.5
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    return [*seeds, other]


def give_rates(run: Path, first: float, last: float) -> None:
    """Attacks of a run on verifiers 0 and 1 and what they get accepted."""
    summary = json.loads((run / "summary.json").read_text())
    reach = {"value": None, "low": None, "high": None}
    rows = [
        {"verifier": v, "reward": "src", "seed": 0, "at": "steps", "target": 8.0, "steps": 8, "kl": 0.1, "fpr": rate,
         "low": None, "high": None, "own_round": reach, "texts": 50, "problems": 10, "window": 8, "recall": 0.8}
        for v, rate in ((0, first), (1, last))
    ]  # fmt: skip
    attacks = [
        {"verifier": v, "reward": "src", "seed": 0, "steps": 8, "cap": 8, "exploited": False, "quick": False,
         "equal_steps": 8, "trained": 8, "start": "base",
         "settings": {"problems_per_step": 4, "incorrect": 0.9, "goodhart_accuracy": 0.1, "goodhart_start": 0.3}}
        for v in (0, 1)
    ]  # fmt: skip
    summary["evaluation"] = {**(summary.get("evaluation") or {}), "robustness": rows, "attacks": attacks}
    (run / "summary.json").write_text(json.dumps(summary))


def test_a_row_a_variant_with_intervals_over_its_seeds(runs, capsys):
    for run, (first, last) in zip(runs, ((0.5, 0.1), (0.6, 0.3), (0.4, 0.2), (0.5, 0.5)), strict=True):
        give_rates(run, first, last)
    module = script("ablation")
    module.main(runs)
    page = capsys.readouterr().out
    assert "fresh SRC attacker after 8 steps" in page
    # differences 0.4, 0.3, 0.2: mean 0.3, t(2) 4.303 x 0.1 / sqrt 3 = 0.25
    assert "| verifier.l2=0.005 | 3 | 0.50 [0.25, 0.75] | 0.20 [-0.05, 0.45] | 0.30 [0.05, 0.55] |" in page
    assert "| verifier.l2=0.5 | 1 | 0.50 (no interval) | 0.50 (no interval) | 0.00 (no interval) |" in page
    assert page.count("| verifier.l2=0.005 |") == 2  # and what it tells of its own text


def test_a_seed_twice_and_a_file_that_exists_are_refused(runs, tmp_path):
    module = script("ablation")
    with pytest.raises(UserError, match="need different seeds"):
        module.variants([runs[0], runs[0]])
    (tmp_path / "out.md").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        module.main(runs, out=tmp_path / "out.md")
