"""Every claim on planted arms: held where it is true by construction, open where it is not, and never of few seeds."""

import numpy as np
import pytest

from legibility.evaluation.over_seeds import over_seeds
from legibility.frontier.arm_claims import arm_claims
from legibility.frontier.frontier_schema import ArmClaim, ArmPoint, Disagreement, MeasureInfo

MEASURES = [
    MeasureInfo(name="judge_matched", label="judge", kind="judge"),
    MeasureInfo(name="robustness", label="robustness", kind="reader"),
    MeasureInfo(name="refused", label="refused", kind="judge"),
]


def point(arm: str, seeds: int, *, accuracy=0.5, retained=0.5, faithful=None, **figures: float) -> ArmPoint:
    rng = np.random.default_rng(sum(map(ord, arm)))

    def around(value: float):
        return over_seeds([value + 0.004 * x for x in rng.standard_normal(seeds)], 0.95)

    return ArmPoint(
        arm=arm, label=arm, conditions=[], steps=1, completions=1, flops=1, accuracy=around(accuracy), length=around(9),
        tax=around(0), retained_gain=around(retained), figures={name: around(v) for name, v in figures.items()},
        faithfulness=None if faithful is None else around(faithful),
    )  # fmt: skip


def arms(seeds: int = 5, **changes: ArmPoint) -> list[ArmPoint]:
    found = {
        "game": point("game", seeds, accuracy=0.5, judge_matched=0.9, robustness=0.7, refused=0.9),
        "correctness": point("correctness", seeds, accuracy=0.6, retained=1, judge_matched=0.8, robustness=0.5),
        "tandem": point("tandem", seeds, accuracy=0.58, retained=0.8, judge_matched=0.7, robustness=0.9),
        "decoupled": point("decoupled", seeds, accuracy=0.6, retained=0.99, judge_matched=0.92, faithful=0.996),
        "consultancy": point("consultancy", seeds, judge_matched=0.8, refused=0.4),
        "rft": point("rft", seeds, accuracy=0.4, retained=0.99, judge_matched=0.95),
    }
    return list({**found, **changes}.values())


def verdicts(points: list[ArmPoint], disagreements=(), seeds: int = 5) -> dict[str, str]:
    return {c.name: c.verdict for c in arm_claims(points, MEASURES, disagreements, seeds, 0.95)}


def contradiction(first: str, second: str, decided: bool) -> Disagreement:
    gap = over_seeds([1.0] * 5, 0.95)
    return Disagreement(
        first=first, second=second, better="game", worse="tandem", on_first=gap, on_second=gap, p=0.0, decided=decided
    )


def test_what_is_true_by_construction_is_held():
    found = verdicts(arms(), [contradiction("judge_matched", "robustness", True)])
    assert found == dict.fromkeys(["A1", "A2", "A3", "A4", "A5", "A6", "A7"], "held")


def test_few_seeds_decide_nothing():
    assert set(verdicts(arms(4), [], 4).values()) == {"few"}


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("A1", {"decoupled": point("decoupled", 5, retained=0.99, judge_matched=0.85, faithful=1)}),  # checks worse
        ("A1", {"decoupled": point("decoupled", 5, retained=0.9, judge_matched=0.95, faithful=1)}),  # pays
        ("A2", {"decoupled": point("decoupled", 5, retained=0.99, judge_matched=0.92, faithful=0.97)}),
        ("A3", {"tandem": point("tandem", 5, judge_matched=0.7, robustness=0.5)}),
        ("A4", {"correctness": point("correctness", 5, retained=1, judge_matched=0.95, robustness=0.5)}),
        ("A5", {"consultancy": point("consultancy", 5, judge_matched=0.8, refused=0.95)}),
        ("A7", {"rft": point("rft", 5, accuracy=0.55, judge_matched=0.9)}),
    ],
)
def test_what_is_not_so_stays_open(claim, change):
    assert verdicts(arms(**change))[claim] == "open"


def test_rejection_sampling_alone_does_not_make_the_tax_vanish():
    points = [arm for arm in arms() if arm.arm != "decoupled"]
    (claim,) = (c for c in arm_claims(points, MEASURES, [], 5, 0.95) if c.name == "A1")
    assert isinstance(claim, ArmClaim) and claim.verdict == "open" and claim.arm == "tandem"


def test_measures_of_one_kind_may_contradict_each_other_without_a_result():
    assert verdicts(arms(), [contradiction("judge_matched", "refused", True)])["A6"] == "open"
    assert verdicts(arms(), [contradiction("judge_matched", "robustness", False)])["A6"] == "open"


def test_an_arm_that_was_not_played_is_not_claimed_of():
    found = verdicts([arm for arm in arms() if arm.arm in ("game", "correctness")])
    assert {name for name, verdict in found.items() if verdict == "unknown"} == {"A1", "A2", "A3", "A5", "A7"}
    assert found["A4"] == "held"
