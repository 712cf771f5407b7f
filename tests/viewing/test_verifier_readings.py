"""What verifiers say of a text: asked of a real (tiny, random) one, and read from stored scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.config import Config
from legibility.evaluation.scores import Scorer
from legibility.game.condition import HELD_OUT_JUDGE, verifier
from legibility.game.run_folder import RunFolder
from legibility.models.verifier import Verifier
from legibility.problems.storage import read_problems
from legibility.viewing.completion_filter import CompletionFilter
from legibility.viewing.shelf import Shelf
from legibility.viewing.verifier_readings import VerifierReadings
from tests.viewing.world import PROBLEMS, finish, new_run, solution, train_verifier

TEXT = "1 + 4 = 6\n#### 6"


@pytest.fixture
def run(tmp_path, tiny_verifier_dir):
    """A run of two rounds whose verifiers are random ones with a score by token."""
    made = new_run(tmp_path / "run", verifier=tiny_verifier_dir)
    for index in (0, 1):
        train_verifier(made, index)
    return made


def test_a_doubt_is_the_verifiers_own_explanation(run):
    readings = VerifierReadings(RunFolder(run))
    assert readings.judges() == [verifier(0), verifier(1)] and 0 < readings.size(verifier(0)) < 10**6
    found = readings.read(verifier(1), PROBLEMS["p1"], TEXT)
    own = Verifier.load(readings.config.verifier, "cpu", source=str(run / "rounds/01/verifier"))
    assert found.score == pytest.approx(float(own.score([PROBLEMS["p1"]], [TEXT])[0]), abs=1e-5)
    assert found.doubt is not None and found.note == ""
    assert found.doubt.rest + sum(t.share for t in found.doubt.tokens) == pytest.approx(found.score, abs=1e-4)
    assert readings.read(verifier(0), PROBLEMS["p1"], TEXT).score != found.score
    assert not (run / "evaluation").exists() and not (run / ".lock").exists()


def test_weights_that_are_gone_or_changed_are_a_note(run):
    readings = VerifierReadings(RunFolder(run))
    (run / "rounds/00/verifier/model.safetensors").write_bytes(b"x")
    (run / "rounds/01/verifier/model.safetensors").unlink()
    for index in (0, 1):
        found = readings.read(verifier(index), PROBLEMS["p1"], TEXT)
        assert found.score is None and "missing or changed" in found.note
    assert "not finished" in readings.read(HELD_OUT_JUDGE, PROBLEMS["p1"], TEXT).note


def test_a_head_on_the_last_token_has_a_score_and_no_parts(tmp_path, tiny_verifier_dir):
    made = new_run(tmp_path / "run", verifier=tiny_verifier_dir, score="last_token")
    train_verifier(made, 0)
    found = VerifierReadings(RunFolder(made)).read(verifier(0), PROBLEMS["p1"], TEXT)
    assert np.isfinite(found.score) and found.doubt is None and "last token" in found.note


def store_scores(run, index: int, scores: dict[str, float]) -> None:
    """What an evaluation leaves: scores of texts of p1."""
    folder = RunFolder(run)
    scorer = Scorer(folder, verifier(index), folder.config(Config), "cpu", read_problems(folder.problems_file))
    frame = pd.DataFrame({"problem_id": "p1", "text": list(scores)})
    scorer.learn(frame, np.array(list(scores.values())))


def test_disagreement_is_the_spread_of_ranks_by_hand(run):
    """Verifier 0 ranks a < b < c < d, verifier 1 ranks d < b < c < a: shares below (less half a text) .125 … .875."""
    finish(run, "base", [solution(1, text=t) for t in "abcde"])
    shelf = Shelf([run])
    shelf.read_all()
    shelf.fill_disagreement()  # nothing is stored yet
    assert {r.disagreement for r in shelf.index.page(CompletionFilter(), 0, 9)} == {None}
    store_scores(run, 0, {"a": -5.0, "b": 0.0, "c": 1.0, "d": 2.0})
    store_scores(run, 1, {"a": 900.0, "b": 20.0, "c": 30.0, "d": 10.0})
    shelf.fill_disagreement()
    rows = shelf.index.page(CompletionFilter(sort="disagreement"), 0, 9)
    texts = shelf.index.texts(rows)
    found = [(texts[r.file, r.row], r.disagreement) for r in rows]
    assert found == [("a", 0.75), ("d", 0.75), ("b", 0.0), ("c", 0.0), ("e", None)]
    version = shelf.index.version
    shelf.fill_disagreement()
    assert shelf.index.version == version  # known already

    readings = VerifierReadings(RunFolder(run))
    assert readings.stored(verifier(1), "p1", "a") == 900.0 and readings.known(verifier(1)).below(30.0) == 0.625
