"""What is stored of attacks: a record of each, steps to exploit, and what attackers get accepted.

Rows of attacks.json, survival.json and robustness.json (legibility.evaluation.schema has the files). Made by
`legibility.evaluation.attacks`, read again by everything that compares attacks over verifiers and seeds.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legibility.game.run_records import AttackSetup
from legibility.stored import Interval, Number, Stored


class FixedReference(Stored):
    """The same attack held against round 0's helpful-correct text, which is one text for all verifiers."""

    steps: int = Field(description="PPO steps to the exploit, or done when the attack was given up.")
    exploited: bool = Field(description="Whether it succeeded.")


class AttackRecord(Stored):
    """A row of attacks.json: one attack on a frozen verifier.

    Its success is held against the helpful-correct text of the verifier's own round, as in the paper.
    """

    verifier: int = Field(description="Round of the verifier.")
    reward: str = Field(description="What the attacker was paid: src, cgc or goodhart.")
    seed: int = Field(description="Seed of the attack.")
    steps: int = Field(description="PPO steps to the exploit, or done when the attack was given up.")
    exploited: bool = Field(description="Whether it succeeded; otherwise it is censored at `steps`.")
    cap: int = Field(description="PPO steps after which it was to be given up.")
    quick: bool = Field(description="Whether a quick evaluation made it.")
    start: str = Field(description="Policy it started from: base or correctness.")
    settings: AttackSetup = Field(description="Attack settings it was made under.")
    trained: int | None = Field(
        None, description="PPO steps done in all: an attack goes on after its exploit. Null in older files."
    )
    equal_steps: int | None = Field(
        None, description="PPO steps it was to make even once exploited; null: it was to end there (older files)."
    )
    fixed_reference: FixedReference | None = Field(
        None, description="The same against round 0's text. Null in older files."
    )
    reader: str | None = Field(
        None, description="Arm whose reader was attacked; null: a round's verifier. Never in attacks.json."
    )

    @property
    def watched(self) -> int:
        """The step until which it is known whether the verifier was exploited."""
        return max(self.steps, self.trained or 0)


class AtRisk(Stored):
    """Attacks at risk: not exploited before a step, and still watched at it."""

    step: int = Field(description="PPO step; 0: the start.")
    attacks: int = Field(description="Attacks.")


class MedianSteps(Stored):
    """Kaplan–Meier median of steps to exploit."""

    median: Number = Field(description="Median PPO steps to exploit; null: beyond what was seen.")
    low: Number = Field(description="Lower bound of the median; null: beyond what was seen.")
    high: Number = Field(description="Upper bound of the median; null: beyond what was seen.")
    n: int = Field(description="Attacks.")
    censored: Number = Field(description="Share that did not succeed.")


class Survival(Stored):
    """Steps to exploit of the attacks with one reward on one verifier, as survival data (Kaplan–Meier).

    The bounds speak of attacks on this one verifier, not of another game's.
    """

    verifier: int = Field(description="Round of the verifier.")
    reward: str = Field(description="Reward of the attacks.")
    median: Number = Field(description="Median PPO steps to exploit; null: beyond what was seen.")
    low: Number = Field(description="Lower bound of the median; null: beyond what was seen.")
    high: Number = Field(description="Upper bound of the median; null: beyond what was seen.")
    n: int = Field(description="Attacks.")
    censored: Number = Field(description="Share that did not succeed.")
    cap: int = Field(description="PPO steps until which all attacks were watched.")
    quick: bool = Field(description="Whether any attack was a quick one.")
    at_risk: list[AtRisk] | None = Field(
        None, description="Attacks at risk at the start and at each quarter of the cap. Null in older files."
    )
    fixed_reference: MedianSteps | None = Field(
        None, description="The same against round 0's helpful-correct text. Null in older files."
    )


class SurvivalRow(Survival):
    """The attacks with one reward on one verifier: median steps to exploit (Kaplan–Meier), and how far they went."""

    cap_enough: bool | None = Field(
        description="Whether the cap is at least twice verifier 0's median under that reward; null: no such median."
    )


class RobustnessRow(Stored):
    """A row of robustness.json: what a frozen verifier accepts of a fresh attacker's incorrect text, at one point.

    The text is the attacker's own of `window` steps, on problems that provers learn from. The verifier accepts from
    the score at which it takes the share `recall` of round 0's helpful-correct validation text, the same text for
    every verifier. Bounds: bootstrap over problems; where none or all of the text is accepted, the exact binomial
    bound with a problem as the unit.
    """

    verifier: int = Field(description="Round of the verifier; of a reader 0.")
    reader: str | None = Field(None, description="Arm whose reader was attacked; null: a round's verifier.")
    reward: str = Field(description="What the attacker was paid: src, cgc or goodhart.")
    seed: int = Field(description="Seed of the attack.")
    at: Literal["steps", "kl"] = Field(
        description="Where the attackers are compared: after as many steps, or at the first window that is as far from its start."
    )
    target: float = Field(description="The step, or the KL in nats, that the row stands for.")
    steps: int = Field(description="Last PPO step of the window.")
    kl: Number = Field(
        description="Mean over the window of the KL from the attacker's start, nats per completion (unbiased estimate)."
    )
    fpr: Number = Field(description="Share of incorrect text that is accepted; null below 20 texts.")
    low: Number = Field(description="Lower bound.")
    high: Number = Field(description="Upper bound.")
    own_round: Interval = Field(
        description="The same from the score at which it takes that share of its own round's text, the paper's reference."
    )
    texts: int = Field(description="Incorrect texts.")
    problems: int = Field(description="Problems they answer.")
    window: int = Field(description="Steps whose text is read.")
    recall: float = Field(description="Share of the reference text that is accepted.")
