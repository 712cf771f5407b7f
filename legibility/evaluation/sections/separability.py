"""Can a small classifier tell the roles apart from text alone? (Kirchner et al. 2024, App. C, Fig. S3)

The paper's leading account of failed games is that the verifier learns who wrote a text. Role is
predicted from character n-grams by logistic regression, across problems (folds hold whole problems
out), on the completions stored at every PPO step; 0.5 is inseparable. Sneaky text is mostly incorrect,
so part of the pooled figure is the verdict: `incorrect` is the same among incorrect text only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from legibility.errors import UserError
from legibility.evaluation.intervals import Figure, Resamples
from legibility.evaluation.run import Study
from legibility.evaluation.texts import valid
from legibility.game.solutions import round_solutions
from legibility.randomness import stream

LARGEST = 2000  # texts read by one fit
LEAST = 20  # texts of each role
FOLDS = 3


def compute(study: Study) -> list[dict[str, Any]]:
    """A row per window of PPO steps of every round: AUC of the probe on held-out problems, pooled and among incorrect text.

    Step 0 is the base policy's text of both roles.
    """
    base = pd.concat([study.texts["init"], study.texts["init sneaky"]])
    windows = [{"round": study.rounds[0], "step": 0, "frame": base}]
    every = study.settings.evaluation.probe_every
    for index in study.rounds:
        frame = round_solutions(study.run, index)
        frame = frame[frame.phase == "ppo"]
        for first in range(1, int(frame.step.max()) + 1, every):
            inside = frame[(frame.step >= first) & (frame.step < first + every)]
            windows.append({"round": index, "step": int(inside.step.max()), "frame": inside})
    study.progress.phase("role probe", len(windows))
    rows = []
    for k, window in enumerate(windows):
        found = valid(window["frame"])
        rng = stream(study.config.seed, "probe", window["round"], window["step"])
        wrong = found[found.verdict == "incorrect"]
        row = {"round": window["round"], "step": window["step"]}
        for name, frame in (("all", found), ("incorrect", wrong)):
            row[name] = None if (figure := probe(frame, study, rng)) is None else figure.record()
        rows.append({**row, "texts": min(len(found), LARGEST)})
        study.progress.step(k + 1, {"AUC": (row["all"] or {}).get("value") or float("nan")})
    study.progress.done(f"{len(windows)} windows")
    return rows


def probe(frame: pd.DataFrame, study: Study, rng: np.random.Generator) -> Figure | None:
    """AUC of the role probe on problems it was not fitted on; None below 20 texts a role."""
    if len(frame) > LARGEST:
        frame = frame.iloc[np.sort(rng.choice(len(frame), LARGEST, replace=False))]
    sneaky = (frame.role == "sneaky").to_numpy()
    if min(sneaky.sum(), (~sneaky).sum()) < LEAST or frame.problem_id.nunique() < FOLDS:
        return None
    problems = list(frame.problem_id)
    scores = role_scores(list(frame.text), sneaky, problems)
    settings = study.settings.evaluation
    resamples = Resamples(problems, resamples=settings.bootstrap, confidence=settings.confidence_level, rng=rng)
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
    return cross_val_predict(
        model,
        np.array(texts, dtype=object),
        sneaky,
        groups=problem_ids,
        cv=GroupKFold(FOLDS),
        method="decision_function",
    )
