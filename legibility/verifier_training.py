"""Supervised training of a verifier (Kirchner et al. 2024, Sec. 3.2).

The paper's loss compares solutions of the same problem with different verdicts (Bradley-Terry) and
pulls scores towards zero:

    loss = mean over pairs of -log sigmoid((V(x, z1) - V(x, z2)) * sign(c1 - c2)) + lambda * mean V^2

The paper prints the first term without its minus sign; as text and use show, it is a log-likelihood
to be maximised. Cross-entropy of sigmoid(V) on the verdict is the option the paper found equivalent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from legibility.checkpoints import Checkpoints, Restored
from legibility.config import VerifierSettings
from legibility.divergence import refuse_divergence
from legibility.models.score_heads import LikelihoodHead
from legibility.models.verifier import Verifier
from legibility.models.verifier_text import EncodedText
from legibility.problems.records import Problem
from legibility.team import Team, team_of
from legibility.verifier_course import Moment, VerifierCourse, VerifierSoFar

DIVERGED = "lower verifier.learning_rate (the held-out judge's is game.held_out_judge_learning_rate, where it is set)"


@dataclass(frozen=True)
class LabelledSolution:
    """One training text of the verifier. `component` and `role` say where it came from (never shown)."""

    problem: Problem
    text: str
    correct: bool
    component: str
    role: str


def pairwise_loss(scores: torch.Tensor, correct: torch.Tensor, problem: torch.Tensor, l2: float) -> torch.Tensor:
    """The loss above. scores (n,), correct (n,) bool, problem (n,) integer ids. 0 pairs: only the l2 term."""
    pairs = correct[:, None] & ~correct[None, :] & (problem[:, None] == problem[None, :])
    penalty = l2 * scores.square().mean()
    if not bool(pairs.any()):
        return penalty
    difference = scores[:, None] - scores[None, :]
    return F.softplus(-difference[pairs]).mean() + penalty


def cross_entropy_loss(scores: torch.Tensor, correct: torch.Tensor, l2: float) -> torch.Tensor:
    """-log likelihood of the verdict under sigmoid(V), plus the same penalty. scores (n,), correct (n,) bool."""
    return F.binary_cross_entropy_with_logits(scores, correct.float()) + l2 * scores.square().mean()


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

    A step sees all chosen solutions of its problems, so every same-problem pair is used. Problems of
    similar length share a step. Calls `on_update(step, metrics)` now and then. A `team` that has the
    verifier shares each step's problems. The members of an ensemble are trained one after another, from random
    numbers of their own, and their steps are numbered on. With `checkpoints` the training is saved now and then, and
    goes on from the one `found`. Raises ValueError without items, UserError for a loss or
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
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
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
                chosen = [i for p in problems for i in by_problem[p]]
                owner = torch.tensor([k for k, p in enumerate(problems) for _ in by_problem[p]], device=verifier.device)
                correct = torch.tensor([items[i].correct for i in chosen], device=verifier.device)
                groups = [[encoded[i] for i in by_problem[p]] for p in problems]
                teach = correct.tolist() if settings.lm_weight else None
                if step == 1 and isinstance(verifier.head, LikelihoodHead):
                    with torch.no_grad():
                        verifier.head.centre(_read(team, verifier, groups, None)[0])
                scores, surprisal = _read(team, verifier, groups, teach)
                if settings.loss == "pairwise":
                    loss = pairwise_loss(scores, correct, owner, settings.l2)
                else:
                    loss = cross_entropy_loss(scores, correct, settings.l2)
                if surprisal is not None:
                    loss = loss + settings.lm_weight * surprisal
                optimizer.zero_grad(set_to_none=True)
                if loss.requires_grad:  # not where a team has more processes than this step has problems
                    loss.backward()
                team.add_gradients(parameters)
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
                metrics = _metrics(loss, scores.detach(), correct, owner)
                last = parameters if step == settings.updates else []
                refuse_divergence(f"verifier training, step {step}", {"the loss": metrics["loss"]}, DIVERGED, last)
                now = replace(now, step=step, history=(*now.history, metrics)[-max(25, averaged) :])
                if step % 25 == 0 or step == settings.updates:
                    on_update(step, _mean(now.history[-25:]))
                course.end_step(now, optimizer)
    verifier.model.eval()
    return _mean(now.history[-averaged:])


def _read(
    team: Team, verifier: Verifier, groups: Sequence[list[EncodedText]], correct: Sequence[bool] | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scores of all texts, flat, and the mean surprisal (nats a token) of the correct solutions, where `correct` is given.

    Only this process's own share carries gradients, so theirs add up to the whole.
    """
    mine = team.share(range(len(groups)))
    taught = None
    if correct is not None:
        by_group = _split(correct, groups)
        taught = [c for k in mine for c in by_group[k]]
    own, surprisal = _share_of(verifier, [groups[k] for k in mine], taught)
    if correct is not None:
        tokens = sum(len(t.predicted) for t, c in zip((t for g in groups for t in g), correct, strict=True) if c)
        surprisal = surprisal / max(tokens, 1)
    if team.size == 1:
        return own, surprisal if correct is not None else None
    parts: list[torch.Tensor] = [own] * len(groups)
    for rank, (places, values, theirs) in enumerate(
        team.gather((mine, own.detach().cpu().numpy(), float(surprisal.detach())))
    ):
        found = own if rank == team.rank else torch.from_numpy(values).to(own.device)
        if rank != team.rank:
            surprisal = surprisal + theirs
        for k, part in zip(places, found.split([len(groups[k]) for k in places]), strict=True):
            parts[k] = part
    return torch.cat(parts), surprisal if correct is not None else None


def _share_of(
    verifier: Verifier, groups: Sequence[list[EncodedText]], taught: Sequence[bool] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of some groups, flat, and the summed surprisal of their texts that are taught (0 where none is)."""
    nothing = torch.zeros((), device=verifier.device)
    if not groups:
        return torch.zeros(0, device=verifier.device), nothing
    if taught is None:
        return verifier.forward(groups), nothing
    assert verifier.head is not None
    reading = verifier.read(groups, logprobs=True)
    assert reading.logprobs is not None
    counts = torch.tensor(reading.counts, device=verifier.device)
    teaches = torch.tensor(taught, device=verifier.device).repeat_interleave(counts)
    return verifier.head(reading), -(reading.logprobs * teaches).sum()


def _split(values: Sequence[bool], groups: Sequence[list[EncodedText]]) -> list[list[bool]]:
    """Values of all texts by group."""
    rest = iter(values)
    return [[next(rest) for _ in group] for group in groups]


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


def _metrics(loss: torch.Tensor, scores: torch.Tensor, correct: torch.Tensor, owner: torch.Tensor) -> dict[str, float]:
    """Loss, same-problem pair accuracy (nan without pairs) and spread of one step. scores, correct, owner (n,)."""
    pairs = correct[:, None] & ~correct[None, :] & (owner[:, None] == owner[None, :])
    right = (scores[:, None] > scores[None, :])[pairs].float()
    return {
        "loss": loss.item(),
        "pair_accuracy": right.mean().item() if len(right) else float("nan"),
        "score_std": scores.std(correction=0).item(),
    }


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {k: float(np.nanmean([r[k] for r in rows])) if rows else float("nan") for k in rows[0]}
