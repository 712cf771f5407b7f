import json

import pytest

from legibility.evaluation.arm_headlines import RIVALS, arm_headlines, last_text
from legibility.evaluation.merged_seeds import merge
from legibility.evaluation.summary_schema import read_summary
from legibility.game.condition import Condition


@pytest.fixture
def summary(evaluated_arms):
    return read_summary(evaluated_arms / "summary.json")


def test_the_last_round_stands_for_an_arm_with_rounds(summary):
    condition, _ = last_text(summary, "sneaky_step")
    assert condition == Condition("sneaky_step", 1, "helpful")
    assert last_text(summary, "game") is None


def test_numbers_of_an_arm_are_those_of_the_run(summary, evaluated_arms):
    tax = json.loads((evaluated_arms / "evaluation/tax.json").read_text())["arms"]["sneaky_step 1"]
    by_name = {headline.name: headline.read(summary) for headline in arm_headlines([summary])}
    assert by_name["accuracy_sneaky_step"] == pytest.approx(tax["accuracy"]["raw"]["value"])
    assert by_name["length_sneaky_step"] == pytest.approx(tax["mean_length"])
    assert by_name["checkability_step_validity_sneaky_step"] == tax["checkability"]["step_validity"]["raw"]["value"]


def test_a_comparison_of_seeds_has_every_arm(summary):
    other = summary.model_copy(update={"seed": 7, "run": "other"})
    names = {figure.name for figure in merge([summary, other]).figures if figure.n}
    played = {c.arm for c in summary.arms.others} & set(RIVALS)
    assert {f"accuracy_{arm}" for arm in played} <= names


def test_runs_without_arms_have_no_such_numbers(tiny_run):
    assert arm_headlines([read_summary(tiny_run.path / "summary.json")]) == []
