"""How seconds per step grow with model size and tokens: a power law, fitted by least squares on logarithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

PARAMETERS, TOKENS = 1e6, 1e4  # units of the law


def fit(points: Sequence[Mapping[str, Any]], phase: str, confidence: float = 0.95) -> dict[str, Any]:
    """seconds = c · (parameters / 1 M)^a · (tokens / 10,000)^b over measured points.

    Returns c, both exponents with confidence intervals (Student's t on the residuals), R² of the
    logarithms and the largest relative error of a fitted time. Raises ValueError for fewer than 4 points.
    """
    if len(points) < 4:
        raise ValueError(f"a law of three numbers needs at least 4 points, got {len(points)}")
    x = np.array([[1.0, np.log(p["parameters"] / PARAMETERS), np.log(p["tokens"] / TOKENS)] for p in points])
    y = np.log([p[phase] for p in points])
    solution, *_ = np.linalg.lstsq(x, y, rcond=None)
    residuals = y - x @ solution
    freedom = len(points) - 3
    errors = np.sqrt(residuals @ residuals / freedom * np.diag(np.linalg.inv(x.T @ x)))
    width = stats.t.ppf((1 + confidence) / 2, freedom) * errors
    total = ((y - y.mean()) ** 2).sum()
    return {
        "coefficient": float(np.exp(solution[0])),
        **{
            name: {
                "value": float(solution[i]),
                "low": float(solution[i] - width[i]),
                "high": float(solution[i] + width[i]),
            }
            for i, name in ((1, "parameters"), (2, "tokens"))
        },
        "r2": float(1 - residuals @ residuals / total),
        "largest_error": float(np.abs(np.expm1(-residuals)).max()),
        "points": len(points),
    }


def can_fit(points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the points tell the three numbers of the law apart, with one to spare."""
    rows = [[1.0, np.log(p["parameters"]), np.log(p["tokens"])] for p in points]
    return len(points) >= 4 and int(np.linalg.matrix_rank(rows, tol=1e-6)) == 3


def predict(law: Mapping[str, Any], parameters: float, tokens: float) -> float:
    """Seconds of a step by the law."""
    return (
        law["coefficient"]
        * (parameters / PARAMETERS) ** law["parameters"]["value"]
        * (tokens / TOKENS) ** law["tokens"]["value"]
    )
