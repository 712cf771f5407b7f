"""Supervised training of a verifier (Kirchner et al. 2024, Sec. 3.2).

Losses and their gradients are those of `legibility.verifier_gradients`; here is which texts meet in a step, and what
becomes of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from legibility.checkpoints import Checkpoints, Restored
from legibility.config import VerifierSettings
from legibility.divergence import refuse_divergence
from legibility.models.score_heads import LikelihoodHead
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem
from legibility.sharding import clip_gradients, parameter_groups
from legibility.team import Team, team_of
from legibility.verifier_course import Moment, VerifierCourse, VerifierSoFar
from legibility.verifier_gradients import Lesson, StepOutcome, add_gradients, scores_of

DIVERGED = "lower verifier.learning_rate (the held-out judge's is game.held_out_judge_learning_rate, where it is set)"


@dataclass(frozen=True)
class LabelledSolution:
    """One training text of the verifier. `component` and `role` say where it came from (never shown)."""

    problem: Problem
    text: str
    correct: bool
    component: str
    role: str


def train_verifier(
    verifier: Verifier,
    items: Sequence[LabelledSolution],
    settings: VerifierSettings,
    rng: np.random.Generator,
    on_update: Callable[[int, dict[str, float]], None] | None = None,
    team: Team | None = None,
    checkpoints: Checkpoints | None = None,
    found: Restored[VerifierSoFar] | None = None,
) -> dict[str, float]:
    """Train in place for `settings.updates` steps of `settings.batch_problems` problems.

    A step sees all chosen solutions of its problems, so every same-problem pair is used, however few of them
    `settings.micro_batch_size` lets be in memory at once. Problems of similar length share a step. Calls
    `on_update(step, metrics)` now and then. A `team` that has the verifier shares each step's problems. The members of
    an ensemble are trained one after another, from random numbers of their own, and their steps are numbered on. With
    `checkpoints` the training is saved now and then, and goes on from the one `found`. Raises ValueError without items, UserError for a loss or
    weights that are no finite numbers. Returns mean metrics of the last tenth (of every member).
    """
    team = team_of(team, verifier)
    resumable = checkpoints is not None and checkpoints.every is not None
    here = {"on_update": on_update, "checkpoints": checkpoints}
    return team.run(_train_members, team, verifier, items, settings, rng, found, resumable, here=here)[0]


def _train_members(
    team: Team,
    verifier: Verifier,
    items: Sequence[LabelledSolution],
    settings: VerifierSettings,
    rng: np.random.Generator,
    found: Restored[VerifierSoFar] | None,
    resumable: bool,
    on_update: Callable[[int, dict[str, float]], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """`train_verifier` in one process of a team."""
    members = verifier.members
    streams = [rng, *rng.spawn(len(members) - 1)]
    course = VerifierCourse(verifier, team, checkpoints if resumable else None, resumable)
    now = Moment() if found is None else Moment.of(found.state)
    with nullcontext() if checkpoints is None else checkpoints.during(course.so_far):
        for k, (member, own) in enumerate(zip(members, streams, strict=True)):
            if k < now.member:
                continue

            def numbered(step: int, metrics: dict[str, float], done: int = k * settings.updates) -> None:
                if on_update is not None:
                    on_update(done + step, metrics)

            tensors = found.tensors if found is not None and k == found.state.member else None
            final = _train_share(team, member, items, settings, own, course, now, tensors, numbered)
            now = Moment(member=k + 1, final=(*now.final, final))
    return _mean(now.final)


def _train_share(
    team: Team,
    verifier: Verifier,
    items: Sequence[LabelledSolution],
    settings: VerifierSettings,
    rng: np.random.Generator,
    course: VerifierCourse,
    now: Moment,
    tensors: Mapping[str, torch.Tensor] | None,
    on_update: Callable[[int, dict[str, float]], None],
) -> dict[str, float]:
    """One member's training in one process of a team, from the moment it has come to, with the `tensors` it had then."""
    if not items:
        raise ValueError("no labelled solutions to train on")
    by_problem: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        by_problem.setdefault(item.problem.id, []).append(i)
    encoded = verifier.encode([x.problem for x in items], [x.text for x in items])
    parameters = verifier.parameters
    optimizer = torch.optim.AdamW(
        parameter_groups(parameters), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.updates + 1, pct_start=0.1
    )
    verifier.model.train()
    averaged = max(1, settings.updates // 10)
    batches = _batches(by_problem, encoded, settings.batch_problems, rng)
    with torch.random.fork_rng():  # dropout draws from the global generator
        torch.manual_seed(int(rng.spawn(1)[0].integers(2**62)) + team.rank)
        if tensors is not None:
            course.go_on_from(tensors, optimizer)
        for step in range(1, settings.updates + 1):
            problems = next(batches)
            if step <= now.step:  # made in another session
                schedule.step()
                continue
            with course.whole_step(now.member * settings.updates + step):
                lessons = [
                    Lesson([encoded[i] for i in by_problem[p]], [items[i].correct for i in by_problem[p]])
                    for p in problems
                ]
                if step == 1 and isinstance(verifier.head, LikelihoodHead):
                    verifier.head.centre(scores_of(team, verifier, lessons, settings.micro_batch_size))
                optimizer.zero_grad(set_to_none=True)
                outcome = add_gradients(team, verifier, lessons, settings)
                team.add_gradients(parameters)
                clip_gradients(parameters, 1.0)
                optimizer.step()
                schedule.step()
                metrics = _metrics(outcome)
                last = parameters if step == settings.updates else []
                refuse_divergence(f"verifier training, step {step}", {"the loss": metrics["loss"]}, DIVERGED, last)
                now = replace(now, step=step, history=(*now.history, metrics)[-max(25, averaged) :])
                if step % 25 == 0 or step == settings.updates:
                    on_update(step, _mean(now.history[-25:]))
                course.end_step(now, optimizer)
    verifier.model.eval()
    return _mean(now.history[-averaged:])


def _batches(
    by_problem: Mapping[str, Sequence[int]], encoded: Sequence[Sequence[int]], size: int, rng: np.random.Generator
) -> Iterator[list[str]]:
    """Endless batches of problem ids: shuffled, bucketed by length, every problem once per pass."""
    names = list(by_problem)
    longest = np.array([max(len(encoded[i]) for i in by_problem[n]) for n in names], dtype=float)
    while True:
        # a little noise in the sorting key, so that the same problems do not always meet
        order = np.argsort(longest + rng.uniform(0, 8, len(names)), kind="stable")
        starts = rng.permutation(range(0, len(names), size))
        for start in starts:
            yield [names[i] for i in order[start : start + size]]


def _metrics(outcome: StepOutcome) -> dict[str, float]:
    """Loss, same-problem pair accuracy (nan without pairs) and spread of one step."""
    scores, correct, problem = outcome.scores, outcome.correct, outcome.problem
    pairs = correct[:, None] & ~correct[None, :] & (problem[:, None] == problem[None, :])
    right = (scores[:, None] > scores[None, :])[pairs].float()
    return {
        "loss": outcome.loss.item(),
        "pair_accuracy": right.mean().item() if len(right) else float("nan"),
        "score_std": scores.std(correction=0).item(),
    }


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {k: float(np.nanmean([r[k] for r in rows])) if rows else float("nan") for k in rows[0]}
