"""Many attacks: one after another, or side by side in processes of their own (`attack.parallel`).

Attacks are independent, and a nano step keeps less than two cores busy: two attacks with one thread
each end sooner than one after the other with two (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path

import torch

from legibility.errors import UserError
from legibility.evaluation.attacks.attack import Attack, run_attack
from legibility.evaluation.attacks.survival import too_many_censored
from legibility.evaluation.finished_attacks import attacks_on_readers, finished_attacks
from legibility.evaluation.run import EvaluationRun
from legibility.processes import fresh_processes

QUICK_REWARDS = ("src", "cgc")


def plan_suite(
    run: EvaluationRun,
    *,
    verifiers: Sequence[int] | None = None,
    rewards: Sequence[str] | None = None,
    quick: bool = False,
) -> list[Attack]:
    """The attacks to make, verifier by verifier.

    verifiers: their rounds (default: all). rewards: default `attack.rewards`. quick: one seed, SRC and CGC, half
    the cap. Raises UserError for a verifier that is not there.
    """
    settings = run.settings.attack
    cap = settings.max_steps or max((1 if quick else 2) * run.settings.ppo.steps, settings.steps or 0)
    steps = min(settings.steps or run.settings.ppo.steps, cap)
    chosen = list(rewards or [r for r in settings.rewards if not quick or r in QUICK_REWARDS])
    for index in verifiers or ():
        if index not in run.rounds:
            raise UserError(f"--verifier {index}: {run.folder.path} has verifiers {', '.join(map(str, run.rounds))}")
    return [
        Attack(v, r, s, cap, steps)
        for v in (run.rounds if verifiers is None else verifiers)
        for r in chosen
        for s in range(1 if quick else settings.seeds)
    ]


def plan_readers(
    run: EvaluationRun,
    *,
    readers: Sequence[str] | None = None,
    rewards: Sequence[str] | None = None,
    quick: bool = False,
) -> list[Attack]:
    """The attacks to make on readers of arms, as `plan_suite` plans them on verifiers. readers: their arms (default: all).

    Raises UserError for an arm without a reader.
    """
    known = [str(judge.arm) for judge in run.readers]
    for arm in readers or ():
        if arm not in known:
            trained = ", ".join(known) or "none (game.readers trains them)"
            raise UserError(f"--reader {arm}: {run.folder.path} has readers of {trained}")
    single = plan_suite(run, verifiers=[run.rounds[0]], rewards=rewards, quick=quick)
    return [replace(a, verifier=0, reader=arm) for arm in readers or known for a in single]


def make_attacks(run: EvaluationRun, wanted: Sequence[Attack], *, quick: bool = False, only_one: bool = False) -> None:
    """Make what is missing of `wanted`, then go on with what `attack.extend_to` asks for.

    An attack that cannot be made is an error if it alone was asked for, else a warning.
    """
    impossible: set[str] = set()
    while wanted:
        _make(run, wanted, impossible, quick, only_one)
        wanted = _longer(run, wanted)


def _longer(run: EvaluationRun, wanted: Sequence[Attack]) -> list[Attack]:
    """Attacks of `wanted` to make again with twice the cap: of a verifier and reward too many of which are censored.

    An attack is made again from its start; its random numbers are the same, so it passes through the same steps.
    """
    limit = run.settings.attack.extend_to or 0
    done = (*finished_attacks(run.folder), *attacks_on_readers(run.folder))
    records = {(r.reader, r.verifier, r.reward, r.seed): r for r in (made.record for made in done)}
    longer = []
    for reader, verifier, reward in sorted({(a.reader or "", a.verifier, a.reward) for a in wanted}):
        mine = [r for r in records.values() if (r.reader or "", r.verifier, r.reward) == (reader, verifier, reward)]
        if too_many_censored(mine):
            longer += [
                replace(a, cap=min(2 * a.cap, limit))
                for a in wanted
                if (a.reader or "", a.verifier, a.reward) == (reader, verifier, reward) and a.cap < limit
                for r in (records.get((a.reader, a.verifier, a.reward, a.seed)),)
                if r is not None and not r.exploited and r.watched < limit
            ]
    return longer


def _make(run: EvaluationRun, wanted: Sequence[Attack], impossible: set[str], quick: bool, only_one: bool) -> None:
    for one, error in _outcomes(run, wanted, quick, impossible):
        if error is None:
            continue
        if only_one:
            raise error
        if one.reward not in impossible:
            run.progress.warn(f"{one.reward} attacks are left out: {error}")
        impossible.add(one.reward)


def _outcomes(
    run: EvaluationRun, wanted: Sequence[Attack], quick: bool, impossible: set[str]
) -> Iterator[tuple[Attack, UserError | None]]:
    """Every attack and what kept it from being made. One at a time, the rest of an impossible reward is skipped."""
    parallel = min(run.settings.attack.parallel, len(wanted))
    if parallel <= 1:
        for one in wanted:
            if one.reward not in impossible:
                yield one, _try(run, one, quick)[1]
        return
    threads = max(1, (run.settings.compute.threads or torch.get_num_threads()) // parallel)
    start = (run.folder.path, run.overrides, threads)
    run.progress.phase(f"{len(wanted)} attacks, {parallel} side by side", len(wanted))
    with fresh_processes(parallel, _open_run, start) as processes:
        futures = {processes.submit(_work, one, quick): one for one in wanted}
        for k, done in enumerate(as_completed(futures), start=1):
            one, (ending, error) = futures[done], done.result()
            run.progress.step(k, {})
            if error is None:
                run.progress.made(f"{one.reward} attack {one.seed} on {one.judge.label}: {ending}")
            yield one, error
    run.progress.done("made or found")


def _try(run: EvaluationRun, one: Attack, quick: bool) -> tuple[str, UserError | None]:
    """How the attack ended, or what kept it from being made."""
    try:
        record = run_attack(run, one, quick=quick)
    except UserError as error:
        return "", error
    return ("exploited at" if record.exploited else "not exploited by") + f" step {record.steps}", None


_RUN: EvaluationRun | None = None


def _open_run(path: Path, overrides: Sequence[str], threads: int) -> None:
    """Open the run in a process of its own."""
    global _RUN
    torch.set_num_threads(threads)
    _RUN = EvaluationRun(path, overrides)


def _work(one: Attack, quick: bool) -> tuple[str, UserError | None]:
    """Make one attack on the run that the process has opened."""
    assert _RUN is not None
    return _try(_RUN, one, quick)
