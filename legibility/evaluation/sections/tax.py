"""Legibility tax against checkability measured four ways, raw and at equal length.

Tax and retained gain as in `legibility.evaluation.summary`. Checkability of an arm's helpful text:
same-problem pairwise accuracy of the run's last verifier and of the held-out judge, step validity
(mean share of written steps that are true; a solution that writes none counts 0: there is nothing to
check), and human accuracy where judgments were imported. Reviewers of the paper call length an
uncontrolled confound, so every figure is also given with the arm's text weighted to the lengths of
the last game round's text (bins at its deciles; bins with fewer than 5 of the arm's texts are left
out on both sides, and `support` is the share of the game's text that remains). The length-penalised
correctness arm ("correctness short") is a second control.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Figure, combine
from legibility.evaluation.run import JUDGE, Study
from legibility.evaluation.sections.subtlety import StepJudge, step_table

HUMAN = "human.json"
LEAST = 5  # of an arm's texts in a length bin
BINS = 10


@dataclass(frozen=True)
class Arm:
    """An arm's helpful test text and, per text, what the judges say of it."""

    frame: pd.DataFrame
    scores: dict[str, np.ndarray]
    validity: np.ndarray  # nan for invalid text


def compute(study: Study) -> dict[str, Any]:
    """`arms[name]`: accuracy, length and each checkability measure, raw and length-matched; `tax`, `retained_gain`."""
    last = study.rounds[-1]
    game_name = f"game {last}"
    names = {"start": "init", **{f"game {i}": f"game {i}" for i in study.rounds}}
    names |= {n: n for n in ("correctness", "correctness short") if n in study.texts}
    judges = {"last_verifier": f"verifier {last}"} | ({"held_out_judge": JUDGE} if JUDGE in study.judges else {})
    steps = StepJudge(study.problems)
    arms = {name: _arm(study, study.texts[text], judges, steps) for name, text in names.items()}
    game = arms[game_name]
    human = _human(study)
    result: dict[str, Any] = {
        "reference": game_name,
        "arms": {},
        "decoding": study.decoding(),
        "step_validity_exact": _exact(study),
    }
    for name, arm in arms.items():
        ours, theirs, support = length_weights(arm.frame.completion_tokens, game.frame.completion_tokens)
        raw, matched, base = _figures(study, arm), _figures(study, arm, ours), _figures(study, game, theirs)
        entry: dict[str, Any] = {
            "mean_length": float(arm.frame.completion_tokens.mean()),
            "support": support,
            "checkability": {},
        }
        for measure in raw:
            figures = {
                "raw": raw[measure].record(),
                "matched": matched[measure].record(),
                "difference": (raw[measure] - _figures(study, game)[measure]).record(),
                "difference_matched": (matched[measure] - base[measure]).record(),
            }
            (entry if measure == "accuracy" else entry["checkability"])[measure] = figures
        if name in human:
            entry["checkability"]["human"] = {"raw": human[name]}
        result["arms"][name] = entry
    result["tax"] = {
        n: result["arms"][n]["accuracy"]["difference"] for n in ("correctness", "correctness short") if n in arms
    }
    result["tax_matched"] = {n: result["arms"][n]["accuracy"]["difference_matched"] for n in result["tax"]}
    if "correctness" in arms:
        start, corner, own = (_figures(study, arms[n])["accuracy"] for n in ("start", "correctness", game_name))
        result["retained_gain"] = combine(lambda s, c, g: (g - s) / (c - s), start, corner, own).record()
    return result


def length_weights(arm: pd.Series, reference: pd.Series) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights of the arm's texts and of the reference's that make their lengths alike, and the share of the reference kept.

    Bins end at the reference's deciles. Inside a kept bin the reference's texts weigh 1 and the arm's as
    much together as the reference's.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    ours, theirs = np.searchsorted(edges, arm, "left"), np.searchsorted(edges, reference, "left")
    have, want = (np.bincount(b, minlength=len(edges) + 1) for b in (ours, theirs))
    kept = have >= LEAST
    share = np.where(kept, want / np.maximum(have, 1), 0.0)
    return share[ours], kept[theirs].astype(float), float(want[kept].sum() / max(want.sum(), 1))


def _arm(study: Study, frame: pd.DataFrame, judges: dict[str, str], steps: StepJudge) -> Arm:
    readable = (frame.verdict != "invalid").to_numpy()
    scores = {name: np.full(len(frame), np.nan) for name in judges}
    for name, judge in judges.items():
        scores[name][readable] = study.scores(judge, frame[readable])
    validity = np.where(readable, step_table(frame, steps).validity.fillna(0.0), np.nan)
    return Arm(frame, scores, validity)


def _figures(study: Study, arm: Arm, weights: np.ndarray | None = None) -> dict[str, Figure]:
    """Accuracy and checkability of an arm, its texts weighted."""
    problems, right = list(arm.frame.problem_id), (arm.frame.verdict == "correct").to_numpy()
    readable = ~np.isnan(arm.validity)
    weights = np.ones(len(right)) if weights is None else weights
    inside = [p for p, keep in zip(problems, readable, strict=True) if keep]
    return {
        "accuracy": study.resamples.mean(problems, right, weights),
        **{
            name: study.resamples.pairwise(s[readable], right[readable], inside, weights[readable])
            for name, s in arm.scores.items()
        },
        "step_validity": study.resamples.mean(problems, arm.validity, weights),
    }


def _exact(study: Study) -> bool:
    return all(bool(p.steps) for p in study.game.splits.test)


def _human(study: Study) -> dict[str, dict[str, Any]]:
    """Judgments of people by arm name: their accuracy on an arm's honest text, from human.json (`legibility analyze`).

    Simulated raters are left out.
    """
    file = study.run.path / HUMAN
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    if found["simulated"]:
        return {}
    names = {"init": "start", "correctness": "correctness"}
    return {
        names.get(c["arm"], f"game {c['round']}"): {k: c["accuracy"].get(k) for k in ("value", "low", "high")}
        for c in found["conditions"]
        if c["role"] != "sneaky"
    }
