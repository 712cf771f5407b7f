"""Runs of different settings side by side: a group is the runs (seeds) of one set of settings.

Every group is merged as seeds are (`legibility.evaluation.compare`), and every two groups are compared number by
number. Where all seeds of the smaller group are in the other one too, a seed is played in both and the difference is
paired by seed; otherwise it is Welch's, of two independent samples. Many numbers are compared, so each has Holm's
adjusted p over all of them, and only that decides; fewer than `LEAST_SEEDS` seeds a group decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import stats

from legibility.evaluation.arm_headlines import arm_headlines
from legibility.evaluation.claims import HELD, LEAST_SEEDS, NOT_HELD, TOO_FEW
from legibility.evaluation.headline import Headline, headline
from legibility.evaluation.merged_seeds import Comparison, merge
from legibility.evaluation.over_seeds import holm
from legibility.evaluation.summary_schema import Summary
from legibility.game.setting_changes import different_settings
from legibility.stored import Number, Stored

NO_RESULT = ("seed", "compute.", "tracking.")
"""Settings that a group's runs may differ in: what is computed with, not what is computed."""


class GroupSetting(Stored):
    """A setting in which groups differ."""

    name: str = Field(description="The setting, as section.key.")
    values: list[Any] = Field(description="Its value in every group, in their order; null: it has none there.")


class RunGroup(Stored):
    """The runs of one set of settings."""

    name: str = Field(description='"A", "B", … in the order in which their first runs were named.')
    seeds: Comparison = Field(description="The group's runs as seeds of one condition.")


class GroupDifference(Stored):
    """A number of one group against the same number of another."""

    first: str = Field(description="Name of the first group.")
    second: str = Field(description="Name of the second group.")
    name: str = Field(description="What is measured, for example helpful_accuracy.")
    round: int | None = Field(description="Round it is about; null: the run as a whole.")
    verifier: int | None = Field(description="Round of the verifier that reads the text; null: none, or its own.")
    label: str = Field(description="The name for people, without the round.")
    paired: bool = Field(description="Whether runs of equal seed were set against each other.")
    n: list[int] = Field(description="Seeds of the first and of the second group that the difference rests on.")
    difference: Number = Field(description="Mean of the second group minus mean of the first.")
    low: Number = Field(description="Lower bound of the difference's t interval.")
    high: Number = Field(description="Upper bound.")
    p: Number = Field(description="Two-sided p of no difference; null below two seeds a group.")
    p_holm: Number = Field(description="The same adjusted for all differences of the file (Holm).")
    verdict: str = Field(description='"held": the groups differ, by the adjusted p; "not held", or "too few seeds".')

    @property
    def title(self) -> str:
        """The label with its round."""
        return self.label if self.round is None else f"round {self.round}: {self.label}"


class GroupComparison(Stored):
    """compare.json of runs of several settings; of one setting it is a `Comparison`."""

    version: Literal[3] = Field(3, alias="schema", description="Version of this file's layout.")
    confidence_level: float = Field(description="Level of the intervals.")
    settings: list[GroupSetting] = Field(description="Settings in which the groups differ.")
    groups: list[RunGroup] = Field(description="The groups.")
    tests: int = Field(description="Differences with a p: what Holm's adjustment is over.")
    differences: list[GroupDifference] = Field(description="Every two groups, number by number.")

    @property
    def quick(self) -> list[str]:
        """The runs of all groups that train --quick made too small to measure anything."""
        return [run for group in self.groups for run in group.seeds.quick]

    def between(self, first: str, second: str) -> list[GroupDifference]:
        """The differences of two groups."""
        return [d for d in self.differences if (d.first, d.second) == (first, second)]


@dataclass(frozen=True)
class ComparedRun:
    """A run to compare: its summary and its settings, as dumped."""

    summary: Summary
    settings: dict[str, Any]


def grouped(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """Runs of the same settings together, in the order in which they were named."""
    groups: list[list[ComparedRun]] = []
    for run in runs:
        own = next((g for g in groups if not _differing(g[0], run)), None)
        if own is None:
            groups.append([run])
        else:
            own.append(run)
    return groups


def _differing(first: ComparedRun, second: ComparedRun) -> list[str]:
    names = [change.name for change in different_settings(first.settings, second.settings)]
    return [name for name in names if not name.startswith(NO_RESULT)]


def compare_groups(groups: Sequence[Sequence[ComparedRun]], confidence_level: float) -> GroupComparison:
    """Every group merged, and every two of them compared."""
    names = [_letters(i) for i in range(len(groups))]
    summaries = [[run.summary for run in group] for group in groups]
    everyone = [s for group in summaries for s in group]
    numbers = [*headline(everyone), *arm_headlines(everyone)]
    found = [
        _difference((names[i], names[j]), number, summaries[i], summaries[j], confidence_level)
        for i, j in combinations(range(len(groups)), 2)
        for number in numbers
    ]
    adjusted = holm([d.p for d in found])
    alpha = 1 - confidence_level
    return GroupComparison(
        confidence_level=confidence_level,
        settings=_settings([group[0] for group in groups]),
        groups=[
            RunGroup(name=name, seeds=merge(group, confidence_level))
            for name, group in zip(names, summaries, strict=True)
        ],
        tests=sum(p is not None for p in adjusted),
        differences=[
            d.model_copy(update={"p_holm": p, "verdict": _verdict(d, p, alpha)})
            for d, p in zip(found, adjusted, strict=True)
            if min(d.n)
        ],
    )


def _letters(index: int) -> str:
    """A, B, … Z, AA, AB, …"""
    head, rest = divmod(index, 26)
    return (_letters(head - 1) if head else "") + chr(ord("A") + rest)


def _settings(firsts: Sequence[ComparedRun]) -> list[GroupSetting]:
    names = sorted({name for run in firsts[1:] for name in _differing(firsts[0], run)})
    return [GroupSetting(name=name, values=[_value(run.settings, name) for run in firsts]) for name in names]


def _value(settings: dict[str, Any], name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _verdict(found: GroupDifference, p_holm: float | None, alpha: float) -> str:
    if min(found.n) < LEAST_SEEDS or p_holm is None:
        return TOO_FEW
    return HELD if p_holm < alpha else NOT_HELD


def _difference(
    names: tuple[str, str],
    number: Headline,
    first: Sequence[Summary],
    second: Sequence[Summary],
    confidence_level: float,
) -> GroupDifference:
    sides = [_by_seed(number, group) for group in (first, second)]
    paired = same_seeds(first, second)
    if paired:
        shared = sorted(sides[0].keys() & sides[1].keys())
        sides = [{seed: side[seed] for seed in shared} for side in sides]
    one, other = (np.array([side[seed] for seed in sorted(side)]) for side in sides)
    found = difference(one, other, paired=paired, confidence_level=confidence_level)
    bound = 1.0 if number.rate else np.inf
    return GroupDifference(
        first=names[0],
        second=names[1],
        name=number.name,
        round=number.round,
        verifier=number.verifier,
        label=number.label,
        paired=paired,
        n=[len(one), len(other)],
        difference=found.value,
        low=max(found.low, -bound),
        high=min(found.high, bound),
        p=found.p,
        p_holm=None,
        verdict="",
    )


def same_seeds(first: Sequence[Summary], second: Sequence[Summary]) -> bool:
    """Whether all seeds of the smaller group are in the other one too."""
    one, other = ({s.seed for s in group} for group in (first, second))
    return one <= other or other <= one


def _by_seed(number: Headline, group: Sequence[Summary]) -> dict[int, float]:
    found = {summary.seed: number.read(summary) for summary in group}
    return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class Estimated:
    """Second mean minus first with its t interval (nan where two values a side are not there) and two-sided p."""

    value: float
    low: float
    high: float
    p: float | None


def difference(first: np.ndarray, second: np.ndarray, *, paired: bool, confidence_level: float) -> Estimated:
    """Student's paired or Welch's unpaired difference of two samples, second minus first. (n,) and (m,)."""
    nan = float("nan")
    if not (len(first) and len(second)):
        return Estimated(nan, nan, nan, None)
    value = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return Estimated(value, nan, nan, None)
    if paired:
        error, freedom = _error(second - first), len(first) - 1.0
    else:
        parts = [_error(first) ** 2, _error(second) ** 2]
        error = float(np.sqrt(sum(parts)))
        below = sum(v**2 / (len(x) - 1) for v, x in zip(parts, (first, second), strict=True))
        freedom = sum(parts) ** 2 / below if below else 1.0
    if error < 1e-12:  # the same in every seed
        return Estimated(value, value, value, 1.0 if abs(value) < 1e-12 else 0.0)
    half = float(stats.t.ppf((1 + confidence_level) / 2, freedom)) * error
    return Estimated(value, value - half, value + half, float(2 * stats.t.sf(abs(value) / error, freedom)))


def _error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
