"""Inspect eval logs of a run: its test text, one log per condition, as `inspect view` and inspect's data frames read it.

A problem is a sample and its completions are epochs, so that a problem has the same id in every log. Scores of a
sample: `correct`, `steps` (whether every written equation is a true step), and the raw score of every judge that has
read it: the round's own verifier always, the others as far as an evaluation has kept them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput, ModelUsage
from inspect_ai.scorer import CORRECT, INCORRECT, Score
from inspect_ai.viewer import ViewerConfig

import legibility
from legibility.config import Config
from legibility.evaluation.scores import stored_scores, text_key
from legibility.evaluation.texts import by_problem, scored_by, test_texts, text_phase
from legibility.game.condition import Condition, Judge, judges_of
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import Manifest
from legibility.grading.answer import extract_answer
from legibility.metrics import auroc
from legibility.pasted import pasted
from legibility.problems.records import Problem
from legibility.problems.storage import read_problems
from legibility.problems.truth import grade_steps

Kept = Mapping[Judge, Mapping[str, float]]
"""Scores that an evaluation has kept, by judge and text."""


@dataclass(frozen=True)
class _Source:
    """What all logs of a run are made of."""

    name: str
    config: Config
    manifest: Manifest
    problems: Mapping[str, Problem]
    kept: Kept
    scored_by: Mapping[Condition, Judge | None]


def write_inspect_logs(run: RunFolder, work: Path, out: Path) -> list[str]:
    """Write the logs into `work`, which will be `out`. Raises UserError for files of the run that were changed."""
    config = run.config()
    texts = {condition: frame for condition, frame in test_texts(run).items() if len(frame)}
    scorers = {condition: scored_by(run, condition) for condition in texts}
    kept = {judge: stored_scores(run, judge, config) for judge in judges_of(run)}
    name = run.path.resolve().name
    source = _Source(name, config, run.manifest(), read_problems(run.problems_file), kept, scorers)
    for number, (condition, frame) in enumerate(texts.items()):
        log = _log(source, condition, frame, run.done_record(text_phase(run, condition)).seconds)
        write_eval_log(
            log, str(work / f"{_time(log.eval.created)}_{number:02d}-{_slug(condition)}_{log.eval.task_id}.eval")
        )
    samples = sum(map(len, texts.values()))
    return [
        f"{out}: {len(texts)} Inspect logs, {samples:,} completions of test problems",
        f"next: {pasted('inspect', 'view', '--log-dir', out)}",
    ]


def _log(source: _Source, condition: Condition, frame: pd.DataFrame, seconds: float) -> EvalLog:
    """The log of a condition. frame: its test completions; seconds: what the phase that drew them took."""
    scores = {str(judge): values for judge, values in _scores(source, condition, frame).items()}
    rows = list(frame.itertuples(index=False))
    model = f"legibility/{source.name}:{_slug(condition)}"
    samples = [
        _sample(source.problems[row.problem_id], row, model, {k: v[i] for k, v in scores.items()}, source.config)
        for i, row in enumerate(rows)
    ]
    seed = f"{source.manifest.created}\0{source.name}\0{condition}"
    ids = list(dict.fromkeys(row.problem_id for row in rows))
    spec = EvalSpec(
        eval_id=_id(seed, "eval"),
        run_id=_id(seed, "run"),
        task_id=_id(seed, "task"),
        created=_with_colon(source.manifest.created),
        task=condition.label,
        task_args={"arm": condition.arm, "round": condition.round, "role": condition.role},
        dataset=EvalDataset(name=f"{source.name} test problems", samples=len(ids), sample_ids=ids, shuffled=False),
        model=model,
        config=EvalConfig(epochs=int(frame["sample"].max()) + 1),
        packages={"legibility": legibility.__version__},
        metadata={
            "run": source.name,
            "seed": source.config.seed,
            "reward": source.config.reward.kind,
            "temperature": source.config.sampling.evaluation_temperature,
            "max_new_tokens": source.config.sampling.max_new_tokens,
        },
        viewer=ViewerConfig(trust_content=False),  # a model's text is shown, never rendered
    )
    return EvalLog(
        status="success",
        eval=spec,
        results=EvalResults(
            total_samples=len(samples), completed_samples=len(samples), scores=_results(frame, samples, scores)
        ),
        stats=EvalStats(
            started_at=spec.created,
            completed_at=(datetime.fromisoformat(spec.created) + timedelta(seconds=seconds)).isoformat(),
            model_usage={model: _usage(int(frame.prompt_tokens.sum()), int(frame.completion_tokens.sum()))},
        ),
        samples=samples,
    )


def _sample(problem: Problem, row: Any, model: str, scores: Mapping[str, float], config: Config) -> EvalSample:
    """A completion. row: one of the frame of its condition, as a named tuple."""
    value = extract_answer(row.text, config.grading.marker)
    steps = grade_steps(problem, row.text)
    found = {
        "correct": Score(
            value=CORRECT if row.verdict == "correct" else INCORRECT,
            answer=None if value is None else str(value),
            explanation=f"{row.verdict}; the gold answer is {problem.answer}",
        )
    }
    if steps:
        found["steps"] = Score(
            value=CORRECT if all(s.status == "valid" for s in steps) else INCORRECT,
            explanation="\n".join(f"{row.text[s.check.start : s.check.end]}: {s.reason or 'right'}" for s in steps),
        )
    found |= {name: Score(value=float(score)) for name, score in scores.items() if np.isfinite(score)}
    output = ModelOutput.from_content(model, row.text, "max_tokens" if row.truncated else "stop")
    output.usage = _usage(int(row.prompt_tokens), int(row.completion_tokens))
    return EvalSample(
        id=row.problem_id,
        epoch=int(row.sample) + 1,
        input=problem.question,
        target=problem.answer,
        messages=[ChatMessageUser(content=problem.question), ChatMessageAssistant(content=row.text, model=model)],
        output=output,
        model_usage={model: output.usage},
        scores=found,
        metadata={
            "arm": row.arm,
            "round": int(row.round),
            "role": row.role,
            "verdict": row.verdict,
            "truncated": bool(row.truncated),
            "completion_tokens": int(row.completion_tokens),
            "family": problem.family,
        },
    )


def _usage(prompt: int, written: int) -> ModelUsage:
    return ModelUsage(input_tokens=prompt, output_tokens=written, total_tokens=prompt + written)


def _scores(source: _Source, condition: Condition, frame: pd.DataFrame) -> dict[Judge, np.ndarray]:
    """Raw scores (n,) of the frame's rows by judge, nan where none is kept; a judge without any is left out."""
    keys = [text_key(p, t) for p, t in zip(frame.problem_id, frame.text, strict=True)]
    found = {judge: np.array([kept.get(key, np.nan) for key in keys]) for judge, kept in source.kept.items()}
    own = source.scored_by[condition]
    if own is not None:
        found[own] = frame.score.to_numpy(dtype=float)
    return {judge: found[judge] for judge in sorted(found) if np.isfinite(found[judge]).any()}


def _results(frame: pd.DataFrame, samples: list[EvalSample], scores: Mapping[str, np.ndarray]) -> list[EvalScore]:
    """The figures over a log's samples. Standard errors are over problems, whose completions hang together."""
    accuracy = by_problem(frame)
    error = float(accuracy.std(ddof=1) / np.sqrt(len(accuracy))) if len(accuracy) > 1 else float("nan")
    steps = [s.scores["steps"].value == CORRECT for s in samples if s.scores and "steps" in s.scores]
    correct = (frame.verdict == "correct").to_numpy()
    found = [_result("correct", {"accuracy": float(correct.mean()), "stderr": error}, len(samples))]
    if steps:
        found.append(_result("steps", {"accuracy": float(np.mean(steps))}, len(steps)))
    for name, values in scores.items():
        known = np.isfinite(values)
        figures = {"mean": float(values[known].mean()), "auroc": auroc(values[known], correct[known])}
        found.append(_result(name, figures, int(known.sum())))
    return found


def _result(name: str, figures: Mapping[str, float], count: int) -> EvalScore:
    metrics = {key: EvalMetric(name=key, value=value) for key, value in figures.items() if np.isfinite(value)}
    return EvalScore(name=name, scorer=name, scored_samples=count, metrics=metrics)


def _id(seed: str, what: str) -> str:
    """An id that is the same whenever the run is exported."""
    return hashlib.blake2b(f"{what}\0{seed}".encode(), digest_size=11).hexdigest()


def _slug(condition: Condition) -> str:
    return condition.label.replace(",", "").replace(" ", "-")


def _with_colon(created: str) -> str:
    """The manifest's local time, whose offset from UTC has no colon, as ISO 8601 has it."""
    return f"{created[:-2]}:{created[-2:]}" if created[-5:-4] in "+-" else created


def _time(created: str) -> str:
    return created.replace(":", "-")
