"""Can a small classifier tell the roles apart from text alone? (Kirchner et al. 2024, App. C, Fig. S3)

The paper's leading account of failed games is that the verifier learns who wrote a text. Role is
predicted from character n-grams by logistic regression, across problems (folds hold whole problems
out), on the completions stored at every PPO step; 0.5 is inseparable. Sneaky text is mostly incorrect,
so part of the pooled figure is the verdict: `incorrect` is the same among incorrect text only.
"""

from __future__ import annotations

from dataclasses import dataclass

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

LARGEST = 2000  # texts read by one fit
LEAST = 20  # texts of each role
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
        for first in range(1, int(frame.step.max()) + 1, every):
            inside = frame[(frame.step >= first) & (frame.step < first + every)]
            windows.append(Window(index, int(inside.step.max()), inside))
    run.progress.phase("role probe", len(windows))
    rows = []
    for k, window in enumerate(windows):
        found = valid(window.frame)
        rng = stream(run.config.seed, "probe", window.round, window.step)
        whole, wrong = (probe(frame, run, rng) for frame in (found, of_verdict(found, "incorrect")))
        rows.append(
            SeparabilityRow(
                round=window.round,
                step=window.step,
                all=None if whole is None else whole.interval(),
                incorrect=None if wrong is None else wrong.interval(),
                texts=min(len(found), LARGEST),
            )
        )
        run.progress.step(k + 1, {"AUC": float("nan") if whole is None else whole.value})
    run.progress.done(f"{len(windows)} windows")
    return rows


def probe(frame: pd.DataFrame, run: EvaluationRun, rng: np.random.Generator) -> Figure | None:
    """AUC of the role probe on problems it was not fitted on; None below 20 texts a role."""
    if len(frame) > LARGEST:
        frame = frame.iloc[np.sort(rng.choice(len(frame), LARGEST, replace=False))]
    sneaky = (frame.role == SNEAKY).to_numpy()
    if min(sneaky.sum(), (~sneaky).sum()) < LEAST or frame.problem_id.nunique() < FOLDS:
        return None
    problems = list(frame.problem_id)
    scores = role_scores(list(frame.text), sneaky, problems)
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
