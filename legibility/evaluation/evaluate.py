"""`legibility evaluate` and `legibility attack`: every section computed from the run folder and written beside it.

A section is a function of an `EvaluationRun` whose result (legibility.evaluation.schema) becomes
`evaluation/<name>.json` and `summary.json`'s `evaluation.<name>`. What is sampled or trained for it (pools,
attacks, the length-penalised arm) is a phase of the run folder: atomic, hashed, made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from legibility.errors import UserError
from legibility.evaluation import short_arm
from legibility.evaluation.attack_schema import AttackRecord, SurvivalRow
from legibility.evaluation.attacks.robustness import false_positive_rates, rates_of_readers
from legibility.evaluation.attacks.suite import make_attacks, plan_readers, plan_suite
from legibility.evaluation.attacks.survival import MOST_CENSORED, survival
from legibility.evaluation.doubts import write_doubts
from legibility.evaluation.finished_attacks import attacks_on_readers, finished_attacks
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import Evaluation, Section, write_section
from legibility.evaluation.sections import (
    acceptance,
    best_of_n,
    hacking,
    handoff,
    invariance,
    matrix,
    separability,
    soundness,
    subtlety,
    sufficiency,
    tax,
)
from legibility.evaluation.summary import check_readable, lost_sections, write_summary
from legibility.evaluation.summary_schema import SUMMARY
from legibility.evaluation.tracked_evaluation import track_evaluation
from legibility.evaluation.workload import announce, score_ahead, workload
from legibility.game.run_folder import RunFolder
from legibility.metrics import NO_INTERVAL
from legibility.pasted import own_command
from legibility.progress import Progress

SECTIONS: dict[str, Callable[[EvaluationRun], Section]] = {
    "matrix": matrix.compute,
    "soundness": soundness.compute,
    "acceptance": acceptance.compute,
    "best_of_n": best_of_n.compute,
    "tax": tax.compute,
    "subtlety": subtlety.compute,
    "separability": separability.compute,
    "hacking": hacking.compute,
    "handoff": handoff.compute,
    "sufficiency": sufficiency.compute,
    "invariance": invariance.compute,
}


def evaluate(
    path: Path | str, *, quick: bool = False, overrides: Sequence[str] = (), progress: Progress | None = None
) -> Evaluation:
    """Evaluate a run folder: write every section and return them.

    quick: nothing is trained (attacks that were made before are still reported), and less is drawn for best-of-n and
    rewritten for the section hacking, unless that was done before. overrides: settings of the evaluation as
    section.key=value.
    Raises UserError for a run that cannot be read, lacks what is needed, or is being written by another process.
    """
    check_extra()
    with RunFolder.writing(path):
        run = open_run(path, overrides, progress or Progress(), quick=quick)
        check_readable(run.folder, sections=False)
        attacks = [] if quick else [*plan_suite(run), *plan_readers(run)]
        work = workload(run, attacks, short_arm=not quick)
        announce(run, work)
        if not quick:
            make_attacks(run, attacks)
            short_arm.train(run)
            run = open_run(path, overrides, run.progress)  # what was trained is there now
            work = workload(run)
        score_ahead(run, work)
        found: dict[str, Section] = {**write_attacks(run)}
        for name, compute in SECTIONS.items():
            started = time.time()
            found[name] = compute(run)
            write_section(run.folder, name, found[name])
            run.progress.made(name, time.time() - started)
        refresh_summary(run)
        track_evaluation(run, found)
    return Evaluation.model_validate(found)


def attack(
    path: Path | str,
    *,
    verifier: int | None = None,
    reader: str | None = None,
    reward: str | None = None,
    quick: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[AttackRecord]:
    """Make the attacks asked for (default: all) and write their records; returns all the run has.

    verifier: the round whose verifier is attacked. reader: the arm whose reader is attacked ("all": every arm's) instead of verifiers. reward: src, cgc or goodhart. quick: few and short attacks.
    Raises UserError for a run that cannot be read, a verifier it does not have, or the one attack asked for
    where it cannot be made.
    """
    check_extra()
    with RunFolder.writing(path):
        run = open_run(path, overrides, progress or Progress())
        check_readable(run.folder, sections=True)
        rewards = None if reward is None else [reward]
        if reader is not None:
            wanted = plan_readers(run, readers=None if reader == "all" else [reader], rewards=rewards, quick=quick)
            if not wanted:
                raise UserError(f"--reader all: {path} has no readers; game.readers=true trains them")
        else:
            wanted = plan_suite(run, verifiers=None if verifier is None else [verifier], rewards=rewards, quick=quick)
        make_attacks(run, wanted, quick=quick, only_one=reward is not None)
        written = write_attacks(run)
        refresh_summary(run)
        track_evaluation(run, written)
    return [made.record for made in (*finished_attacks(run.folder), *attacks_on_readers(run.folder))]


def open_run(path: Path | str, overrides: Sequence[str], progress: Progress, *, quick: bool = False) -> EvaluationRun:
    """Open a run for evaluation with as many threads as its settings say. Raises UserError as `EvaluationRun` does."""
    run = EvaluationRun(path, overrides, progress, quick=quick)
    if run.settings.compute.threads is not None:
        torch.set_num_threads(run.settings.compute.threads)
    return run


def write_attacks(run: EvaluationRun) -> dict[str, Section]:
    """Write what is known of the attacks the run has: `attacks`, `survival`, `robustness`; empty where there are none."""
    records = [made.record for made in finished_attacks(run.folder)]
    medians = survival(records, run.settings.evaluation.confidence_level)
    for row in medians:
        run.progress.note(
            f"{row.reward} attacks on verifier {row.verifier}: median {_steps(row.median)} steps "
            f"{_bounds(row)}, {row.censored:.0%} of {row.n} not exploited by step {row.cap}"
        )
        if row.censored is not None and row.censored > MOST_CENSORED:
            run.progress.warn(
                f"{row.reward} attacks on verifier {row.verifier}: more than a third are not exploited by step {row.cap}; "
                "attack.extend_to lets them go on"
            )
        elif row.cap_enough is False:
            run.progress.warn(
                f"{row.reward} attacks on verifier {row.verifier} stopped at step {row.cap}, less than twice "
                f"verifier 0's median; raise attack.max_steps"
            )
    found: dict[str, Section] = {"attacks": records, "survival": medians, "robustness": false_positive_rates(run)}
    if run.readers:
        found["reader_robustness"] = rates_of_readers(run)
    for name, section in found.items():
        write_section(run.folder, name, section)
    return found


def _bounds(row: SurvivalRow) -> str:
    known = (row.low, row.high) != (None, None)
    return f"[{_steps(row.low)}, {_steps(row.high)}]" if known else f"({NO_INTERVAL})"


def _steps(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def refresh_summary(run: EvaluationRun) -> None:
    """Rewrite the summary of a finished run; one that is still going has none yet."""
    if (run.folder.path / SUMMARY).is_file():
        for file in lost_sections(run.folder):
            again = own_command("evaluate", run.folder.path)
            run.progress.warn(f"{file}: gone, and with it its part of {SUMMARY}; {again} makes both again")
        summary = write_summary(run.folder, device=run.game.device)
        write_doubts(run.folder, run.game.device)
        if summary.judge_doubt:
            run.progress.warn(summary.judge_doubt)


def check_extra() -> None:
    """Raise UserError where the packages of the `evaluate` extra are missing."""
    missing = [
        name for module, name in (("sklearn", "scikit-learn"), ("lifelines", "lifelines")) if find_spec(module) is None
    ]
    if missing:
        raise UserError(f'{", ".join(missing)} not installed; pip install "legibility[evaluate]"')
