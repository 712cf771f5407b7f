"""Power analysis: how many judgments the planned comparison of two conditions needs.

Two independent proportions, two-sided, arcsine effect size (Cohen's h), times a design effect for
judgments that share a rater or a problem, `1 + (m_r - 1) icc_rater + (m_p - 1) icc_problem` with m the
judgments of one condition per rater and per problem. Comparing inside raters and problems does better;
this is the cautious number. The intra-class correlations are assumptions, stated in study.yaml.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from legibility.judging.protocol import Planned


@dataclass(frozen=True)
class Power:
    """What the planned comparison needs, in judgments per condition, and what the study gives.

    `needed`: for the power planned; `planned`: collected in the smallest condition; `achieved`: the power of that;
    `design_effect`: of the study as planned.
    """

    needed: int
    planned: float
    achieved: float
    design_effect: float

    def sentence(self, plan: Planned) -> str:
        """For people: what the plan needs and what the study gives."""
        return (
            f"To tell {plan.baseline:.0%} from {plan.baseline + plan.difference:.0%} with power {plan.power:.0%} (two-sided, alpha "
            f"{plan.alpha:g}, design effect {self.design_effect:.2f}) a condition needs {self.needed:,} judgments; this study "
            f"collects {self.planned:,.0f} in its smallest, power {self.achieved:.0%}."
        )


def power_of(plan: Planned, judgments: float, raters: int, problems: int) -> Power:
    """Power of a study that has `judgments` of `problems` by `raters` in each of two conditions."""
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    second = min(plan.baseline + plan.difference, 1 - 1e-9)
    effect = abs(proportion_effectsize(second, plan.baseline))
    deff = 1 + max(judgments / raters - 1, 0) * plan.icc_rater + max(judgments / problems - 1, 0) * plan.icc_problem
    solver = NormalIndPower()
    single = solver.solve_power(effect_size=effect, alpha=plan.alpha, power=plan.power, ratio=1)
    achieved = solver.power(effect_size=effect, nobs1=max(judgments / deff, 2), alpha=plan.alpha, ratio=1)
    return Power(math.ceil(single * deff), judgments, float(achieved), deff)
