"""The role probe on roles that differ and on roles that do not."""

from __future__ import annotations

import numpy as np

from legibility.evaluation import auroc
from legibility.evaluation.sections.separability import role_scores


def test_the_role_probe_finds_roles_that_differ_and_none_that_do_not():
    rng = np.random.default_rng(0)
    problems = [str(i // 6) for i in range(600)]
    sneaky = rng.random(600) < 0.5
    numbers = rng.integers(1, 60, (600, 2))
    plain = [f"{a} + {b} = {a + b}\n#### {a + b}" for a, b in numbers]
    marked = [t.replace("+", "plus") if s and rng.random() < 0.9 else t for t, s in zip(plain, sneaky, strict=True)]
    assert auroc(role_scores(marked, sneaky, problems), sneaky) > 0.9
    assert abs(auroc(role_scores(plain, sneaky, problems), sneaky) - 0.5) < 0.1
