"""Sampling completions: one interface, several engines.

`sample(prover, prompts, samples, …)` draws `samples` completions for every prompt from the full
distribution at the given temperature (no top-k, no top-p: those would bias the log-probs PPO uses).
The random number behind a token is keyed by (seed, prompt row, sample, position), so a completion
does not depend on batch composition or engine, up to floating-point ties.

Engines: `fast` (prefill each prompt once, preallocated cache, finished rows dropped), `hf`
(transformers' own `generate`) and `vllm` (in this process or as a server; seeds keyed alike, but random numbers
of its own). A model that an engine does not run rightly is sampled by a slower one that does
(`legibility.rollouts.choice`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import torch

from legibility.compute_settings import VLLMSettings
from legibility.randomness import uniforms
from legibility.rollouts.choice import DRAW, EVEN, usable_engine, vllm_sampler
from legibility.rollouts.completion import Completion, Stretches, cut
from legibility.rollouts.fast import sample_fast
from legibility.sharding import gathered
from legibility.team import Team, team_of

if TYPE_CHECKING:
    from legibility.models.prover import Prover


def sample(
    prover: Prover,
    prompts: Sequence[Sequence[int]],
    samples: int,
    *,
    seed: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    engine: str = "fast",
    batch: int = 256,
    value_head: Callable[[torch.Tensor], torch.Tensor] | None = None,
    vllm: VLLMSettings | None = None,
    team: Team | None = None,
    stretches: Stretches | None = None,
) -> list[list[Completion]]:
    """Completions [prompt][sample]. `batch` is how many are decoded together.

    Prompts of similar length are decoded together, whatever their order; results come back in the
    order given. A `value_head` (hidden states -> values) makes the fast engine keep its values too. A
    `team` that has the prover shares the prompts; texts are the same up to ties.
    With `stretches`, one a prompt (and one sample), each completion goes on with a text under way and stops where its
    stretch ends: its random numbers are those of its row from the stretch's start on. The fast engine stops there, the
    others sample on and are cut; vLLM cannot.
    Raises ValueError for an unknown engine, or stretches that an engine cannot draw, UserError where vLLM is asked for
    and cannot run.
    """
    engine = usable_engine(prover, engine)
    if stretches is not None and (engine == "vllm" or samples != 1):
        raise ValueError("stretches are drawn one a prompt, and not by vllm")
    if engine == "vllm":
        settings = vllm or VLLMSettings()
        flat = vllm_sampler(settings)(
            prover, [list(p) for p in prompts], samples, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature,
            settings=settings,
        )  # fmt: skip
        return [flat[i : i + samples] for i in range(0, len(flat), samples)]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    options = (samples, seed, max_new_tokens, temperature, engine, batch, value_head, stretches)
    team = team_of(team, prover)
    results: list[list[Completion]] = [[] for _ in prompts]
    for part in team.run(_sample_share, team, prover, prompts, order, *options):
        for i, group in part:
            results[i] = group
    return results


@torch.no_grad()
def _sample_share(
    team: Team, prover: Prover, prompts: Sequence[Sequence[int]], order: Sequence[int], samples: int, seed: int,
    max_new_tokens: int, temperature: float, engine: str, batch: int, value_head: Callable[[torch.Tensor], torch.Tensor] | None,
    stretches: Stretches | None,
) -> list[tuple[int, list[Completion]]]:  # fmt: skip
    """This process's prompts of `order`, each with its completions."""
    mine = team.share(order)
    drawn: list[tuple[int, list[Completion]]] = []
    per_chunk = max(1, batch // samples)
    was_training = prover.model.training
    prover.model.eval()
    whole = ExitStack()
    try:
        whole.enter_context(gathered(prover.causal))  # ranks take as many steps as their texts are long
        for chunk in _chunks(mine, prompts, per_chunk, even=engine == EVEN):
            rows = np.array([i * samples + j for i in chunk for j in range(samples)])
            own = None if stretches is None else stretches.of(chunk)
            # (prompt*sample, position)
            noise = uniforms(seed, rows, max_new_tokens) if own is None else _noise(seed, own)
            chunk_prompts = [list(prompts[i]) for i in chunk]
            if engine == "fast":
                flat = sample_fast(prover, chunk_prompts, samples, noise, temperature, value_head, own)
            else:
                flat = DRAW[engine](prover, chunk_prompts, samples, noise, temperature)
                if own is not None:
                    flat = [cut(c, part, own.ends, prover.end_ids) for c, part in zip(flat, own.parts, strict=True)]
            drawn += [(i, flat[k * samples : (k + 1) * samples]) for k, i in enumerate(chunk)]
    finally:
        whole.close()
        prover.model.train(was_training)
    return drawn


def _noise(seed: int, stretches: Stretches) -> np.ndarray:
    """Random numbers (rows, limit) of stretches, each from its own start on."""
    parts, limit = stretches.parts, stretches.limit
    longest = limit + max(part.start for part in parts)
    whole = uniforms(seed, np.array([part.row for part in parts]), longest)
    return np.stack([row[part.start : part.start + limit] for row, part in zip(whole, parts, strict=True)])


def _chunks(
    order: Sequence[int], prompts: Sequence[Sequence[int]], size: int, *, even: bool
) -> Iterator[Sequence[int]]:
    """Consecutive pieces of `order`, of at most `size` prompts; `even`: of one length each."""
    start = 0
    while start < len(order):
        end = min(start + size, len(order))
        if even:
            end = next((k for k in range(start, end) if len(prompts[order[k]]) != len(prompts[order[start]])), end)
        yield order[start:end]
        start = end
