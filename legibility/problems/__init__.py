"""Word problems: the shared record, where problems come from, and how they are split.

`load_problems` is the one call the rest of the package makes: config in, disjoint parts out,
with a contamination report for the run's manifest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from legibility.problems.pretraining import built_in_text
from legibility.problems.problem_settings import ProblemSettings
from legibility.problems.records import Problem, Step
from legibility.problems.sources import GeneratedSource, ProblemSource, draw_generated, load_source
from legibility.problems.splits import Part, ProblemSplits, split_problems

__all__ = ["Problem", "ProblemSettings", "ProblemSplits", "Step", "load_problems"]


def load_problems(config: ProblemSettings, *, base_dir: str | Path | None = None) -> ProblemSplits:
    """The prover, verifier, validation, test and judge problems of `config`; a pure function of it and the data.

    base_dir: where relative paths in the config start (default: the working directory).
    Raises UserError where a source cannot be read or holds too few problems.
    """
    train, read = _load(config.train, base_dir)
    test, read_test = (None, 0) if config.test is None else _load(config.test, base_dir)
    sizes: dict[Part, int | None] = {
        "prover": config.prover,
        "verifier": config.verifier,
        "validation": config.validation,
        "test": config.test_size,
        "judge": config.judge,
    }
    splits = split_problems(train, test, sizes=sizes, seed=config.seed, threshold=config.near_duplicate_threshold)
    assert splits.report is not None, "split_problems always checks the parts"
    checks = built_in_text().check(splits, left_out=read + read_test)
    return replace(splits, report=splits.report.model_copy(update={"pretraining": checks}))


def _load(source: ProblemSource, base_dir: str | Path | None) -> tuple[list[Problem], int]:
    """The problems of a source, and how many it left out because a built-in model has read them."""
    if isinstance(source, GeneratedSource):
        return draw_generated(source)
    return load_source(source, base_dir=base_dir), 0
