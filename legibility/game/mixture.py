"""What the verifier of a round learns from (Kirchner et al. 2024, Sec. 3.2).

Components are the base policy's text and every past round's. Each component is half correct and half
incorrect (`balance: label`, the paper's rule); by default that holds inside each role of a later round,
so that a text's role says nothing about its label (the failure the paper's Appendix C suspects), at
the price of few sneaky texts, whose correct half is rare. A label is always the verdict:
a helpful solution that failed is an incorrect solution, never dropped or relabelled. Only `invalid`
texts are left out. The number of texts is constant over rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from legibility.config import MixtureSettings
from legibility.game.run_records import MixtureCell
from legibility.problems.records import Problem
from legibility.verifier_training import LabelledSolution

BASE = "base"


def component(past: int | None) -> str:
    """The name of a component: a past round's text, or the base policy's (None)."""
    return BASE if past is None else f"round {past}"


@dataclass
class Mixture:
    """The chosen texts and, per (component, role), how many were wanted and taken."""

    items: list[LabelledSolution]
    cells: list[MixtureCell]

    @property
    def short(self) -> list[MixtureCell]:
        """Cells with fewer texts than their share."""
        return [c for c in self.cells if c.taken < c.wanted]


def component_weights(components: Sequence[str], settings: MixtureSettings) -> dict[str, float]:
    """Share of each component, summing to 1. `components` are the names of the base, then of rounds in order."""
    later = [c for c in components if c != BASE]
    if not later:
        return {BASE: 1.0}
    if settings.weights == "equal":
        raw = {c: 1.0 for c in later}
    elif settings.weights == "pow2":
        raw = {c: 2.0**i for i, c in enumerate(later)}
    else:
        raw = {c: float(c == later[-1]) for c in later}
    if settings.base_share is None:
        raw[BASE] = 1.0
        total = sum(raw.values())
        return {c: raw[c] / total for c in components}
    total = sum(raw.values())
    return {c: settings.base_share if c == BASE else (1 - settings.base_share) * raw[c] / total for c in components}


def build_mixture(
    components: Mapping[str, Sequence[LabelledSolution]],
    problems: Sequence[Problem],
    per_problem: int,
    settings: MixtureSettings,
    rng: np.random.Generator,
) -> Mixture:
    """Choose about `per_problem * len(problems)` texts from the components, by name.

    Components hold valid texts only. Inside a (component, role) cell correct and incorrect counts are
    equal; texts of problems that offer both are preferred, since only those make same-problem pairs.
    What a short cell cannot fill is offered to the other role of its component, then to the base.
    """
    weights = component_weights(list(components), settings)
    budget = _share_out(per_problem * len(problems) // 2, weights)  # pairs of each component
    chosen: list[LabelledSolution] = []
    cells: list[MixtureCell] = []
    left_over = 0
    for name in sorted(components, key=lambda c: c == BASE):  # base last: it takes what others left
        wanted = 2 * budget[name] + (left_over if name == BASE else 0)
        taken, report = _component(name, components[name], wanted, settings.balance, rng)
        left_over += max(0, wanted - len(taken)) if name != BASE else 0
        chosen += taken
        cells += report
    order = {p.id: i for i, p in enumerate(problems)}
    chosen.sort(key=lambda x: (order[x.problem.id], x.component, x.role, not x.correct, x.text))
    return Mixture(chosen, cells)


def _share_out(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to the weights that add up to `total` (largest remainders)."""
    exact = {k: total * w for k, w in weights.items()}
    shares = {k: int(v) for k, v in exact.items()}
    for k in sorted(exact, key=lambda k: shares[k] - exact[k])[: total - sum(shares.values())]:
        shares[k] += 1
    return shares


def _component(
    name: str, texts: Sequence[LabelledSolution], wanted: int, balance: str, rng: np.random.Generator
) -> tuple[list[LabelledSolution], list[MixtureCell]]:
    """About `wanted` texts of one component, as many correct as incorrect, and what each of its cells gave."""
    roles = (sorted({x.role for x in texts}) if balance == "within_role" else []) or ["any"]
    cells = {r: [x for x in texts if r in ("any", x.role)] for r in roles}
    capacity = {r: min(sum(x.correct for x in c), sum(not x.correct for x in c)) for r, c in cells.items()}
    fair = _share_out(wanted // 2, {r: 1 / len(roles) for r in roles})
    pairs = {r: min(capacity[r], fair[r]) for r in roles}
    spare = wanted // 2 - sum(pairs.values())
    for r in sorted(roles, key=lambda r: -capacity[r]):  # the fuller role takes what the short one cannot
        extra = min(spare, capacity[r] - pairs[r])
        pairs[r] += extra
        spare -= extra
    taken: list[LabelledSolution] = []
    report = []
    for r in roles:
        part = _balanced(cells[r], pairs[r], rng)
        taken += part
        report.append(
            MixtureCell(
                component=name,
                role=r,
                wanted=2 * fair[r],
                taken=len(part),
                available_correct=sum(x.correct for x in cells[r]),
                available_incorrect=sum(not x.correct for x in cells[r]),
            )
        )
    return taken, report


def _balanced(cell: Sequence[LabelledSolution], pairs: int, rng: np.random.Generator) -> list[LabelledSolution]:
    """`pairs` correct and `pairs` incorrect texts, matched by problem as far as possible."""
    by_problem: dict[str, tuple[list[LabelledSolution], list[LabelledSolution]]] = {}
    for x in cell:
        by_problem.setdefault(x.problem.id, ([], []))[0 if x.correct else 1].append(x)
    matched, rest_right, rest_wrong = [], [], []
    for right, wrong in by_problem.values():
        right = [right[i] for i in rng.permutation(len(right))]
        wrong = [wrong[i] for i in rng.permutation(len(wrong))]
        k = min(len(right), len(wrong))
        # rank within the problem first, so that every problem gives one pair before any gives two
        matched += [(i, a, b) for i, (a, b) in enumerate(zip(right[:k], wrong[:k], strict=True))]
        rest_right += right[k:]
        rest_wrong += wrong[k:]
    shuffled = [matched[i] for i in rng.permutation(len(matched))]
    shuffled.sort(key=lambda m: m[0])
    picked = [x for _, a, b in shuffled[:pairs] for x in (a, b)]
    missing = pairs - min(pairs, len(matched))
    for rest in (rest_right, rest_wrong):
        picked += [rest[i] for i in rng.permutation(len(rest))[:missing]]
    return picked
