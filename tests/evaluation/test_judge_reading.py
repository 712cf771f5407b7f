"""What a held-out judge can read: planted judges of known ability, and the run's own."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.evaluation.judge_reading import own_problems, read_judge, remarks, twin_pairs
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.scores import Scorer
from legibility.evaluation.summary import write_summary
from legibility.evaluation.summary_schema import read_summary
from legibility.evaluation.texts import valid
from legibility.game.condition import HELD_OUT_JUDGE, START
from legibility.grading import check_steps, grade
from legibility.grading.style import style_of
from legibility.models.verifier import Verifier
from legibility.problems.generator import generate_problems
from tests.evaluation.helpers import resamples

PROBLEMS = {p.id: p for p in generate_problems(300, seed=7)}


class Planted:
    """Stands for a `Scorer`: scores by a function of problem and text."""

    def __init__(self, score) -> None:
        self.score = score

    def __call__(self, frame):
        return np.array([self.score(PROBLEMS[p], t) for p, t in zip(frame.problem_id, frame.text, strict=True)], float)


def true_answer(problem, text) -> bool:
    return grade(text, problem.answer).value == "correct"


def arithmetic(problem, text) -> float:
    """Sees slips and nothing else."""
    return float(np.mean([s.valid for s in check_steps(text)] or [1.0]))


def test_a_twin_is_wrong_in_one_place_and_looks_the_same():
    pairs = twin_pairs(PROBLEMS.values(), seed=0)
    assert len(pairs) > 200 and {p.kind for p in pairs} == {"slip", "misread"}
    for pair in pairs:
        problem = PROBLEMS[pair.problem]
        assert true_answer(problem, pair.right) and not true_answer(problem, pair.wrong)
        assert style_of(pair.right) == style_of(pair.wrong)
        assert (arithmetic(problem, pair.wrong) < 1) == (pair.kind == "slip")
    assert twin_pairs(PROBLEMS.values(), seed=0) == pairs != twin_pairs(PROBLEMS.values(), seed=1)
    assert twin_pairs([], seed=0) == []


def twins_of(score):
    from legibility.evaluation.judge_reading import _twins

    return _twins(Planted(score), twin_pairs(PROBLEMS.values(), seed=0), resamples(list(PROBLEMS)))


def test_planted_judges_see_what_they_can_see():
    """A reader of truth everything, one of arithmetic slips alone, one of looks nothing; random scores one half."""
    everything = twins_of(true_answer)
    assert (everything.value, everything.low, everything.high) == (1.0, None, None)
    assert everything.pairs == sum(k.pairs for k in everything.kinds.values())
    slips = twins_of(arithmetic)
    assert (slips.kinds["slip"].value, slips.kinds["misread"].value) == (1.0, 0.5) and 0.5 < slips.value < 1
    looks = twins_of(lambda problem, text: text.count("=") + len(text.splitlines()))
    assert (looks.value, looks.low, looks.high) == (0.5, None, None)  # every resample says the same
    rng = np.random.default_rng(0)
    chance = twins_of(lambda problem, text: rng.normal())
    assert chance.low < 0.5 < chance.high and chance.value == pytest.approx(0.5, abs=0.12)


@pytest.fixture
def opened(evaluated) -> EvaluationRun:
    return EvaluationRun(evaluated.path)


def reading(run: EvaluationRun, scorer):
    return read_judge(run.folder, run.config, scorer, valid(run.texts[START]), run.problems, run.resamples)


def test_a_judge_below_nine_tenths_on_base_text_is_not_believed(opened):
    base = valid(opened.texts[START])
    truth = {(r.problem_id, r.text): float(r.verdict == "correct") for r in base.itertuples()}

    def knows(share: float):
        """Right about a share of the problems, at chance (a tie) about the others."""
        ids = sorted(set(base.problem_id))
        known = set(ids[: round(share * len(ids))])
        return lambda f: np.array(
            [truth.get((p, t), 0.0) if p in known else 0.0 for p, t in zip(f.problem_id, f.text, strict=True)]
        )

    good, poor = reading(opened, knows(1.0)), reading(opened, knows(0.5))
    assert good.believed and good.base_text.value == 1.0 and good.same_style.value == 1.0
    assert not any("mean nothing" in r for r in good.remarks)
    assert not poor.believed and 0.5 < poor.base_text.value < 0.9
    assert "below 0.9: its checkability figures mean nothing" in poor.remarks[0]


def test_remarks_say_what_is_not_independent(opened):
    judge = reading(opened, lambda f: np.zeros(len(f)))
    assert not judge.own_model and any("verifiers' model" in r for r in judge.remarks)
    assert judge.own_problems == 30 == own_problems(opened.folder) and "verifiers' problems" not in str(judge.remarks)
    shared = remarks(judge.model_copy(update={"own_problems": 0, "own_model": True, "twins": None}))
    assert any("learnt from the verifiers' problems" in r for r in shared)
    assert any("shown no single errors" in r for r in shared) and not any("verifiers' model" in r for r in shared)
    assert any("does not see a slip of arithmetic" in r for r in judge.remarks)


def test_the_summary_holds_the_judge_of_the_saved_weights(opened):
    summary = read_summary(opened.folder.path / "summary.json")
    judge = summary.held_out_judge
    reader = Verifier.load(opened.config.verifier, "cpu", source=str(opened.folder.path / "judge"))
    pairs = twin_pairs(opened.game.splits.test, opened.config.seed)
    asked = [opened.problems[p.problem] for p in pairs]
    right, wrong = reader.score(asked, [p.right for p in pairs]), reader.score(asked, [p.wrong for p in pairs])
    assert judge.twins.pairs == len(pairs) > 10
    assert judge.twins.value == pytest.approx(np.mean((right > wrong) + 0.5 * (right == wrong)))
    assert judge.base_text.value == pytest.approx(summary.arms.init.checkability["held_out_judge"])
    assert judge.parameters == reader.parameter_count() and judge.model == opened.config.verifier.model
    assert summary.judge_doubt == (None if judge.believed else f"held-out judge: {judge.remarks[0]}")


def test_the_doubt_is_printed_and_stands_in_the_report(copied, monkeypatch, capsys):
    from legibility.reporting import write_report
    from tests.support import legibility

    monkeypatch.setattr(Scorer, "__call__", lambda self, frame, done=None: np.zeros(len(frame), dtype=np.float32))
    summary = write_summary(copied)
    assert summary.held_out_judge.base_text.value == 0.5 and summary.judge_doubt
    page = write_report(copied).read_text()
    assert "what it says of checkability means nothing" in page and "ranks 0.500 of the same-problem pairs" in page
    shown = legibility("attack", copied.path, "--reward", "src", "--verifier", 0, "--quick", "attack.max_steps=1")
    assert "checkability figures mean nothing" in " ".join((shown.out + shown.err).split())


def test_a_judge_has_its_phase_and_settings(opened):
    assert HELD_OUT_JUDGE.settings(opened.config) == opened.config.verifier
