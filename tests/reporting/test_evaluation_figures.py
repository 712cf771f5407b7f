"""Figures of the evaluation, drawn from planted sections."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.evaluation.attack_schema import AtRisk, AttackRecord, Survival
from legibility.evaluation.schema import (
    BestOfNRow,
    Counts,
    Decoding,
    Evaluation,
    Matrix,
    ReliabilityBin,
    SeparabilityRow,
    SoundnessRow,
    WorstCase,
)
from legibility.evaluation.text_sets import Attackers, BothRoles
from legibility.game.condition import (
    CORRECTNESS_ONLY,
    HELD_OUT_JUDGE,
    LENGTH_PENALISED,
    START,
    helpful,
    sneaky,
    verifier,
)
from legibility.game.run_records import AttackSetup
from legibility.reporting.drawing import LIGHT
from legibility.reporting.evaluation_figures import (
    attacks_figure,
    best_of_n_figure,
    evaluation_figures,
    matrix_figure,
    pooled_texts,
    separability_figure,
    shades,
    soundness_figure,
)
from legibility.stored import Interval

DECODING = Decoding(temperature=1.0, samples=4, problems=30)
JUDGES = [verifier(0), verifier(1), HELD_OUT_JUDGE]
POOLED = [START, BothRoles(0), BothRoles(1), CORRECTNESS_ONLY, LENGTH_PENALISED]
TEXTS = [*POOLED, helpful(0), helpful(1), sneaky(0), sneaky(1), Attackers("goodhart", 0), Attackers("src", 1)]
SETUP = AttackSetup(problems_per_step=16, incorrect=0.95, goodhart_accuracy=0.2, goodhart_start=0.4)


def matrix(texts=TEXTS) -> Matrix:
    """AUROC is 0.5 + judge / 10 + text / 100, by their places; verifier 1 on base text is not known."""
    auroc = {j: {t: 0.5 + i / 10 + k / 100 for k, t in enumerate(texts)} for i, j in enumerate(JUDGES)}
    auroc[verifier(1)][START] = None
    bounds = {j: dict.fromkeys(texts, (0.4, 0.9)) for j in JUDGES}
    metrics = ("auroc", "pairwise", "recall", "fpr")
    return Matrix(
        verifiers=JUDGES,
        solutions=texts,
        counts=dict.fromkeys(texts, Counts(correct=30, incorrect=30)),
        threshold=dict.fromkeys(JUDGES, 0.0),
        decoding=DECODING,
        least=20,
        **dict.fromkeys(metrics, auroc),
        **{f"{m}_interval": bounds for m in metrics},
    )


def attack(index: int, seed: int, steps: int, exploited: bool, reward: str = "src") -> AttackRecord:
    return AttackRecord(
        verifier=index,
        reward=reward,
        seed=seed,
        steps=steps,
        exploited=exploited,
        cap=40,
        quick=False,
        start="base",
        settings=SETUP,
    )


def median(index: int, value, low, high) -> Survival:
    return Survival(
        verifier=index, reward="src", median=value, low=low, high=high, n=2, censored=0.5, cap=40, quick=False
    )


def best_of(index: int, n: int, value: float, problems: int = 30, null: float | None = None) -> BestOfNRow:
    return BestOfNRow(
        round=index,
        n=n,
        value=value,
        low=value - 0.1,
        high=value + 0.1,
        null=null,
        problems=problems,
        role="helpful",
        decoding=DECODING,
    )


def test_the_matrix_has_a_panel_for_each_kind_of_text() -> None:
    drawn = matrix_figure(matrix(), LIGHT)
    panels = [ax for ax in [ax for part in drawn.subfigs for ax in part.axes] if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == [
        "pooled",
        "inside the helpful role",
        "inside the sneaky role",
        "attackers",
    ]
    columns = [[t.get_text() for t in ax.get_xticklabels()] for ax in panels]
    assert columns[0] == ["base", "round 0", "round 1", "corr.", "corr. short"]
    assert columns[1] == columns[2] == ["round 0", "round 1"] and columns[3] == ["goodh. 0", "src 1"]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["verifier 0", "verifier 1", "held-out judge"]
    shown = np.ma.filled(panels[2].images[0].get_array(), np.nan)
    assert shown == pytest.approx(np.array([[0.57, 0.58], [0.67, 0.68], [0.77, 0.78]]))
    assert [t.get_text() for t in panels[0].texts][5] == "–"  # verifier 1 on base text


def test_the_headline_has_the_first_panel_where_it_was_measured() -> None:
    plain = matrix()
    by_style = {j: {t: 0.9 for t in row} for j, row in plain.auroc.items()}
    drawn = matrix_figure(plain.model_copy(update={"same_style": by_style}), LIGHT)
    upper, lower = ([ax for ax in part.axes if ax.get_visible()] for part in drawn.subfigs)
    assert [ax.get_title(loc="left") for ax in upper][:2] == ["same problem, role and style", "pooled"]
    assert [ax.get_title(loc="left") for ax in lower] == ["attackers, same problem and style", "attackers"]
    assert np.ma.filled(upper[0].images[0].get_array(), np.nan) == pytest.approx(np.full((3, 5), 0.9))
    assert np.ma.filled(upper[1].images[0].get_array(), np.nan)[0, 0] == pytest.approx(0.5)


def test_a_verifier_on_its_own_rounds_text_is_outlined() -> None:
    drawn = matrix_figure(matrix([t for t in TEXTS if not isinstance(t, Attackers)]), LIGHT)
    places = [
        [(round(p.get_x() + 0.47), round(p.get_y() + 0.45)) for p in ax.patches]
        for ax in drawn.axes
        if ax.get_visible()
    ]
    assert places == [[(1, 0), (2, 1)], [(0, 0), (1, 1)], [(0, 0), (1, 1)]]


def test_pooled_texts_leave_out_roles_and_attackers() -> None:
    assert pooled_texts(matrix()) == POOLED


def test_attacks_are_dots_where_they_succeed_and_triangles_where_not() -> None:
    records = [attack(0, 0, 10, True), attack(0, 1, 40, False), attack(1, 0, 30, True, "goodhart")]
    drawn = attacks_figure(records, [median(0, 10, 5, None)], LIGHT)
    assert [ax.get_title(loc="left") for ax in drawn.axes] == ["SRC", "Goodhart"]
    lines = drawn.axes[0].lines
    assert list(lines[0].get_ydata()) == [10, 10] and list(lines[1].get_ydata()) == [5, 40]  # open end: to the cap
    assert [(line.get_marker(), line.get_ydata()[0]) for line in lines[2:]] == [("o", 10), ("^", 40)]
    assert drawn.axes[1].lines[0].get_xdata()[0] == pytest.approx(0.9)
    at_risk = [AtRisk(step=0, attacks=2), AtRisk(step=20, attacks=1), AtRisk(step=40, attacks=1)]
    drawn = attacks_figure(records, [median(0, 10, 5, None).model_copy(update={"at_risk": at_risk})], LIGHT)
    assert [t.get_text() for t in drawn.axes[0].get_xticklabels()] == ["0\n2 1 1", "1\n"]


def test_best_of_n_draws_sizes_that_every_round_has() -> None:
    rows = [best_of(0, 2, 0.5), best_of(1, 2, 0.75), best_of(0, 4, 0.25), best_of(1, 4, 1.0, problems=19)]
    drawn = best_of_n_figure(rows, LIGHT)
    assert [list(line.get_ydata()) for line in drawn.axes[0].lines] == [[0.5], [0.75]]
    assert best_of_n_figure([best_of(0, 2, 0.5, problems=3)], LIGHT) is None


def test_best_of_n_draws_what_random_scores_get_beside_each_round() -> None:
    rows = [best_of(0, 2, 0.6, null=0.5), best_of(0, 4, 0.7, null=0.375)]
    ax = best_of_n_figure(rows, LIGHT).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.6, 0.7], [0.5, 0.375]]
    assert "random scores" in [text.get_text().strip() for text in ax.texts]


def soundness(judge, **known) -> SoundnessRow:
    curve = [ReliabilityBin(predicted=0.25, observed=0.5, n=9), ReliabilityBin(predicted=0.75, observed=0.625, n=9)]
    return SoundnessRow(
        verifier=judge,
        text=BothRoles(judge.round or 0),
        threshold=None,
        ece=Interval(),
        ece_raw=Interval(),
        curve=curve,
        decoding=DECODING,
        **known,
    )


def test_soundness_draws_what_is_known() -> None:
    share = Interval(value=0.5, low=0.25, high=0.75)
    worst = WorstCase(value=0.9, low=0.8, high=1.0, attempts=2.0, problems=9)
    rows = [soundness(verifier(0), recall=share, fpr=Interval(), worst_case=worst), soundness(HELD_OUT_JUDGE)]
    left, right = soundness_figure(rows, LIGHT).axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["verifier 0", "held-out judge"]
    dots = {line.get_label(): list(line.get_ydata()) for line in left.lines if line.get_marker() == "o"}
    assert list(dots.values()) == [[0.5], [], [0.9]]
    alone, _ = soundness_figure([soundness(verifier(0), fpr=Interval(value=0.5))], LIGHT).axes
    assert [0.5] in [list(line.get_ydata()) for line in alone.lines]  # without an interval it is drawn all the same
    assert [list(line.get_ydata()) for line in right.lines[1:]] == [[0.5, 0.625]] * 2
    assert [t.get_text() for t in right.texts] == ["verifier 0", "held-out judge"]


def test_every_round_of_the_role_probe_starts_at_the_base() -> None:
    def row(index, step, value, other=None):
        wrong = None if other is None else Interval(value=other, low=other, high=other)
        whole = Interval(value=value, low=value, high=value)
        return SeparabilityRow(round=index, step=step, all=whole, incorrect=wrong, texts=50)

    rows = [row(0, 0, 0.5), row(0, 4, 0.75, 0.625), row(1, 4, 0.875)]
    first, second = separability_figure(rows, LIGHT).axes
    assert [list(line.get_ydata()) for line in first.lines[1:]] == [[0.5, 0.75], [0.625]]
    assert [list(line.get_ydata()) for line in second.lines[1:]] == [[0.5, 0.875]]


def test_only_sections_that_were_evaluated_are_drawn() -> None:
    assert evaluation_figures(Evaluation(), LIGHT) == {}
    rows = [best_of(0, 2, 0.5, problems=3)]
    assert evaluation_figures(Evaluation(best_of_n=rows), LIGHT) == {}  # too few problems of both kinds
    found = evaluation_figures(Evaluation(matrix=matrix(), attacks=[attack(0, 0, 10, True)]), LIGHT)
    assert list(found) == ["matrix", "attacks"]


def test_shades_end_in_the_full_colour() -> None:
    made = shades(LIGHT, "#000000", 3)
    assert made[-1] == pytest.approx((0, 0, 0)) and made[0] == pytest.approx((0.6, 0.6, 0.6))
    assert shades(LIGHT, "#000000", 1) == [(0, 0, 0)]
