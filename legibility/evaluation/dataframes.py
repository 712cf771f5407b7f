"""A run as tidy pandas data frames, for notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from legibility.evaluation.summary import evaluated
from legibility.game.condition import CORRECTNESS, GAME
from legibility.game.prover_phase import phase_name
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, round_solutions


def load_run(path: Path | str) -> dict[str, pd.DataFrame]:
    """Data frames of a run, by name; only what is finished.

    solutions: every stored completion. steps: PPO metrics, one row per arm, round and step. rounds: the
    summary's line per round. matrix: one row per verifier, solution set and metric. best_of_n, attacks,
    survival, soundness, subtlety, separability, hacking, tax: the evaluation's rows; nested figures are
    flattened as `name.value`, `name.low`, `name.high`. Raises UserError where there is no run.
    """
    run = RunFolder.existing(path)
    frames = {"solutions": _solutions(run), "steps": _steps(run)}
    summary = run.path / "summary.json"
    if summary.is_file():
        frames["rounds"] = pd.json_normalize(json.loads(summary.read_text(encoding="utf-8"))["arms"]["game"]["rounds"])
    for name, section in evaluated(run).get("evaluation", {}).items():
        if name == "matrix":
            frames[name] = _matrix(section)
        elif name == "tax":
            frames[name] = pd.json_normalize([{"arm": arm, **entry} for arm, entry in section["arms"].items()])
        else:
            frames[name] = pd.json_normalize(section)
    return frames


def _solutions(run: RunFolder) -> pd.DataFrame:
    parts = [read_solutions(run.verified("base") / "solutions.parquet")] if run.is_done("base") else []
    parts += [round_solutions(run, index) for index in run.rounds()]
    others = [phase_name(CORRECTNESS, 0), f"arms/{CORRECTNESS}/collection"]
    others += [
        p
        for p in run.finished_phases()
        if p.startswith(("evaluation/attacks/", "evaluation/arms/", "evaluation/pools/"))
    ]
    parts += [read_solutions(run.verified(p) / "solutions.parquet") for p in others if run.is_done(p)]
    return pd.concat([p for p in parts if len(p)], ignore_index=True) if parts else pd.DataFrame()


def _steps(run: RunFolder) -> pd.DataFrame:
    phases = [(GAME, i) for i in run.rounds()] + [(CORRECTNESS, 0)]
    parts = []
    for arm, index in phases:
        if run.is_done(phase_name(arm, index)):
            lines = pd.read_json(run.verified(phase_name(arm, index)) / "metrics.jsonl", lines=True)
            parts.append(lines.assign(arm=arm, round=index))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _matrix(section: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for metric in ("auroc", "pairwise", "recall", "fpr"):
        for verifier, cells in section[metric].items():
            for solution, value in cells.items():
                low, high = section[f"{metric}_interval"][verifier][solution]
                rows.append(
                    {
                        "metric": metric,
                        "verifier": verifier,
                        "solution": solution,
                        "value": value,
                        "low": low,
                        "high": high,
                    }
                )
    return pd.DataFrame(rows)
