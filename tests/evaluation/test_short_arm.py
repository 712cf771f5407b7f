"""The length-penalised correctness arm: when it is trained, and what it is paid."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from legibility import ppo
from legibility.errors import UserError
from legibility.evaluation import short_arm
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import SHORT


def test_a_run_without_the_correctness_arm_gets_none(copied):
    shutil.rmtree(copied.path / "arms")
    short_arm.train(EvaluationRun(copied.path))
    assert not copied.is_done(SHORT)


def test_it_is_paid_less_for_longer_text_and_trained_once(copied, monkeypatch):
    short_arm.train(EvaluationRun(copied.path, ["evaluation.length_penalty=0.5"]))
    frame = pd.read_parquet(copied.path / SHORT / "solutions.parquet")
    paid = frame[frame.phase == "ppo"]
    limit = copied.config().sampling.max_new_tokens
    expected = (paid.verdict == "correct") * 2 - 1 - 0.5 * paid.completion_tokens / limit
    assert paid.reward.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
    assert set(frame.role) == {"helpful"} and set(frame.arm) == {"correctness-short"}
    monkeypatch.setattr(ppo.PPO, "step", lambda *a, **k: pytest.fail("the arm was trained again"))
    short_arm.train(EvaluationRun(copied.path, ["evaluation.length_penalty=0.5"]))
    with pytest.raises(UserError, match="length_penalty"):
        short_arm.train(EvaluationRun(copied.path, ["evaluation.length_penalty=0.25"]))
