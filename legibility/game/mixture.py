"""What the verifier of a round learns from (Kirchner et al. 2024, Sec. 3.2).

Components are the base policy's text and every past round's. Each component is half correct and half
incorrect (`balance: label`, the paper's rule); by default that holds inside each role of a later round,
so that a text's role says nothing about its label (the failure the paper's Appendix C suspects), at
the price of few sneaky texts, whose correct half is rare. A label is always the verdict:
a helpful solution that failed is an incorrect solution, never dropped or relabelled. Only `invalid`
texts are left out.

A cell (component, role, label) holds distinct texts: what a policy writes twice for a problem is one text, or a
few right solutions that everybody writes would fill the correct half. The number of texts, and of correct ones,
is the same in every round. Where distinct texts do not reach it (round 0, which has base text alone), texts are
repeated, each as often as the others, and every cell tells how many of its texts are distinct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from legibility.config import MixtureSettings
from legibility.game.run_records import MixtureCell
from legibility.problems.corruption import corrupt
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
        """Cells with fewer distinct texts than their share."""
        return [c for c in self.cells if (c.distinct or 0) < c.wanted]

    @property
    def repeated(self) -> int:
        """Texts that stand in for missing ones: each was taken from its cell before."""
        return sum(c.taken - (c.distinct or 0) for c in self.cells)


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
    """Choose `per_problem * len(problems)` texts (one less if that is odd) from the components, by name.

    Components hold valid texts only. Inside a (component, role) cell correct and incorrect counts are
    equal; texts of problems that offer both are preferred, since only those make same-problem pairs.
    What a short cell cannot fill with distinct texts is offered to the other role of its component, then to the
    base, and is at last made up by repeating texts of all cells, in proportion to what they gave. Empty where no
    cell has both correct and incorrect texts.
    """
    weights = component_weights(list(components), settings)
    total = per_problem * len(problems) // 2  # pairs
    cells = {name: _cells(name, texts, settings.balance) for name, texts in components.items()}
    budget = _share_out(total, weights)
    pairs = {name: min(budget[name], sum(c.capacity for c in cells[name])) for name in components}
    for name in sorted(components, key=lambda c: c != BASE):  # base first: it fills in for what others lack
        spare = sum(c.capacity for c in cells[name]) - pairs[name]
        pairs[name] += min(spare, total - sum(pairs.values()))
    for name in components:
        _take(cells[name], budget[name], pairs[name], rng)
    picked = [c for name in sorted(components, key=lambda c: c == BASE) for c in cells[name]]
    _repeat(picked, total - sum(c.pairs for c in picked), rng)
    for cell in picked:
        _swap_in_twins(cell, settings.twins, rng)
    chosen = [x for c in picked for x in c.taken]
    order = {p.id: i for i, p in enumerate(problems)}
    chosen.sort(key=lambda x: (order[x.problem.id], x.component, x.role, not x.correct, x.text))
    return Mixture(chosen, [c.record() for c in picked])


def _share_out(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to the weights that add up to `total` (largest remainders)."""
    exact = {k: total * w for k, w in weights.items()}
    shares = {k: int(v) for k, v in exact.items()}
    for k in sorted(exact, key=lambda k: shares[k] - exact[k])[: total - sum(shares.values())]:
        shares[k] += 1
    return shares


@dataclass
class _Cell:
    """A (component, role): its texts, how many pairs are wanted of it, and what was taken."""

    component: str
    role: str
    drawn: Sequence[LabelledSolution]
    distinct: list[LabelledSolution]
    wanted: int = 0
    taken: list[LabelledSolution] = field(default_factory=list)
    twins: int = 0

    @property
    def capacity(self) -> int:
        """Pairs that its distinct texts can make."""
        right = sum(x.correct for x in self.distinct)
        return min(right, len(self.distinct) - right)

    @property
    def pairs(self) -> int:
        """Pairs of a correct and an incorrect text taken."""
        return len(self.taken) // 2

    def record(self) -> MixtureCell:
        """The cell as training.json has it."""
        return MixtureCell(
            component=self.component,
            role=self.role,
            wanted=2 * self.wanted,
            taken=len(self.taken),
            distinct=len(set(self.taken)),
            twins=self.twins,
            available_correct=sum(x.correct for x in self.drawn),
            available_incorrect=sum(not x.correct for x in self.drawn),
            distinct_correct=sum(x.correct for x in self.distinct),
            distinct_incorrect=sum(not x.correct for x in self.distinct),
        )


def _cells(name: str, texts: Sequence[LabelledSolution], balance: str) -> list[_Cell]:
    """The cells of a component, nothing taken yet: one a role, or one in all where roles are not balanced."""
    roles = (sorted({x.role for x in texts}) if balance == "within_role" else []) or ["any"]
    drawn = {r: [x for x in texts if r in ("any", x.role)] for r in roles}
    return [_Cell(name, r, drawn[r], list({(x.problem.id, x.text): x for x in drawn[r]}.values())) for r in roles]


def _take(cells: Sequence[_Cell], wanted: int, pairs: int, rng: np.random.Generator) -> None:
    """Take `pairs` of the `wanted` pairs from a component's cells: alike, and from the fuller what the others lack."""
    fair = _share_out(wanted, {c.role: 1 / len(cells) for c in cells})
    taken = {c.role: min(c.capacity, fair[c.role]) for c in cells}
    spare = pairs - sum(taken.values())
    for cell in sorted(cells, key=lambda c: -c.capacity):
        extra = min(spare, cell.capacity - taken[cell.role])
        taken[cell.role] += extra
        spare -= extra
    for cell in cells:
        cell.wanted = fair[cell.role]
        cell.taken = _balanced(cell.distinct, taken[cell.role], rng)


def _repeat(cells: Sequence[_Cell], missing: int, rng: np.random.Generator) -> None:
    """Add `missing` pairs of texts that are in the cells already, shared out by the pairs each cell has.

    A correct text is repeated only when all of its cell were repeated as often. Beside it goes an incorrect text of
    its problem: one not taken yet, or else one that is.
    """
    filled = [c for c in cells if c.pairs]
    if missing <= 0 or not filled:
        return
    total = sum(c.pairs for c in filled)
    shares = _share_out(missing, {str(i): c.pairs / total for i, c in enumerate(filled)})
    for i, cell in enumerate(filled):
        _repeat_in(cell, shares[str(i)], rng)


def _repeat_in(cell: _Cell, missing: int, rng: np.random.Generator) -> None:
    right = [x for x in cell.taken if x.correct]
    used = {(x.problem.id, x.text) for x in cell.taken}
    unused: dict[str, list[LabelledSolution]] = {}
    known: dict[str, list[LabelledSolution]] = {}
    for x in cell.distinct:
        if not x.correct:
            (known if (x.problem.id, x.text) in used else unused).setdefault(x.problem.id, []).append(x)
    anything = [x for texts in known.values() for x in texts]
    while missing > 0:
        for at in rng.permutation(len(right))[:missing]:
            problem = right[at].problem.id
            fresh = unused.get(problem)
            if fresh:
                wrong = fresh.pop(int(rng.integers(len(fresh))))
                known.setdefault(problem, []).append(wrong)
            else:
                choice = known.get(problem) or anything
                wrong = choice[int(rng.integers(len(choice)))]
            cell.taken += [right[at], wrong]
            missing -= 1


def _swap_in_twins(cell: _Cell, share: float, rng: np.random.Generator) -> None:
    """For a share of the cell's correct texts, put a twin in the place of an incorrect text, of the same problem if any is left.

    A twin is the text itself with one number wrong and every later one recomputed (`legibility.problems.corruption`):
    the same problem, style and length, so that nothing but the truth of the steps tells them apart. Texts in which no
    change can be carried through, such as bare answers, have none; others are tried in their place.
    """
    wanted = round(share * cell.pairs)
    right = [x for x in cell.taken if x.correct]
    wrong = [x for x in cell.taken if not x.correct]
    seen = {(x.problem.id, x.text) for x in cell.taken}
    for at in rng.permutation(len(right)):
        if cell.twins == wanted:
            break
        source = right[at]
        made = corrupt(replace(source.problem, solution=source.text), rng)
        if made is None or (source.problem.id, made.text) in seen:
            continue
        same = [i for i, x in enumerate(wrong) if x.problem.id == source.problem.id]
        if not wrong:
            break
        wrong.pop(same[0] if same else int(rng.integers(len(wrong))))
        right.append(replace(source, text=made.text, correct=False))  # behind the texts that `at` counts
        seen.add((source.problem.id, made.text))
        cell.twins += 1
    cell.taken = right + wrong


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
