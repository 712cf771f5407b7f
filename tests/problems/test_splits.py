"""The split: disjoint by text, no near duplicates across parts, a function of its seed."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.problems.contamination import Contamination
from legibility.problems.records import Problem
from legibility.problems.splits import PARTS, near_duplicates, normalise, share_of, shingles_of, split_problems
from legibility.stored import stored_text

LONG = (
    "Every morning before school {who} walks along the river to the old mill and counts the boats that lie there. "
    "Today there are {n} boats in the sun and some more in the shade, and later {m} of them leave for the sea "
    "with their crews and nets while the others wait for the tide. How many boats stay at the mill until evening?"
)


def make(questions: list[str], prefix: str = "p") -> list[Problem]:
    return [Problem(f"{prefix}{i}", question, "1") for i, question in enumerate(questions)]


def different(n: int, seed: int = 0, prefix: str = "p") -> list[Problem]:
    """`n` problems with nothing in common."""
    rng = np.random.default_rng(seed)
    return make([" ".join(f"w{word}" for word in rng.integers(0, 10**9, size=12)) for _ in range(n)], prefix)


def parts_of(splits) -> dict[str, list[Problem]]:
    return {part: splits.part(part) for part in PARTS}


def report(splits) -> dict:
    """The report as the manifest stores it."""
    return splits.report.model_dump(mode="json")


def sizes(splits) -> list[int]:
    """Of prover, verifier, validation and test."""
    return [len(part) for name, part in parts_of(splits).items() if name != "judge"]


def jaccard(a: str, b: str) -> float:
    one, other = shingles_of(a), shingles_of(b)
    return len(one & other) / max(1, len(one | other))


# ---------------------------------------------------------------- sizes


def test_default_sizes_give_equal_halves():
    assert sizes(split_problems(different(101), None, seed=0)) == [40, 40, 10, 10]
    assert sizes(split_problems(different(101), different(7, 1, "t"), seed=0)) == [45, 45, 10, 7]


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ({"prover": 30, "verifier": 20, "validation": 5, "test": 4}, [30, 20, 5, 4]),
        ({"prover": 30, "verifier": None, "validation": 5, "test": 5}, [30, 60, 5, 5]),
        ({"verifier": 30, "validation": 5, "test": 5}, [60, 30, 5, 5]),
        ({"validation": 0, "test": 0}, [50, 50, 0, 0]),
    ],
)
def test_sizes_asked_for(wanted, got):
    assert sizes(split_problems(different(100), None, sizes=wanted, seed=0)) == got


@pytest.mark.parametrize(
    ("wanted", "judge"),
    [
        ({"prover": 40, "verifier": 20, "validation": 5, "test": 5}, 20),  # as many as the verifier, of 30 left over
        ({"prover": 60, "verifier": 20, "validation": 5, "test": 5}, 10),  # what is left: half as many
        ({"prover": 61, "verifier": 20, "validation": 5, "test": 5}, 0),  # less than that
        ({"prover": 40, "verifier": 20, "validation": 5, "test": 5, "judge": 0}, 0),
        ({"prover": 40, "verifier": 20, "validation": 5, "test": 5, "judge": 30}, 30),
        ({"validation": 0, "test": 0, "judge": 20}, 20),
        ({"validation": 0, "test": 0}, 0),
        ({"verifier": 30, "validation": 5, "test": 5, "judge": 25}, 25),
    ],
)
def test_the_judge_has_problems_of_its_own_where_some_are_left(wanted, judge):
    splits = split_problems(different(100), None, sizes=wanted, seed=0)
    assert len(splits.judge) == judge
    assert report(splits)["used"].get("judge") == (judge or None)
    assert ("judge_against_others" in report(splits)["near_duplicates"]) == bool(judge)
    others = [p.id for part in PARTS if part != "judge" for p in splits.part(part)]
    assert not {p.id for p in splits.judge} & set(others)
    if "judge" not in wanted:  # it takes nothing from the others
        without = split_problems(different(100), None, sizes={**wanted, "judge": 0}, seed=0)
        assert all(without.part(part) == splits.part(part) for part in PARTS if part != "judge")


def test_the_judges_problems_are_no_near_duplicates_of_the_verifiers():
    texts = [p.question for p in different(30)]
    pairs = make([f"{word} {text}" for text in texts for word in ("well", "now", "so")])
    for wanted in ({"prover": 20, "verifier": 20}, {"judge": 15}):
        splits = split_problems(pairs, None, sizes={"validation": 0, "test": 0, **wanted}, seed=0, threshold=0.6)
        assert splits.judge and report(splits)["near_duplicates"]["judge_against_others"]["dropped"] > 0
        for p in splits.judge:
            assert all(jaccard(p.question, q.question) < 0.6 for q in (*splits.prover, *splits.verifier))


def test_test_problems_come_only_from_the_test_source():
    splits = split_problems(different(50), different(20, 1, "t"), sizes={"test": 15}, seed=0)
    assert len(splits.test) == 15
    assert all(p.id.startswith("t") for p in splits.test)
    assert not any(p.id.startswith("t") for part in PARTS[:3] for p in splits.part(part))


@pytest.mark.parametrize(
    ("wanted", "test", "messages"),
    [
        ({"test": 101}, None, ["100 distinct problems, and 113 are", "test_size 101", "validation null (at least 10)"]),
        ({"test": 50}, 20, ["the test source has 20 distinct problems, and problems.test_size is 50; lower"]),
        ({"test": 50, "validation": 60}, None, ["and 112 are asked for", "validation 60", "test_size 50"]),
        ({"test": 10, "validation": 10, "verifier": 90}, None, ["and 111", "verifier 90", "prover null (at least 1)"]),
        (
            {"test": 10, "validation": 10, "prover": 81, "verifier": 5},
            None,
            ["and 106", "prover 81, problems.verifier 5"],
        ),
        ({"test": 10, "validation": 10, "prover": 40, "verifier": 30, "judge": 11}, None, ["and 101", "judge 11"]),
        ({"test": 50, "prover": 100}, 20, ["test_size is 50; the train source has 100", "prover 100"]),
    ],
)
def test_too_few_problems_is_one_error_with_every_part_and_its_setting(wanted, test, messages):
    with pytest.raises(UserError, match="too few problems: ") as error:
        split_problems(different(100), different(test, 1) if test else None, sizes=wanted, seed=0)
    assert all(message in str(error.value) for message in messages), error.value
    assert str(error.value).endswith("; lower these, set them to null for shares, or give more problems")


def test_parts_that_are_all_shares_are_not_told_to_become_shares():
    with pytest.raises(UserError, match="too few problems: ") as error:
        split_problems(different(3), None, sizes={}, seed=0)
    assert str(error.value).endswith("; give more problems") and "shares" not in str(error.value)


def test_what_near_duplicates_take_away_is_missing_from_the_part_after_them():
    alike = [Problem(f"a{i}", f"{different(1)[0].question} {i}", "1") for i in range(10)]
    with pytest.raises(UserError, match=r"too few problems for .* after the parts filled before it.*problems\."):
        split_problems(
            alike, None, sizes={"test": 1, "validation": 1, "prover": 4, "verifier": 4}, seed=0, threshold=0.3
        )


def test_nothing_at_all():
    with pytest.raises(UserError, match="the train source has 0 distinct problems"):
        split_problems([], None, seed=0)


@pytest.mark.parametrize(("count", "share"), [(1, 1), (4, 1), (30, 6), (50, 10), (99, 10), (100, 10), (400, 40)])
def test_a_share_is_a_tenth_and_of_a_small_source_up_to_a_fifth(count, share):
    assert share_of(count) == share


def test_an_unknown_part_is_a_mistake():
    with pytest.raises(ValueError, match="probes"):
        split_problems(different(10), None, sizes={"probes": 3}, seed=0)


# ---------------------------------------------------------------- determinism


def test_a_function_of_the_seed_and_not_of_global_state():
    problems = different(60)
    np.random.seed(1)
    one = split_problems(problems, None, seed=5)
    before = np.random.get_state()[1].tolist()
    np.random.seed(2)
    assert split_problems(problems, None, seed=5) == one
    assert split_problems(problems, None, seed=6).prover != one.prover
    np.random.seed(1)
    split_problems(problems, None, seed=7)
    assert np.random.get_state()[1].tolist() == before


def test_the_test_size_does_not_move_the_training_parts():
    train, test = different(60), different(20, 1, "t")
    one, other = (split_problems(train, test, sizes={"test": n}, seed=0) for n in (5, 20))
    assert (one.prover, one.verifier, one.validation) == (other.prover, other.verifier, other.validation)


# ---------------------------------------------------------------- duplicates


def test_exact_duplicates_leave_the_training_side():
    train = different(40)
    copies = [Problem("again", f"  {train[0].question.upper()} ", "1")]
    test = [Problem(f"t{i}", p.question.replace(" ", "\n "), "1") for i, p in enumerate(train[3:6])]
    splits = split_problems(train + copies, test, seed=0)
    assert len(splits.test) == 3
    used = {p.id for part in PARTS[:3] for p in splits.part(part)}
    assert used.isdisjoint({"p3", "p4", "p5", "again"})
    found = report(splits)["exact_duplicates"]
    assert found["within_train"] == {"dropped": 1, "examples": [{"dropped": "again", "kept": "p0"}]}
    assert found["train_against_test"]["dropped"] == 3
    assert found["train_against_test"]["examples"][0] == {"dropped": "p3", "kept": "t0"}
    assert found["within_test"]["dropped"] == 0
    assert list(report(split_problems(train, None, seed=0))["exact_duplicates"]) == ["within_train"]


def test_numbers_are_part_of_the_question():
    assert normalise("Two  PENS\tand 3") == normalise("two pens and 3") != normalise("two pens and 4")


def test_near_duplicates_of_test_problems_leave_the_training_side():
    text = LONG.format(who="Ann", n=21, m=4)
    near = text.replace("evening", "night")
    assert 0.8 < jaccard(text, near) < 1
    train = [*different(30), Problem("near", near, "17")]
    splits = split_problems(train, [Problem("t", text, "17")], seed=0)
    assert all(p.id != "near" for part in PARTS for p in splits.part(part))
    found = report(splits)["near_duplicates"]["train_against_test"]
    assert found["dropped"] == 1
    assert found["only_numbers_differ"] == 0
    assert found["examples"] == [{"dropped": "near", "kept": "t", "jaccard": round(jaccard(text, near), 3)}]
    loose = split_problems(train, [Problem("t", text, "17")], seed=0, threshold=1.0)
    assert report(loose)["near_duplicates"]["train_against_test"]["dropped"] == 0


def test_same_wording_with_other_numbers_is_counted_and_kept():
    train = make([f"Ann has {i} pens and buys {i + 1} more. How many pens has Ann?" for i in range(20)])
    test = make(["Ann has 90 pens and buys 91 more. How many pens has Ann?"], "t")
    splits = split_problems(train, test, sizes={"validation": 2}, seed=0)
    assert sizes(splits) == [9, 9, 2, 1]
    counts = report(splits)["same_wording_different_numbers"]
    assert counts["prover_in_test"]["problems"] == counts["prover_in_test"]["of"] == 9
    assert counts["validation_in_test"]["problems"] == 2
    assert counts["prover_in_test"]["examples"][0][1] == "t0"
    assert report(splits)["near_duplicates"]["train_against_test"]["dropped"] == 0


def test_signs_tell_short_questions_apart():
    assert jaccard("What is 3 + 4?", "What is 3 - 4?") < 0.8
    assert jaccard("What is 3 + 4?", "what is  3 + 4 ?") == 1


def test_halves_stay_equal_when_near_duplicates_fall():
    texts = [p.question for p in different(30)]
    pairs = [f"{word} {text}" for text in texts for word in ("well", "now")]  # 30 near-duplicate pairs
    splits = split_problems(make(pairs), None, sizes={"validation": 0, "test": 0}, seed=0, threshold=0.6)
    dropped = report(splits)["near_duplicates"]["prover_against_verifier"]["dropped"]
    assert dropped > 0
    assert len(splits.prover) == len(splits.verifier) == 30 - dropped


def test_two_sources_that_number_alike_get_distinct_ids():
    splits = split_problems(different(30, 0), different(5, 1), seed=0)
    assert {p.id for p in splits.test} == {f"test/p{i}" for i in range(5)}


def test_the_report_is_plain_json():
    splits = split_problems(different(40), different(9, 1, "t"), seed=np.int64(3))
    assert Contamination(**json.loads(stored_text(splits.report))) == splits.report
    assert report(splits)["loaded"] == {"train": 40, "test": 9}
    assert report(splits)["used"] == {"prover": 16, "verifier": 16, "validation": 8, "test": 9}


# ---------------------------------------------------------------- properties

questions = st.lists(st.sampled_from(["a", "b", "A", "3", "4"]), max_size=14).map(" ".join)
variants = st.tuples(st.sampled_from("XYZ"), st.integers(0, 11), st.sampled_from("0aA"), st.integers(0, 99)).map(
    lambda v: " ".join(v[2] if at == v[1] else f"{v[0]}{at}" for at in range(12)) + f" {v[3]}"
)  # one of three stories with one word and the last number changed


@settings(max_examples=150, deadline=None)
@given(
    train=st.lists(variants | questions, min_size=6, max_size=40),
    test=st.none() | st.lists(variants | questions, min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    threshold=st.sampled_from([0.1, 0.3, 0.6, 0.8, 1.0]),
)
def test_parts_are_disjoint_and_hold_no_near_duplicates(train, test, seed, threshold):
    try:
        splits = split_problems(
            make(train),
            None if test is None else make(test, "t"),
            sizes={"validation": 1},
            seed=seed,
            threshold=threshold,
        )
    except UserError:
        return
    assert len(splits.prover) == len(splits.verifier)
    parts = list(parts_of(splits).items())
    for at, (name, part) in enumerate(parts):
        assert len({normalise(p.question) for p in part}) == len(part)
        assert len({p.id for p in part}) == len(part)
        for other_name, other in parts[at + 1 :]:
            for p in part:
                for q in other:
                    assert p.id != q.id and normalise(p.question) != normalise(q.question), (name, other_name)
                    assert jaccard(p.question, q.question) < threshold, (name, other_name)


@settings(max_examples=150, deadline=None)
@given(
    left=st.lists(questions, max_size=12),
    right=st.lists(questions, max_size=12),
    threshold=st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 1.0]),
)
def test_near_duplicates_equal_brute_force(left, right, threshold):
    found = near_duplicates([shingles_of(q) for q in left], [shingles_of(q) for q in right], threshold)
    best = {i: max((jaccard(a, b) for b in right), default=0.0) for i, a in enumerate(left)}
    assert {i: overlap for i, (_, overlap) in found.items()} == {
        i: overlap for i, overlap in best.items() if overlap >= threshold
    }
    for i, (j, overlap) in found.items():
        assert jaccard(left[i], right[j]) == overlap


def by_pairs(left, right, threshold):
    """The closest near duplicate by comparing each pair; of equals the first."""
    found = {}
    for i, one in enumerate(left):
        overlaps = [len(one & other) / len(one | other) if one | other else 0.0 for other in right]
        best = max(range(len(right)), key=lambda j: (overlaps[j], -j), default=None)
        if best is not None and overlaps[best] > 0 and overlaps[best] >= threshold - 1e-9:
            found[i] = (best, overlaps[best])
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.frozensets(st.integers(0, 14).map(str), max_size=12), max_size=25),
    st.lists(st.frozensets(st.integers(0, 14).map(str), max_size=12), max_size=25),
    st.integers(0, 30),
    st.sampled_from([0.1, 0.5, 0.6, 0.75, 0.8, 1.0]),
)
def test_near_duplicates_are_those_of_all_pairs_ties_included(left, right, preamble, threshold):
    shared = frozenset(f"s{i}" for i in range(preamble))
    one, other = ([shared | x for x in group] for group in (left, right))
    assert near_duplicates(one, other, threshold) == by_pairs(one, other, threshold)
    assert near_duplicates(left, other, threshold) == by_pairs(left, other, threshold)


class Counted(frozenset):
    """A set that counts how often it is compared."""

    comparisons = 0

    def __and__(self, other):
        Counted.comparisons += 1
        return super().__and__(other)


@pytest.mark.parametrize("own", [20, 10])  # of 100 shingles: no near duplicates, or all pairs are
def test_a_shared_preamble_does_not_make_every_pair_be_compared(own):
    counts = []
    for n in (200, 400, 800):
        sets = [
            Counted([f"s{i}" for i in range(100 - own)] + [f"{k}-{i}" for i in range(own + k % 3)])
            for k in range(2 * n)
        ]
        Counted.comparisons = 0
        found = near_duplicates(sets[:n], sets[n:], 0.75)
        assert len(found) == (n if own == 10 else 0)
        counts.append(Counted.comparisons)
    assert counts[2] <= 8 * 800  # 640,000 pairs
    assert counts[2] <= 2.2 * counts[1] <= 2.2**2 * counts[0]


def test_thousands_of_template_problems_take_seconds():
    def story(i: int) -> str:
        a, b = divmod(i * 7919 % 100_000, 300)
        return f"Ann has {a} red pens in a box. She buys {b} more at the shop and loses {i % 50}. How many has she?"

    start = time.process_time()
    train, test = make([story(i) for i in range(4000)]), make([story(i) for i in range(50_000, 50_700)], "t")
    splits = split_problems(train, test, seed=0)
    assert time.process_time() - start < 10
    assert len(splits.test) == 700
