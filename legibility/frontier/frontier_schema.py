"""frontier.json: arms against measures over seeds, in views of equal cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legibility.evaluation.over_seeds import OverSeeds
from legibility.frontier.measures import Kind
from legibility.game.condition import ConditionKey
from legibility.stored import Number, Sparse, Stored

ViewName = Literal["steps", "completions", "flops"]


class MeasureInfo(Stored):
    """A measure of legibility."""

    name: str = Field(description="Its key in `figures`.")
    label: str = Field(description="Its name for people.")
    kind: Kind = Field(description="What it asks: a judge, a reader (a model that goes on), the text alone, people.")


class ArmPoint(Stored):
    """An arm in a view."""

    arm: str = Field(description="The arm.")
    label: str = Field(description="Its name for people.")
    conditions: list[ConditionKey] = Field(description="Whose text stands for it, by run.")
    steps: float = Field(description="PPO steps of its prover and of what that rests on, mean over runs.")
    completions: float = Field(description="Completions drawn to learn from, likewise.")
    flops: float = Field(description="FLOPs of matrix products, likewise.")
    accuracy: OverSeeds = Field(description="Share of correct answers.")
    length: OverSeeds = Field(description="Mean completion length, tokens.")
    tax: OverSeeds = Field(description="Accuracy of the correctness-only arm minus its own.")
    retained_gain: OverSeeds = Field(description="(own - start) / (correctness-only - start) accuracy.")
    figures: dict[str, OverSeeds] = Field(description="Every measure that all or some runs have.")
    faithfulness: OverSeeds | None = Field(
        None, description="Of the decoupled arm: share of translations that keep the solver's answer."
    )


class Versus(Stored):
    """A measure of an arm against the game's, seed by seed."""

    arm: str = Field(description="The arm.")
    measure: str = Field(description="The measure, or `accuracy`.")
    difference: Number = Field(description="Mean over seeds of the arm's minus the game's.")
    p: Number = Field(description="Two-sided p of a paired t-test.")
    p_holm: Number = Field(description="The same adjusted for every row of the view (Holm).")
    n: int = Field(description="Seeds that have both.")


class Best(Stored):
    """Which arm is best on a measure."""

    measure: str = Field(description="The measure, or `accuracy`.")
    arm: str = Field(description="The arm with the highest mean.")
    second: str | None = Field(description="The next one; null: there is none.")
    ahead: OverSeeds = Field(description="Best minus second, by seed.")
    decided: bool = Field(description="Whether the interval of `ahead` excludes 0, of at least five seeds.")


class Disagreement(Stored):
    """Two measures that order two arms oppositely, each beyond its interval over seeds."""

    first: str = Field(description="A measure.")
    second: str = Field(description="Another one.")
    better: str = Field(description="The arm that is better on `first`.")
    worse: str = Field(description="The arm that is better on `second`.")
    on_first: OverSeeds = Field(description="`better` minus `worse` on `first`, by seed.")
    on_second: OverSeeds = Field(description="The same on `second`.")
    p: Number = Field(description="The larger p of the two paired t-tests.")
    decided: bool = Field(
        description="Whether `p` is at most 0.001, of at least five seeds: among all pairs of measures and arms some "
        "contradict each other by chance at 0.05."
    )


class Agreement(Stored):
    """How far two measures order the arms alike."""

    first: str = Field(description="A measure.")
    second: str = Field(description="Another one.")
    tau: OverSeeds = Field(description="Kendall's tau-b over the arms that have both, by seed; 1: the same order.")
    arms: int = Field(description="Arms in every seed's order.")


class ArmClaim(Sparse):
    """A claim of docs/arms.md, at equal PPO steps."""

    name: str = Field(description="A1, A2 and so on.")
    claim: str = Field(description="What is claimed.")
    rule: str = Field(description="What decides it.")
    arm: str | None = Field(None, description="The arm that comes nearest, where any may; by its name for people.")
    found: OverSeeds | None = Field(None, description="The number that the rule is about, by seed.")
    retained_gain: OverSeeds | None = Field(None, description="Of `arm`, where the rule asks for it.")
    p: Number = Field(None, description="p of the test against 0; null: the claim is no test.")
    p_holm: Number = Field(None, description="The same adjusted for all tested claims (Holm).")
    verdict: Literal["held", "open", "few", "unknown"] = Field(
        description="held: the rule is met (and, of a test, p_holm below alpha); open: it is not; few: fewer than five "
        "seeds; unknown: not measured."
    )


class View(Stored):
    """The arms at equal cost of one kind."""

    name: ViewName = Field(
        description="What is equal: PPO steps of the prover itself (its last round), or completions or FLOPs in all."
    )
    budget: Number = Field(description="The most that an arm may have spent, mean over runs; null: each its own.")
    arms: list[ArmPoint] = Field(description="Arms within the budget.")
    beyond: list[str] = Field(description="Arms of which nothing was cheap enough, by name for people.")
    versus: list[Versus] = Field(description="Arms against the game.")
    best: list[Best] = Field(description="The best arm by measure.")
    agreement: list[Agreement] = Field(description="Every pair of measures.")
    disagreements: list[Disagreement] = Field(description="Pairs of arms on which two measures contradict each other.")


class Frontier(Stored):
    """frontier.json."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    runs: list[str] = Field(description="Run folders.")
    seeds: list[int] = Field(description="Their seeds.")
    quick: list[str] = Field(description="Runs that train --quick made, which measure nothing.")
    settings_differ: list[str] = Field(description="Settings other than the seed in which runs differ from the first.")
    confidence_level: float = Field(description="Of every interval (t, over seeds).")
    measures: list[MeasureInfo] = Field(description="The measures that some run has.")
    start: ArmPoint = Field(description="The base policy, before any arm.")
    views: list[View] = Field(description="Equal steps, completions and FLOPs.")
    claims: list[ArmClaim] = Field(description="The claims of docs/arms.md and what became of them.")
