"""Can a small classifier tell the roles apart from text alone? (Kirchner et al. 2024, App. C, Fig. S3)

The paper's leading account of failed games is that the verifier learns who wrote a text. Role is
predicted from character n-grams by logistic regression, across problems (folds hold whole problems
out), on the completions stored at every PPO step; 0.5 is inseparable. Sneaky text is mostly incorrect,
so part of the pooled figure is the verdict: `incorrect` is the same among incorrect text only.

A probe that reads more text, or roles in another proportion, finds more. So every fit of a kind reads equally many
texts of each role, the same number in every window: what the poorest window has, `evaluation.probe_texts` at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from legibility.errors import UserError
from legibility.evaluation.intervals import Figure, Resamples
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import SeparabilityRow
from legibility.evaluation.texts import of_verdict, valid
from legibility.game.condition import START, START_SNEAKY
from legibility.game.solutions import round_solutions
from legibility.prompts import SNEAKY
from legibility.randomness import stream

LEAST = 20  # texts of each role; windows with fewer have no figure
FOLDS = 3


@dataclass(frozen=True)
class Window:
    """Text of some PPO steps of a round, both roles; `step` is the last of them."""

    round: int
    step: int
    frame: pd.DataFrame


def compute(run: EvaluationRun) -> list[SeparabilityRow]:
    """A row per window of PPO steps of every round: AUC of the probe on held-out problems, pooled and among incorrect text.

    Step 0 is the base policy's text of both roles.
    """
    windows = [Window(run.rounds[0], 0, pd.concat([run.texts[START], run.texts[START_SNEAKY]]))]
    every = run.settings.evaluation.probe_every
    for index in run.rounds:
        frame = round_solutions(run.folder, index)
        frame = frame[frame.phase == "ppo"]
        for first, end in spans(int(frame.step.max()), every):
            inside = frame[(frame.step >= first) & (frame.step < end)]
            windows.append(Window(index, int(inside.step.max()), inside))
    run.progress.phase("role probe", len(windows))
    readable = [valid(window.frame) for window in windows]
    wrong_only = [of_verdict(frame, "incorrect") for frame in readable]
    most = run.settings.evaluation.probe_texts
    per_role, wrong_per_role = equal_count(readable, most), equal_count(wrong_only, most)
    rows = []
    for k, window in enumerate(windows):
        rng = stream(run.config.seed, "probe", window.round, window.step)
        whole = probe(readable[k], per_role, run, rng)
        wrong = probe(wrong_only[k], wrong_per_role, run, rng)
        rows.append(
            SeparabilityRow(
                round=window.round,
                step=window.step,
                all=None if whole is None else whole.interval(),
                incorrect=None if wrong is None else wrong.interval(),
                texts=0 if whole is None else 2 * per_role,
                texts_incorrect=0 if wrong is None else 2 * wrong_per_role,
            )
        )
        run.progress.step(k + 1, {"AUC": float("nan") if whole is None else whole.value})
    run.progress.done(f"{len(windows)} windows")
    return rows


def spans(steps: int, every: int) -> list[tuple[int, int]]:
    """Windows of `every` PPO steps from step 1, as (first, end) with the end outside; a shorter rest joins the last."""
    starts = list(range(1, max(steps - every + 2, 2), every))
    return [*pairwise(starts), (starts[-1], steps + 1)]


def equal_count(frames: Sequence[pd.DataFrame], most: int) -> int:
    """Texts of each role that every frame can give, `most` at most; frames below LEAST of a role do not count.

    0 where no frame has as many.
    """
    poorest = [min(int((f.role == SNEAKY).sum()), int((f.role != SNEAKY).sum())) for f in frames]
    enough = [count for count in poorest if count >= LEAST]
    return min([most, *enough]) if enough else 0


def balanced(frame: pd.DataFrame, per_role: int, rng: np.random.Generator) -> pd.DataFrame | None:
    """`per_role` texts of each role drawn at random, in the frame's order; None where a role has fewer than that or LEAST."""
    sneaky = (frame.role == SNEAKY).to_numpy()
    mine, others = np.flatnonzero(sneaky), np.flatnonzero(~sneaky)
    if min(len(mine), len(others)) < max(per_role, LEAST):
        return None
    chosen = [rng.choice(part, per_role, replace=False) for part in (mine, others)]
    return frame.iloc[np.sort(np.concatenate(chosen))]


def probe(frame: pd.DataFrame, per_role: int, run: EvaluationRun, rng: np.random.Generator) -> Figure | None:
    """AUC of the role probe on problems it was not fitted on, of `per_role` texts a role; None where those lack."""
    chosen = balanced(frame, per_role, rng)
    if chosen is None or chosen.problem_id.nunique() < FOLDS:
        return None
    sneaky, problems = (chosen.role == SNEAKY).to_numpy(), list(chosen.problem_id)
    scores = role_scores(list(chosen.text), sneaky, problems)
    settings = run.settings.evaluation
    resamples = Resamples.multinomial(
        problems, resamples=settings.bootstrap, confidence_level=settings.confidence_level, rng=rng
    )
    return resamples.auroc(scores, sneaky, problems)


def role_scores(texts: list[str], sneaky: np.ndarray, problem_ids: list[str]) -> np.ndarray:
    """Log-odds of the sneaky role (n,), each by a fit on other problems. Raises UserError without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise UserError('scikit-learn is not installed; pip install "legibility[evaluate]"') from None
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True, lowercase=False),
        LogisticRegression(C=1.0, class_weight="balanced", max_iter=300),
    )
    scores = cross_val_predict(
        model,
        np.array(texts, dtype=object),
        sneaky,
        groups=problem_ids,
        cv=GroupKFold(FOLDS),
        method="decision_function",
    )
    return np.asarray(scores)
