"""The frontier's arithmetic on planted runs: whoever is best by construction is found, and noise is not called a result."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from legibility.cli import app
from legibility.errors import UserError
from legibility.evaluation.schema import Decoding, Evaluation, Measured, Tax, TaxArm
from legibility.frontier.frontier import ArmRun, _view, frontier
from legibility.frontier.frontier_page import write_frontier
from legibility.frontier.frontier_schema import Frontier
from legibility.frontier.measures import MEASURES
from legibility.frontier.spending import Spent
from legibility.game.condition import CORRECTNESS_ONLY, START, Condition, helpful
from legibility.stored import Interval, read_stored

TANDEM = Condition("tandem", 0, "helpful")


def measured(value: float) -> Measured:
    return Measured(raw=Interval(value=value, low=value, high=value))


def run(seed: int, values: dict[Condition, tuple[float, float, float]], costs: dict[Condition, Spent]) -> ArmRun:
    """A run in which a condition has (accuracy, held-out judge, step validity)."""
    arms = {
        c: TaxArm(
            mean_length=10,
            support=1,
            checkability={"held_out_judge": measured(judge)},
            accuracy=measured(right),
            step_validity_standardised=measured(steps),
        )
        for c, (right, judge, steps) in values.items()
    }
    decoding = Decoding(temperature=1, samples=1, problems=1)
    tax = Tax(reference=helpful(1), arms=arms, decoding=decoding, step_validity_exact=True, tax={}, tax_matched={})
    by_arm: dict[str, dict[Condition, Spent]] = {}
    for c in values:
        if c != START:
            by_arm.setdefault(c.arm, {})[c] = costs[c]
    return ArmRun(f"run{seed}", seed, False, Evaluation(tax=tax), by_arm)


COSTS = {
    helpful(0): Spent(10, 100, 1000.0),
    helpful(1): Spent(20, 210, 2500.0),
    CORRECTNESS_ONLY: Spent(10, 100, 700.0),
    TANDEM: Spent(10, 100, 1100.0),
}
KNOWN = [m for m in MEASURES if m.name in ("judge", "steps")]


def planted(seeds: int, spread: float = 0.0) -> list[ArmRun]:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(seeds):
        noise = spread * rng.standard_normal(12)
        values = {
            START: (0.3 + noise[0], 0.7, 0.4),
            helpful(0): (0.4 + noise[1], 0.8 + noise[2], 0.5 + noise[3]),
            helpful(1): (0.5 + noise[4], 0.9 + noise[5], 0.6 + noise[6]),
            CORRECTNESS_ONLY: (0.7 + noise[7], 0.7 + noise[8], 0.9 + noise[9]),
            TANDEM: (0.6 + noise[10], 0.6, 0.6 + noise[11]),
        }
        found.append(run(seed, values, COSTS))
    return found


def test_planted_values_come_out_as_they_are():
    view = _view(planted(5), "steps", KNOWN, 0.95)
    arms = {arm.arm: arm for arm in view.arms}
    assert set(arms) == {"game", "correctness", "tandem"}
    assert arms["game"].conditions == [helpful(1)] * 5
    assert arms["game"].tax.mean == pytest.approx(0.2)
    assert arms["game"].retained_gain.mean == pytest.approx(0.5)
    assert arms["tandem"].retained_gain.mean == pytest.approx(0.75)
    assert arms["correctness"].retained_gain.mean == pytest.approx(1.0)
    assert arms["game"].figures["judge"].mean == pytest.approx(0.9)


def test_the_planted_best_is_found_and_decided():
    best = {b.measure: b for b in _view(planted(5, 0.01), "steps", KNOWN, 0.95).best}
    assert (best["accuracy"].arm, best["judge"].arm, best["steps"].arm) == ("correctness", "game", "correctness")
    assert all(b.decided for b in best.values())
    assert best["judge"].ahead.mean == pytest.approx(0.2, abs=0.02)


def test_few_seeds_decide_nothing():
    assert not any(b.decided for b in _view(planted(4, 0.01), "steps", KNOWN, 0.95).best)


def test_planted_disagreement_is_found_both_ways():
    found = _view(planted(5, 0.01), "steps", KNOWN, 0.95).disagreements
    assert {(d.better, d.worse, d.first, d.second) for d in found} == {("game", "correctness", "judge", "steps")}
    assert found[0].on_first.mean == pytest.approx(0.2, abs=0.02)
    assert found[0].on_second.mean == pytest.approx(-0.3, abs=0.02)
    assert found[0].decided and found[0].p < 0.001


def test_a_contradiction_of_few_seeds_is_not_decided():
    assert [d.decided for d in _view(planted(4, 0.001), "steps", KNOWN, 0.95).disagreements] == [False]


def test_noise_alone_is_no_disagreement_and_no_winner():
    rng = np.random.default_rng(1)
    runs = []
    for seed in range(6):
        conditions = (START, helpful(1), CORRECTNESS_ONLY, TANDEM)
        runs.append(run(seed, {c: tuple(0.5 + 0.05 * rng.standard_normal(3)) for c in conditions}, COSTS))
    view = _view(runs, "steps", KNOWN, 0.95)
    assert view.disagreements == []
    assert not any(b.decided for b in view.best)
    assert all(v.p_holm is None or v.p_holm > 0.05 for v in view.versus)


def test_order_of_arms_by_two_measures():
    # judge: game > correctness > tandem; steps: correctness > game = tandem: one pair alike, one against, one tied
    (pair,) = _view(planted(5), "steps", KNOWN, 0.95).agreement
    assert pair.arms == 3
    assert pair.tau.mean == pytest.approx((1 - 1) / np.sqrt(3 * 2))


def test_views_of_equal_cost_take_the_latest_round_within_the_budget():
    completions, flops = (_view(planted(2), name, KNOWN, 0.95) for name in ("completions", "flops"))
    assert completions.budget == 100
    assert {a.arm: a.conditions[0] for a in completions.arms}["game"] == helpful(0)
    assert flops.budget == 1100
    assert {a.arm: a.conditions[0] for a in flops.arms}["game"] == helpful(0)
    assert completions.beyond == []


def test_an_arm_that_is_never_cheap_enough_is_named():
    dear = COSTS | {helpful(0): Spent(10, 100, 5000.0)}
    runs = [run(s, {START: (0.3, 0.5, 0.5), **{c: (0.5, 0.5, 0.5) for c in dear}}, dear) for s in range(2)]
    view = _view(runs, "flops", KNOWN, 0.95)
    assert view.beyond == ["game"]
    assert view.versus == []  # nothing to set the others against


def test_a_real_run_becomes_a_page(evaluated_arms, tmp_path):
    found = frontier([evaluated_arms], tmp_path / "out")
    page = write_frontier(found, tmp_path / "out").read_text(encoding="utf-8")
    assert read_stored(tmp_path / "out/frontier.json", Frontier, fix="") == found
    tax = json.loads((evaluated_arms / "evaluation/tax.json").read_text())
    for arm in found.views[0].arms:
        assert arm.label in page
    one = next(arm for arm in found.views[0].arms if arm.arm == "rft")
    assert one.accuracy.values == [tax["arms"]["rft"]["accuracy"]["raw"]["value"]]
    assert {view.name for view in found.views} == {"steps", "completions", "flops"}
    assert all((tmp_path / f"out/figures/{view.name}.png").is_file() for view in found.views)


def test_how_often_a_translator_keeps_the_answer_is_read_from_the_run(evaluated_arms, tmp_path):
    figures = json.loads((evaluated_arms / "arms/decoupled/figures/figures.json").read_text())["rounds"]
    found = frontier([evaluated_arms], tmp_path / "out").views[0].arms
    (mine,) = (arm for arm in found if arm.arm == "decoupled")
    assert mine.faithfulness.values == [figures[-1]["faithfulness"]]
    assert all(arm.faithfulness is None for arm in found if arm is not mine)


def test_the_command_writes_the_page_and_refuses_to_write_over_it(evaluated_arms, tmp_path):
    made = CliRunner().invoke(app, ["frontier", str(evaluated_arms), "--out", str(tmp_path / "out")])
    assert made.exit_code == 0, made.output
    assert "frontier.html" in made.output
    again = CliRunner().invoke(app, ["frontier", str(evaluated_arms), "--out", str(tmp_path / "out")])
    assert isinstance(again.exception, UserError)


def test_bad_input_is_refused(evaluated_arms, tiny_arms_run, tmp_path):
    with pytest.raises(UserError, match="not evaluated yet"):
        frontier([tiny_arms_run.path], tmp_path / "out")
    with pytest.raises(UserError, match="same seed"):
        frontier([evaluated_arms, evaluated_arms], tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already"):
        frontier([evaluated_arms], tmp_path / "there")
    assert not (tmp_path / "out").exists()


def test_other_games_are_not_merged(evaluated_arms, tiny_run, tmp_path):
    with pytest.raises(UserError, match=r"game\.arms differs"):
        frontier([evaluated_arms, tiny_run.path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
