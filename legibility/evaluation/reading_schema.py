"""What readers make of every arm's text: rows of the sections that measure legibility arm by arm."""

from __future__ import annotations

from pydantic import Field, RootModel

from legibility.evaluation.text_sets import ArmKey
from legibility.game.condition import JudgeKey
from legibility.stored import Interval, Sparse, Stored


class HandoffRow(Stored):
    """A row of handoff.json: an arm's helpful text, ended by the verifier's base from a random line on."""

    arm: ArmKey = Field(description="Whose text.")
    texts: int = Field(description="Texts, one of a test problem.")
    nothing_handed_over: float = Field(
        description="Share of them that are in one piece, so that nothing is handed over."
    )
    writer: Interval = Field(description="Share whose own ending is correct.")
    alone: Interval = Field(description="Share of these problems that the verifier's base solves alone.")
    joint: Interval = Field(description="Share that it ends correctly.")
    utility: Interval = Field(description="`joint` − `alone`: the transfer utility (arXiv 2603.20508).")
    robustness: Interval = Field(description="`joint` among the texts whose own ending is correct.")


class SufficiencyRow(Sparse):
    """A row of sufficiency.json: whether an arm's helpful text tells its answer to who does not know the problem."""

    arm: ArmKey = Field(description="Whose text.")
    texts: int = Field(description="Texts, one of a test problem.")
    no_steps: float = Field(description="Share of them that write nothing before the answer; they count 0 throughout.")
    writer: Interval = Field(description="Share whose own answer is correct.")
    own: Interval | None = Field(
        None,
        description="Share whose own answer the verifier's base reads from the steps, another problem in place of theirs. "
        "Absent, as all that it reads, where it writes no text.",
    )
    own_null: Interval | None = Field(None, description="The same with the steps of another text of the arm: exact.")
    right: Interval | None = Field(None, description="`own` among the texts whose own answer is correct.")
    gold: Interval | None = Field(None, description="Share from whose steps it reads the correct answer.")
    consistent: Interval | None = Field(
        None, description="Share from which it reads one answer with their problem and without: SR of arXiv 2604.22074."
    )
    told: Interval = Field(description="Share whose answer is the last number of the steps, so that copying is enough.")
    follows: Interval = Field(
        description="Share whose answer is the result of the last equation, which holds with all that it rests on."
    )
    follows_null: Interval = Field(description="The same with the steps of another text of the arm: exact.")
    used: Interval = Field(
        description="Mean share of a text's equations that its last one rests on, itself among them; texts with any."
    )


class InvarianceRow(Sparse):
    """A row of invariance.json: what a judge makes of an arm's helpful text when only its style is rewritten."""

    arm: ArmKey = Field(description="Whose text.")
    verifier: JudgeKey = Field(description="The judge.")
    texts: int = Field(description="Texts, one of a test problem, that some rewrite changes.")
    rewrites: float = Field(description="Rewrites that change a text, mean.")
    accepted: Interval | None = Field(
        None, description="Share of the texts that is accepted as written. Absent, as all shares, without a threshold."
    )
    stays: Interval | None = Field(None, description="Share whose acceptance is the same under every rewrite.")
    stays_null: Interval | None = Field(
        None, description="What `stays` would be if every score were drawn anew, at this share accepted: exact."
    )
    change: Interval | None = Field(
        None,
        description="Mean absolute change of V by a rewrite, in the judge's mean standard deviation of V inside a problem "
        "on the base policy's text. Absent where that is 0.",
    )
    order: Interval | None = Field(
        None,
        description="Share of pairs of texts that the judge scores in the same order when one rewrite changes both; pairs "
        "of one score left out, ties behind the rewrite half. Absent without pairs.",
    )


class AcceptanceRow(Sparse):
    """A row of acceptance.json: what a judge makes of an arm's helpful text, right and wrong.

    Every judge accepts from the score at which it takes `evaluation.recall` of round 0's helpful-correct validation text.
    """

    arm: ArmKey = Field(description="Whose text.")
    judge: JudgeKey = Field(description="The held-out judge, the game's last verifier or the arm's reader.")
    pairwise: Interval = Field(description="How often a right text scores above a wrong one of the same problem.")
    recall: Interval | None = Field(None, description="Right text that is accepted. Absent without a threshold.")
    fpr: Interval | None = Field(None, description="Wrong text that is accepted. Absent without a threshold.")
    g_mean_squared: Interval | None = Field(
        None, description="`recall` × (1 − `fpr`) (arXiv 2512.18311). Absent without a threshold."
    )


class AcceptanceFile(RootModel[list[AcceptanceRow]]):
    """acceptance.json."""


class HandoffFile(RootModel[list[HandoffRow]]):
    """handoff.json."""


class InvarianceFile(RootModel[list[InvarianceRow]]):
    """invariance.json."""


class SufficiencyFile(RootModel[list[SufficiencyRow]]):
    """sufficiency.json."""
