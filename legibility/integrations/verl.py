"""verl as an engine of the prover phase, the half that needs no verl: what crosses between a game and a run of it.

verl samples and trains with whatever it has; it pays row by row, though, and the game's rewards are those of whole
groups. So a reward manager reads each completion (verdict and raw score), and the trainer, where the whole batch is
together, pays it: same columns, same reward rules, same running scale as in `legibility.game`. Both hooks stand in
`legibility.integrations.verl_trainer`; what they compute stands here. A folder goes to verl (`VerlRound` in
round.json, prompts in train.parquet, verl.yaml), and the completions of every step come back in steps.jsonl.
docs/verl.md is the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from legibility import rewards
from legibility.config import RewardSettings
from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.grading import grade
from legibility.models.prover import Prover
from legibility.models.verifier_ensemble import load_verifier
from legibility.player_settings import VerifierSettings
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL
from legibility.reward_rules import score_scale, verifier_rewards
from legibility.rewards import ScoreScale
from legibility.stored import Stored, read_stored

ROUND, PROMPTS, STEPS_DONE, RECIPE = "round.json", "train.parquet", "steps.jsonl", "verl.yaml"
SCALE = "score_scale.json"
"""The scale of scores, in each of verl's checkpoint folders."""


class VerlRound(Stored):
    """round.json: what verl's side has to know of the prover phase that it runs."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    arm: str = Field(description="What the completions are labelled with: game or correctness.")
    round: int = Field(description="The round, 0 for an arm.")
    steps: int = Field(description="PPO steps.")
    reward: RewardSettings | None = Field(description="What is paid; null: correctness alone, without a verifier.")
    verifier: VerifierSettings | None = Field(description="The verifier's settings; null: there is none.")
    verifier_folder: str | None = Field(description="Where the round's verifier stands.")
    marker: str = Field(description="What the final answer line starts with.")
    unparsed: Literal["invalid", "incorrect"] = Field(description="What an unreadable answer counts as.")
    end_ids: list[int] = Field(description="Tokens that end a completion; one without is cut off.")


class ScaleSoFar(Stored):
    """score_scale.json in a checkpoint of verl: what the running scale has come to, which verl knows nothing of."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    step: int = Field(description="Steps paid.")
    scale: float = Field(description="What scores are divided by.")
    least: float = Field(description="The least that may become.")


@dataclass(frozen=True, kw_only=True)
class ReadCompletion:
    """A completion after the grader and the verifier: what the reward manager gives on to the trainer."""

    problem_id: str
    role: str
    text: str
    verdict: str
    score: float | None
    tokens: int
    truncated: bool

    def as_extra_info(self) -> dict[str, Any]:
        """The fields as verl carries them along, with its own name for accuracy."""
        return {**asdict(self), "acc": float(self.verdict == "correct")}

    @classmethod
    def of_extra_info(cls, info: dict[str, Any]) -> ReadCompletion:
        """Back from `as_extra_info`. Raises UserError where the reward manager was another one."""
        try:
            return cls(**{name: info[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError):
            raise UserError(
                "verl: a completion came without verdict and score; set reward.reward_manager as verl.yaml has it"
            ) from None


class CompletionReader:
    """Grades and scores completions of a round. The verifier is loaded once a process."""

    def __init__(self, record: VerlRound, device: str = "cpu") -> None:
        self.record = record
        self.verifier = (
            None
            if record.verifier is None
            else load_verifier(record.verifier, device, source=record.verifier_folder, batch=64)
        )

    def read(self, problem: Problem, role: str, text: str, tokens: int, truncated: bool) -> ReadCompletion:
        """Verdict and raw score of one completion's text."""
        verdict = grade(text, problem.answer, self.record.marker, truncated=truncated, unparsed=self.record.unparsed)
        score = None if self.verifier is None else float(self.verifier.score([problem], [text])[0])
        return ReadCompletion(
            problem_id=problem.id, role=role, text=text, verdict=verdict.value, score=score, tokens=tokens,
            truncated=truncated,
        )  # fmt: skip


class BatchPay:
    """What whole batches are paid, step after step: the arithmetic of a prover phase of the game."""

    def __init__(self, record: VerlRound) -> None:
        self.record = record
        self.scale = ScoreScale("none" if record.reward is None else score_scale(record.reward))
        self.step = 0

    def pay(self, read: Sequence[ReadCompletion]) -> np.ndarray:
        """Rewards (n,) float64 of a batch, in its order; the scale follows the batch first.

        Raises UserError for a score that is no finite number, and for groups of one completion where scores are centred.
        """
        scores = np.array([np.nan if r.score is None else r.score for r in read], dtype=float)
        columns = rewards.as_columns(
            scores, [r.verdict for r in read], [r.role == HELPFUL for r in read], [(r.problem_id, r.role) for r in read]
        )
        self.step += 1
        if self.record.reward is None:
            return rewards.pay_correctness(columns)
        if not np.isfinite(scores).all():
            raise UserError(f"verl, step {self.step}: the verifier gave a completion no finite score")
        if (
            self.record.reward.kind == "src"
            and len(read) > 1
            and len(columns.group) == len(set(columns.group.tolist()))
        ):
            raise UserError(f"verl, step {self.step}: every group is of one completion; set rollout.n to at least 2")
        self.scale.update(columns.scores, columns.group, first=self.step == 1)
        return verifier_rewards(self.record.reward, columns, self.scale.value)

    def so_far(self) -> ScaleSoFar:
        """What a checkpoint has to hold."""
        return ScaleSoFar(step=self.step, scale=self.scale.value, least=self.scale.least)

    def go_on_from(self, found: ScaleSoFar) -> None:
        """Be as when a checkpoint was written."""
        self.step, self.scale.value, self.scale.least = found.step, found.scale, found.least


@dataclass(frozen=True)
class PaidStep:
    """A step that verl has trained on: the scale and the completions, each with its reward."""

    step: int
    scale: float
    completions: list[tuple[ReadCompletion, float]]


def add_step(folder: Path, step: int, scale: float, read: Sequence[ReadCompletion], paid: np.ndarray) -> None:
    """Add a step to steps.jsonl, a line."""
    rows = [{**asdict(r), "reward": value} for r, value in zip(read, paid.tolist(), strict=True)]
    line = json.dumps({"step": step, "scale": scale, "completions": rows}, ensure_ascii=False)
    with open(folder / STEPS_DONE, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def forget_steps_after(folder: Path, step: int) -> None:
    """Drop what was written after a checkpoint that training goes on from."""
    file = folder / STEPS_DONE
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        write_atomic(file, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))


def paid_steps(folder: Path) -> Iterator[PaidStep]:
    """The steps of steps.jsonl in order. Raises UserError where it is missing, damaged or has a gap."""
    file = folder / STEPS_DONE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; has verl run with the verl.yaml beside it?") from None
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            rows = [
                (ReadCompletion(**{k: v for k, v in c.items() if k != "reward"}), c["reward"])
                for c in content["completions"]
            ]
            found = PaidStep(content["step"], content["scale"], rows)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{file}: line {number} is no step; run verl again from its last checkpoint") from None
        if found.step != number:
            raise UserError(f"{file}: line {number} is step {found.step}; run verl again from its last checkpoint")
        yield found


def read_round(folder: Path) -> VerlRound:
    """round.json of a folder. Raises UserError where it cannot be read."""
    return read_stored(folder / ROUND, VerlRound, fix="hand the round over again")


def write_prompts(folder: Path, prover: Prover, steps: Sequence[Sequence[Problem]], roles: Sequence[str]) -> None:
    """train.parquet: a row per (problem, role), step after step, so that batches taken in order are the game's own.

    verl writes prompts by the tokenizer's chat template, so the prover needs one. Raises UserError where it has none.
    """
    if prover.chat is None or prover.chat.name is not None:
        raise UserError(
            "prover.chat_template: verl writes every prompt by the tokenizer's default chat template; set it to true, with a "
            "model that has one"
        )
    rows = [
        {
            "data_source": "legibility",
            "prompt": prover.chat.shown(prover.prompts.messages(prover.control.plain(problem.question), role)),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {
                "index": place, "step": step, "problem_id": problem.id, "role": role, "question": problem.question,
            },
        }
        for step, problems in enumerate(steps, 1)
        for place, (role, problem) in enumerate((role, problem) for role in roles for problem in problems)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / PROMPTS)
