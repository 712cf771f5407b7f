"""Corrupted twins: one number changed and carried through."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.grading import Verdict, check_steps, grade
from legibility.judging.candidates import reference_candidates
from legibility.problems.corruption import corrupt
from legibility.problems.records import Problem
from tests.support import GSM8K

GSM8K_TEST = GSM8K / "test.jsonl"


needs_gsm8k = pytest.mark.skipif(
    not GSM8K_TEST.is_file(), reason="GSM8K_TEST is not here; set LEGIBILITY_GSM8K to its folder"
)


def test_a_twin_changes_one_number_and_carries_it_through():
    problem = Problem(
        "p",
        "Janet's ducks lay 16 eggs. She eats 3 and bakes with 4. She sells the rest for $2 each.",
        "18",
        "Janet sells 16 - 3 - 4 = 9 eggs.\nShe makes 9 * 2 = $18.\n#### 18",
    )
    seen = set()
    for seed in range(60):
        twin = corrupt(problem, np.random.default_rng(seed))
        assert twin is not None and grade(twin.text, "18") is Verdict.INCORRECT
        seen.add(twin.kind)
        first, second, last = twin.text.split("\n")
        broken = [i for i, s in enumerate(check_steps(twin.text)) if not s.valid]
        assert broken == ([twin.line - 1] if twin.kind == "slip" else [])
        assert second.endswith(f"${last[5:]}.")  # the answer is the last result
        if twin.line == 1:
            eggs = first.split("= ")[1].split(" ")[0]
            assert second.startswith(f"She makes {eggs} * 2")  # the wrong number is carried on
    assert seen == {"slip", "misread"}
    assert corrupt(Problem("q", "?", "4", "It is four.\n#### 4"), np.random.default_rng(0)) is None


def test_a_number_too_long_to_check_leaves_the_solution_alone():
    solution = "3 + 4 = 7\n#### 7"
    for long in ("9" * 61, "9" * 5000):
        assert corrupt(Problem("p", f"3 of {long} and 4?", "7", solution), np.random.default_rng(0)) is None
    assert corrupt(Problem("p", f"3 of {'9' * 60} and 4?", "7", solution), np.random.default_rng(0)) is not None


def test_large_numbers_are_changed_exactly():
    solution = "12345678901234567 + 1 = 12345678901234568\n12345678901234568 + 2 = 12345678901234570"
    problem = Problem("p", "?", "12345678901234570", f"{solution}\n#### 12345678901234570")
    for seed in range(8):
        twin = corrupt(problem, np.random.default_rng(seed))
        final = int(twin.text.rpartition(" ")[2])
        assert 1 <= abs(final - 12345678901234570) <= 10


@needs_gsm8k
def test_twins_of_gsm8k(tmp_path):
    few = tmp_path / "gsm8k.jsonl"
    few.write_text("".join(GSM8K_TEST.read_text(encoding="utf-8").splitlines(keepends=True)[:120]), encoding="utf-8")
    candidates = reference_candidates(few, 0)
    pairs = candidates.frame.groupby("problem_id")
    assert len(pairs) > 70 and (pairs.size() == 2).all() and (pairs.correct.sum() == 1).all()
    for row in candidates.frame[~candidates.frame.correct].itertuples():
        problem = candidates.problems[row.problem_id]
        assert grade(row.text, problem.answer) is Verdict.INCORRECT
        lines, original = row.text.split("\n"), problem.solution.split("\n")
        changed = [i for i, (a, b) in enumerate(zip(lines, original, strict=True), start=1) if a != b]
        assert changed[0] == row.first_wrong_line and changed[-1] == len(lines)
