"""Many attacks: one after another, or side by side in processes of their own (`attack.parallel`).

Attacks are independent, and a nano step keeps less than two cores busy: two attacks with one thread
each end sooner than one after the other with two (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from legibility.errors import UserError
from legibility.evaluation.attacks.attack import Attack, run_attack
from legibility.evaluation.run import Study


def make_attacks(study: Study, wanted: Sequence[Attack], *, quick: bool = False, only_one: bool = False) -> None:
    """Make what is missing of `wanted`. An attack that cannot be made is an error if it alone was asked for, else a warning."""
    impossible: set[str] = set()
    for one, error in _outcomes(study, wanted, quick, impossible):
        if error is None:
            continue
        if only_one:
            raise error
        if one.reward not in impossible:
            study.progress.warn(f"{one.reward} attacks are left out: {error}")
        impossible.add(one.reward)


def _outcomes(
    study: Study, wanted: Sequence[Attack], quick: bool, impossible: set[str]
) -> Iterator[tuple[Attack, UserError | None]]:
    """Every attack and what kept it from being made. One at a time, the rest of an impossible reward is skipped."""
    workers = min(study.settings.attack.parallel, len(wanted))
    if workers <= 1:
        for one in wanted:
            if one.reward not in impossible:
                yield one, _try(study, one, quick)[1]
        return
    threads = max(1, (study.settings.compute.threads or torch.get_num_threads()) // workers)
    start = (study.run.path, study.overrides, threads)
    study.progress.phase(f"{len(wanted)} attacks, {workers} side by side", len(wanted))
    # fresh processes: a forked one may not use torch's threads again
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, start) as pool:
        futures = {pool.submit(_work, one, quick): one for one in wanted}
        for k, done in enumerate(as_completed(futures), start=1):
            one, (ending, error) = futures[done], done.result()
            study.progress.step(k, {})
            if error is None:
                study.progress.note(
                    f"[green]✓[/green] {one.reward} attack {one.seed} on verifier {one.verifier}: {ending}"
                )
            yield one, error
    study.progress.done("made or found")


def _try(study: Study, one: Attack, quick: bool) -> tuple[str, UserError | None]:
    """How the attack ended, or what kept it from being made."""
    try:
        record = run_attack(study, one, quick=quick)
    except UserError as error:
        return "", error
    return ("exploited at" if record["exploited"] else "not exploited by") + f" step {record['steps']}", None


_STUDY: Study | None = None


def _start_worker(path: Path, overrides: Sequence[str], threads: int) -> None:
    global _STUDY
    torch.set_num_threads(threads)
    _STUDY = Study(path, overrides)


def _work(one: Attack, quick: bool) -> tuple[str, UserError | None]:
    assert _STUDY is not None
    return _try(_STUDY, one, quick)
