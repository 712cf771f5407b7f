import numpy as np
import pytest

from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import AcceptanceRow, read_evaluation
from legibility.evaluation.sections import acceptance
from legibility.evaluation.texts import honest
from legibility.game.condition import GAME, HELD_OUT_JUDGE, START, Condition, helpful, reader, verifier
from legibility.game.run_folder import RunFolder

CONSULTANCY = Condition("consultancy", 0, "helpful")


@pytest.fixture
def run(evaluated_arms):
    return EvaluationRun(evaluated_arms)


def test_an_oracle_is_without_fault(run, monkeypatch):
    monkeypatch.setattr(run, "scores", lambda _, frame, done=None: (frame.verdict == "correct").to_numpy(float))
    row = acceptance.describe(run, CONSULTANCY, HELD_OUT_JUDGE)
    assert (row.recall.value, row.fpr.value, row.g_mean_squared.value) == (1, 0, 1)
    assert row.pairwise.value in (1, None)  # None: no problem with both


def test_whoever_accepts_everything_has_no_g_mean(run, monkeypatch):
    monkeypatch.setattr(run, "scores", lambda _, frame, done=None: np.zeros(len(frame)))
    row = acceptance.describe(run, START, HELD_OUT_JUDGE)
    assert (row.recall.value, row.fpr.value, row.g_mean_squared.value) == (1, 1, 0)
    assert row.pairwise.value == 0.5


def test_every_arm_is_read_by_the_shared_judges_and_its_own_reader(run, evaluated_arms):
    rows = read_evaluation(RunFolder.existing(evaluated_arms)).acceptance
    found = {(row.arm, row.judge) for row in rows}
    for condition in honest(run.texts):
        assert {(condition, HELD_OUT_JUDGE), (condition, verifier(1))} <= found
        own = (condition, reader(condition.arm if condition != START else GAME))
        assert (own in found) == (condition != START), condition
    assert (helpful(0), reader(GAME)) in found


def test_what_is_scored_ahead_is_all_that_is_asked_for(run):
    read = acceptance.texts_read(run)
    assert set(read) == {HELD_OUT_JUDGE, verifier(1), *run.readers}
    for judge, frame in read.items():
        assert len(run.scorer(judge).missing(frame)) == 0  # an evaluation has scored it


def test_rows_survive_their_file(run):
    row = acceptance.describe(run, CONSULTANCY, reader("consultancy"))
    assert AcceptanceRow.model_validate_json(row.model_dump_json()) == row
