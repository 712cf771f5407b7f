"""What is claimed of arms, each with the rule that decides it (docs/arms.md), and what the runs say.

The rules were written before the runs. A seed is one unit. Claims that are tests share their alpha by Holm's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from legibility.evaluation.claims import LEAST_SEEDS
from legibility.evaluation.over_seeds import OverSeeds, holm, over_seeds, p_above
from legibility.frontier.frontier_schema import ArmClaim, ArmPoint, Disagreement, MeasureInfo
from legibility.game.condition import CONSULTANCY, CORRECTNESS, DECOUPLED, GAME, RFT, TANDEM

RETAINED, MARGIN, FAITHFUL = 0.95, -0.02, 0.99
"""Retained gain that counts as next to no tax; what a judge's figure may lack of the game's; kept answers."""
JUDGE, ROBUSTNESS, REFUSED = "judge_matched", "robustness", "refused"


@dataclass(frozen=True)
class ArmContrast:
    """A claim that one arm is above another on a measure (or `accuracy`)."""

    name: str
    claim: str
    above: str
    below: str
    measure: str


CONTRASTS = (
    ArmContrast(
        "A3", "Tandem text is easier to go on with than correctness-only text", TANDEM, CORRECTNESS, ROBUSTNESS
    ),
    ArmContrast("A4", "The game's text is easier to check than correctness-only text", GAME, CORRECTNESS, JUDGE),
    ArmContrast("A5", "Rounds make a reader robust, a fixed pool does not", GAME, CONSULTANCY, REFUSED),
    ArmContrast("A7", "The cheapest baseline does not reach the game", GAME, RFT, "accuracy"),
)


def arm_claims(
    arms: Sequence[ArmPoint],
    measures: Sequence[MeasureInfo],
    disagreements: Sequence[Disagreement],
    seeds: int,
    level: float,
) -> list[ArmClaim]:
    """The claims, decided by arms at equal PPO steps. level: of every interval; 1 - level is alpha."""
    by_arm = {arm.arm: arm for arm in arms}
    found = [_no_tax(by_arm, level), _faithful(by_arm), *_tested(by_arm, level), _contradict(measures, disagreements)]
    few = seeds < LEAST_SEEDS
    return sorted(
        (c.model_copy(update={"verdict": "few"}) if few and c.verdict != "unknown" else c for c in found),
        key=lambda claim: claim.name,
    )


def difference(arms: dict[str, ArmPoint], above: str, below: str, measure: str, level: float) -> OverSeeds | None:
    """One arm's measure minus another's by seed; None where one was not measured."""
    both = [_values(arms.get(arm), measure) for arm in (above, below)]
    if not all(both):
        return None
    pairs = zip(*both, strict=True)
    found = over_seeds([None if a is None or b is None else a - b for a, b in pairs], level)
    return found if found.n else None


def _values(arm: ArmPoint | None, measure: str) -> list[float | None]:
    if arm is None:
        return []
    figure = arm.accuracy if measure == "accuracy" else arm.figures.get(measure)
    return list(figure.values) if figure else []


def _no_tax(arms: dict[str, ArmPoint], level: float) -> ArmClaim:
    claim, rule = (
        "An arm pays next to no tax and is as checkable as the game",
        f"retained gain at least {RETAINED}, held-out judge at equal length minus the game's above {MARGIN}",
    )
    known = [
        (arm, gap)
        for name, arm in arms.items()
        if name not in (GAME, CORRECTNESS, RFT) and arm.retained_gain.mean is not None
        for gap in (difference(arms, name, GAME, JUDGE, level),)
        if gap is not None
    ]
    if not known:
        return ArmClaim(name="A1", claim=claim, rule=rule, verdict="unknown")
    met = [
        (arm, gap)
        for arm, gap in known
        if (arm.retained_gain.mean or 0) >= RETAINED and gap.low is not None and gap.low > MARGIN
    ]
    arm, gap = max(met or known, key=lambda pair: pair[0].retained_gain.mean or 0.0)
    return ArmClaim(
        name="A1", claim=claim, rule=rule, arm=arm.label, found=gap, verdict="held" if met else "open",
        retained_gain=arm.retained_gain,
    )  # fmt: skip


def _faithful(arms: dict[str, ArmPoint]) -> ArmClaim:
    found = arms[DECOUPLED].faithfulness if DECOUPLED in arms else None
    known = found is not None and found.mean is not None
    held = known and found is not None and (found.mean or 0) >= FAITHFUL
    return ArmClaim(
        name="A2",
        claim="The translator keeps the answer",
        rule=f"mean faithfulness of the last round at least {FAITHFUL}",
        found=found if known else None,
        verdict="unknown" if not known else "held" if held else "open",
    )


def _tested(arms: dict[str, ArmPoint], level: float) -> list[ArmClaim]:
    gaps = [difference(arms, c.above, c.below, c.measure, level) for c in CONTRASTS]
    ps = [None if gap is None else p_above(gap.values, 0.0) for gap in gaps]
    claims = []
    for contrast, gap, p, adjusted in zip(CONTRASTS, gaps, ps, holm(ps), strict=True):
        above = gap is not None and gap.low is not None and gap.low > 0
        held = above and adjusted is not None and adjusted < 1 - level
        claims.append(
            ArmClaim(
                name=contrast.name,
                claim=contrast.claim,
                rule=f"{contrast.measure}: {contrast.above} minus {contrast.below} above 0",
                found=gap,
                p=p,
                p_holm=adjusted,
                verdict="unknown" if gap is None else "held" if held else "open",
            )
        )
    return claims


def _contradict(measures: Sequence[MeasureInfo], disagreements: Sequence[Disagreement]) -> ArmClaim:
    kind = {m.name: m.kind for m in measures}
    met = [d for d in disagreements if d.decided and kind[d.first] != kind[d.second]]
    return ArmClaim(
        name="A6",
        claim="Measures of legibility contradict each other",
        rule="two measures of different kinds order two arms oppositely, p at most 0.001 on both",
        verdict="unknown" if len(set(kind.values())) < 2 else "held" if met else "open",
    )
