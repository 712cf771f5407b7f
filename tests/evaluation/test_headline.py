"""Where a summary holds the numbers that are compared over seeds."""

from __future__ import annotations

import pytest

from legibility.evaluation.headline import (
    Headline,
    auroc_of,
    best_of,
    checkability,
    contrasts,
    false_positive_rate,
    headline,
    probe_end,
    rounds_of,
    same_style_of,
    sneaky_validity,
)
from legibility.evaluation.summary_schema import Summary
from legibility.evaluation.text_sets import BothRoles
from legibility.game.condition import CORRECTNESS_ONLY, helpful, sneaky, verifier
from tests.evaluation.summaries import summary_of

DECODING = {"temperature": 1.0, "samples": 2, "problems": 50}
TEXTS = ["round 0", "round 0 helpful", "round 0 sneaky", "round 1"]
JUDGES = ["verifier 0", "verifier 1"]


def known(value: float) -> dict[str, float | None]:
    return {"value": value, "low": None, "high": None}


def matrix() -> dict:
    """AUROC 0.5, 0.51, … by text, a tenth more for verifier 1; false-positive rates are a tenth of that."""
    auroc = {v: {t: 0.5 + i / 10 + k / 100 for k, t in enumerate(TEXTS)} for i, v in enumerate(JUDGES)}
    fpr = {v: {t: value / 10 for t, value in row.items()} for v, row in auroc.items()}
    bounds = {v: {text: [None, None] for text in TEXTS} for v in JUDGES}
    metrics = {"auroc": auroc, "pairwise": auroc, "recall": auroc, "fpr": fpr}
    return {
        "verifiers": JUDGES,
        "solutions": TEXTS,
        "counts": {text: {"correct": 30, "incorrect": 30} for text in TEXTS},
        "threshold": dict.fromkeys(JUDGES, 0.0),
        "decoding": DECODING,
        "least": 20,
        **metrics,
        **{f"{name}_interval": bounds for name in metrics},
        "same_style": {v: {t: value - 0.05 for t, value in row.items()} for v, row in auroc.items()},
    }


def tax() -> dict:
    def arm(length: float, **measured) -> dict:
        checked = {"held_out_judge": {"raw": known(0.6), **measured}}
        return {"mean_length": length, "support": 1.0, "checkability": checked, "accuracy": {"raw": known(0.5)}} | {
            "step_validity_standardised": {"raw": known(length / 100)}
        }

    return {
        "reference": "game 1",
        "arms": {
            "start": arm(30.0),
            "game 1": arm(20.0, matched=known(0.65)),
            "correctness": arm(40.0, matched=known(0.55), difference=known(-0.1), difference_matched=known(-0.05)),
        },
        "decoding": DECODING,
        "step_validity_exact": True,
        "tax": {"correctness": known(0.1)},
        "tax_matched": {"correctness": known(0.07)},
    }


def row_of_text(text: str, validity: float) -> dict:
    names = ("with_steps", "arithmetic_holds", "least_validity", "wrong_steps", "carried", "first_wrong_place")
    return {
        "text": text,
        "solutions": 9,
        "exact": True,
        "validity": known(validity),
        **{name: known(0.1) for name in names},
        "flaws": {},
        "decoding": DECODING,
    }


@pytest.fixture
def summary() -> Summary:
    """A summary with planted sections."""
    return summary_of(
        0,
        matrix=matrix(),
        tax=tax(),
        subtlety=[row_of_text("round 1 helpful correct", 0.9), row_of_text("round 1 sneaky incorrect", 0.25)],
        separability=[
            {"round": 1, "step": 8, "all": known(0.75), "incorrect": None, "texts": 50},
            {"round": 1, "step": 4, "all": known(0.625), "incorrect": None, "texts": 50},
            {"round": 1, "step": 12, "all": None, "incorrect": None, "texts": 3},
        ],
    )


def read(summary: Summary, name: str, index: int | None = None, judge: int | None = None) -> float | None:
    (found,) = (h for h in headline([summary]) if (h.name, h.round, h.verifier) == (name, index, judge))
    assert isinstance(found, Headline)
    return found.read(summary)


def test_numbers_of_the_run(summary):
    assert read(summary, "start_accuracy") == 0.3 and read(summary, "correctness_accuracy") == pytest.approx(0.6)
    assert read(summary, "legibility_tax") == 0.1 and read(summary, "retained_gain") == 0.5
    assert read(summary, "legibility_tax_equal_length") == 0.07
    assert read(summary, "legibility_tax_length_penalised") is None
    assert [read(summary, f"length_{arm}") for arm in ("start", "last_round", "correctness", "length_penalised")] == [
        30.0,
        20.0,
        40.0,
        None,
    ]
    assert read(summary, "checkability_held_out_judge_last_round") == 0.6
    assert read(summary, "checkability_held_out_judge_correctness_equal_length") == 0.55
    assert read(summary, "checkability_last_verifier_start") is None
    assert read(summary, "checkability_step_validity_standardised_correctness") == 0.4
    assert read(summary, "retained_gain_equal_helpful_samples") is None  # an older summary


def test_numbers_of_a_round(summary):
    assert read(summary, "helpful_accuracy", 1) == 0.5 and read(summary, "sneaky_accuracy", 1) == 0.05
    assert read(summary, "steps", 0) == 80 and read(summary, "steps_to_exploit", 0) == 20
    assert read(summary, "auroc_pooled", 0, 0) == 0.5 and read(summary, "auroc_pooled", 0, 1) == pytest.approx(0.6)
    assert read(summary, "same_style", 0, 1) == pytest.approx(0.55)  # of the matrix
    assert read(summary, "same_style", 0) == 0.6 and read(summary, "same_style", 1) == 0.7  # of the rounds
    assert read(summary, "auroc_helpful", 0, 1) == pytest.approx(0.61)
    assert read(summary, "auroc_sneaky", 0, 0) == pytest.approx(0.52)
    assert read(summary, "false_positive_rate", 1) == pytest.approx(0.063)
    assert read(summary, "best_of_16", 0) == 0.3 and read(summary, "best_of_4", 0) is None
    assert read(summary, "role_probe_auc", 1) == 0.75 and read(summary, "sneaky_validity", 1) == 0.25


def test_readers_are_none_where_nothing_was_measured(summary):
    bare = summary.model_copy(update={"evaluation": None})
    assert (
        auroc_of(bare, verifier(0), BothRoles(0)) is None and false_positive_rate(bare, verifier(0), helpful(0)) is None
    )
    assert best_of(bare, 0, 16) is None and probe_end(bare, 1) is None and sneaky_validity(bare, 1) is None
    assert checkability(bare, "held_out_judge", CORRECTNESS_ONLY, "raw") is None
    assert all(h.read(bare) is None for h in headline([bare]) if h.verifier is not None)
    assert same_style_of(bare, verifier(0), BothRoles(0)) is None
    older = summary.evaluation.matrix.model_copy(update={"same_style": None})
    old = summary.model_copy(update={"evaluation": summary.evaluation.model_copy(update={"matrix": older})})
    assert same_style_of(old, verifier(0), BothRoles(0)) is None
    assert same_style_of(summary, verifier(0), BothRoles(0)) == pytest.approx(0.45)
    assert read(summary_of(0, same_style=None), "same_style", 1) is None
    assert auroc_of(summary, verifier(7), BothRoles(0)) is None and auroc_of(summary, verifier(0), sneaky(1)) is None


def test_checkability_less_the_last_rounds(summary):
    assert checkability(summary, "held_out_judge", CORRECTNESS_ONLY, "difference") == -0.1
    assert checkability(summary, "held_out_judge", CORRECTNESS_ONLY, "difference_matched") == -0.05
    assert checkability(summary, "held_out_judge", helpful(1), "difference") is None


def test_contrasts_take_the_first_less_the_second(summary):
    found = {(c.name, c.round): (c.first(summary), c.second(summary)) for c in contrasts([summary])}
    assert found["accuracy_correctness_against_game", None] == pytest.approx((0.6, 0.5))
    assert found["accuracy_game_against_start", None] == (0.5, 0.3)
    assert found["checkability_game_against_correctness_equal_length", None] == (0.65, 0.55)
    assert found["steps_to_exploit_last_against_first", None] == (60, 20)
    assert found["best_of_16_last_against_first", None] == (0.6, 0.3)
    assert found["same_style_next_against_own", 0] == pytest.approx((0.55, 0.45))
    assert found["auroc_pooled_next_against_own", 0] == pytest.approx((0.6, 0.5))


def test_only_rounds_that_all_runs_have_are_compared(summary):
    arms = summary.arms.model_copy(
        update={"game": summary.arms.game.model_copy(update={"rounds": summary.arms.game.rounds[:1]})}
    )
    short = summary.model_copy(update={"arms": arms})
    assert rounds_of([summary, short]) == 1
    assert {h.round for h in headline([summary, short])} == {None, 0}
