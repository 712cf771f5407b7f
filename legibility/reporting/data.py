"""What a report shows, read from a run folder into plain structures.

Works on a run that is still going: only finished rounds count, and what needs every model of the run
(checkability, tax) is left out until summary.json is there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from legibility.config import Config
from legibility.errors import UserError
from legibility.evaluation.sections.subtlety import StepGrader
from legibility.evaluation.summary import summarise
from legibility.evaluation.texts import test_texts
from legibility.game.condition import CORRECTNESS, GAME, helpful, sneaky
from legibility.game.prover_phase import load_training, phase_name
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import Manifest, ProverTraining
from legibility.game.solutions import read_solutions, round_solutions
from legibility.problems.storage import read_problems
from legibility.reporting.examples import Example, pick_examples

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


@dataclass(frozen=True)
class ReportData:
    """Everything the page and its figures show. `summary` follows summary.json; an unfinished run's
    lacks what is not known yet."""

    name: str
    finished: bool
    config: Config
    manifest: Manifest
    summary: dict[str, Any]
    rounds: list[Phase]
    correctness: Phase | None
    written: dict[tuple[int, str], WrittenSteps]
    examples: dict[int, list[Example]]

    @property
    def summary_rounds(self) -> list[dict[str, Any]]:
        return self.summary["arms"]["game"]["rounds"][: len(self.rounds)]


def read_run(run: RunFolder) -> ReportData:
    """Read what the run has finished. Raises UserError where no round is finished, or files were changed."""
    indices = run.rounds()
    if not indices:
        raise UserError(f"{run.path}: no finished round yet, so there is nothing to report; go on with train --resume")
    config = run.config()
    judge = StepGrader(read_problems(run.path / "problems.jsonl"))
    summary_file = run.path / "summary.json"
    finished = summary_file.is_file()
    texts = test_texts(run)
    summary = (
        json.loads(summary_file.read_text(encoding="utf-8"))
        if finished
        else summarise(run, checked=False).model_dump(mode="json")
    )
    add_people(summary, run.path / "human.json")
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
        rounds=rounds,
        correctness=correctness,
        written={
            (i, role): _written(frame, judge)
            for i in indices
            for role, frame in (("helpful", texts[helpful(i)]), ("sneaky", texts[sneaky(i)]))
        },
        examples={
            i: pick_examples(texts[helpful(i)], texts[sneaky(i)], judge, config.evaluation.examples) for i in indices
        },
    )


def add_people(summary: dict[str, Any], path: Path) -> None:
    """Put the accuracy of people (or of simulated raters, under that name) among the checkabilities, from a run's
    human.json (legibility analyze). Raises UserError where the file cannot be read."""
    if not path.is_file():
        return
    try:
        human = json.loads(path.read_text(encoding="utf-8"))
        name = "simulated_raters" if human["simulated"] else "people"
        found = {(c["arm"], c["round"], c["role"]): c["accuracy"] for c in human["conditions"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not written by legibility analyze; restore it or move it away") from None
    arms = summary["arms"]
    places = {("init", -1, "base"): arms["init"], ("correctness", 0, "helpful"): arms.get("correctness")}
    places |= {("game", r["round"], "helpful"): r for r in arms["game"]["rounds"]}
    for key, entry in places.items():
        if entry is not None and key in found:
            entry.setdefault("checkability", {})[name] = found[key]["value"]
            entry.setdefault("checkability_interval", {})[name] = [found[key]["low"], found[key]["high"]]


def _phase(run: RunFolder, title: str, arm: str, index: int, rows: pd.DataFrame) -> Phase:
    training = load_training(run, arm, index)
    lines = (run.folder(phase_name(arm, index)) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = pd.DataFrame([json.loads(line) for line in lines]).set_index("step").astype(float)
    ppo = rows[rows.phase == "ppo"]
    counts = (
        ppo.groupby(["role", "step", "verdict"]).size().unstack(fill_value=0).reindex(columns=VERDICTS, fill_value=0)
    )
    return Phase(title, arm, index, training, steps, counts.div(counts.sum(axis=1), axis=0))


def _written(frame: pd.DataFrame, judge: StepGrader) -> WrittenSteps:
    judged = [[s.status for s in judge.steps(*key)] for key in zip(frame.problem_id, frame.text, strict=True)]
    flat = [status for found in judged for status in found]
    right = [found for found, verdict in zip(judged, frame.verdict, strict=True) if verdict == "correct"]
    known = any(judge.problems[p].steps for p in frame.problem_id.unique())
    return WrittenSteps(
        with_steps=sum(map(bool, judged)) / len(judged),
        arithmetic_holds=sum(s != "slip" for s in flat) / len(flat) if flat else None,
        true_steps=sum(s == "valid" for s in flat) / len(flat) if flat and known else None,
        lucky=sum(any(s != "valid" for s in found) for found in right) / len(right) if right and known else None,
    )
