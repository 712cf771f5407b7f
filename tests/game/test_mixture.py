"""What a verifier learns from: role must say nothing about label, and every round sees as much."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.config import MixtureSettings
from legibility.game.mixture import build_mixture, component_weights
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
    everything = Counter(x for texts in components.values() for x in texts)
    assert not Counter(mixture.items) - everything  # nothing is made up, relabelled or taken twice
    assert len(mixture.items) <= per_problem * len(PROBLEMS) + 1


@given(components=components_of_any_shape, per_problem=st.integers(1, 8), seed=st.integers(0, 9))
def test_balanced_over_a_component_when_only_labels_count(components, per_problem, seed):
    mixture = build(components, per_problem, seed, balance="label")
    taken = Counter((x.component, x.correct) for x in mixture.items)
    assert all(taken[component, True] == taken[component, False] for component, _ in taken)


@given(components=components_of_any_shape, per_problem=st.integers(1, 8), seed=st.integers(0, 9))
def test_nothing_that_could_be_used_is_left_when_texts_are_short(components, per_problem, seed):
    """A component below its share has used up every role's scarcer label; if any is, the base fills in as far as it can."""
    mixture = build(components, per_problem, seed)
    taken = counts(mixture)
    budget = per_problem * len(PROBLEMS)

    def exhausted(component):
        return all(
            2 * min(sum(x.correct == c for x in components[component] if x.role == role) for c in (True, False))
            == taken[component, role, True] + taken[component, role, False]
            for role in {x.role for x in components[component]}
        )

    for component in components:
        size = sum(x.component == component for x in mixture.items)
        assert size >= budget // 3 - 2 or exhausted(component)
    assert len(mixture.items) >= budget - 7 or exhausted("base")


@given(components=components_of_any_shape, per_problem=st.integers(1, 8))
def test_short_cells_are_reported(components, per_problem):
    mixture = build(components, per_problem)
    taken = counts(mixture)
    for cell in mixture.cells:
        mine = [x for x in components[cell.component] if x.role == cell.role]
        assert cell.available_correct == sum(x.correct for x in mine)
        assert cell.available_incorrect == sum(not x.correct for x in mine)
        assert cell.taken == sum(taken[cell.component, cell.role, c] for c in (True, False))
        if cell.taken < cell.wanted - 1:
            assert cell in mixture.short
    if len(mixture.items) < per_problem * len(PROBLEMS) - 3 * len(mixture.cells):
        assert mixture.short


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
