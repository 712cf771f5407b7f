"""The fast engine: each prompt prefilled once, a preallocated cache, finished rows dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from legibility.models.flat import flat_decoder
from legibility.models.routes import attention_window
from legibility.rollouts.cache import CacheStepper, FlatStepper
from legibility.rollouts.completion import Completion, Stops, Stretches, pick

if TYPE_CHECKING:
    from collections.abc import Callable

    from legibility.models.prover import Prover

LOOK_EVERY = 4  # steps between looks for finished rows
KEEP_BELOW = 0.9  # share of rows alive under which the finished ones are dropped


class FastUnsupported(Exception):
    """This model does not work with a standard growing cache."""


def sample_fast(
    prover: Prover,
    prompts: list[list[int]],
    samples: int,
    noise: np.ndarray,
    temperature: float,
    value_head: Callable[[torch.Tensor], torch.Tensor] | None = None,
    stretches: Stretches | None = None,
) -> list[Completion]:
    """Completions of one chunk, in the order of the rows of `noise`: uniforms (prompts * samples, max_new_tokens).

    stretches: where each row stops, if not at an end token alone; one sample a prompt then.
    Raises FastUnsupported for a model that is no plain full-attention decoder.
    """
    model, device = prover.causal, prover.device
    if getattr(model.config, "is_encoder_decoder", False) or attention_window(model.config) is not None:
        raise FastUnsupported("not a plain full-attention decoder")
    flat = flat_decoder(model)
    stepper = CacheStepper(model) if flat is None else FlatStepper(flat)
    rows, limit = noise.shape
    lengths = torch.tensor([len(p) for p in prompts])
    longest = int(lengths.max())
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):  # left padding: every row continues at the same cache place
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
    hidden = stepper.prefill(ids.to(device), lengths.to(device), samples, limit)

    uniform = torch.from_numpy(noise).to(device)
    end = torch.tensor(sorted(prover.end_ids), device=device)
    tokens = torch.zeros(rows, limit, dtype=torch.long, device=device)
    logprobs, values = (torch.zeros(rows, limit, device=device) for _ in range(2))
    length = torch.full((rows,), limit, device=device)
    finished, at_end = (torch.zeros(rows, dtype=torch.bool, device=device) for _ in range(2))
    stops = None if stretches is None else Stops(stretches, device)
    look = LOOK_EVERY if stops is None else 1  # stretches are short
    live = torch.arange(rows, device=device)  # original row of each row still decoded
    for t in range(limit):
        token, logprob = pick(prover.logits(hidden), uniform[live, t], temperature)
        tokens[live, t], logprobs[live, t] = token, logprob
        if value_head is not None:
            values[live, t] = value_head(hidden).float()
        ended = torch.isin(token, end) & ~finished[live]
        at_end[live[ended]] = True
        if stops is not None:
            ended |= stops.reached(token, live, t) & ~finished[live]
        length[live[ended]] = t + 1
        finished[live[ended]] = True
        if t + 1 == limit:
            break
        if t % look == look - 1:
            alive = ~finished[live]
            count = int(alive.sum())
            if count == 0:
                break
            if count < KEEP_BELOW * len(live):
                holes, movers = (~alive[:count]).nonzero()[:, 0], alive[count:].nonzero()[:, 0] + count
                stepper.keep(holes, movers, count)
                for x in (live, token):
                    x[holes] = x[movers]
                live, token = live[:count], token[:count]
        hidden = stepper.step(token)
    return [
        Completion(
            tokens[i, :n].tolist(),
            logprobs[i, :n].tolist(),
            not done,
            None if value_head is None else values[i, :n].tolist(),
        )
        for i, (n, done) in enumerate(zip(length.tolist(), at_end.tolist(), strict=True))
    ]
