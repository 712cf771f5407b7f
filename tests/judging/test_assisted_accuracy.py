"""Assisted less unassisted: by hand, planted, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.game.condition import verifier
from legibility.judging.analysis import analyze
from legibility.judging.assisted_accuracy import assisted_results
from legibility.judging.joined_table import joined_table, study_conditions
from legibility.judging.results import write_results
from legibility.judging.simulated_raters import SimulatedRaters, draw
from legibility.judging.table import TABLE, read_table
from tests.judging.world import HELPFUL, RULES, SNEAKY, judged, made_up_candidates, made_up_study
from tests.support import legibility


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made_up_study(
        tmp_path_factory.mktemp("assisted") / "study",
        "analysis: {bootstrap: 200}\n",
        candidates=made_up_candidates(160),
        per_condition=40,
        raters=24,
        per_rater=60,
        assisted="item",
    )


def compare(rows, conditions):
    return assisted_results(rows, conditions, RULES, adviser=verifier(1), design="item")


def test_by_hand():
    rows, assisted = [], []
    for rater in range(6):
        for k in range(8):
            helped = (rater + k) % 2 == 0
            for condition, correct in ((HELPFUL, True), (HELPFUL, False), (SNEAKY, False)):
                # right solutions are always judged right; wrong ones when helped, and otherwise half of the time
                right = correct or helped or k % 4 < 2
                rows.append(
                    (f"r{rater}", f"p{k}{condition.role}{correct}", condition, correct, right, 9.0 + helped, 30)
                )
                assisted.append(helped)
    frame = judged(rows).assign(assisted=assisted)
    found = compare(frame, [HELPFUL, SNEAKY])
    everything, helpful, sneaky = found.overall, *found.conditions
    assert (everything.condition, helpful.condition, sneaky.condition) == (None, HELPFUL, SNEAKY)
    assert (everything.judgments_alone, everything.judgments_assisted) == (72, 72)
    assert (helpful.accuracy_alone.value, helpful.accuracy_assisted.value) == (0.75, 1.0)
    assert sneaky.accuracy_alone.value == 0.5 and sneaky.accuracy_difference.value == 0.5
    assert everything.accuracy_difference.value == 0.25 and everything.false_accept_difference.value == -0.5
    assert everything.false_reject_difference.value == 0 and everything.false_reject_difference.low is None
    assert everything.seconds_difference.value == pytest.approx(1.0)
    assert helpful.accuracy_assisted.high == 1.0 and helpful.accuracy_assisted.low < 0.8  # Wilson's, not 1 to 1
    assert compare(frame[frame.assisted], [HELPFUL, SNEAKY]) is None


def simulated(study, gain: float, seed: int):
    key = study.key()
    conditions = study_conditions(key)
    model = SimulatedRaters({c: 0.7 for c in conditions}, lapse=0.0, gain=gain)
    drawn = draw(study, key, model, len(study.slots), np.random.default_rng(seed))
    rows = joined_table(drawn, key, study.protocol.analysis)
    rows = rows[rows.kind == "study"]
    return assisted_results(rows, conditions, study.protocol.analysis, adviser=verifier(1), design="item").overall


def test_a_planted_gain_is_found_and_no_gain_is_not(study):
    planted = [simulated(study, 0.12, seed).accuracy_difference for seed in range(8)]
    assert np.mean([d.value for d in planted]) == pytest.approx(0.12, abs=0.02)
    assert all(d.low > 0 for d in planted) and sum(d.low <= 0.12 <= d.high for d in planted) >= 7
    null = [simulated(study, 0.0, seed).accuracy_difference for seed in range(40)]
    assert np.mean([d.value for d in null]) == pytest.approx(0.0, abs=0.015)
    assert sum(d.low <= 0 <= d.high for d in null) >= 35  # of 40; below it has a chance of 1 in 70


def test_conditions_and_the_run_rest_on_judgments_without_doubts(study, tmp_path):
    said = legibility("simulate-raters", study.path, "--accuracy", "0.7", "--gain", "0.25", "--lapse", "0")
    assert said.code == 0, said.err
    table = read_table(study.path / "simulation" / TABLE)
    found = analyze(study, table, simulated=True)
    key = study.key()
    counted = (table.item_id.map(key.kind) == "study") & ~table.rater.isin(
        [r.rater for r in found.raters if r.excluded]
    )
    assert (
        found.judgments.analysed == int((counted & ~table.assisted).sum()) == sum(c.judgments for c in found.conditions)
    )
    assert found.assisted.overall.judgments_assisted == int((counted & table.assisted).sum())
    assert np.mean([c.accuracy.value for c in found.conditions]) == pytest.approx(0.7, abs=0.06)
    assert found.assisted.overall.accuracy_difference.low > 0.15
    assert found.without_exclusion.assisted.overall.judgments_assisted >= found.assisted.overall.judgments_assisted
    page = write_results(tmp_path / "analysis", study.protocol, found).read_text()
    assert "Do the verifier's doubts help?" in page
    lines = legibility("analyze", study.path, "--simulated").out.splitlines()
    assert any(line.startswith("with the doubts of verifier 1 shown: accuracy 0.9") for line in lines)


def test_a_gain_needs_an_assisted_study(tmp_path):
    study = made_up_study(tmp_path / "study", raters=2, per_rater=8)
    assert "--gain 0.1: no doubts are shown" in legibility("simulate-raters", study.path, "--gain", "0.1").err
