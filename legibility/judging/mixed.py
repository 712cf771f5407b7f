"""A logistic model of each judgment being right, with random effects of rater and problem (statsmodels).

Descriptive: it is fitted by variational Bayes, whose standard deviations are known to be too small. The
intervals to report are those of `clustered_bootstrap`.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from legibility.judging.results_schema import FixedEffect, MixedModel

MIN_JUDGMENTS = 50


def mixed_model(judgments: pd.DataFrame) -> MixedModel | None:
    """Fixed effects (log-odds) of condition, of correct solutions and of log length; standard deviations of the
    rater and problem effects. None for too few judgments, raters or problems to fit one.

    judgments: right, condition, correct, solution_chars, rater, problem_id.
    """
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    if (
        len(judgments) < MIN_JUDGMENTS
        or judgments.rater.nunique() < 3
        or judgments.problem_id.nunique() < 3
        or judgments.right.nunique() < 2
    ):
        return None
    length = np.log(judgments.solution_chars.clip(lower=1).astype(float))
    data = pd.DataFrame(
        {
            "right": judgments.right.astype(int),
            "condition": judgments.condition.map(str),
            "correct": judgments.correct.astype(int),
            "log_length": length - length.mean(),
            "rater": judgments.rater,
            "problem": judgments.problem_id,
        }
    )
    terms = ["C(condition)"] if data.condition.nunique() > 1 else []
    terms += [name for name in ("correct", "log_length") if data[name].nunique() > 1]
    effects = {"rater": "0 + C(rater)", "problem": "0 + C(problem)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit is descriptive; its warnings would only alarm
        model = BinomialBayesMixedGLM.from_formula(f"right ~ {' + '.join(terms) or '1'}", effects, data)
        size = model.k_fep + model.k_vcp + model.k_vc
        fit = model.fit_vb(
            mean=np.zeros(size), sd=np.full(size, 0.5)
        )  # its own start is drawn from the global generator
    fixed = zip(model.exog_names, fit.fe_mean, fit.fe_sd, strict=True)
    spread = zip(effects, np.exp(fit.vcp_mean), strict=True)
    return MixedModel(
        formula=f"right ~ {' + '.join(terms) or '1'} + (1 | rater) + (1 | problem)",
        reference=sorted(data.condition.unique())[0],
        fixed=[FixedEffect(term=term, log_odds=float(mean), sd=float(sd)) for term, mean, sd in fixed],
        random_sd={name: float(value) for name, value in spread},
    )
