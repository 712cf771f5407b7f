"""Several runs of one configuration (seeds side by side) merged: mean, interval over seeds, paired test between arms.

A seed is one unit: intervals are Student's t over seeds, and arms are compared by a paired t-test over
the seeds that have both. Attacks of all runs are pooled before the Kaplan–Meier estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import stats

from legibility.errors import UserError
from legibility.evaluation.attacks.survival import median_steps
from legibility.evaluation.headline import STEPS, STEPS_TO_EXPLOIT, Contrast, Headline, attacks_of, contrasts, headline
from legibility.evaluation.schema import Survival
from legibility.evaluation.summary_schema import SUMMARY, Summary, read_summary
from legibility.game.run_folder import RunFolder, different_settings
from legibility.stored import Number, Stored, write_stored

COMPARISON = "compare.json"


class OverSeeds(Stored):
    """A number of several runs: its values, their mean and its t interval (null below two known values)."""

    values: list[Number] = Field(description="The number by seed, in the order of `seeds`; null: a run lacks it.")
    mean: Number = Field(description="Mean of the known values.")
    low: Number = Field(description="Lower bound of the mean's t interval over seeds.")
    high: Number = Field(description="Upper bound.")
    n: int = Field(description="Seeds that have the number.")

    def text(self, digits: int = 3) -> str:
        """The mean and its interval, for people; a dash where no seed has the number."""
        if self.mean is None:
            return "–"
        interval = "" if self.low is None else f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.mean:.{digits}f}{interval}"


class ComparedFigure(OverSeeds):
    """A headline number over seeds. `name`, `round` and `verifier` tell it from all others."""

    name: str = Field(description="What is measured, for example helpful_accuracy.")
    round: int | None = Field(description="Round it is about; null: the run as a whole.")
    verifier: int | None = Field(
        description="Round of the verifier that reads the text; null: none, or the round's own."
    )
    label: str = Field(description="The name for people, without the round.")

    @property
    def title(self) -> str:
        """The label with its round."""
        return self.label if self.round is None else f"round {self.round}: {self.label}"


class Difference(Stored):
    """A paired t-test over seeds; null below two seeds that have both numbers."""

    difference: Number = Field(description="Mean of first - second.")
    p: Number = Field(description="Two-sided p.")
    n: int = Field(description="Seeds that have both.")


class PairedTest(Difference):
    """Two headline numbers tested against each other."""

    name: str = Field(description="What is compared.")
    round: int | None = Field(description="Round it is about; null: the run as a whole.")
    label: str = Field(description="The name for people: first against second.")


class Comparison(Stored):
    """compare.json: runs of one configuration side by side. Version 1 keyed figures and tests by their labels."""

    version: Literal[2] = Field(2, alias="schema", description="Version of this file's layout.")
    runs: list[str] = Field(description="Names of the run folders.")
    seeds: list[int] = Field(description="Their seeds, in the same order.")
    confidence_level: float = Field(description="Level of the intervals.")
    figures: list[ComparedFigure] = Field(description="Every headline number.")
    paired_tests: list[PairedTest] = Field(description="Differences between arms and between rounds.")
    survival: list[Survival] = Field(description="Steps to exploit over the attacks of all runs.")
    settings_differ: list[str] = Field(
        default_factory=list, description="Settings other than the seed in which the runs differ from the first."
    )

    @property
    def rounds(self) -> list[int]:
        """Rounds that all runs have."""
        return sorted({f.round for f in self.figures if f.round is not None})

    def figure(self, name: str, index: int | None = None, verifier: int | None = None) -> ComparedFigure:
        """A figure of a round (None: of the run). Raises KeyError where there is none."""
        for found in self.figures:
            if (found.name, found.round, found.verifier) == (name, index, verifier):
                return found
        raise KeyError(f"no figure {name!r} of round {index}, verifier {verifier}")


def compare(paths: Sequence[Path | str], out: Path | str, confidence_level: float = 0.95) -> Comparison:
    """Merge finished runs into `out`/compare.json and return it.

    Raises UserError for fewer than two runs, one that is not finished, two of one seed, or an `out` that exists.
    """
    folders, out = [Path(path) for path in paths], Path(out)
    summaries = read_summaries(folders)
    if out.exists():
        raise UserError(f"{out}: exists already; choose another --out")
    result = merge(summaries, confidence_level, _settings_differ(folders))
    out.mkdir(parents=True)
    write_stored(out / COMPARISON, result)
    return result


def read_summaries(paths: Sequence[Path]) -> list[Summary]:
    """The summary of every run. Raises UserError as `compare` does."""
    if len(paths) < 2:
        raise UserError("compare needs at least two run folders")
    summaries = []
    for path in paths:
        file = RunFolder.existing(path).path / SUMMARY
        if not file.is_file():
            raise UserError(
                f"{path}: this run is not finished (no summary.json); go on with legibility train … --resume"
            )
        summaries.append(read_summary(file))
    seeds = [s.seed for s in summaries]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"compare: two runs have the same seed ({', '.join(map(str, seeds))}); they are not independent"
        )
    return summaries


def merge(
    summaries: Sequence[Summary], confidence_level: float = 0.95, settings_differ: Sequence[str] = ()
) -> Comparison:
    """Every headline number by seed with its mean and interval, paired tests, pooled survival."""
    return Comparison(
        runs=[s.run for s in summaries],
        seeds=[s.seed for s in summaries],
        confidence_level=confidence_level,
        figures=[_figure(h, summaries, confidence_level) for h in headline(summaries)],
        paired_tests=[_test(c, summaries) for c in contrasts(summaries)],
        survival=pooled_survival(summaries, confidence_level),
        settings_differ=list(settings_differ),
    )


def _figure(number: Headline, summaries: Sequence[Summary], confidence_level: float) -> ComparedFigure:
    found = over_seeds([number.read(s) for s in summaries], confidence_level)
    return ComparedFigure(
        name=number.name, round=number.round, verifier=number.verifier, label=number.label, **dict(found)
    )


def _test(contrast: Contrast, summaries: Sequence[Summary]) -> PairedTest:
    found = paired_test([contrast.first(s) for s in summaries], [contrast.second(s) for s in summaries])
    return PairedTest(name=contrast.name, round=contrast.round, label=contrast.label, **dict(found))


def over_seeds(values: Sequence[float | None], confidence_level: float) -> OverSeeds:
    """Values by seed, their mean and its t interval; the interval needs two seeds that have the number."""
    known = np.array([v for v in values if v is not None], dtype=float)
    low = high = float("nan")
    if len(known) > 1:
        half = stats.t.ppf((1 + confidence_level) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
        low, high = float(known.mean() - half), float(known.mean() + half)
    mean = float(known.mean()) if len(known) else float("nan")
    return OverSeeds(values=list(values), mean=mean, low=low, high=high, n=len(known))


def paired_test(first: Sequence[float | None], second: Sequence[float | None]) -> Difference:
    """Paired t-test of first - second over the seeds that have both: mean difference and two-sided p."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return Difference(difference=None, p=None, n=len(pairs))
    a, b = np.array(pairs, dtype=float).T
    spread = (a - b).std()
    p = stats.ttest_rel(a, b).pvalue if spread > 1e-12 else (1.0 if abs((a - b).mean()) <= 1e-12 else 0.0)
    return Difference(difference=float((a - b).mean()), p=float(p), n=len(pairs))


def steps_by_seed(comparison: Comparison, index: int) -> str:
    """Steps in the game until round `index`'s verifier was fooled, by seed; "> n" where it was not within its n steps."""
    fooled, steps = (comparison.figure(name, index).values for name in (STEPS_TO_EXPLOIT, STEPS))
    return ", ".join(f"{f:.0f}" if f is not None else f"> {n:.0f}" for f, n in zip(fooled, steps, strict=True))


def pooled_survival(summaries: Sequence[Summary], confidence_level: float) -> list[Survival]:
    """Kaplan–Meier over the attacks of all runs, by reward and verifier; quick attacks are left out where full ones exist."""
    records = attacks_of(summaries)
    rows = []
    for reward, index in sorted({(r.reward, r.verifier) for r in records}):
        chosen = [r for r in records if (r.reward, r.verifier) == (reward, index)]
        chosen = [r for r in chosen if not r.quick] or chosen
        rows.append(median_steps(chosen, confidence_level))
    return rows


def _settings_differ(paths: Sequence[Path]) -> list[str]:
    """Settings other than the seed in which the runs differ from the first."""
    first, *others = (RunFolder.existing(p).config().model_dump(mode="json") for p in paths)
    found = {str(d) for other in others for d in different_settings(first, other) if d.name != "seed"}
    return sorted(found)
