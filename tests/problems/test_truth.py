"""Step truth against an independent solver of the stories, generator flaws, and hand-written cases."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.grading import check_steps
from legibility.problems.generator import FLAWS, apply_flaw, generate_problems, render, worked_solution
from legibility.problems.records import Problem, Step
from legibility.problems.truth import first_wrong_step, grade_steps, missing_steps

# 43 pencils, 2 more, 3 classes take 4 each, doubled
SCHOOL = Problem(
    "school", "", "66", steps=(Step(43, "+", 2, 45), Step(3, "*", 4, 12), Step(45, "-", 12, 33), Step(33, "*", 2, 66))
)


def statuses(text: str, problem: Problem = SCHOOL) -> list[str]:
    return [step.status for step in grade_steps(problem, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("43 + 2 = 45\n3 * 4 = 12\n45 - 12 = 33\n33 * 2 = 66\n#### 66", ["valid"] * 4),
        ("2 + 43 = 45, then 4 x 3 = 12 pencils, 45 − 12 = 33, and 33 + 33 = 66", ["valid"] * 4),  # equivalent forms
        ("(43 + 2 - 3 * 4) * 2 = 66", ["valid"]),
        ("45 - 3 * 4 = 45 - 12 = 33", ["valid", "valid"]),  # a chain
        ("43 + 2 = 46", ["slip"]),
        ("43 + 2 = 46\n46 - 12 = 34\n34 * 2 = 68", ["slip", "carried", "carried"]),
        ("43 + 2 = 46\n45 - 12 = 33", ["slip", "valid"]),  # the slip is not used
        ("43 + 2 = 46\n3 * 4 = 12\n46 - 12 = 33\n33 * 2 = 66", ["slip", "valid", "slip", "valid"]),
        ("43 - 2 = 41\n41 - 12 = 29\n29 * 2 = 58", ["foreign", "carried", "carried"]),  # wrong operation
        ("43 + 3 = 46\n46 - 12 = 34", ["foreign", "carried"]),  # misread number
        ("43 + 2 = 45\n44 - 12 = 32", ["valid", "foreign"]),  # miscopied: 44 stands nowhere
        ("12 - 45 = -33", ["foreign"]),  # not commutable
        ("43 * 2 = 86", ["foreign"]),  # skipped steps
        ("45 / 0 = 12", ["slip"]),
        ("45 66\n#### 66", []),
        ("", []),
    ],
)
def test_status(text: str, expected: list[str]) -> None:
    assert statuses(text) == expected


def test_reasons_holds_and_the_first_wrong_step() -> None:
    text = "43 + 2 = 45\n45 - 12 = 32\n32 * 2 = 64\n9 - 2 = 7\n#### 64"
    graded = grade_steps(SCHOOL, text)
    assert [step.holds for step in graded] == [True, False, True, True]
    assert [step.reason for step in graded] == [
        "",
        "arithmetic does not hold",
        "carries an earlier mistake",
        "not a step of this problem",
    ]
    assert first_wrong_step(SCHOOL, text) == 1
    assert first_wrong_step(SCHOOL, "43 + 2 = 45") is None


def test_missing_steps() -> None:
    assert missing_steps(SCHOOL, "43 + 2 = 45\n45 - 12 = 33\n#### 33") == [SCHOOL.steps[1], SCHOOL.steps[3]]
    assert missing_steps(SCHOOL, SCHOOL.solution) == list(SCHOOL.steps)
    twice = Problem(
        "twice", "", "26", steps=(Step(3, "*", 4, 12), Step(2, "+", 12, 14), Step(3, "*", 4, 12), Step(14, "+", 12, 26))
    )
    assert missing_steps(twice, "3 * 4 = 12\n2 + 12 = 14\n14 + 12 = 26") == [Step(3, "*", 4, 12)]


def test_without_known_steps_only_arithmetic_is_graded() -> None:
    problem = Problem("gsm8k", "Something else.", "5")
    assert statuses("7 + 1 = 8\n2 * 2 = 5\n#### 5", problem) == ["valid", "slip"]
    assert missing_steps(problem, "7 + 1 = 8") == []


def test_every_worked_solution_is_valid() -> None:
    rng = np.random.default_rng(0)
    for problem in generate_problems(600, 3):
        text = worked_solution(problem, rng, {"steps": 1.0})
        graded = grade_steps(problem, text)
        assert [step.status for step in graded] == ["valid"] * len(problem.steps), text
        assert missing_steps(problem, text) == []
        assert grade_steps(problem, render(problem.steps, problem.answer, "results")) == []


@pytest.mark.parametrize("flaw", FLAWS)
def test_every_flaw_shows(flaw: str) -> None:
    rng = np.random.default_rng(FLAWS.index(flaw))
    seen: set[str] = set()
    checked = 0
    for problem in generate_problems(400, 4):
        for at in range(len(problem.steps)):
            steps = apply_flaw(problem.steps, flaw, at, rng)
            if not steps or str(steps[-1].result) == problem.answer:
                continue  # as in flawed_solution: the flaw does not fit, or changes nothing
            text = render(steps, steps[-1].result, "steps")
            wrong = [step.status for step in grade_steps(problem, text) if step.status != "valid"]
            assert wrong or missing_steps(problem, text), (problem.steps, text)
            seen.update(wrong)
            checked += 1
    assert checked > 300
    if flaw != "slip":
        assert "slip" not in seen  # every other flaw keeps its arithmetic right
    assert ("slip" if flaw == "slip" else "foreign") in seen


def test_a_flaw_is_one_mistake_and_its_consequences() -> None:
    """After the flawed step every wrong step follows from it; before it all are valid."""
    rng = np.random.default_rng(9)
    checked = 0
    for problem in generate_problems(300, 5):
        for flaw in ("slip", "wrong_operation", "misread"):
            at = int(rng.integers(len(problem.steps)))
            steps = apply_flaw(problem.steps, flaw, at, rng)
            if not steps or steps[at].result == problem.steps[at].result:
                continue
            got = statuses(render(steps, steps[-1].result, "steps"), problem)
            assert got[:at] == ["valid"] * at
            if got[at] == "valid":  # by chance another true step
                assert steps[at].result in {step.result for step in problem.steps}
                continue
            assert got[at] == ("slip" if flaw == "slip" else "foreign")
            assert set(got[at + 1 :]) <= {"valid", "carried"}, (problem.steps, steps, got)
            checked += 1
    assert checked > 300


@pytest.mark.parametrize(
    "text", ["= = =", "1 = 1 = 1 +", "((((3 + 4 = 7", "<<1+1=2>> = 3", "50% * 20 = 10", "5 +\x00 3 = 8", "³ + ² = 5"]
)
def test_no_text_makes_it_fail(text: str) -> None:
    assert len(grade_steps(SCHOOL, text)) == len(check_steps(text))
