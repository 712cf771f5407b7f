"""`legibility evaluate` and `legibility attack`: every section computed from the run folder and written beside it.

A section is a function of a `Study` whose result becomes `evaluation/<name>.json` and
`summary.json`'s `evaluation.<name>`. What is sampled or trained for it (pools, attacks, the
length-penalised arm) is a phase of the run folder: atomic, hashed, made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from legibility.errors import UserError
from legibility.evaluation import short_arm
from legibility.evaluation.attacks import attack as attacks
from legibility.evaluation.attacks.suite import make_attacks
from legibility.evaluation.run import Study
from legibility.evaluation.sections import best_of_n, hacking, matrix, separability, soundness, subtlety, tax
from legibility.evaluation.summary import write_summary
from legibility.files import write_json
from legibility.progress import Progress

SECTIONS: dict[str, Callable[[Study], Any]] = {
    "matrix": matrix.compute,
    "soundness": soundness.compute,
    "best_of_n": best_of_n.compute,
    "tax": tax.compute,
    "subtlety": subtlety.compute,
    "separability": separability.compute,
    "hacking": hacking.compute,
}


def evaluate(
    path: Path, *, quick: bool = False, overrides: Sequence[str] = (), progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate a run folder; returns the sections by name.

    quick: nothing is trained (attacks that were made before are still reported).
    Raises UserError for a run that cannot be read or lacks what is needed.
    """
    check_extra()
    study = open_study(path, overrides, progress or Progress())
    if not quick:
        make_attacks(study, attacks.plan_suite(study))
        short_arm.train(study)
        study = open_study(path, overrides, study.progress)  # what was trained is there now
    found = write_attacks(study)
    for name, compute in SECTIONS.items():
        started = time.time()
        found[name] = compute(study)
        write_json(study.run.path / "evaluation" / f"{name}.json", found[name])
        study.progress.note(f"[green]✓[/green] {name}  [dim]{time.time() - started:.0f} s[/dim]")
    refresh_summary(study)
    return found


def attack(
    path: Path,
    *,
    verifier: int | None = None,
    reward: str | None = None,
    quick: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Make the attacks asked for (default: all) and write their records; returns all the run has."""
    check_extra()
    study = open_study(path, overrides, progress or Progress())
    wanted = attacks.plan_suite(
        study,
        verifiers=None if verifier is None else [verifier],
        rewards=None if reward is None else [reward],
        quick=quick,
    )
    make_attacks(study, wanted, quick=quick, only_one=reward is not None)
    found = write_attacks(study)
    refresh_summary(study)
    return found["attacks"]


def open_study(path: Path, overrides: Sequence[str], progress: Progress) -> Study:
    study = Study(path, overrides, progress)
    if study.settings.compute.threads is not None:
        torch.set_num_threads(study.settings.compute.threads)
    return study


def write_attacks(study: Study) -> dict[str, Any]:
    """Records and Kaplan–Meier medians of the attacks the run has, written; empty lists where there are none."""
    records = attacks.finished_attacks(study)
    found = {
        "attacks": [{k: v for k, v in r.items() if k != "phase"} for r in records],
        "survival": attacks.survival(study, records),
    }
    for row in found["survival"]:
        study.progress.note(
            f"{row['reward']} attacks on verifier {row['verifier']}: median {_steps(row['median'])} steps "
            f"[{_steps(row['low'])}, {_steps(row['high'])}], {row['censored']:.0%} of {row['n']} not exploited by step {row['cap']}"
        )
        if row["cap_enough"] is False:
            study.progress.warn(
                f"{row['reward']} attacks on verifier {row['verifier']} stopped at step {row['cap']}, less than twice "
                f"verifier 0's median; raise attack.max_steps"
            )
    folder = study.run.path / "evaluation"
    folder.mkdir(exist_ok=True)
    for name, rows in found.items():
        write_json(folder / f"{name}.json", rows)
    return found


def _steps(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def refresh_summary(study: Study) -> None:
    """Rewrite the summary of a finished run; one that is still going has none yet."""
    if (study.run.path / "summary.json").is_file():
        write_summary(study.run, device=study.game.device)


def check_extra() -> None:
    """Raise UserError where the packages of the `evaluate` extra are missing."""
    missing = [
        name for module, name in (("sklearn", "scikit-learn"), ("lifelines", "lifelines")) if find_spec(module) is None
    ]
    if missing:
        raise UserError(f'{", ".join(missing)} not installed; pip install "legibility[evaluate]"')
