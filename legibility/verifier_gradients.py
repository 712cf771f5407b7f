"""A verifier's losses, and the gradients of one training step by as many texts at once as memory holds.

The paper's loss (Kirchner et al. 2024, Sec. 3.2) compares solutions of the same problem with different verdicts
(Bradley-Terry) and pulls scores towards zero:

    loss = mean over pairs of -log sigmoid((V(x, z1) - V(x, z2)) * sign(c1 - c2)) + lambda * mean V^2

The paper prints the first term without its minus sign; as text and use show, it is a log-likelihood
to be maximised. Cross-entropy of sigmoid(V) on the verdict is the option the paper found equivalent.

Both are sums over problems divided by what a whole step has (`Totals`), so problems are learned from one after another
and their gradients add up to the step's. A problem with more texts than fit is read twice: first for its scores alone,
of which the loss has its gradient, then again in pieces through which that gradient goes on (Gao et al. 2021,
arXiv 2101.06983, who do so for contrastive losses). Nothing is approximated either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from legibility.models.verifier import Verifier
from legibility.models.verifier_text import EncodedText
from legibility.player_settings import VerifierSettings
from legibility.sharding import gathered, is_sharded
from legibility.team import Team


@dataclass(frozen=True)
class Totals:
    """What the means of a step are taken over: texts, pairs of a right and a wrong solution of one problem, and tokens
    that the right solutions have."""

    texts: int
    pairs: int
    taught: int


@dataclass(frozen=True)
class Lesson:
    """A problem with its texts and their verdicts, as a step learns from them."""

    texts: list[EncodedText]
    correct: list[bool]

    def __len__(self) -> int:
        return len(self.texts)

    def split(self, size: int) -> list[Lesson]:
        """The texts in parts of at most `size`."""
        return [Lesson(self.texts[i : i + size], self.correct[i : i + size]) for i in range(0, len(self), size)]


@dataclass(frozen=True)
class StepOutcome:
    """A step's whole loss, and of all its texts the scores (n,), verdicts (n,) and problems (n,), without gradients."""

    loss: torch.Tensor
    scores: torch.Tensor
    correct: torch.Tensor
    problem: torch.Tensor


def pairwise_loss(
    scores: torch.Tensor, correct: torch.Tensor, problem: torch.Tensor, l2: float, of: Totals | None = None
) -> torch.Tensor:
    """The loss above. scores (n,), correct (n,) bool, problem (n,) integer ids. 0 pairs: only the l2 term.

    `of`: the totals of the step of which these are some whole problems; what all of them give then adds up to its loss.
    """
    pairs = correct[:, None] & ~correct[None, :] & (problem[:, None] == problem[None, :])
    penalty = l2 * _mean(scores.square(), of.texts if of else None)
    if not bool(pairs.any()):
        return penalty
    difference = scores[:, None] - scores[None, :]
    return _mean(F.softplus(-difference[pairs]), of.pairs if of else None) + penalty


def cross_entropy_loss(
    scores: torch.Tensor, correct: torch.Tensor, l2: float, of: Totals | None = None
) -> torch.Tensor:
    """-log likelihood of the verdict under sigmoid(V), plus the same penalty. scores (n,), correct (n,) bool, `of` as above."""
    losses = F.binary_cross_entropy_with_logits(scores, correct.float(), reduction="none")
    count = of.texts if of else None
    return _mean(losses, count) + l2 * _mean(scores.square(), count)


def add_gradients(team: Team, verifier: Verifier, lessons: Sequence[Lesson], settings: VerifierSettings) -> StepOutcome:
    """Add the gradients of one step's loss to those of the verifier's parameters, in this process of its own share.

    At most `settings.micro_batch_size` texts are read at once. The processes' gradients add up to the step's
    (`Team.add_gradients` does it); all of them get the same outcome.
    """
    totals = Totals(
        texts=sum(map(len, lessons)),
        pairs=sum(sum(x.correct) * (len(x) - sum(x.correct)) for x in lessons),
        taught=sum(len(t.predicted) for x in lessons for t, c in zip(x.texts, x.correct, strict=True) if c),
    )
    mine = team.share(range(len(lessons)))
    found: list[torch.Tensor] = []
    surprisal = 0.0
    filler = Lesson(lessons[0].texts[:1], lessons[0].correct[:1])
    blocks = list(_blocks([lessons[k] for k in mine], settings.micro_batch_size))
    for k, passes in enumerate(_passes(team, verifier, blocks, settings.micro_batch_size)):
        scores, surprised = _add_block(verifier, blocks[k] if k < len(blocks) else [], settings, totals, passes, filler)
        if k < len(blocks):
            found.append(scores)
            surprisal += surprised
    parts = team.gather((mine, _numbers(found), surprisal))
    scores = _in_order(parts, lessons, verifier.device)
    correct = torch.tensor([c for x in lessons for c in x.correct], device=verifier.device)
    problem = torch.arange(len(lessons)).repeat_interleave(torch.tensor([len(x) for x in lessons])).to(verifier.device)
    loss = _loss(scores, correct, problem, settings)
    if settings.lm_weight:
        loss = loss + settings.lm_weight * sum(part[2] for part in parts) / max(totals.taught, 1)
    return StepOutcome(loss, scores, correct, problem)


@torch.no_grad()
def scores_of(team: Team, verifier: Verifier, lessons: Sequence[Lesson], micro_batch_size: int | None) -> torch.Tensor:
    """Scores (n,) of all texts in order, in the mode that the verifier is in, shared by the team. No gradients."""
    mine = team.share(range(len(lessons)))
    with gathered(verifier.model):
        found = [
            verifier.forward([x.texts for x in part])
            for block in _blocks([lessons[k] for k in mine], micro_batch_size)
            for part in _pieces(block, micro_batch_size)
        ]
    return _in_order(team.gather((mine, _numbers(found), 0.0)), lessons, verifier.device)


def _add_block(
    verifier: Verifier, block: list[Lesson], settings: VerifierSettings, totals: Totals, passes: int, filler: Lesson
) -> tuple[torch.Tensor, float]:
    """Gradients of some whole problems' part of the loss. Returns their scores and the summed surprisal of right solutions.

    The network is gone through `passes` times; where the block has less for it, `filler` is read, with weight 0.
    """
    if not block:
        return _fill_in(verifier, filler, passes)
    correct = torch.tensor([c for x in block for c in x.correct], device=verifier.device)
    problem = torch.arange(len(block)).repeat_interleave(torch.tensor([len(x) for x in block])).to(verifier.device)
    weight = settings.lm_weight / max(totals.taught, 1)
    pieces = _pieces(block, settings.micro_batch_size)
    if passes == 1:
        scores, surprisal = _read(verifier, block, teach=settings.lm_weight > 0)
        (_loss(scores, correct, problem, settings, totals) + weight * surprisal).backward()
        return scores.detach(), float(surprisal.detach())
    states = []
    read = []
    with torch.no_grad():
        for piece in pieces:
            states.append(dropout_states(verifier.device))
            read.append(_read(verifier, piece, teach=False)[0])
        for _ in range(passes - len(pieces)):
            _read(verifier, [filler], teach=False)
    scores = torch.cat(read).requires_grad_()
    _loss(scores, correct, problem, settings, totals).backward()
    assert scores.grad is not None
    surprised = 0.0
    for piece, state, grad in zip(pieces, states, scores.grad.split([len(x) for x in read]), strict=True):
        with _same_dropout(state, verifier.device):
            again, surprisal = _read(verifier, piece, teach=settings.lm_weight > 0)
        ((again * grad).sum() + weight * surprisal).backward()
        surprised += float(surprisal.detach())
    for _ in range(passes - len(pieces)):
        (_read(verifier, [filler], teach=settings.lm_weight > 0)[0].sum() * 0.0).backward()
    return scores.detach(), surprised


def _fill_in(verifier: Verifier, filler: Lesson, passes: int) -> tuple[torch.Tensor, float]:
    """What `_add_block` does of a block that other processes have and this one has not."""
    with torch.no_grad():
        for _ in range(passes if passes > 1 else 0):
            _read(verifier, [filler], teach=False)
    for _ in range(passes):
        (_read(verifier, [filler], teach=False)[0].sum() * 0.0).backward()
    return torch.zeros(0), 0.0


def _passes(team: Team, verifier: Verifier, blocks: Sequence[list[Lesson]], size: int | None) -> list[int]:
    """How often the network is gone through for each block.

    Where its weights are spread, equally often in every process, even for blocks that this one does not have.
    """
    own = [len(_pieces(block, size)) for block in blocks]
    if not is_sharded(verifier.model):
        return own
    everyone = team.gather(own)
    return [max(n[k] for n in everyone if k < len(n)) for k in range(max(map(len, everyone)))]


def _loss(
    scores: torch.Tensor,
    correct: torch.Tensor,
    problem: torch.Tensor,
    settings: VerifierSettings,
    of: Totals | None = None,
) -> torch.Tensor:
    """The loss that the settings name, but for what is read of the text itself."""
    if settings.loss == "pairwise":
        return pairwise_loss(scores, correct, problem, settings.l2, of)
    return cross_entropy_loss(scores, correct, settings.l2, of)


def _read(verifier: Verifier, lessons: Sequence[Lesson], *, teach: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of all texts, flat, and the summed surprisal (nats) of their right solutions' tokens, where it is taught."""
    groups = [x.texts for x in lessons]
    if not teach:
        return verifier.forward(groups), torch.zeros((), device=verifier.device)
    assert verifier.head is not None
    reading = verifier.read(groups, logprobs=True)
    assert reading.logprobs is not None
    counts = torch.tensor(reading.counts, device=verifier.device)
    taught = torch.tensor([c for x in lessons for c in x.correct], device=verifier.device).repeat_interleave(counts)
    return verifier.head(reading), -(reading.logprobs * taught).sum()


def _blocks(lessons: Sequence[Lesson], size: int | None) -> Iterator[list[Lesson]]:
    """Whole problems, as many as have at most `size` texts together; one with more is a block of its own."""
    block: list[Lesson] = []
    for lesson in lessons:
        if block and size is not None and sum(map(len, block)) + len(lesson) > size:
            yield block
            block = []
        block.append(lesson)
    if block:
        yield block


def _pieces(block: list[Lesson], size: int | None) -> list[list[Lesson]]:
    """What of a block is read at once: all of it, or parts of the one problem that is larger than `size`."""
    if size is None or sum(map(len, block)) <= size:
        return [block]
    (lesson,) = block
    return [[part] for part in lesson.split(size)]


def _numbers(found: Sequence[torch.Tensor]) -> np.ndarray:
    return np.concatenate([x.detach().cpu().numpy() for x in found]) if found else np.zeros(0, dtype=np.float32)


def _in_order(
    parts: Sequence[tuple[list[int], np.ndarray, float]], lessons: Sequence[Lesson], device: str
) -> torch.Tensor:
    """All scores, problem by problem, from what every process read of its own."""
    whole: list[torch.Tensor] = [torch.zeros(0)] * len(lessons)
    for places, values, _ in parts:
        for k, part in zip(places, torch.from_numpy(values).split([len(lessons[k]) for k in places]), strict=True):
            whole[k] = part
    return torch.cat(whole).to(device)


def _mean(values: torch.Tensor, count: int | None) -> torch.Tensor:
    return values.mean() if count is None else values.sum() / count


def dropout_states(device: str) -> list[torch.Tensor]:
    """States of torch's global generators, which dropout draws from: the CPU's, and the GPU's of a model that is on one."""
    on_gpu = torch.device(device).type == "cuda"
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if on_gpu else [])]


def set_dropout_states(states: Sequence[torch.Tensor], device: str) -> None:
    """Put back what `dropout_states` gave."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)


@contextmanager
def _same_dropout(states: Sequence[torch.Tensor], device: str) -> Iterator[None]:
    """Draw in the block what was drawn from these states on; afterwards generators stand where they stood before."""
    now = dropout_states(device)
    set_dropout_states(states, device)
    try:
        yield
    finally:
        set_dropout_states(now, device)
