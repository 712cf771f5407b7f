"""Scores of stored text, kept per judge."""

from __future__ import annotations

import json
import shutil

from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.scores import Scorer
from legibility.game.condition import HELD_OUT_JUDGE
from legibility.game.run_folder import RunFolder


def test_scores_of_changed_weights_are_not_reused(evaluated, tmp_path):
    """The score file names the weights it was made with."""
    shutil.copytree(evaluated.path, tmp_path / "again")
    run = RunFolder.existing(tmp_path / "again")
    problems = EvaluationRun(run.path).problems
    assert Scorer(run, HELD_OUT_JUDGE, run.config(), "cpu", problems).known
    done = run.path / "judge" / "DONE"
    record = json.loads(done.read_text())
    record["sha256"].pop("metrics.jsonl")  # says nothing of the verifier
    done.write_text(json.dumps(record))
    assert Scorer(run, HELD_OUT_JUDGE, run.config(), "cpu", problems).known
    record["sha256"].pop("model.safetensors")  # another list of weights is another verifier
    done.write_text(json.dumps(record))
    assert not Scorer(run, HELD_OUT_JUDGE, run.config(), "cpu", problems).known
