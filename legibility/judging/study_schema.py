"""Every record of a study folder: lines of its JSONL files, events of the server's log, and its JSON files.

The version of the lines and events is `schema_version` in study.yaml: a line of items.jsonl holds nothing but
what its rater sees. Results of the analysis have their own schema (`results_schema`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from legibility.game.condition import Condition, ConditionKey, JudgeKey
from legibility.stored import Number, Sparse, Stored

Assisted = Literal["item", "rater"]
"""What is assigned to assisted checking: half of every rater's items, or half of the raters."""
STUDY: Final = "study"
ATTENTION: Final = "attention"
"""The two kinds of items: what is studied, and checks that a rater reads."""


# --- Items and who judges them ----------------------------------------------------------------------


class StudyItem(Stored):
    """A line of items.jsonl: what a rater sees. Nothing here varies with the condition."""

    item_id: str = Field(description="Random id.")
    problem: str = Field(description="The problem as the run's provers got it.")
    solution: str = Field(description="The text to be judged, whole.")


class DoubtMark(Stored):
    """A stretch of a solution that is shown shaded. How much the text as a whole is doubted is not told."""

    start: int = Field(ge=0, description="First character.")
    end: int = Field(description="The character after its last.")
    level: Literal[1, 2, 3] = Field(description="How dark, against the darkest of the same text.")


class ItemDoubts(Stored):
    """A line of doubts.jsonl: where a verifier doubts one item. Which verifier it is, provenance.json says."""

    item_id: str = Field(description="Id of the item; every item of the study has a line, attention checks too.")
    marks: list[DoubtMark] = Field(description="In the order of the text.")


class Slot(Sparse):
    """A line of assignments.jsonl: the list of one rater."""

    slot: int = Field(ge=1, description="Number of the slot, from 1.")
    items: list[str] = Field(description="Ids of its items in the order shown, attention checks among them.")
    assisted: list[str] | None = Field(
        None,
        description="Ids of those that are shown with the verifier's doubts. Absent where no item of the study is.",
    )


class KeyEntry(Stored):
    """A line of key.jsonl (sealed): what an item is."""

    item_id: str = Field(description="Id of the item in items.jsonl.")
    problem_id: str = Field(description="Id of the problem in the run (attention checks: attention-0, …).")
    arm: str = Field(description="Arm of the writer: init, game, correctness, reference; attention for checks.")
    round: int = Field(description="Round of the writer; -1 before the first.")
    role: str = Field(description="Role of the writer: base, helpful, sneaky, reference; attention for checks.")
    correct: bool = Field(description="Whether the final answer is right.")
    score: Number = Field(description="Raw score of the verifier of the writer's own round, where there is one.")
    scores: dict[JudgeKey, float] = Field(description="Raw score of every judge of the run.")
    problem_chars: int = Field(description="Characters of the problem.")
    solution_chars: int = Field(description="Characters of the solution.")
    solution_tokens: int | None = Field(description="Tokens of the prover's tokenizer; null where no model wrote it.")
    first_wrong_line: int | None = Field(description="Line of the first wrong step, from 1, where it is known.")
    kind: Literal["study", "attention"] = Field(description="Study item or attention check.")
    run: str = Field(description="Name of the run folder or problem file.")
    content_sha256: str = Field(description="Ties the entry to the item's text (`content_hash`).")

    @property
    def condition(self) -> Condition:
        """Who wrote the item."""
        return Condition(self.arm, self.round, self.role)


def content_hash(problem: str, solution: str) -> str:
    """SHA-256 (hex) of an item's two texts."""
    return hashlib.sha256(json.dumps([problem, solution]).encode()).hexdigest()


# --- The folder's own papers ------------------------------------------------------------------------


class Checksums(Stored):
    """checksums.json: ties the files of a study together."""

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of the layout.")
    sha256: dict[str, str] = Field(description="Name of a file -> SHA-256 of its bytes when exported.")


class Provenance(Stored):
    """provenance.json (sealed): where the items came from."""

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of the layout.")
    run: str = Field(description="Name of the run folder or problem file.")
    run_path: str | None = Field(
        description="Path of the run folder, seen from the study (absolute in older ones); null for a problem file."
    )
    seed: int = Field(description="Seed of the choice of solutions.")
    secret: str = Field(description="What ids, file order and assignments were drawn from: 32 hex digits.")
    conditions: list[ConditionKey] = Field(description="Conditions that were asked for, in order.")
    per_condition: int = Field(description="Solutions asked for per condition.")
    raters: int = Field(description="Rater slots.")
    per_rater: int | None = Field(description="Items per rater, where a number was asked for.")
    attention: int = Field(description="Attention checks of every rater.")
    length_match: bool = Field(description="Whether all conditions were given one distribution of lengths.")
    assisted: Assisted | None = Field(None, description="What is assigned to be shown with doubts; null: nothing is.")
    adviser: JudgeKey | None = Field(None, description="The verifier whose doubts they are.")
    notes: list[str] = Field(description="What fell short, in words.")


class Invite(Stored):
    """A line of invites.jsonl (secret): what lets one rater in, and the link that holds it."""

    slot: int = Field(ge=1, description="Number of the slot, from 1.")
    invite: str = Field(min_length=16, description="The secret.")
    link: str = Field(description="What to send to the rater of this slot.")


class Organiser(Stored):
    """organiser.json (secret): what opens the progress page of the judging server."""

    key: str = Field(min_length=16, description="The secret in the page's address.")


class RefusedRow(Stored):
    """A line of refused.jsonl: a row of an imported file that was not taken."""

    file: str = Field(description="Name of the imported file.")
    source: str = Field(alias="from", description="Its format, as given to `legibility import --from`.")
    where: str = Field(description="Place in the file.")
    reason: str = Field(description="Why, in words.")


# --- The server's log -------------------------------------------------------------------------------


class ConsentGiven(Stored):
    """What a rater agreed to, and when."""

    version: str = Field(description="Version of the text.")
    text: list[str] = Field(description="The paragraphs as they were shown.")
    at: str = Field(description="When the agreement arrived, ISO 8601, UTC.")


class ClaimEvent(Sparse):
    """server.jsonl: a rater took a slot."""

    event: Literal["claim"] = Field("claim", description="Kind of the event.")
    slot: int = Field(ge=1, description="Number of the slot, from 1.")
    token: str = Field(description="The session's secret, kept by the rater's browser.")
    visitor: dict[str, str] = Field(description="Prolific's parameters of the link: PROLIFIC_PID and the like.")
    at: str = Field(description="When it was written, ISO 8601, UTC.")
    start_id: str | None = Field(
        None, description="A secret of the rater's page, by which a start that is asked for twice takes one slot."
    )
    consent: ConsentGiven | None = Field(None, description="Absent where the study asks for none.")


class ShownEvent(Stored):
    """server.jsonl: an item was put on the screen; its clock runs from here."""

    event: Literal["shown"] = Field("shown", description="Kind of the event.")
    slot: int = Field(ge=1, description="Number of the slot, from 1.")
    token: str = Field(description="The session's secret.")
    item_id: str = Field(description="Id of the item.")
    time: float = Field(ge=0, lt=1e11, description="When it was shown, seconds since 1970.")
    at: str = Field(description="When it was written, ISO 8601, UTC.")


class JudgmentEvent(Stored):
    """server.jsonl: a rater's answer."""

    event: Literal["judgment"] = Field("judgment", description="Kind of the event.")
    slot: int = Field(ge=1, description="Number of the slot, from 1.")
    token: str = Field(description="The session's secret.")
    item_id: str = Field(description="Id of the item.")
    answer: bool = Field(description="True: the rater says that the solution is right.")
    seconds: float = Field(
        description="Time to the answer as the page measured it, never longer than the item was out."
    )
    timed_out: bool = Field(description="Whether the answer came after the time limit.")
    confidence: int | None = Field(description="How sure the rater is, 1 to 5.")
    first_wrong_step: int | None = Field(description="The first wrong line, from 1, as the rater sees it.")
    started_at: str = Field(description="When the item was shown, ISO 8601, UTC.")
    finished_at: str = Field(description="When the answer arrived, ISO 8601, UTC.")
    at: str = Field(description="When it was written, ISO 8601, UTC.")


ServerEvent = Annotated[ClaimEvent | ShownEvent | JudgmentEvent, Field(discriminator="event")]
server_event: TypeAdapter[ClaimEvent | ShownEvent | JudgmentEvent] = TypeAdapter(ServerEvent)
"""Reads one line of server.jsonl."""


# --- Simulated raters -------------------------------------------------------------------------------


class SimulationTruth(Stored):
    """simulation/truth.json: what the made-up raters were given."""

    simulation: Literal[True] = Field(True, description="No person judged anything.")
    seed: int = Field(description="Seed of the simulation.")
    lapse: float = Field(description="Share of judgments that are coin flips.")
    careless: float = Field(description="Share of raters who flip a coin for everything.")
    raters: int = Field(description="How many raters there are.")
    gain: float = Field(0.0, description="How much more accurate they are where doubts are shown.")
    truth: dict[ConditionKey, float] = Field(
        description="Expected accuracy of a rater who is not careless, without doubts shown."
    )
    careless_raters: list[str] = Field(description="Names of the careless ones in judgments.csv.")


class Coverage(Stored):
    """simulation/coverage.json: what the analysis makes of many simulated studies."""

    simulation: Literal[True] = Field(True, description="No person judged anything.")
    repeats: int = Field(description="Simulated studies.")
    covered: float = Field(description="Share of (study, condition) intervals of accuracy that hold the truth.")
    by_condition: dict[ConditionKey, float] = Field(description="The same by condition.")
    bias: Number = Field(description="Mean error of accuracy; null where every rater was always excluded.")
    width: Number = Field(description="Mean width of the intervals; null likewise.")
    recall: float | None = Field(description="Share of careless raters excluded; null where there are none.")
    false_exclusion: float | None = Field(description="Share of the others excluded; null where there are none.")

    def lines(self) -> list[str]:
        """For the terminal."""
        bias, width = ("–" if x is None else f"{x:{form}}" for x, form in ((self.bias, "+.4f"), (self.width, ".3f")))
        rates = [] if self.false_exclusion is None else [f"false-exclusion rate {self.false_exclusion:.3f}"]
        rates += [] if self.recall is None else [f"exclusion rules: recall {self.recall:.3f}"]
        return [
            f"{self.repeats} simulated studies: intervals cover the true accuracy in {self.covered:.1%}, "
            f"bias {bias}, mean width {width}",
            "; ".join(rates),
        ]
