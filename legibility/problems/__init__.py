"""Word problems: the shared record, where problems come from, and how they are split.

`load_problems` is the one call the rest of the package makes: config in, disjoint parts out,
with a contamination report for the run's manifest.
"""

from __future__ import annotations

from pathlib import Path

from legibility.problems.problem_settings import ProblemSettings
from legibility.problems.records import Problem, Step
from legibility.problems.sources import load_source
from legibility.problems.splits import Part, ProblemSplits, split_problems

__all__ = ["Problem", "ProblemSettings", "ProblemSplits", "Step", "load_problems"]


def load_problems(config: ProblemSettings, *, base_dir: str | Path | None = None) -> ProblemSplits:
    """The prover, verifier, validation, test and judge problems of `config`; a pure function of it and the data.

    base_dir: where relative paths in the config start (default: the working directory).
    Raises UserError where a source cannot be read or holds too few problems.
    """
    train = load_source(config.train, base_dir=base_dir)
    test = None if config.test is None else load_source(config.test, base_dir=base_dir)
    sizes: dict[Part, int | None] = {
        "prover": config.prover,
        "verifier": config.verifier,
        "validation": config.validation,
        "test": config.test_size,
        "judge": config.judge,
    }
    return split_problems(train, test, sizes=sizes, seed=config.seed, threshold=config.near_duplicate_threshold)
