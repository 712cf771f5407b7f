"""Tax and checkability: the summary's numbers, lengths made alike, and people."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from legibility.evaluation.evaluate import evaluate
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections.subtlety import StepGrader, step_table
from legibility.evaluation.sections.tax import length_weights, standardised
from legibility.evaluation.summary_schema import read_summary
from legibility.game.condition import CORRECTNESS_ONLY, START, helpful
from legibility.game.human_record import HumanAccuracy, HumanRecord
from legibility.game.run_folder import RunFolder
from legibility.reporting import write_report
from legibility.stored import Interval, write_stored
from tests.evaluation.helpers import SMALL, resamples, section
from tests.support import quiet


def test_tax_of_the_sections_is_the_summary_s(evaluated):
    summary = json.loads((evaluated.path / "summary.json").read_text())
    tax = summary["evaluation"]["tax"]
    assert tax["tax"]["correctness"]["value"] == pytest.approx(summary["legibility_tax"]["value"])
    assert tax["arms"]["game 1"]["accuracy"]["raw"]["value"] == pytest.approx(summary["arms"]["game"]["accuracy"])
    for measure, name in (("last_verifier", "last_verifier"), ("held_out_judge", "held_out_judge")):
        for arm, entry in (("start", summary["arms"]["init"]), ("correctness", summary["arms"]["correctness"])):
            ours, theirs = tax["arms"][arm]["checkability"][measure]["raw"]["value"], entry["checkability"][name]
            assert ours == (theirs if theirs is None else pytest.approx(theirs))


def test_one_number_has_one_interval(evaluated):
    """Tax, retained gain and accuracies stand in the summary and in the section, computed by different code."""
    summary = read_summary(evaluated.path / "summary.json")
    tax = summary.evaluation.tax
    pairs = [
        (summary.legibility_tax, tax.tax[CORRECTNESS_ONLY]),
        (summary.retained_gain, tax.retained_gain),
        (accuracy_of(summary.arms.init), tax.arms[START].accuracy.raw),
        (accuracy_of(summary.arms.game), tax.arms[helpful(1)].accuracy.raw),
        (accuracy_of(summary.arms.correctness), tax.arms[CORRECTNESS_ONLY].accuracy.raw),
    ]
    for ours, theirs in pairs:
        for name, value in ours:
            other = getattr(theirs, name)
            assert value == other or value == pytest.approx(other, abs=1e-12), (ours, theirs)


def accuracy_of(policy) -> Interval:
    """Accuracy of a policy in a summary, with its interval."""
    return Interval(value=policy.accuracy, low=policy.interval[0], high=policy.interval[1])


def test_imported_human_accuracy_stands_beside_the_other_measures(evaluated, tmp_path):
    """From the run's human.json; simulated raters are not people."""
    shutil.copytree(evaluated.path, tmp_path / "judged")
    accuracy = Interval(value=0.8, low=0.7, high=0.9)
    conditions = [
        HumanAccuracy(
            arm="game",
            round=1,
            role=role,
            judgments=80,
            raters=4,
            accuracy=accuracy,
            false_accept=Interval(),
            false_reject=Interval(),
        )
        for role in ("helpful", "sneaky")
    ]
    for simulated in (True, False):
        record = HumanRecord(simulated=simulated, study_id="s", confidence_level=0.95, conditions=conditions)
        write_stored(tmp_path / "judged" / "human.json", record)
        found = evaluate(tmp_path / "judged", quick=True, overrides=SMALL, progress=quiet())
        assert ("human" in found.tax.arms[helpful(1)].checkability) is not simulated
    assert found.tax.arms[helpful(1)].checkability["human"].raw == accuracy
    assert ">people<" in write_report(RunFolder.existing(tmp_path / "judged")).read_text()


def test_length_weights_make_lengths_alike():
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
    arm, reference = pd.Series([10] * 50), pd.Series([10] * 30 + [50] * 70)
    ours, theirs, support = length_weights(arm, reference)
    assert support == pytest.approx(0.3) and theirs.sum() == 30 and ours.sum() == pytest.approx(30)


def test_standardised_validity_by_hand():
    """Correct texts 1.0, 0.8 (weights 1, 3), incorrect 0.4, 0.0, one unreadable: (0.85 + 0.2) / 2."""
    values = np.array([1.0, 0.8, 0.4, 0.0, np.nan])
    correct, weights = np.array([True, True, False, False, False]), np.array([1.0, 3.0, 1.0, 1.0, 9.0])
    found = standardised(resamples(list("abcde")), list("abcde"), values, correct, weights)
    assert found.value == pytest.approx((0.85 + 0.2) / 2)
    nothing = standardised(resamples(list("ab")), list("ab"), values[:2], correct[:2], weights[:2])
    assert np.isnan(nothing.value) and nothing.interval() == Interval()


def test_a_more_accurate_arm_of_the_same_text_by_verdict_gains_nothing():
    """Correct text has validity 0.9, incorrect 0.3: the plain mean follows the accuracy, the standardised one does not."""
    rng, ids = np.random.default_rng(0), [f"p{i}" for i in range(2000)]
    plain, fixed = [], []
    for accuracy in (0.3, 0.6):
        correct = rng.random(2000) < accuracy
        values = np.clip(np.where(correct, 0.9, 0.3) + rng.normal(0, 0.05, 2000), 0, 1)
        found = standardised(resamples(ids, 20), ids, values, correct, np.ones(2000))
        plain.append(values.mean())
        fixed.append(found.value)
    assert plain[1] - plain[0] == pytest.approx(0.3 * 0.6, abs=0.03)
    assert fixed == pytest.approx([0.6, 0.6], abs=0.01)


def test_standardised_validity_of_a_run_from_its_stored_text(evaluated):
    run = EvaluationRun(evaluated.path)
    grader = StepGrader(run.problems)
    for name, arm in section(evaluated, "tax")["arms"].items():
        whose = {"start": START, "correctness": CORRECTNESS_ONLY, "game 0": helpful(0), "game 1": helpful(1)}[name]
        frame = run.texts[whose]
        frame = frame[frame.verdict != "invalid"]
        share = step_table(frame, grader).validity.fillna(0).to_numpy()
        means = [share[(frame.verdict == v).to_numpy()].mean() for v in ("correct", "incorrect")]
        assert arm["step_validity_standardised"]["raw"]["value"] == pytest.approx(np.mean(means))
        assert arm["checkability"]["step_validity"]["raw"]["value"] == pytest.approx(share.mean())
