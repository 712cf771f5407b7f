"""The evaluation's formulas: against enumeration, Monte Carlo, independent libraries, and judges whose error rates are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.evaluation import auroc, balanced_best_of_n, pairwise_accuracy
from legibility.evaluation.attacks.survival import kaplan_meier_median, step_cap
from legibility.evaluation.intervals import Figure, Resamples, combine
from legibility.evaluation.sections.soundness import calibration_error, platt, reliability, worst_case
from legibility.evaluation.sections.tax import length_weights


def resamples(problems, count=200, confidence=0.95, seed=0) -> Resamples:
    return Resamples(problems, resamples=count, confidence=confidence, rng=np.random.default_rng(seed))


# ---------------------------------------------------------------- balanced best-of-n

pools = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=9)


@given(pools, st.sampled_from([2, 4, 6]))
def test_best_of_n_by_enumeration(pool, n):
    """Every n/2-subset of both classes, ties half; few distinct scores, so ties abound."""
    right, wrong = [s for s, c in pool if c], [s for s, c in pool if not c]
    rounds = [(max(a), max(b)) for a in combinations(right, n // 2) for b in combinations(wrong, n // 2)]
    expected = np.mean([(a > b) + 0.5 * (a == b) for a, b in rounds]) if rounds else float("nan")
    got = balanced_best_of_n([s for s, _ in pool], [c for _, c in pool], n)
    assert got == pytest.approx(expected, nan_ok=True)


def test_best_of_n_by_monte_carlo():
    """A pool too large to enumerate, drawn from as the paper does."""
    rng = np.random.default_rng(0)
    scores = np.round(np.concatenate([rng.normal(0.0, 1, 150), rng.normal(0.6, 1, 250)]), 1)
    correct = np.arange(400) < 150
    for n in (2, 8, 64):
        draws = 4000
        right = np.array([rng.choice(scores[correct], n // 2, replace=False).max() for _ in range(draws)])
        wrong = np.array([rng.choice(scores[~correct], n // 2, replace=False).max() for _ in range(draws)])
        seen = np.mean((right > wrong) + 0.5 * (right == wrong))
        assert balanced_best_of_n(scores, correct, n) == pytest.approx(seen, abs=4 * 0.5 / np.sqrt(draws))


def test_best_of_n_of_two_is_the_pairwise_accuracy():
    rng = np.random.default_rng(1)
    scores, correct = rng.integers(0, 5, 30), rng.random(30) < 0.4
    assert balanced_best_of_n(scores, correct, 2) == pytest.approx(pairwise_accuracy(scores, correct, ["p"] * 30))


def test_best_of_n_of_judges_that_are_known():
    correct = np.arange(700) < 350
    noise = np.random.default_rng(2).random(700)
    for n in (2, 16, 600):
        assert balanced_best_of_n(correct, correct, n) == pytest.approx(1)
        assert balanced_best_of_n(-1.0 * correct, correct, n) == pytest.approx(0, abs=1e-12)
        assert balanced_best_of_n(np.zeros(700), correct, n) == pytest.approx(0.5)
    assert balanced_best_of_n(noise, correct, 2) == pytest.approx(0.5, abs=0.05)


def test_best_of_n_needs_enough_of_both():
    assert np.isnan(balanced_best_of_n([1, 2, 3], [True, True, False], 4))
    assert np.isnan(balanced_best_of_n([], [], 2))
    for n in (0, 3, -2):
        with pytest.raises(ValueError, match="even"):
            balanced_best_of_n([1, 2], [True, False], n)


# ---------------------------------------------------------------- judges that are known


@pytest.mark.parametrize(
    ("judge", "area", "share"), [("constant", 0.5, 0.5), ("random", 0.5, 0.5), ("perfect", 1.0, 1.0)]
)
def test_known_judges(judge, area, share):
    """Constant and random judges are at chance, a perfect one is perfect, whatever the base rate."""
    rng = np.random.default_rng(3)
    correct = rng.random(6000) < 0.3
    problems = [str(i // 20) for i in range(6000)]
    scores = {"constant": np.ones(6000), "random": rng.random(6000), "perfect": correct.astype(float)}[judge]
    found = resamples(problems, 50)
    assert auroc(scores, correct) == pytest.approx(area, abs=0.02)
    assert found.auroc(scores, correct, problems).value == pytest.approx(area, abs=0.02)
    assert pairwise_accuracy(scores, correct, problems) == pytest.approx(area, abs=0.02)
    assert np.nanmean(
        [balanced_best_of_n(scores[i : i + 20], correct[i : i + 20], 4) for i in range(0, 6000, 20)]
    ) == pytest.approx(share, abs=0.04)
    accuracy = found.mean(problems, (scores >= 0.5) == correct)
    assert accuracy.value == pytest.approx({"constant": 0.3, "random": 0.5, "perfect": 1.0}[judge], abs=0.03)


def test_intervals_cover_the_truth_of_a_judge_with_known_errors():
    """Recall 0.8 and false-positive rate 0.3, varying by problem: 95% intervals cover in 90-99% of 300 simulations.

    Also the area under the curve of a judge with normal scores, whose truth is known in closed form.
    """
    from scipy.stats import norm

    rng, trials = np.random.default_rng(4), 300
    problems = [str(i // 8) for i in range(8 * 120)]
    easy = np.arange(8 * 120) // 8
    hits = {"recall": 0, "fpr": 0, "auroc": 0}
    for trial in range(trials):
        correct = rng.random(len(problems)) < 0.4
        shift = np.repeat(rng.choice([-0.15, 0.15], 120), 8)  # solutions of one problem are judged alike
        accepted = rng.random(len(problems)) < np.where(correct, 0.8, 0.3) + shift
        found = resamples(problems, 300, seed=trial)
        scores = rng.normal(1.0 * correct, 1)
        for name, figure, truth in (
            ("recall", found.ratio(problems, accepted & correct, correct), 0.8),
            ("fpr", found.ratio(problems, accepted & ~correct, ~correct), 0.3),
            ("auroc", found.auroc(scores, correct, problems), norm.cdf(1 / np.sqrt(2))),
        ):
            record = figure.record()
            hits[name] += record["low"] <= truth <= record["high"]
    assert easy.max() == 119
    assert all(0.90 <= h / trials <= 0.99 for h in hits.values()), hits


# ---------------------------------------------------------------- resamples


def test_weighted_draws_equal_drawing_problems():
    """A resample's figure is the metric of the texts of the problems it drew, each as often as drawn."""
    rng = np.random.default_rng(5)
    problems = [str(i) for i in rng.integers(0, 12, 150)]
    scores, correct = rng.integers(0, 6, 150).astype(float), rng.random(150) < 0.5
    found = resamples(problems, 20)
    for name, figure in (
        ("auroc", found.auroc(scores, correct, problems)),
        ("pairwise", found.pairwise(scores, correct, problems)),
    ):
        for k in range(20):
            rows, owners = [], []
            for problem, column in found.place.items():
                for copy in range(int(found.weights[k, column])):
                    inside = [i for i, p in enumerate(problems) if p == problem]
                    rows += inside
                    owners += [f"{problem}/{copy}"] * len(inside)
            expected = (
                auroc(scores[rows], correct[rows])
                if name == "auroc"
                else pairwise_accuracy(scores[rows], correct[rows], owners)
            )
            assert figure.draws[k] == pytest.approx(expected, rel=1e-5), name


def test_a_difference_is_paired():
    """Two figures that move together differ by a constant: the interval of the difference has no width."""
    problems = [str(i) for i in range(50)]
    values = np.random.default_rng(6).random(50)
    found = resamples(problems)
    gap = (found.mean(problems, values + 0.1) - found.mean(problems, values)).record()
    assert gap["low"] == pytest.approx(0.1, abs=1e-5) and gap["high"] == pytest.approx(0.1, abs=1e-5)


def test_undefined_figures():
    problems = ["a", "b"]
    found = resamples(problems, 10)
    nothing = {"value": None, "low": None, "high": None}
    assert found.ratio(problems, [0, 0], [0, 0]).record() == nothing
    assert found.auroc([1, 2], [True, True], problems).record() == nothing
    assert found.pairwise([1, 2], [True, False], problems).record() == nothing
    zero = Figure(0.0, np.zeros(10), 0.95)
    assert combine(lambda a, b: a / b, zero, zero).record() == nothing
    assert found.mean(problems, [1.0, np.nan]).value == 1.0


# ---------------------------------------------------------------- survival


def test_step_cap_is_of_the_attacks_that_reached_theirs():
    assert step_cap([80, 160, 160], [True, False, True]) == 160
    assert step_cap([80, 160], [False, False]) == 80
    assert step_cap([80, 160], [True, True]) == 160


def test_median_by_hand():
    """The product-limit estimate falls 1, 0.8, 0.6, 0.3 at steps 10, 20, 40: the median is 40; nothing is known of 30."""
    found = kaplan_meier_median([10, 20, 30, 40, 50], [True, True, False, True, False])
    assert found["median"] == 40 and found["n"] == 5 and found["censored"] == pytest.approx(0.4)


def test_median_without_censoring_is_the_sample_median():
    assert kaplan_meier_median([12, 10, 14], [True] * 3)["median"] == 12
    assert kaplan_meier_median([10, 20, 30, 40], [True] * 4)["median"] == 20  # half are down at 20


def test_median_beyond_the_cap_is_not_invented():
    assert kaplan_meier_median([60, 60, 60], [False] * 3) == {
        "median": None,
        "low": None,
        "high": None,
        "n": 3,
        "censored": 1.0,
    }
    found = kaplan_meier_median([10, 60, 60], [True, False, False])
    assert found["median"] is None and found["high"] is None
    assert kaplan_meier_median([], [])["median"] is None


def test_median_interval_covers():
    """Exponential times (median 100 log 2) under a cap; the interval's ends may be open."""
    rng, hits, trials = np.random.default_rng(7), 0, 200
    for _ in range(trials):
        times = rng.exponential(100, 25)
        found = kaplan_meier_median(np.minimum(times, 150), times <= 150)
        low, high = found["low"] or 0, np.inf if found["high"] is None else found["high"]
        hits += low <= 100 * np.log(2) <= high
    assert 0.88 <= hits / trials <= 0.99


# ---------------------------------------------------------------- calibration, worst case, length


def test_calibration_of_a_judge_that_says_what_it_knows():
    rng = np.random.default_rng(8)
    truth = rng.uniform(0.05, 0.95, 8000)
    correct = rng.random(8000) < truth
    problems = [str(i // 4) for i in range(8000)]
    found = resamples(problems, 50)
    assert calibration_error(truth, correct, problems, found).value < 0.03
    assert calibration_error(np.full(8000, 0.9), correct, problems, found).value == pytest.approx(0.4, abs=0.02)
    slope, offset = platt(np.log(truth / (1 - truth)) / 3 + 1, correct)  # the scale is undone
    assert slope == pytest.approx(3, rel=0.1) and offset == pytest.approx(-3, rel=0.1)
    curve = reliability(truth, correct)
    assert sum(c["n"] for c in curve) == 8000
    assert all(abs(c["predicted"] - c["observed"]) < 0.06 for c in curve)


def test_platt_on_separable_and_constant_scores():
    assert all(np.isfinite(platt(np.array([0.0, 1.0]), np.array([False, True]))))
    _, offset = platt(np.zeros(10), np.arange(10) < 3)
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(0.3, abs=0.1)


def test_worst_case_by_hand():
    import pandas as pd

    frame = pd.DataFrame({"problem_id": ["a", "a", "b", "b", "c"]})
    found = worst_case(frame, np.array([True, False, False, False, True]), resamples(["a", "b", "c"], 20))
    assert (
        found["value"] == pytest.approx(2 / 3) and found["attempts"] == pytest.approx(5 / 3) and found["problems"] == 3
    )


def test_length_weights_make_lengths_alike():
    import pandas as pd

    rng = np.random.default_rng(9)
    arm, reference = pd.Series(rng.integers(5, 60, 800)), pd.Series(rng.integers(20, 40, 600))
    ours, theirs, support = length_weights(arm, reference)
    assert support == 1.0 and theirs.sum() == 600
    assert ours.sum() == pytest.approx(600)
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, 11)[1:-1]))
    for b in range(len(edges) + 1):
        mine, want = (
            ours[np.searchsorted(edges, arm, "left") == b].sum(),
            (np.searchsorted(edges, reference, "left") == b).sum(),
        )
        assert mine == pytest.approx(want)


def test_lengths_an_arm_does_not_have_are_left_out_on_both_sides():
    import pandas as pd

    arm, reference = pd.Series([10] * 50), pd.Series([10] * 30 + [50] * 70)
    ours, theirs, support = length_weights(arm, reference)
    assert support == pytest.approx(0.3) and theirs.sum() == 30 and ours.sum() == pytest.approx(30)
