"""Resamples of problems: intervals that cover, are paired, and are those of the summary's bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from legibility.evaluation import auroc, balanced_best_of_n, bootstrap, pairwise_accuracy
from legibility.evaluation.intervals import Figure, Resamples, combine, share
from legibility.metrics import LEAST_UNITS
from legibility.stored import Interval
from tests.evaluation.helpers import resamples


def test_retained_gain_is_undefined_where_the_ends_coincide():
    assert np.isnan(share(0.3, 0.0)) and share(0.3, 0.6) == pytest.approx(0.5)


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
    rng, trials = np.random.default_rng(4), 300
    problems = [str(i // 8) for i in range(8 * 120)]
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
            interval = figure.interval()
            hits[name] += interval.low <= truth <= interval.high
    assert all(0.90 <= h / trials <= 0.99 for h in hits.values()), hits


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
    """Two figures that move together differ by a constant in every resample, which makes no interval."""
    problems = [str(i) for i in range(50)]
    values = np.random.default_rng(6).random(50)
    found = resamples(problems)
    gap = found.mean(problems, values + 0.1) - found.mean(problems, values)
    np.testing.assert_allclose(gap.draws, 0.1, atol=1e-5)
    wider = (found.mean(problems, 2 * values) - found.mean(problems, values)).interval()
    assert wider.low < wider.value < wider.high


def test_too_few_problems_or_resamples_that_agree_make_no_interval():
    few, enough = ([str(i) for i in range(count)] for count in (LEAST_UNITS - 1, LEAST_UNITS))
    for problems, known in ((few, False), (enough, True)):
        found, values = resamples(problems), np.arange(len(problems)) / 10
        labels, scores = np.arange(len(problems)) % 2 == 0, np.sin(np.arange(len(problems)))
        for figure in (found.mean(problems, values), found.auroc(scores, labels, problems)):
            assert not np.isnan(figure.value) and (figure.interval().low is not None) is known
    many = [str(i) for i in range(50)]
    right = resamples(many).mean(many, np.ones(50)).interval()
    assert (right.value, right.low, right.high) == (1.0, None, None)  # and not 100.0 to 100.0 %
    part = resamples(many).mean(many, [1.0 if i % 2 else np.nan for i in range(9)] + [np.nan] * 41).interval()
    assert part.value == 1.0 and part.low is None  # four problems of fifty stand behind it


def test_figures_of_nothing_are_undefined():
    problems = ["a", "b"]
    found = resamples(problems, 10)
    nothing = Interval()
    assert found.ratio(problems, [0, 0], [0, 0]).interval() == nothing
    assert found.auroc([1, 2], [True, True], problems).interval() == nothing
    assert found.pairwise([1, 2], [True, False], problems).interval() == nothing
    zero = Figure(0.0, np.zeros(10), 0.95)
    assert combine(lambda a, b: a / b, zero, zero).interval() == nothing
    assert found.mean(problems, [1.0, np.nan]).value == 1.0


def test_resamples_are_the_draws_of_the_bootstrap():
    """The same random numbers give the same interval, whether problems are indexed or weighted."""
    problems = [f"p{i:03d}" for i in range(80)]
    first, second = np.random.default_rng(1).integers(0, 5, (2, 80)) / 4  # accuracies of four samples
    found = resamples(problems, 500, seed=2)
    for weighted, indexed in (
        (found.mean(problems, first) - found.mean(problems, second), lambda i: first[i].mean() - second[i].mean()),
        (
            combine(share, found.mean(problems, first), found.mean(problems, second)),
            lambda i: float(share(first[i].mean(), second[i].mean())),
        ),
    ):
        drawn = bootstrap(indexed, 80, resamples=500, confidence_level=0.95, rng=np.random.default_rng(2))
        for name, value in weighted.interval():
            assert value == pytest.approx(drawn[name], abs=1e-12), name


def test_multinomial_resamples_hold_as_many_problems():
    found = Resamples.multinomial("abcde", resamples=40, confidence_level=0.9, rng=np.random.default_rng(0))
    assert found.weights.shape == (40, 5) and (found.weights.sum(1) == 5).all() and found.confidence_level == 0.9


def test_a_share_of_next_to_nothing_is_undefined():
    found = share(np.array([1.0, 1.0, -1.0]), np.array([2.0, 1e-12, -0.5]))
    np.testing.assert_allclose(found, [0.5, np.nan, 2.0])


def test_pairs_within_something_else_are_those_of_finer_groups(monkeypatch):
    """p: 2 > 1 in style a, 0 < 3 in style b; across styles they would be four pairs. Resamples keep problems whole."""
    monkeypatch.setattr("legibility.evaluation.intervals.LEAST_UNITS", 2)
    found = resamples(["p", "q"])
    scores, correct, within = [2.0, 1.0, 0.0, 3.0, 5.0, 4.0], [True, False] * 3, ["a", "a", "b", "b", "a", "a"]
    figure = found.pairwise(scores, correct, list("ppppqq"), within=within)
    assert figure.value == pytest.approx(2 / 3)
    both = found.weights[:, 0] * 2 + found.weights[:, 1]
    np.testing.assert_allclose(figure.draws, (found.weights[:, 0] + found.weights[:, 1]) / both, rtol=1e-6)
    whole = found.pairwise(scores, correct, list("ppppqq"))
    assert whole.value == pytest.approx(2 / 5)


def test_a_pair_weighs_as_both_its_problems_do(monkeypatch):
    """Of three problems' pairs p-q holds, p-r does not, q-r does not count."""
    holds, counts = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    found = resamples(["p", "q", "r"])
    figure = found.pair_ratio(list("pqr"), holds, counts)
    assert figure.value == 0.5 and np.isnan(figure.draws).all()
    monkeypatch.setattr("legibility.evaluation.intervals.LEAST_UNITS", 3)
    p, q, r = found.weights.T
    with np.errstate(invalid="ignore"):
        expected = p * q / (p * q + p * r)
    np.testing.assert_allclose(found.pair_ratio(list("pqr"), holds, counts).draws, expected, rtol=1e-6)
