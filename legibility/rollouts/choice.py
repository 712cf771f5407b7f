"""Which engine samples from a model: the one asked for, or the next one whose log-probs are the model's own.

An engine is tried on a few short continuations, whose log-probs are compared with plain rows. Models with shared
prompts of a listed architecture (`legibility.models.routes`) skip the trial. `even` is transformers' `generate`
on prompts of one length, so without padding, which some state-space models read as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from legibility.compute_settings import VLLMSettings
from legibility.errors import UserError
from legibility.models.routes import Route, attention_window, is_listed
from legibility.models.self_check import agree, at_rest, check_texts, dtype_of, kind_of, plain_logprobs, remembered
from legibility.randomness import uniforms
from legibility.rollouts.completion import Completion
from legibility.rollouts.fast import FastUnsupported, sample_fast
from legibility.rollouts.hf import sample_hf
from legibility.rollouts.plain import sample_plain
from legibility.rollouts.vllm import require_vllm, sample_vllm
from legibility.rollouts.vllm_server import sample_by_server, sampling_server

if TYPE_CHECKING:
    from legibility.models.prover import Prover

ENGINES = ("fast", "hf", "vllm")
EVEN, PLAIN = "even", "plain"
SAYS = {
    "hf": "transformers' own generation steps",
    EVEN: "transformers' own generation steps, on prompts of one length at a time,",
    PLAIN: "forward passes without a cache",
}
SAMPLES, NEW_TOKENS = 2, 12


def usable_engine(prover: Prover, wanted: str) -> str:
    """The engine to sample with where `wanted` ("fast", "hf" or "vllm") is asked for. Raises ValueError for another.

    vLLM is not tried here but once, by `check_vllm`: it runs its own form of the model or none.
    """
    if wanted not in ENGINES:
        raise ValueError(f"unknown engine {wanted!r}; known: {', '.join(ENGINES)}")
    if wanted not in prover.engines:
        prover.engines[wanted] = _usable(prover, wanted)
    return prover.engines[wanted]


def engine_notice(prover: Prover, wanted: str, found: str) -> str | None:
    """One line where another engine than the wanted one samples, or None."""
    if found == wanted or found not in SAYS:
        return None
    return (
        f"compute.engine: {wanted} is not right for {kind_of(prover.causal)}; {SAYS[found]} sample it, which is slower"
    )


def vllm_sampler(settings: VLLMSettings) -> Callable[..., list[Completion]]:
    """What samples by vLLM: the engine in this process, or a server."""
    return sample_vllm if settings.server is None else sample_by_server


def require_sampler(settings: VLLMSettings, device: str) -> None:
    """Raises UserError where vLLM cannot run here, or the server that shall sample does not answer or will not do."""
    if settings.server is None:
        require_vllm(device)
    else:
        sampling_server(settings, device)


def check_vllm(prover: Prover, settings: VLLMSettings) -> None:
    """Raises UserError where vLLM's log-probs of a few continuations are not the model's own."""
    draw_by = vllm_sampler(settings)

    def draw(
        _: Prover, prompts: list[list[int]], samples: int, noise: np.ndarray, temperature: float
    ) -> list[Completion]:
        return draw_by(
            prover, prompts, samples, seed=0, max_new_tokens=noise.shape[1], temperature=temperature, settings=settings
        )

    if not _is_right(prover, draw):
        raise UserError(
            f"compute.engine: vllm's log-probs of {kind_of(prover.causal)} are not transformers'; set it to fast or hf"
        )


def _usable(prover: Prover, wanted: str) -> str:
    if wanted == "vllm":
        return wanted
    config = prover.causal.config
    known = is_listed(config) and prover.route is Route.SHARED
    if known and attention_window(config) is None:
        return wanted
    if known:
        return "hf"  # the fast engine knows no windows
    return remembered(prover.causal, f"engine {wanted}", lambda: _first_right(prover, wanted))


def _first_right(prover: Prover, wanted: str) -> str:
    draw = sample_fast if wanted == "fast" else sample_hf
    if prover.route is Route.SHARED and _is_right(prover, draw):
        return wanted
    return EVEN if _is_right(prover, _evenly) else PLAIN


def _is_right(prover: Prover, draw: Callable[..., list[Completion]]) -> bool:
    """Whether an engine's log-probs of its own continuations of check prompts are those of plain rows."""
    model = prover.causal
    prompts, _ = check_texts(model.config.get_text_config().vocab_size)
    noise = uniforms(0, np.arange(len(prompts) * SAMPLES), NEW_TOKENS)
    with at_rest(model):
        try:
            drawn = draw(prover, prompts, SAMPLES, noise, 1.0)
        except FastUnsupported:
            return False
        except UserError:
            raise
        except Exception:  # whatever a foreign forward makes of a cache it was not written for
            return False
        groups = [[c.ids for c in drawn[i * SAMPLES : (i + 1) * SAMPLES]] for i in range(len(prompts))]
        expected = plain_logprobs(model, prompts, groups)
    found = torch.tensor([x for c in drawn for x in c.logprobs], device=expected.device)
    return agree(found, expected, dtype_of(model))


def _evenly(
    prover: Prover, prompts: list[list[int]], samples: int, noise: np.ndarray, temperature: float
) -> list[Completion]:
    """`sample_hf` prompt by prompt."""
    return [
        completion
        for i, prompt in enumerate(prompts)
        for completion in sample_hf(prover, [prompt], samples, noise[i * samples : (i + 1) * samples], temperature)
    ]


DRAW: dict[str, Callable[..., list[Completion]]] = {"hf": sample_hf, EVEN: sample_hf, PLAIN: sample_plain}
"""The engines that keep no values."""
