"""The problem generator: its truth against a solver that reads the story and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import add, floordiv, mul, sub

import numpy as np
import pytest

from legibility.grading import check_steps, grade
from legibility.problems import generator
from legibility.problems.generator import (
    FAMILIES,
    FLAWS,
    HELD_OUT_FAMILIES,
    PRETRAIN_FAMILIES,
    STYLES,
    apply_flaw,
    flawed_solution,
    generate_problems,
    worked_solution,
)
from legibility.problems.records import Problem
from legibility.problems.stories import NAMES, STORIES, Story

PROBLEMS = generate_problems(300, seed=11, steps={2: 1, 3: 1, 4: 1, 5: 1, 6: 1}, distractor=0.3)
OPERATIONS = {"+": add, "-": sub, "*": mul, "/": floordiv}

# ---------------------------------------------------------------- an independent solver


@dataclass(frozen=True)
class Solved:
    """One operation of the story; `sources` are the operations whose results its operands are (None: written)."""

    left: int
    op: str
    right: int
    result: int
    sources: tuple[int | None, int | None]


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for slot in ("n", "a", "b", "k", "d"):
        text = text.replace(rf"\{{{slot}\}}", rf"(?P<{slot}>\d+)")
    text = text.replace(r"\{times\}", "(?P<times>doubles|triples)")
    for slot in ("who", "other"):
        text = text.replace(rf"\{{{slot}\}}", f"(?:{'|'.join(NAMES)})")
    return re.compile(text)


def sentences_of(story: Story) -> list[tuple[str, re.Pattern[str]]]:
    return [
        (kind, _pattern(template))
        for kind, templates in (
            ("start", (story.start,)),
            ("gain", story.gain),
            ("loss", story.loss),
            ("gain_groups", (story.gain_groups,)),
            ("loss_groups", (story.loss_groups,)),
            ("scale", (story.scale,)),
            ("share", (story.share,)),
            ("ask", (story.ask,)),
            ("aside", (story.aside,)),
        )
        for template in templates
    ]


READERS = {story.name: sentences_of(story) for story in STORIES}


def read(question: str) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """The stories a question may come from, and its sentences as (kind, slots) in the first of them."""
    sentences = re.split(r"(?<=[.?]) ", question)
    readings = {}
    for name, patterns in READERS.items():
        matches = [[(kind, m.groupdict()) for kind, p in patterns if (m := p.fullmatch(s))] for s in sentences]
        if all(matches):
            assert all(len(found) == 1 for found in matches), f"two readings of a sentence: {question}"
            readings[name] = [found[0] for found in matches]
    return list(readings), next(iter(readings.values()), [])


def solve(question: str) -> tuple[int, list[Solved]]:
    """The answer and every operation, from the text alone."""
    _, events = read(question)
    kinds = [kind for kind, _ in events if kind != "aside"]
    assert kinds[0] == "start" and kinds[-1] == "ask" and not {"start", "ask"} & set(kinds[1:-1])
    value, origin, done = 0, None, []

    def step(left, op, right, sources):
        done.append(Solved(left, op, right, OPERATIONS[op](left, right), sources))
        return done[-1].result

    for kind, slots in events:
        number = {k: int(v) for k, v in slots.items() if v and v.isdigit()}
        if kind == "start":
            value = number["n"]
        elif kind in ("gain", "loss"):
            value, origin = step(value, "+" if kind == "gain" else "-", number["n"], (origin, None)), len(done) - 1
        elif kind in ("gain_groups", "loss_groups"):
            product = step(number["a"], "*", number["b"], (None, None))
            value, origin = (
                step(value, "+" if kind == "gain_groups" else "-", product, (origin, len(done) - 1)),
                len(done) - 1,
            )
        elif kind == "scale":
            value, origin = (
                step(value, "*", {"doubles": 2, "triples": 3}[slots["times"]], (origin, None)),
                len(done) - 1,
            )
        elif kind == "share":
            assert value % number["k"] == 0
            value, origin = step(value, "/", number["k"], (origin, None)), len(done) - 1
    return value, done


# ---------------------------------------------------------------- truth


def test_an_independent_solver_agrees_on_every_problem():
    for problem in PROBLEMS:
        stories, _ = read(problem.question)
        assert problem.family in stories, problem.question
        answer, operations = solve(problem.question)
        assert str(answer) == problem.answer, problem.question
        assert [(s.left, s.op, s.right, s.result) for s in problem.steps] == [
            (s.left, s.op, s.right, s.result) for s in operations
        ], problem.question


def test_steps_hold_chain_and_use_only_what_is_known():
    for problem in PROBLEMS:
        known = {int(x) for x in re.findall(r"\d+", problem.question)}
        known |= {n for word, n in (("doubles", 2), ("triples", 3)) if word in problem.question}
        for step in problem.steps:
            assert {step.left, step.right} <= known, (problem.question, step)
            assert OPERATIONS[step.op](step.left, step.right) == step.result
            assert step.op != "/" or step.left % step.right == 0
            assert step.result > 1
            known.add(step.result)
        assert str(problem.steps[-1].result) == problem.answer


def test_stories_are_varied():
    assert len(STORIES) >= 25 and len(set(FAMILIES)) == len(STORIES)
    assert {p.family for p in PROBLEMS} == set(FAMILIES)
    templates = [
        t
        for f in STORIES
        for t in (f.start, *f.gain, *f.loss, f.gain_groups, f.loss_groups, f.scale, f.share, f.ask, f.aside)
    ]
    assert len(set(templates)) > 0.9 * len(templates)
    seen = {kind for p in PROBLEMS for kind, _ in read(p.question)[1]}
    assert seen == {"start", "gain", "loss", "gain_groups", "loss_groups", "scale", "share", "ask", "aside"}
    assert len({p.answer for p in PROBLEMS}) > 50


def test_step_counts_follow_their_weights():
    assert {len(p.steps) for p in PROBLEMS} == {2, 3, 4, 5, 6}
    for count in (1, 2, 4, 6):
        assert {len(p.steps) for p in generate_problems(20, 0, steps={count: 1.0})} == {count}
    mixed = [len(p.steps) for p in generate_problems(400, 0, steps={2: 3, 5: 1})]
    assert set(mixed) == {2, 5} and 0.15 < np.mean(np.array(mixed) == 5) < 0.35


def test_distractors_do_not_touch_the_answer():
    def asides(share):
        return [
            sum(kind == "aside" for kind, _ in read(p.question)[1]) for p in generate_problems(60, 5, distractor=share)
        ]

    assert set(asides(1.0)) == {1} and set(asides(0.0)) == {0}
    assert 5 < sum(asides(0.4)) < 45


def test_a_pure_function_of_the_seed():
    assert generate_problems(50, 3) == generate_problems(50, 3)
    assert generate_problems(50, 3) == generate_problems(80, 3)[:50]
    assert not {p.question for p in generate_problems(50, 3)} & {p.question for p in generate_problems(50, 4)}


def test_problems_are_distinct():
    many = generate_problems(3000, 1)
    assert len({p.question for p in many}) == len({p.id for p in many}) == 3000


def test_families_can_be_chosen_and_are_held_out():
    assert {p.family for p in generate_problems(40, 0, families=["bus", "farm"])} == {"bus", "farm"}
    assert not set(HELD_OUT_FAMILIES) & set(PRETRAIN_FAMILIES)
    assert set(HELD_OUT_FAMILIES) | set(PRETRAIN_FAMILIES) == set(FAMILIES) and HELD_OUT_FAMILIES
    with pytest.raises(ValueError, match="moon"):
        generate_problems(1, 0, families=["moon"])


@pytest.mark.parametrize("steps", [{}, {7: 1.0}, {2: -1.0, 3: 1.0}, {2: 0.0}])
def test_impossible_step_weights(steps):
    with pytest.raises(ValueError, match="steps"):
        generate_problems(1, 0, steps=steps)


# ---------------------------------------------------------------- solutions


def style_of(text: str) -> str:
    return "steps" if "=" in text else "results" if text.count("\n") else "answer"


def test_worked_solutions_are_correct_in_every_style():
    rng = np.random.default_rng(0)
    seen = {}
    for problem in PROBLEMS:
        text = worked_solution(problem, rng)
        assert grade(text, problem.answer) == "correct"
        seen[style_of(text)] = seen.get(style_of(text), 0) + 1
        assert all(step.valid for step in check_steps(text))
        if style_of(text) == "steps":
            assert [step.text for step in check_steps(text)] == [str(s) for s in problem.steps]
        if style_of(text) == "results":
            assert text.split("\n")[0].split() == [str(s.result) for s in problem.steps]
    assert {style: count / len(PROBLEMS) for style, count in seen.items()} == pytest.approx(STYLES, abs=0.1)
    assert grade(PROBLEMS[0].solution, PROBLEMS[0].answer) == "correct"


def lines(text: str) -> list[tuple[int, str, int, int]]:
    """Every written equation as (left, operator, right, result)."""
    found = re.findall(r"^(\d+) ([-+*/]) (\d+) = (\d+)$", text, re.MULTILINE)
    assert len(found) == text.count("\n")
    return [(int(a), op, int(b), int(c)) for a, op, b, c in found]


def broken_at(written: list[tuple[int, str, int, int]], truth: list[Solved]) -> int:
    """Index of the first written line that is not the true one."""
    return next(
        i for i, (w, t) in enumerate(zip(written, truth, strict=False)) if w != (t.left, t.op, t.right, t.result)
    )


def flawed(flaw: str) -> list[tuple[Problem, list[tuple[int, str, int, int]], list[Solved]]]:
    """Solutions with one kind of flaw, as lines, beside the truth. Problems the flaw does not fit are left out."""
    found = []
    for i, problem in enumerate(PROBLEMS):
        fits = any(
            apply_flaw(problem.steps, flaw, at, np.random.default_rng(s))
            for at in range(1, len(problem.steps))
            for s in range(5)
        )
        if not fits:
            continue
        text, name = flawed_solution(problem, np.random.default_rng(i), {"steps": 1.0}, (flaw,))
        assert name == flaw
        assert grade(text, problem.answer) == "incorrect"
        found.append((problem, lines(text), solve(problem.question)[1]))
    assert len(found) > 200
    return found


def assert_carried(written, truth, at: int, shift: int = 0) -> None:
    """After line `at` every operation is the true one, on the results that were written."""
    results = [w[3] for w in written]
    for i in range(at + 1, len(truth)):
        left, op, right, result = written[i - shift]
        expected = [
            own
            if source is None
            else results[source if source < at else source - shift]
            if source != at or not shift
            else None
            for own, source in zip((truth[i].left, truth[i].right), truth[i].sources, strict=True)
        ]
        assert op == truth[i].op
        assert expected[0] in (None, left) and expected[1] in (None, right)
        assert OPERATIONS[op](left, right) == result


def test_a_slip_is_one_equation_that_does_not_hold():
    for _, written, truth in flawed("slip"):
        wrong = [i for i, (a, op, b, c) in enumerate(written) if OPERATIONS[op](a, b) != c]
        assert wrong == [broken_at(written, truth)] and len(written) == len(truth)
        left, op, right, _ = written[wrong[0]]
        assert (left, op, right) == (truth[wrong[0]].left, truth[wrong[0]].op, truth[wrong[0]].right)
        assert_carried(written, truth, wrong[0])


def test_a_wrong_operation_holds_on_the_right_numbers():
    for _, written, truth in flawed("wrong_operation"):
        at = broken_at(written, truth)
        left, op, right, result = written[at]
        assert (left, right) == (truth[at].left, truth[at].right) and op != truth[at].op
        assert OPERATIONS[op](left, right) == result
        assert_carried(written, truth, at)


def test_a_misread_number_is_one_the_problem_writes():
    """Not a result: that is `miscopied_result`."""
    for problem, written, truth in flawed("misread"):
        at = broken_at(written, truth)
        left, op, right, result = written[at]
        changed = [own != got for own, got in ((truth[at].left, left), (truth[at].right, right))]
        assert op == truth[at].op and sum(changed) == 1 and OPERATIONS[op](left, right) == result
        assert truth[at].sources[changed.index(True)] is None, (problem.question, written)
        assert_carried(written, truth, at)


def test_a_miscopied_result_is_an_earlier_result_copied_wrong():
    for problem, written, truth in flawed("miscopied_result"):
        at = broken_at(written, truth)
        left, op, right, result = written[at]
        changed = [own != got for own, got in ((truth[at].left, left), (truth[at].right, right))]
        assert op == truth[at].op and sum(changed) == 1 and OPERATIONS[op](left, right) == result
        assert truth[at].sources[changed.index(True)] is not None, (problem.question, written)
        assert_carried(written, truth, at)


def test_a_skipped_step_leaves_one_operation_out():
    for _, written, truth in flawed("skipped_step"):
        assert len(written) == len(truth) - 1
        assert all(OPERATIONS[op](a, b) == c for a, op, b, c in written)
        operations = [s.op for s in truth]
        assert [w[1] for w in written] in [operations[:i] + operations[i + 1 :] for i in range(len(truth))]


def test_flaws_come_in_all_kinds_and_styles():
    rng = np.random.default_rng(0)
    made = [flawed_solution(p, rng) for p in PROBLEMS]
    assert {flaw for _, flaw in made} == set(FLAWS) and len(FLAWS) == 5
    assert {style_of(text) for text, _ in made} == set(STYLES)
    assert all(grade(text, p.answer) == "incorrect" for (text, _), p in zip(made, PROBLEMS, strict=True))
    again = [flawed_solution(p, np.random.default_rng(0)) for p in PROBLEMS[:20]]
    assert again == [flawed_solution(p, np.random.default_rng(0)) for p in PROBLEMS[:20]]


def test_it_gives_up_where_there_is_nothing_to_find(monkeypatch):
    easy = next(p for p in generate_problems(50, 0, steps={1: 1.0}) if len(p.steps) == 1)
    with pytest.raises(ValueError, match="skipped_step"):
        flawed_solution(easy, np.random.default_rng(0), flaws=["skipped_step"])
    monkeypatch.setattr(generator, "_tell", lambda *_: (easy.question, easy.steps))
    with pytest.raises(ValueError, match="only 1 distinct"):
        generate_problems(2, 0)
