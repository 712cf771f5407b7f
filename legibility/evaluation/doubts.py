"""Where each round's verifier doubts the examples of its round: their scores taken apart by token.

Only a score that is made token by token can be taken apart (`verifier.score: likelihood` or `token`);
a head on the last token leaves no such file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from legibility.evaluation.example_texts import choose_examples
from legibility.evaluation.schema import FOLDER
from legibility.evaluation.sections.subtlety import StepGrader
from legibility.evaluation.texts import test_texts
from legibility.game.condition import helpful, sneaky, verifier
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import Versioned
from legibility.models.verifier import Explanation, TokenShare
from legibility.models.verifier_ensemble import load_verifier
from legibility.pasted import own_command
from legibility.problems.storage import read_problems
from legibility.prompts import HELPFUL, SNEAKY
from legibility.stored import Stored, read_stored, write_stored

DOUBTS = "doubts.json"
LEAST_DOUBT = 0.2
"""Tokens below this share of the most doubted one's are not marked, or half of every text would be."""


class TokenDoubt(Stored):
    """What one token adds to a score; below 0 it is doubted."""

    start: int = Field(description="First character in the text.")
    end: int = Field(description="The character after its last; equal to `start` for the token after the text.")
    share: float = Field(description="What it adds to the score.")


class Doubt(Stored):
    """A score taken apart: `score` = `rest` + the shares of `tokens`."""

    round: int = Field(description="Round of the text and of its verifier.")
    role: str = Field(description="Role of the writer.")
    problem_id: str = Field(description="The problem.")
    text: str = Field(description="The solution.")
    score: float = Field(description="The verifier's raw score.")
    rest: float = Field(description="What belongs to no token: the head on the last token.")
    tokens: list[TokenDoubt] = Field(description="The solution's tokens in order.")

    @classmethod
    def of(cls, explained: Explanation, *, round_index: int, role: str, problem_id: str, text: str) -> Doubt:
        """The record of an explanation."""
        tokens = [TokenDoubt(start=t.start, end=t.end, share=t.share) for t in explained.tokens]
        return cls(
            round=round_index,
            role=role,
            problem_id=problem_id,
            text=text,
            score=explained.score,
            rest=explained.rest,
            tokens=tokens,
        )


class DoubtsFile(Versioned):
    """evaluation/doubts.json: the doubts of every round's verifier about the report's examples of that round."""

    doubts: list[Doubt] = Field(description="One a text.")


class Doubted(NamedTuple):
    """Characters `start` to `end` of a text; `strength`: how much they are doubted, 1 for its most doubted token."""

    start: int
    end: int
    strength: float


def doubted(tokens: Sequence[TokenDoubt | TokenShare]) -> list[Doubted]:
    """What to mark of a text: the tokens that lower its score, each against the one that lowers it most."""
    worst = -min((t.share for t in tokens), default=0.0)
    if worst <= 0:
        return []
    return [Doubted(t.start, t.end, -t.share / worst) for t in tokens if -t.share >= LEAST_DOUBT * worst]


def write_doubts(run: RunFolder, device: str = "cpu") -> None:
    """Compute and write the doubts about the report's examples, where the verifiers' score has parts.

    Raises UserError for unfinished or changed phases.
    """
    config = run.config()
    if config.verifier.score == "last_token":
        return
    texts, problems = test_texts(run), read_problems(run.problems_file)
    grader, found = StepGrader(problems), []
    for index in run.rounds():
        chosen = choose_examples(texts[helpful(index)], texts[sneaky(index)], grader, config.evaluation.examples)
        reader = load_verifier(config.verifier, device, source=str(run.verified(verifier(index).phase)))
        for example in chosen:
            for role, row in ((HELPFUL, example.helpful), (SNEAKY, example.sneaky)):
                if row is not None:
                    explained = reader.explain(problems[example.problem_id], row.text)
                    found.append(
                        Doubt.of(explained, round_index=index, role=role, problem_id=example.problem_id, text=row.text)
                    )
    (run.path / FOLDER).mkdir(exist_ok=True)
    write_stored(run.path / FOLDER / DOUBTS, DoubtsFile(doubts=found))


def read_doubts(run: RunFolder) -> dict[int, dict[tuple[str, str], Doubt]]:
    """By round, then by problem id and text; empty where a run has none. Raises UserError for a damaged file."""
    file = run.path / FOLDER / DOUBTS
    found: dict[int, dict[tuple[str, str], Doubt]] = {}
    if file.is_file():
        fix = f"{own_command('evaluate', run.path, '--quick')} writes it again"
        for doubt in read_stored(file, DoubtsFile, fix=fix).doubts:
            found.setdefault(doubt.round, {})[doubt.problem_id, doubt.text] = doubt
    return found
