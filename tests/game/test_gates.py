"""What keeps a phase from beginning."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.config import GateSettings, PPOSettings
from legibility.errors import GateClosed, UserError
from legibility.game.gates import check_base, check_gaps, check_prover, check_rewards, check_verifier, doubts, enforce
from legibility.game.run_records import SameStyle


def test_base_gate():
    settings = GateSettings(min_helpful_accuracy=0.1)
    assert check_base(settings, 0.1) == []
    (reason,) = check_base(settings, 0.09)
    assert "gates.min_helpful_accuracy" in reason and "0.09" in reason


def pairs(value: float | None, count: int = 50, error: float = 0.0) -> SameStyle:
    return SameStyle(value=value, pairs=count, problems=count, coverage=0.3, standard_error=error)


def test_verifier_gate():
    settings = GateSettings(min_auroc=0.6, accept_rate=(0.1, 0.9), min_score_std=0.01)
    correct = np.array([True, True, False, False] * 5)
    good = np.where(correct, 1.0, -1.0)
    assert check_verifier(settings, good, correct, pairs(0.6)) == []
    (reason,) = check_verifier(settings, good + 5, correct, pairs(0.6))
    assert "accepts 1.00" in reason and "gates.accept_rate" in reason
    (reason,) = check_verifier(settings, good - 5, correct, pairs(0.6))
    assert "accepts 0.00" in reason
    (reason,) = check_verifier(settings, good * 1e-3, correct, pairs(0.6))
    assert "spread" in reason and "gates.min_score_std" in reason
    assert len(check_verifier(settings, np.ones(20), correct, pairs(0.5))) == 3


def test_a_verifier_that_reads_looks_alone_is_stopped_however_good_its_pooled_auroc():
    """Scores that are perfect over all text and one half inside problem, role and style."""
    correct = np.array([True, False] * 20)
    scores = np.where(correct, 1.0, -1.0)
    (reason,) = check_verifier(GateSettings(min_auroc=0.55), scores, correct, pairs(0.5))
    assert (
        "ranks 0.500 ± 0.000" in reason
        and "problem, role and style (50 pairs)" in reason
        and "gates.min_auroc" in reason
    )
    assert check_verifier(GateSettings(min_auroc=0.0), scores, correct, pairs(0.5)) == []


def test_too_few_pairs_fall_back_on_all_text_with_a_warning():
    settings, correct = GateSettings(min_auroc=0.6, min_pairs=20), np.array([True, False] * 10)
    good = np.where(correct, 1.0, -1.0)
    few = pairs(0.0, 19)
    assert check_verifier(settings, good, correct, few) == []
    (reason,) = check_verifier(settings, -good, correct, few)
    assert "AUROC 0.000 on held-out text is below" in reason
    (warning,) = doubts(settings, few)
    assert "19 validation pairs" in warning and "gates.min_pairs 20" in warning
    assert doubts(settings, pairs(0.7, 20)) == [] == doubts(settings.model_copy(update={"min_auroc": 0.0}), few)
    assert len(check_verifier(settings, good, correct, pairs(0.0, 20))) == 1


def test_a_low_figure_closes_the_gate_only_where_chance_does_not_explain_it():
    """0.5 with a standard error of 0.04 lies more than two below 0.6, with one of 0.06 it does not: that is a doubt."""
    settings, correct = GateSettings(min_auroc=0.6), np.array([True, False] * 10)
    good = np.where(correct, 1.0, -1.0)
    assert len(check_verifier(settings, good, correct, pairs(0.5, 50, 0.04))) == 1
    assert doubts(settings, pairs(0.5, 50, 0.04)) == []  # said by the closed gate
    assert check_verifier(settings, good, correct, pairs(0.5, 50, 0.06)) == []
    (warning,) = doubts(settings, pairs(0.5, 50, 0.06))
    assert "0.500 ± 0.060" in warning and "too few pairs to be sure" in warning


@pytest.mark.parametrize("right", [True, False])
def test_a_figure_that_is_not_defined_never_passes_in_silence(right):
    """nan compares as neither above nor below the least: the gate said nothing where one class was missing."""
    scores, one_class = np.array([1.0, -1.0]), np.array([right, right])
    (reason,) = check_verifier(GateSettings(), scores, one_class, pairs(None, 0))
    assert "not defined" in reason and ("correct" if right else "incorrect") in reason
    assert check_verifier(GateSettings(min_auroc=0.0), scores, one_class, pairs(None, 0)) == []
    assert len(check_verifier(GateSettings(min_pairs=0), scores, one_class, pairs(None, 0))) == 1


def test_what_cannot_be_measured_closes_its_gate_and_says_which():
    nothing, settings = float("nan"), GateSettings()
    found = [
        *check_base(settings, nothing),
        *check_prover(settings, nothing),
        *check_rewards(settings, nothing),
        *check_verifier(settings, np.zeros(0), np.zeros(0, dtype=bool), pairs(None, 0)),
        *check_verifier(settings, np.array([0.0, np.nan]), np.array([True, False]), pairs(None, 0)),
    ]
    assert len(found) == 5 and all("cannot be measured" in reason and "gates" in reason for reason in found)
    off = GateSettings(min_helpful_accuracy=0, max_flat_groups=1)
    assert check_base(off, nothing) == check_prover(off, nothing) == check_rewards(off, nothing) == []


def test_reward_gate():
    settings = GateSettings(max_flat_groups=0.5)
    assert check_rewards(settings, 0.5) == []
    assert "gates.max_flat_groups" in check_rewards(settings, 0.51)[0]


def test_a_closed_gate_raises_and_force_only_warns():
    warned: list[str] = []
    with pytest.raises(GateClosed, match=r"gate closed at the base policy: bad .*--force") as caught:
        enforce(GateSettings(), "the base policy", ["bad", "worse"], False, warned.append)
    assert caught.value.exit_code == 3 and warned == []
    enforce(GateSettings(), "the base policy", ["bad", "worse"], True, warned.append)
    assert len(warned) == 2 and "bad" in warned[0] and "worse" in warned[1]


def test_open_and_disabled_gates_say_nothing():
    warned: list[str] = []
    enforce(GateSettings(), "x", [], False, warned.append)
    enforce(GateSettings(enabled=False), "x", ["bad"], False, warned.append)
    enforce(GateSettings(enabled=False), "x", ["bad"], True, warned.append)
    assert warned == []


@pytest.mark.parametrize(
    ("dtype", "bound", "gap", "ratio", "stops"),
    [
        ("float32", None, 0.09, 0.1, ""),
        ("float32", None, 0.11, 0.0, "logprob_gap is 0.11, above 0.1"),
        ("float32", None, 0.0, 0.12, "first_ratio_gap is 0.12, above 0.105"),  # e^0.1 - 1
        ("float32", 0.2, 0.11, 0.12, ""),
        ("float32", None, float("nan"), 0.0, "logprob_gap is nan"),
        ("bfloat16", None, 1.5, 2.0, ""),
        ("bfloat16", None, 5.8, 0.0, "logprob_gap is 5.8, above 5"),
    ],
)
def test_a_sampler_and_a_trainer_that_disagree_stop_the_run(dtype, bound, gap, ratio, stops):
    metrics = {"logprob_gap": gap, "first_ratio_gap": ratio}
    if not stops:
        check_gaps(PPOSettings(max_logprob_gap=bound), dtype, metrics)
        return
    with pytest.raises(UserError) as caught:
        check_gaps(PPOSettings(max_logprob_gap=bound), dtype, metrics)
    assert str(caught.value).startswith(stops) and "compute.engine" in str(caught.value)
