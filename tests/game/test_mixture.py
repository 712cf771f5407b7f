"""What a verifier learns from: role must say nothing about label, and every round sees as much."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.config import MixtureSettings
from legibility.game.mixture import build_mixture, component_weights
from legibility.grading import Verdict, check_steps, grade
from legibility.problems.records import Problem
from legibility.verifier_training import LabelledSolution

PROBLEMS = [Problem(f"p{i}", f"question {i}", "1") for i in range(8)]


def item(problem: int, correct: bool, role: str, component: str, n: int = 0) -> LabelledSolution:
    return LabelledSolution(PROBLEMS[problem], f"{component} {role} {correct} {n}", correct, component, role)


def full_component(component: str, roles: tuple[str, ...], copies: int = 20) -> list[LabelledSolution]:
    """`copies` correct and incorrect texts per problem and role."""
    return [
        item(p, correct, role, component, n)
        for p in range(len(PROBLEMS))
        for role in roles
        for correct in (True, False)
        for n in range(copies)
    ]


def full_components(rounds: int) -> dict[str, list[LabelledSolution]]:
    components = {"base": full_component("base", ("base",))}
    for r in range(rounds):
        components[f"round {r}"] = full_component(f"round {r}", ("helpful", "sneaky"))
    return components


def build(components, per_problem: int = 6, seed: int = 0, **settings):
    return build_mixture(components, PROBLEMS, per_problem, MixtureSettings(**settings), np.random.default_rng(seed))


def counts(mixture) -> Counter:
    return Counter((x.component, x.role, x.correct) for x in mixture.items)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("rounds", "settings", "expected"),
    [
        (0, {}, [1.0]),
        (0, {"base_share": 0.3, "weights": "latest"}, [1.0]),
        (1, {}, [1 / 2, 1 / 2]),
        (3, {"weights": "equal"}, [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        (3, {"weights": "pow2"}, [1 / 8, 1 / 8, 2 / 8, 4 / 8]),
        (3, {"weights": "latest"}, [1 / 2, 0, 0, 1 / 2]),
        (3, {"weights": "equal", "base_share": 0.4}, [0.4, 0.2, 0.2, 0.2]),
        (3, {"weights": "pow2", "base_share": 0.3}, [0.3, 0.1, 0.2, 0.4]),
        (3, {"weights": "latest", "base_share": 0.3}, [0.3, 0, 0, 0.7]),
    ],
)
def test_component_weights(rounds, settings, expected):
    names = ["base", *(f"round {r}" for r in range(rounds))]
    weights = component_weights(names, MixtureSettings(**settings))
    assert [weights[n] for n in names] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "base_share", "expected"),
    [
        ("equal", None, {"base": 16, "round 0": 16, "round 1": 16}),
        ("equal", 0.5, {"base": 24, "round 0": 12, "round 1": 12}),
        ("pow2", None, {"base": 12, "round 0": 12, "round 1": 24}),
        ("latest", None, {"base": 24, "round 1": 24}),
    ],
)
def test_full_cells_give_each_component_its_share(weights, base_share, expected):
    mixture = build(full_components(2), weights=weights, base_share=base_share)  # 48 texts in all
    assert Counter(x.component for x in mixture.items) == expected
    assert not mixture.short


@pytest.mark.parametrize("per_problem", [2, 5, 6, 8])
@pytest.mark.parametrize("weights", ["equal", "pow2", "latest"])
def test_every_round_learns_from_as_many_texts(weights, per_problem):
    """Constant over rounds where cells are full, also where a share is not a whole or an even number."""
    sizes = {rounds: len(build(full_components(rounds), per_problem, weights=weights).items) for rounds in range(6)}
    assert sizes == dict.fromkeys(range(6), per_problem * len(PROBLEMS))


# ---------------------------------------------------------------- balance

label = st.tuples(st.integers(0, len(PROBLEMS) - 1), st.booleans())
components_of_any_shape = st.fixed_dictionaries(
    {
        "base": st.lists(st.tuples(label, st.just("base")), max_size=40),
        "round 0": st.lists(st.tuples(label, st.sampled_from(["helpful", "sneaky"])), max_size=40),
        "round 1": st.lists(st.tuples(label, st.sampled_from(["helpful", "sneaky"])), max_size=40),
    }
).map(
    lambda components: {
        name: [item(p, correct, role, name, n) for n, ((p, correct), role) in enumerate(rows)]
        for name, rows in components.items()
    }
)


@given(
    components=components_of_any_shape,
    per_problem=st.integers(1, 8),
    weights=st.sampled_from(["equal", "pow2", "latest"]),
    seed=st.integers(0, 9),
)
def test_balanced_inside_every_role_of_every_component(components, per_problem, weights, seed):
    mixture = build(components, per_problem, seed, weights=weights)
    taken = counts(mixture)
    for component, role, correct in taken:
        assert taken[component, role, correct] == taken[component, role, not correct]
    everything = {x for texts in components.values() for x in texts}
    assert set(mixture.items) <= everything  # nothing is made up or relabelled
    assert len(mixture.items) in (0, 2 * (per_problem * len(PROBLEMS) // 2))
    assert mixture.repeated == len(mixture.items) - len(set(mixture.items))


@given(components=components_of_any_shape, per_problem=st.integers(1, 8), seed=st.integers(0, 9))
def test_the_count_is_constant_and_repeats_come_last(components, per_problem, seed):
    """Texts repeat only where no two distinct ones of one cell are left, and no correct text twice as often as another."""
    mixture = build(components, per_problem, seed)
    if not mixture.repeated:
        return
    used = Counter(mixture.items)
    for cell in mixture.cells:
        texts = {x for x in components[cell.component] if x.role == cell.role}
        left = Counter(x.correct for x in texts - set(used))
        assert min(left[True], left[False]) == 0
        times = [n for x, n in used.items() if x.correct and (x.component, x.role) == (cell.component, cell.role)]
        assert not times or max(times) - min(times) <= 1


def test_a_text_written_often_is_one_text():
    """Planted: 8 problems with one right text each, written 20 times, and 20 wrong ones."""
    right = [item(p, True, "base", "base") for p in range(8) for _ in range(20)]
    wrong = [item(p, False, "base", "base", n) for p in range(8) for n in range(20)]
    mixture = build({"base": right + wrong}, per_problem=2)
    assert Counter(x.text for x in mixture.items if x.correct) == {"base base True 0": 8}
    assert {x.problem.id for x in mixture.items if x.correct} == {p.id for p in PROBLEMS}
    (cell,) = mixture.cells
    assert (cell.distinct_correct, cell.distinct_incorrect, cell.available_correct) == (8, 160, 160)
    assert (cell.taken, cell.distinct, mixture.repeated, mixture.short) == (16, 16, 0, [])
    # six a problem: the right ones repeat three times each, beside wrong ones that are all different
    mixture = build({"base": right + wrong}, per_problem=6)
    used = Counter(mixture.items)
    assert all(n == (3 if x.correct else 1) for x, n in used.items())
    assert (len(mixture.items), mixture.repeated, mixture.cells[0].distinct) == (48, 16, 32)


def test_round_0_has_as_many_texts_as_later_rounds():
    """Base text alone, with few right ones, is repeated; later rounds, which have more, are not."""
    base = [item(p, True, "base", "base") for p in range(4)]
    base += [item(p, False, "base", "base", n) for p in range(8) for n in range(9)]
    later = full_component("round 0", ("helpful", "sneaky"))
    first, second = build({"base": base}), build({"base": base, "round 0": later})
    assert len(first.items) == len(second.items) == 48
    assert sum(x.correct for x in first.items) == sum(x.correct for x in second.items) == 24
    assert (first.repeated, second.repeated) == (20, 0)


@given(components=components_of_any_shape, per_problem=st.integers(1, 8), seed=st.integers(0, 9))
def test_balanced_over_a_component_when_only_labels_count(components, per_problem, seed):
    mixture = build(components, per_problem, seed, balance="label")
    taken = Counter((x.component, x.correct) for x in mixture.items)
    assert all(taken[component, True] == taken[component, False] for component, _ in taken)


@given(components=components_of_any_shape, per_problem=st.integers(1, 8))
def test_short_cells_are_reported(components, per_problem):
    mixture = build(components, per_problem)
    taken = counts(mixture)
    for cell in mixture.cells:
        mine = [x for x in components[cell.component] if x.role == cell.role]
        assert cell.available_correct == sum(x.correct for x in mine)
        assert cell.available_incorrect == sum(not x.correct for x in mine)
        assert cell.taken == sum(taken[cell.component, cell.role, c] for c in (True, False))
        assert cell.distinct == len({x for x in mixture.items if x.component == cell.component and x.role == cell.role})
        assert (cell in mixture.short) == (cell.distinct < cell.wanted)


def test_a_role_without_failures_teaches_nothing_and_the_other_role_fills_in():
    """All helpful texts correct: taking them against sneaky ones would make role and label the same thing."""
    helpful = [item(p, True, "helpful", "round 0", n) for p in range(8) for n in range(9)]
    sneaky = [item(p, correct, "sneaky", "round 0", n) for p in range(8) for correct in (True, False) for n in range(9)]
    mixture = build({"base": full_component("base", ("base",)), "round 0": helpful + sneaky})
    assert counts(mixture) == {
        ("base", "base", True): 12,
        ("base", "base", False): 12,
        ("round 0", "sneaky", True): 12,
        ("round 0", "sneaky", False): 12,
    }
    assert [(c.role, c.taken) for c in mixture.short] == [("helpful", 0)]


def test_what_a_round_cannot_fill_comes_from_the_base():
    components = {
        "base": full_component("base", ("base",)),
        "round 0": [item(0, True, "helpful", "round 0"), item(0, False, "helpful", "round 0")],
    }
    mixture = build(components)
    assert Counter(x.component for x in mixture.items) == {"base": 46, "round 0": 2}


def test_texts_of_problems_with_both_labels_come_first():
    """Only those make same-problem pairs."""
    matched = [item(p, correct, "base", "base", 9) for p in range(4) for correct in (True, False)]
    alone = [item(p, p % 2 == 0, "base", "base", n) for p in range(4, 8) for n in range(20)]
    mixture = build({"base": alone + matched}, per_problem=1)
    assert set(mixture.items) == set(matched)
    # every problem gives one pair before any gives two
    spread = build({"base": full_component("base", ("base",))}, per_problem=2)
    assert Counter(x.problem.id for x in spread.items) == {p.id: 2 for p in PROBLEMS}


def test_the_choice_is_random_and_seeded():
    first, again, other = (build(full_components(2), seed=s).items for s in (0, 0, 1))
    assert first == again != other
    positions = [int(x.problem.id[1:]) for x in first]
    assert positions == sorted(positions)  # by problem, for the training's same-problem pairs


# ---------------------------------------------------------------- twins

WORKED = [
    Problem(f"p{i}", f"Tom has {10 + i} marbles. He finds 7 more. He triples them.", str(3 * (17 + i)))
    for i in range(8)
]


def worked(i: int, correct: bool, n: int = 0) -> LabelledSolution:
    text = f"{10 + i} + 7 = {17 + i}\n{17 + i} * 3 = {3 * (17 + i)}\n#### {3 * (17 + i)}"
    return LabelledSolution(WORKED[i], text if correct else f"#### {n}", correct, "base", "base")


def with_twins(share: float, texts: list[LabelledSolution], per_problem: int = 2):
    settings = MixtureSettings(twins=share)
    return build_mixture({"base": texts}, WORKED, per_problem, settings, np.random.default_rng(0))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_twins_take_the_place_of_incorrect_texts_of_their_problem(share, expected):
    mixture = with_twins(share, [worked(i, c) for i in range(8) for c in (True, False)])
    assert mixture.cells[0].twins == expected
    assert Counter((x.problem.id, x.correct) for x in mixture.items) == {
        (p.id, c): 1 for p in WORKED for c in (True, False)
    }
    twins = [x for x in mixture.items if not x.correct and "=" in x.text]
    assert len(twins) == expected
    for twin in twins:
        assert grade(twin.text, twin.problem.answer) is Verdict.INCORRECT
        original = next(x for x in mixture.items if x.correct and x.problem.id == twin.problem.id)
        assert (twin.role, twin.component) == (original.role, original.component)
        assert twin.text.count("\n") == original.text.count("\n")
        steps = check_steps(twin.text)
        assert sum(not s.valid for s in steps) <= 1  # a slip; a misread number leaves every equation true
        assert len(steps) == 2


def test_bare_answers_have_no_twins():
    right = [LabelledSolution(p, f"#### {p.answer}", True, "base", "base") for p in WORKED]
    mixture = with_twins(1.0, right + [worked(i, False) for i in range(8)])
    assert mixture.cells[0].twins == 0
    assert len(mixture.items) == 16
