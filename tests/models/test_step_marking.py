"""Teaching a verifier base to check steps: labels against hand-made ones, and that it learns."""

from __future__ import annotations

import re

import numpy as np
import torch

from legibility.grading import grade
from legibility.models.nano import NanoSize
from legibility.models.step_marking import VARIANTS, step_labels, teach_marking, variants
from legibility.problems.generator import change_a_number, generate_problems
from legibility.problems.records import Problem, Step
from tests.support import llama

PROBLEM = Problem(
    id="p",
    question="Ann has 24 marbles. She triples them. She loses 2.",
    answer="70",
    source="test",
    steps=(Step(24, "*", 3, 72), Step(72, "-", 2, 70)),
)


def marks(text: str) -> str:
    """+ right, - wrong, . not marked, a sign for every character."""
    return "".join({True: "+", False: "-", None: "."}[x] for x in step_labels(PROBLEM, list(text)))


def test_a_right_solution_is_marked_right_up_to_its_answer_line():
    assert marks("24 * 3 = 72\n72 - 2 = 70\n#### 70") == "++.+.+...++." + "++.+.+...++." + "." * 7


def test_everything_after_a_mistake_is_wrong_until_the_next_line():
    assert marks("24 * 3 = 82\n72 - 2 = 70") == "++.+.+...--." + "++.+.+...++"
    assert marks("24 + 3 = 27") == "++.-.-...--"
    assert marks("7 * 3 = 21") == "+.-.-...--"  # 7 may yet become 72; the operator shows that it does not


def test_an_answer_line_is_never_marked():
    assert set(marks("#### 70")) == set(marks("#### 12")) == {"."}


def test_variants_are_one_right_solution_and_wrong_ones():
    rng = np.random.default_rng(0)
    for problem in generate_problems(40, 5):
        right, *wrong = variants(problem, rng)
        assert len(wrong) == VARIANTS - 1
        assert grade(right, problem.answer).value == "correct"
        for text in wrong:
            assert text != right and text.count("\n") <= right.count("\n")


def test_one_number_changes_and_nothing_else():
    rng = np.random.default_rng(1)
    text = "24 * 3 = 72\n#### 72"
    for _ in range(200):
        changed = change_a_number(text, rng)
        old, new = (re.findall(r"\d+", t) for t in (text, changed))
        assert re.sub(r"\d+", "n", text) == re.sub(r"\d+", "n", changed)
        assert sum(a != b for a, b in zip(old, new, strict=True)) == 1 and all(int(n) >= 0 for n in new)


def test_marking_is_learnt_reproducibly_and_leaves_the_global_generator_alone(tiny_tokenizer):
    size = NanoSize(32, 1, 0, marking_steps=25, marking_rate=3e-3)
    lines: list[str] = []
    state = torch.get_rng_state()
    model, again = (llama(tiny_tokenizer, max_position_embeddings=512) for _ in range(2))
    found = teach_marking(model, tiny_tokenizer, size, seed=0, log=lines.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert found["marking_loss"] < np.log(2) and found["marking_tokens"] > 0
    assert 0 <= found["marks_right"] <= 1 and 0 <= found["marks_wrong"] <= 1
    repeated = teach_marking(again, tiny_tokenizer, size, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert {k: v for k, v in repeated.items() if k != "marking_seconds"} == {
        k: v for k, v in found.items() if k != "marking_seconds"
    }
