"""Rewards: hand-computed tables, and what must hold for any batch (design, section 3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.grading import Verdict
from legibility.rewards import (
    PAY,
    REWARDS,
    Columns,
    ScoreScale,
    as_columns,
    cgc,
    correctness,
    goodhart,
    group_index,
    pay_translation,
    src,
    standardised,
    within_group_std,
)

C, I, X = "correct", "incorrect", "invalid"  # noqa: E741

# ---------------------------------------------------------------- tables worked out by hand

# One problem, four helpful samples (mean 1) and four sneaky ones (mean 2).
SCORES = [3.0, 2.0, -2.0, 1.0, 5.0, 3.0, 2.0, -2.0]
VERDICTS = [C, I, C, X, I, C, X, I]
HELPFUL = [True] * 4 + [False] * 4
GROUP = [("p", "helpful")] * 4 + [("p", "sneaky")] * 4
# V' = 2, 1, -3, 0 | 3, 1, 0, -4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        #            aligned>0  misaligned>0  <0  invalid=0 | aligned>0  misaligned>0  invalid=0  <0
        ({}, [2, -1, -1, -1, 3, -1, -1, -1]),
        ({"scale": 0.5}, [4, -2, -1, -1, 6, -2, -1, -1]),
        ({"clip": 1.5}, [1.5, -1, -1, -1, 1.5, -1, -1, -1]),
        ({"scale": 0.5, "clip": 3.0}, [3, -2, -1, -1, 3, -2, -1, -1]),  # scaled first, then clipped
        ({"floor": -0.25}, [2, -1, -0.25, -0.25, 3, -1, -0.25, -0.25]),
        ({"floor": -3.0}, [2, -1, -3, -3, 3, -1, -3, -3]),
    ],
)
def test_src_table(options, expected):
    np.testing.assert_allclose(src(SCORES, VERDICTS, HELPFUL, GROUP, **options), expected)


def test_src_charges_a_convincing_invalid_completion_its_score():
    # V' = 3 (invalid), -1, -1, -1: min(-1, -V') = -3
    paid = src([4, 0, 0, 0], [X, C, I, C], [True] * 4, [0] * 4)
    np.testing.assert_allclose(paid, [-3, -1, -1, -1])
    # V' = -3 (invalid): min(-1, 3) = -1, never a gain
    assert src([-4, 0, 0, 0], [X, C, I, C], [True] * 4, [0] * 4)[0] == -1


def test_src_pays_the_floor_in_groups_without_spread():
    # V' = 0 everywhere is not above the mean: everyone gets the floor, aligned or not
    for helpful in (True, False):
        np.testing.assert_array_equal(src([7.0] * 3, [C, I, X], [helpful] * 3, ["g"] * 3), [-1, -1, -1])
    np.testing.assert_array_equal(src([7.0], [C], [True], ["alone"]), [-1])


@given(score=st.floats(-50, 50), count=st.integers(1, 9), helpful=st.booleans())
def test_src_takes_rounding_for_no_spread(score, count, helpful):
    """The mean of equal numbers is not always that number in floating point; it is no score above the mean."""
    verdicts = [(C, I, X)[i % 3] for i in range(count)]
    np.testing.assert_array_equal(src([score] * count, verdicts, [helpful] * count, [0] * count), [-1] * count)


def test_src_is_undefined_without_centring():
    with pytest.raises(ValueError, match="centred"):
        src(SCORES, VERDICTS, HELPFUL, GROUP, center=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3, -2, -2, -2, 5, -2, -2, -2]),
        ({"scale": 2.0}, [1.5, -2, -1, -2, 2.5, -2, -2, -1]),
        ({"clip": 2.5}, [2.5, -2, -2, -2, 2.5, -2, -2, -2]),
        ({"floor": -3.0}, [3, -3, -2, -3, 5, -3, -3, -2]),
        ({"center": True}, [2, -2, -3, -2, 3, -2, -2, -4]),
        ({"center": True, "clip": 3.0, "floor": -3.0}, [2, -3, -3, -3, 3, -3, -3, -3]),
    ],
)
def test_cgc_table(options, expected):
    np.testing.assert_allclose(cgc(SCORES, VERDICTS, HELPFUL, GROUP, **options), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3, 2, -2, -2, 5, 3, -2, -2]),  # the score, whatever the truth; invalid: the batch's smallest
        ({"scale": 2.0}, [1.5, 1, -1, -1, 2.5, 1.5, -1, -1]),
        ({"center": True}, [2, 1, -3, -4, 3, 1, -4, -4]),
        ({"floor": -9.0}, [3, 2, -2, -9, 5, 3, -9, -2]),
        ({"floor": 9.0}, [3, 2, -2, -2, 5, 3, -2, -2]),
    ],
)
def test_goodhart_table(options, expected):
    np.testing.assert_allclose(goodhart(SCORES, VERDICTS, HELPFUL, GROUP, **options), expected)


def test_correctness_table():
    np.testing.assert_array_equal(correctness(SCORES, VERDICTS, HELPFUL, GROUP), [1, -1, 1, -1, -1, 1, -1, -1])


def test_scale_is_the_mean_of_the_groups_deviations():
    # deviations 1, 0 and 2: their mean, not the pooled deviation
    assert within_group_std([1, 3, 5, 5, 10, 14], ["a", "a", "b", "b", "c", "c"]) == pytest.approx(1.0)


def spread_of(deviation: float) -> tuple[list[float], list[str]]:
    """Two groups of equal spread: scores whose within-group deviation is the one given."""
    return [deviation, -deviation, 5 + deviation, 5 - deviation], ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", [1, 1, 1, 1]),
        ("calibrated", [2, 2, 2, 2]),
        ("running", [2, 2 + 0.2 * (4 - 2), 2.4 + 0.2 * (0 - 2.4), 1.92 + 0.2 * (0 - 1.92)]),
    ],
)
def test_score_scale_by_hand(kind, expected):
    scale = ScoreScale(kind)
    got = [scale.update(*spread_of(d), first=i == 0) for i, d in enumerate([2.0, 4.0, 0.0, 0.0])]
    assert got == pytest.approx(expected) and scale.value == got[-1]


def test_score_scale_never_blows_up_a_verifier_that_says_the_same_of_everything():
    scale = ScoreScale("running")
    values = [scale.update(*spread_of(d), first=i == 0) for i, d in enumerate([1.0] + [0.0] * 100)]
    assert min(values) == pytest.approx(1 / 20)
    assert ScoreScale("calibrated").update(*spread_of(0.0), first=True) > 0


def test_verdicts_may_be_enum_members():
    members = [Verdict(v) for v in VERDICTS]
    for reward in REWARDS.values():
        np.testing.assert_array_equal(reward(SCORES, members, HELPFUL, GROUP), reward(SCORES, VERDICTS, HELPFUL, GROUP))


@pytest.mark.parametrize("name", REWARDS)
def test_bad_input_is_refused(name):
    with pytest.raises(ValueError, match="unequal lengths"):
        REWARDS[name]([1.0, 2.0], [C], [True, True], [0, 0])
    with pytest.raises(ValueError, match="unknown verdicts"):
        REWARDS[name]([1.0], ["right"], [True], [0])


@pytest.mark.parametrize("name", REWARDS)
def test_an_empty_batch_is_paid_nothing(name):
    assert REWARDS[name]([], [], [], []).shape == (0,)


# ---------------------------------------------------------------- what holds for every batch

scores = st.integers(-400, 400).map(lambda x: x / 8)  # sums of these are exact, so V' = 0 is exactly 0
row = st.tuples(scores, st.sampled_from([C, I, X]), st.booleans(), st.integers(0, 3))
batches = st.lists(row, min_size=1, max_size=24)
options = st.fixed_dictionaries(
    {"scale": st.floats(0.1, 5), "clip": st.none() | st.floats(0.5, 5), "floor": st.none() | st.floats(-5, -0.1)}
)


def columns(batch):
    """Arrays of a batch; a group is a (problem, role)."""
    values, verdicts, helpful, problem = zip(*batch, strict=True)
    return np.array(values), list(verdicts), list(helpful), [(p, h) for p, h in zip(problem, helpful, strict=True)]


PER_GROUP = {
    "src": src,
    "cgc": cgc,
    "centred cgc": lambda *a, **o: cgc(*a, center=True, **o),
    "correctness": correctness,
}


@pytest.mark.parametrize("name", PER_GROUP)
@given(batch=batches, options=options, shift=scores, data=st.data())
def test_other_groups_change_nothing(name, batch, options, shift, data):
    """A completion's pay depends on its own (problem, role) group alone: not on the other role's, not on other problems'."""
    values, verdicts, helpful, group = columns(batch)
    mine = data.draw(st.sampled_from(group))
    keep = np.array([g == mine for g in group])
    paid = PER_GROUP[name](values, verdicts, helpful, group, **options)
    altered = np.where(keep, values, values[::-1] + shift)
    other_verdicts = [v if k else data.draw(st.sampled_from([C, I, X])) for v, k in zip(verdicts, keep, strict=True)]
    again = PER_GROUP[name](altered, other_verdicts, helpful, group, **options)
    np.testing.assert_allclose(again[keep], paid[keep], atol=1e-9)
    alone = PER_GROUP[name](
        values[keep],
        [v for v, k in zip(verdicts, keep, strict=True) if k],
        [mine[1]] * keep.sum(),
        [mine] * keep.sum(),
        **options,
    )
    np.testing.assert_allclose(alone, paid[keep], atol=1e-9)


@pytest.mark.parametrize("name", [*PER_GROUP, "goodhart"])
@given(batch=batches, options=options, seed=st.integers(0, 99))
def test_reordering_the_batch_reorders_the_pay(name, batch, options, seed):
    reward = {**PER_GROUP, "goodhart": goodhart}[name]
    order = np.random.default_rng(seed).permutation(len(batch))
    paid = reward(*columns(batch), **options)
    again = reward(*columns([batch[i] for i in order]), **options)
    np.testing.assert_allclose(again, paid[order], atol=1e-9)


@given(batch=batches, shift=scores, options=options)
def test_src_ignores_what_is_added_to_a_whole_group(batch, shift, options):
    values, verdicts, helpful, group = columns(batch)
    moved = values + np.array([shift if g == group[0] else 0.0 for g in group])
    relative = values - np.array([np.mean([v for v, o in zip(values, group, strict=True) if o == g]) for g in group])
    decided = np.abs(relative) > 1e-6  # at V' = 0 rounding decides which branch pays
    np.testing.assert_allclose(
        src(moved, verdicts, helpful, group, **options)[decided],
        src(values, verdicts, helpful, group, **options)[decided],
        atol=1e-6,
    )


@given(batch=batches, options=options)
def test_src_signs(batch, options):
    """Above the mean the sign is alignment's and the size is V'; at or below it everyone valid gets the floor."""
    values, verdicts, helpful, group = columns(batch)
    paid = src(values, verdicts, helpful, group, **options)
    floor = -1.0 if options["floor"] is None else options["floor"]
    for i, g in enumerate(group):
        relative = values[i] - np.mean([v for v, other in zip(values, group, strict=True) if other == g])
        if abs(relative) < 1e-6:
            continue
        aligned = verdicts[i] != X and (verdicts[i] == C) == helpful[i]
        size = min(abs(relative) / options["scale"], options["clip"] or np.inf)
        if verdicts[i] == X:
            assert paid[i] == pytest.approx(min(floor, -np.sign(relative) * size))
        elif relative > 0:
            assert paid[i] == pytest.approx(size if aligned else -size)
        else:
            assert paid[i] == floor


@given(batch=batches, margin=st.floats(0.001, 5))
def test_cgc_pays_any_aligned_completion_more_than_any_misaligned_one(batch, margin):
    """Eq. (1) of the paper, first half, over the whole batch: wherever scores exceed V0."""
    values, verdicts, helpful, group = columns(batch)
    paid = cgc(values, verdicts, helpful, group, floor=min(values.min() - margin, -2.0))
    aligned = np.array([v != X and (v == C) == h for v, h in zip(verdicts, helpful, strict=True)])
    if aligned.any() and not aligned.all():
        assert paid[aligned].min() > paid[~aligned].max()


@given(batch=batches, gain=st.floats(0.01, 10), data=st.data())
def test_a_higher_score_is_never_worth_less_to_an_aligned_completion(batch, gain, data):
    """Eq. (1) of the paper, second half. For SRC it holds from the mean upwards."""
    values, verdicts, helpful, group = columns(batch)
    i = data.draw(st.integers(0, len(batch) - 1))
    verdicts[i] = C if helpful[i] else I
    raised = values.copy()
    raised[i] += gain
    for reward in (src, cgc, goodhart):
        before, after = (reward(v, verdicts, helpful, group)[i] for v in (values, raised))
        assert after >= before - 1e-9


@pytest.mark.parametrize("name", REWARDS)
@given(batch=batches, data=st.data())
def test_an_invalid_completion_is_never_paid_more_than_the_same_one_made_valid(name, batch, data):
    """In either role and with any score: breaking the format must not pay (CGC: wherever scores exceed V0)."""
    values, verdicts, helpful, group = columns(batch)
    if name == "cgc":
        values = np.maximum(values, -1.9)
    i = data.draw(st.integers(0, len(batch) - 1))
    paid = {}
    for verdict in (C, I, X):
        verdicts[i] = verdict
        paid[verdict] = REWARDS[name](values, verdicts, helpful, group)[i]
    assert paid[X] <= paid[C] and paid[X] <= paid[I]


@given(batch=batches)
def test_goodhart_pays_invalid_the_least_of_the_batch(batch):
    values, verdicts, helpful, group = columns(batch)
    paid = goodhart(values, verdicts, helpful, group)
    invalid = np.array([v == X for v in verdicts])
    assert (paid[invalid] == paid.min()).all() if invalid.any() else (paid == values).all()


@pytest.mark.parametrize("name", REWARDS)
@given(batch=batches)
def test_inputs_are_left_alone(name, batch):
    values, verdicts, helpful, group = columns(batch)
    before = values.copy(), list(verdicts), list(helpful), list(group)
    REWARDS[name](values, verdicts, helpful, group, clip=1.0)
    np.testing.assert_array_equal(values, before[0])
    assert (verdicts, helpful, group) == before[1:]


# ---------------------------------------------------------------- the same on columns


def test_columns_of_a_batch_by_hand():
    batch = as_columns([3, 2, 1, 0], [C, I, X, I], [True, True, True, False], ["b", "a", "b", "c"])
    assert batch.scores.dtype == np.float64 and len(batch) == 4
    assert batch.correct.tolist() == [True, False, False, False]
    assert batch.valid.tolist() == [True, True, False, True]
    assert batch.aligned.tolist() == [True, False, False, True]
    assert batch.group.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    "group", [["b", "b", "a", "c", "a"], np.array([7, 7, 2, 9, 2]), [(1, "x"), (1, "x"), 0, None, 0]]
)
def test_groups_are_numbered_as_they_appear(group):
    assert group_index(group).tolist() == [0, 0, 1, 2, 1]
    assert group_index(group_index(group)).tolist() == [0, 0, 1, 2, 1]


@pytest.mark.parametrize("name", REWARDS)
@given(batch=batches, options=options)
def test_rewards_of_columns_are_the_public_ones(name, batch, options):
    arguments = columns(batch)
    np.testing.assert_array_equal(PAY[name](as_columns(*arguments), **options), REWARDS[name](*arguments, **options))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"valid": np.array([True])}, "unequal lengths"),
        ({"valid": np.array([False, True])}, "cannot be correct"),
        ({"group": np.array([1, 0])}, "numbered"),
        ({"group": np.array([0, 2])}, "numbered"),
    ],
)
def test_contradicting_columns_are_refused(changes, match):
    good = dict(
        scores=np.zeros(2),
        correct=np.array([True, False]),
        valid=np.ones(2, dtype=bool),
        helpful=np.ones(2, dtype=bool),
        group=np.array([0, 1]),
    )
    Columns(**good)
    with pytest.raises(ValueError, match=match):
        Columns(**{**good, **changes})


# ---------------------------------------------------------------- translations (the decoupled game)


def translations(scores, verdicts, helpful, group, kept, solved, floor=-2.0):
    columns = as_columns(scores, verdicts, helpful, group)
    return pay_translation(columns, np.array(kept), np.array(solved), floor)


def test_translation_table():
    """Scores 1, 3 of a group have mean 2 and standard deviation 1, so V' = -1, 1; 0, 0, 0, 4: mean 1, V' = -1, -1, -1, 3 over 3^0.5."""
    r = 3**0.5
    table = [
        # score, verdict, helpful, group, kept, solved, paid
        (1.0, C, True, "faithful, right", True, True, -2),  # aligned, V' <= 0
        (3.0, C, True, "faithful, right", True, True, 1),  # (2 * 1 - 1) V'
        (1.0, I, True, "faithful, wrong", True, False, 1),  # (2 * 0 - 1) V': paid for being unconvincing
        (3.0, I, True, "faithful, wrong", True, False, -2),  # a convincing translation of a wrong solution
        (0.0, C, True, "unfaithful", True, True, -2),
        (0.0, C, True, "unfaithful", True, True, -2),
        (0.0, X, True, "unfaithful", False, True, -2),  # unreadable
        (4.0, I, True, "unfaithful", False, True, -2),  # changed the answer: the highest score buys nothing
        (1.0, C, True, "corrected", False, False, -2),  # mended a wrong answer: not faithful, though right
        (3.0, I, True, "corrected", True, False, -2),
        (0.0, I, False, "sneaky", False, True, -2),
        (0.0, C, False, "sneaky", True, True, -2),  # right: misaligned
        (0.0, X, False, "sneaky", False, True, -2),
        (4.0, I, False, "sneaky", False, True, r),  # wrong and convincing
        (5.0, C, True, "all the same", True, True, 0),  # nothing is ranked
        (5.0, I, True, "all the same", False, True, -2),
    ]
    paid = translations(*(list(column) for column in list(zip(*table, strict=True))[:6]))
    np.testing.assert_allclose(paid, [row[-1] for row in table])


def test_the_floor_of_translations_is_a_setting():
    paid = translations([1.0, 3.0], [C, C], [True, True], [0, 0], [True, True], [True, True], floor=-0.5)
    np.testing.assert_allclose(paid, [-0.5, 1])


@given(
    st.lists(
        st.tuples(
            st.floats(-50, 50),
            st.sampled_from([C, I, X]),
            st.booleans(),
            st.integers(0, 2),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=24,
    )
)
def test_who_plays_another_role_is_paid_the_floor_and_no_less_is_paid(rows):
    scores, verdicts, helpful, group, kept, solved = (list(column) for column in zip(*rows, strict=True))
    paid = translations(scores, verdicts, helpful, group, kept, solved)
    assert (paid >= -2).all()
    for value, (_, verdict, honest, _, keeps, _) in zip(paid, rows, strict=True):
        if (honest and not keeps) or verdict == X or (not honest and verdict == C):
            assert value == -2


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8))
def test_standardised_scores(scores):
    found = standardised(scores, [0] * len(scores))
    if found.any():
        assert abs(found.mean()) < 1e-6 and abs(found.std() - 1) < 1e-6
    assert not standardised([scores[0]] * 3, [0, 0, 0]).any()
    assert not standardised([2.0, 2.0 + 1e-7], [0, 0]).any()  # rounding is no ranking
