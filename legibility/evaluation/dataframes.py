"""A run as tidy pandas data frames, for notebooks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from legibility.evaluation.schema import Evaluation, Matrix, Tax, read_evaluation
from legibility.evaluation.sections.matrix import METRICS
from legibility.evaluation.summary_schema import SUMMARY, read_summary
from legibility.evaluation.text_sets import text_key
from legibility.game.condition import GAME, ROUND_ARMS
from legibility.game.phases import BASE, arm_collection
from legibility.game.prover_plan import phase_name, trained_provers
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, round_solutions


def load_run(path: Path | str) -> dict[str, pd.DataFrame]:
    """Data frames of a run, by name; only what is finished.

    solutions: every stored completion. steps: PPO metrics, one row per arm, round and step. rounds: the
    summary's line per round. matrix: one row per verifier, solution set and metric. best_of_n, attacks,
    survival, soundness, subtlety, separability, hacking, handoff, sufficiency, invariance, tax: the evaluation's rows; nested
    figures are flattened as `name.value`, `name.low`, `name.high`. Raises UserError where there is no run.
    """
    run = RunFolder.existing(path)
    frames = {"solutions": stored_completions(run), "steps": _steps(run)}
    if (run.path / SUMMARY).is_file():
        rounds = read_summary(run.path / SUMMARY).arms.game.rounds
        frames["rounds"] = pd.json_normalize([r.model_dump(mode="json") for r in rounds])
    evaluation = read_evaluation(run)
    return frames if evaluation is None else {**frames, **section_frames(evaluation)}


def section_frames(evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """A data frame per section that was computed, by its name."""
    frames: dict[str, pd.DataFrame] = {}
    for name in sorted(evaluation.model_fields_set):
        section = getattr(evaluation, name)
        if isinstance(section, Matrix):
            frames[name] = _matrix(section)
        elif isinstance(section, Tax):
            arms = section.model_dump(mode="json")["arms"]
            frames[name] = pd.json_normalize([{"arm": arm, **entry} for arm, entry in arms.items()])
        else:
            frames[name] = pd.json_normalize([row.model_dump(mode="json") for row in section])
    return frames


def stored_completions(run: RunFolder) -> pd.DataFrame:
    """Every stored completion of what is finished, attacks and other arms of an evaluation among them."""
    parts = [read_solutions(run.verified(BASE) / "solutions.parquet")] if run.is_done(BASE) else []
    others = []
    for arm, index in trained_provers(run):
        if arm in (GAME, *ROUND_ARMS):
            parts.append(round_solutions(run, index, arm))
        else:
            others += [phase_name(arm, index), arm_collection(arm)]
    others += [
        p
        for p in run.finished_phases()
        if p.startswith(("evaluation/attacks/", "evaluation/arms/", "evaluation/pools/"))
    ]
    parts += [read_solutions(run.verified(p) / "solutions.parquet") for p in others if run.is_done(p)]
    return pd.concat([p for p in parts if len(p)], ignore_index=True) if parts else pd.DataFrame()


def _steps(run: RunFolder) -> pd.DataFrame:
    parts = []
    for arm, index in trained_provers(run):
        lines = pd.read_json(run.verified(phase_name(arm, index)) / "metrics.jsonl", lines=True)
        parts.append(lines.assign(arm=arm, round=index))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _matrix(section: Matrix) -> pd.DataFrame:
    """One row per metric, judge and set of text."""
    rows = []
    for metric in METRICS:
        intervals = getattr(section, f"{metric}_interval")
        for judge, cells in (getattr(section, metric) or {}).items():  # older files lack the later metrics
            for texts, value in cells.items():
                low, high = intervals[judge][texts]
                rows.append(
                    {
                        "metric": metric,
                        "verifier": str(judge),
                        "solution": text_key(texts),
                        "value": value,
                        "low": low,
                        "high": high,
                    }
                )
    return pd.DataFrame(rows)
