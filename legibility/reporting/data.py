"""What a report shows, read from a run folder into records.

Works on a run that is still going: only finished rounds count, and what needs every model of the run
(checkability, tax) is left out until summary.json is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from legibility.config import Config
from legibility.errors import UserError
from legibility.evaluation.doubts import read_doubts
from legibility.evaluation.schema import Tax
from legibility.evaluation.sections.subtlety import StepGrader
from legibility.evaluation.summary import summarise
from legibility.evaluation.summary_schema import (
    SUMMARY,
    Arms,
    CorrectnessSummary,
    PolicySummary,
    RoundSummary,
    StartSummary,
    Summary,
    read_summary,
)
from legibility.evaluation.texts import test_texts
from legibility.game.condition import CORRECTNESS, CORRECTNESS_ONLY, GAME, START, Condition, helpful, sneaky
from legibility.game.human_record import read_human_record
from legibility.game.prover_phase import load_training
from legibility.game.prover_plan import phase_name
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import Manifest, ProverTraining
from legibility.game.solutions import read_solutions, round_solutions
from legibility.problems.storage import read_problems
from legibility.reporting.examples import Example, pick_examples
from legibility.stored import Interval

VERDICTS = ("correct", "incorrect", "invalid")


@dataclass(frozen=True)
class Phase:
    """One prover phase. `steps` has one row per PPO step (docs/metrics.md), indexed by step; `verdicts`
    the share of each verdict, indexed by (role, step)."""

    title: str
    arm: str
    index: int
    training: ProverTraining
    steps: pd.DataFrame
    verdicts: pd.DataFrame


@dataclass(frozen=True)
class WrittenSteps:
    """How much of one policy's test text can be checked: share of solutions that write at least one
    equation, and of their equations the shares that hold and that are true steps of the problem;
    `lucky` is the share of correct solutions with a step that is not true (both None where no problem's
    steps are known)."""

    with_steps: float
    arithmetic_holds: float | None
    true_steps: float | None
    lucky: float | None


CheckedBy = Literal["people", "simulated_raters", "held_out_judge", "last_verifier"]
"""Who checks solutions: people or made-up raters (a human study), or a judge model."""


@dataclass(frozen=True)
class Policy:
    """What one policy's honest test text is worth: accuracy, and how well each checker tells right from wrong in it."""

    condition: Condition
    accuracy: Interval
    checkability: Mapping[CheckedBy, Interval]

    def checked_by(self, who: CheckedBy) -> float | None:
        """Checkability by one checker; None where it is not known."""
        found = self.checkability.get(who)
        return found.value if found else None


@dataclass(frozen=True)
class ReportData:
    """Everything the page and its figures show.

    summary: of an unfinished run, what is known so far. start, game, correctness_only: the policies that are
    compared, the game's by round; others: the last honest text of every other arm, as far as an evaluation has checked it.
    written: by round and role. examples: by round.
    """

    name: str
    finished: bool
    config: Config
    manifest: Manifest
    summary: Summary
    start: Policy
    game: list[Policy]
    correctness_only: Policy | None
    rounds: list[Phase]
    correctness: Phase | None
    written: dict[tuple[int, str], WrittenSteps]
    examples: dict[int, list[Example]]
    others: list[Policy] = field(default_factory=list)

    @property
    def summary_rounds(self) -> list[RoundSummary]:
        """The summary's line of every round that is shown."""
        return self.summary.arms.game.rounds[: len(self.rounds)]

    @property
    def policies(self) -> list[Policy]:
        """All policies: the start, the game by round, the correctness-only arm, other arms."""
        return [self.start, *self.game, *([self.correctness_only] if self.correctness_only else []), *self.others]


def read_run(run: RunFolder) -> ReportData:
    """Read what the run has finished. Raises UserError where no round is finished, or files were changed."""
    indices = run.rounds()
    if not indices:
        raise UserError(
            f"{run.path}: no finished round yet, so there is nothing to report; go on with: {run.resume_command}"
        )
    config = run.config()
    grader = StepGrader(read_problems(run.problems_file))
    finished, doubts = (run.path / SUMMARY).is_file(), read_doubts(run)
    texts = test_texts(run)
    summary = read_summary(run.path / SUMMARY) if finished else summarise(run, checked=False)
    people = _people(run)
    arms, tax = summary.arms, summary.evaluation.tax if summary.evaluation else None
    rounds = [_phase(run, f"round {i}", GAME, i, round_solutions(run, i)) for i in indices]
    correctness = None
    if run.is_done(phase_name(CORRECTNESS, 0)):
        rows = read_solutions(run.folder(phase_name(CORRECTNESS, 0)) / "solutions.parquet")
        correctness = _phase(run, "correctness-only", CORRECTNESS, 0, rows)
    return ReportData(
        name=run.path.resolve().name,
        finished=finished,
        config=config,
        manifest=run.manifest(),
        summary=summary,
        start=_policy(START, arms.init.accuracy, arms.init.interval, _checks(arms.init, tax, START), people),
        game=[
            _policy(helpful(r.round), r.helpful_accuracy, r.helpful_interval, _checks(r, tax, helpful(r.round)), people)
            for r in arms.game.rounds[: len(indices)]
        ],
        correctness_only=None
        if arms.correctness is None
        else _policy(
            CORRECTNESS_ONLY,
            arms.correctness.accuracy,
            arms.correctness.interval,
            _checks(arms.correctness, tax, CORRECTNESS_ONLY),
            people,
        ),
        rounds=rounds,
        correctness=correctness,
        written={(i, who.role): _written(texts[who], grader) for i in indices for who in (helpful(i), sneaky(i))},
        examples={
            i: pick_examples(texts[helpful(i)], texts[sneaky(i)], grader, config.evaluation.examples, doubts.get(i))
            for i in indices
        },
        others=_others(arms, tax, people),
    )


def _others(arms: Arms, tax: Tax | None, people: Mapping[Condition, dict[CheckedBy, Interval]]) -> list[Policy]:
    """The arms beside game and correctness-only ones, by their last honest text; only an evaluation checks them."""
    last: dict[str, tuple[Condition, PolicySummary]] = {}
    for condition, found in sorted((arms.others or {}).items()):
        if not condition.sneaky:
            last[condition.arm] = condition, found
    policies = []
    for condition, found in last.values():
        measured = tax.arms.get(condition) if tax else None
        checked = (
            {who: measured.checkability[who].raw for who in MODELS if who in measured.checkability} if measured else {}
        )
        policies.append(_policy(condition, found.accuracy, found.interval, checked, people))
    return policies


def _policy(
    condition: Condition,
    accuracy: float | None,
    bounds: tuple[float | None, float | None],
    checkability: Mapping[CheckedBy, Interval],
    people: Mapping[Condition, dict[CheckedBy, Interval]],
) -> Policy:
    checked: dict[CheckedBy, Interval] = {**people.get(condition, {}), **checkability}
    return Policy(condition, Interval(value=accuracy, low=bounds[0], high=bounds[1]), checked)


def _checks(
    row: StartSummary | RoundSummary | CorrectnessSummary, tax: Tax | None, condition: Condition
) -> dict[CheckedBy, Interval]:
    """What the judge models say of a policy; the interval from the evaluation where an older summary has none."""
    found: dict[CheckedBy, Interval] = {}
    for who in MODELS:
        if who in row.checkability:
            low, high = (row.checkability_interval or {}).get(who, (None, None))
            arm = tax.arms.get(condition) if tax else None
            if low is None and arm is not None and who in arm.checkability:
                low, high = arm.checkability[who].raw.low, arm.checkability[who].raw.high
            found[who] = Interval(value=row.checkability[who], low=low, high=high)
    return found


MODELS: tuple[CheckedBy, ...] = ("held_out_judge", "last_verifier")


def _people(run: RunFolder) -> dict[Condition, dict[CheckedBy, Interval]]:
    """Accuracy of people (or of simulated raters, under that name) by condition; empty where nobody judged.

    From human.json (`legibility analyze`). Raises UserError where that cannot be read.
    """
    record = read_human_record(run.path)
    if record is None:
        return {}
    who: CheckedBy = "simulated_raters" if record.simulated else "people"
    return {c.condition: {who: c.accuracy} for c in record.conditions}


def _phase(run: RunFolder, title: str, arm: str, index: int, rows: pd.DataFrame) -> Phase:
    training = load_training(run, arm, index)
    lines = (run.folder(phase_name(arm, index)) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = pd.DataFrame([json.loads(line) for line in lines]).set_index("step").astype(float)
    ppo = rows[rows.phase == "ppo"]
    counts = (
        ppo.groupby(["role", "step", "verdict"]).size().unstack(fill_value=0).reindex(columns=VERDICTS, fill_value=0)
    )
    return Phase(title, arm, index, training, steps, counts.div(counts.sum(axis=1), axis=0))


def _written(frame: pd.DataFrame, grader: StepGrader) -> WrittenSteps:
    graded = [[s.status for s in grader.steps(*key)] for key in zip(frame.problem_id, frame.text, strict=True)]
    flat = [status for found in graded for status in found]
    right = [found for found, verdict in zip(graded, frame.verdict, strict=True) if verdict == "correct"]
    known = any(grader.problems[p].steps for p in frame.problem_id.unique())
    return WrittenSteps(
        with_steps=sum(map(bool, graded)) / len(graded),
        arithmetic_holds=sum(s != "slip" for s in flat) / len(flat) if flat else None,
        true_steps=sum(s == "valid" for s in flat) / len(flat) if flat and known else None,
        lucky=sum(any(s != "valid" for s in found) for found in right) / len(right) if right and known else None,
    )
