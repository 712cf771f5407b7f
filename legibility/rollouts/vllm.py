"""The vLLM engine: paged attention and continuous batching on a GPU, for models the fast engine is too slow for.

One vLLM engine lives in this process beside the trainer and is kept over steps and rounds. It is made
from the model's configuration alone; before it samples it is given the prover's weights of that moment,
adapters merged, so it can never lag behind the policy. Every completion is a request with a seed of its
own, keyed by (seed, prompt row, sample): it does not depend on the others, but vLLM turns seeds into
random numbers in its own way, so its text is not that of `fast` and `hf`.

Written against vLLM's documented interface (0.22 and later) and tested with an imitation of it; it has
not met a GPU yet (docs/performance.md).
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from legibility.compute_settings import VLLMSettings
from legibility.errors import UserError
from legibility.randomness import derive_seed
from legibility.rollouts.completion import Completion

if TYPE_CHECKING:
    from legibility.models.prover import Prover


def require_vllm(device: str = "cuda") -> None:
    """Raises UserError where vLLM cannot run: not installed, or asked for a device it would not use."""
    if find_spec("vllm") is None:
        raise UserError(
            "compute.engine: vllm is not installed; pip install 'legibility[vllm]', or set compute.engine to fast"
        )
    if device not in ("cuda", "cuda:0"):
        raise UserError(
            f"compute.engine: vllm takes the first visible GPU and the prover is on {device}; "
            "set compute.device to cuda (and CUDA_VISIBLE_DEVICES to choose one), or compute.engine to fast"
        )


class Engine:
    """A vLLM engine for one architecture. `llm` is vLLM's own object."""

    def __init__(self, prover: Prover, settings: VLLMSettings) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = (
            "0"  # in this process: weights are handed over, not copied by pipe
        )
        import vllm  # an optional dependency that takes a GPU

        self.sampling_params, self.max_length = vllm.SamplingParams, settings.max_length
        with tempfile.TemporaryDirectory() as folder:
            prover.causal.config.save_pretrained(folder)
            self.llm = vllm.LLM(
                model=folder,
                skip_tokenizer_init=True,
                load_format="dummy",  # weights come from the prover
                generation_config="vllm",  # no sampling defaults of the checkpoint
                dtype=str(_dtype(prover)).removeprefix("torch."),
                logprobs_mode="processed_logprobs",  # of the distribution sampled from, temperature included
                gpu_memory_utilization=settings.memory,
                max_model_len=settings.max_length,
                seed=0,
            )

    def load(self, prover: Prover) -> None:
        """Take over the prover's weights. Raises UserError where some of the engine's have no counterpart."""
        for missing in self.llm.apply_model(lambda model: _load(model, weights(prover))):
            if missing:
                raise UserError(
                    f"compute.engine: vllm has a weight the prover lacks ({missing[0]}); set compute.engine to fast"
                )
        self.llm.reset_prefix_cache()  # it was computed with the old weights

    def sample(
        self,
        prompts: list[list[int]],
        samples: int,
        *,
        seed: int,
        max_new_tokens: int,
        temperature: float,
        end_ids: set[int],
    ) -> list[Completion]:
        """Completions of all prompts, samples of a prompt together. Raises UserError for a prompt that is too long."""
        longest = max(map(len, prompts)) + max_new_tokens
        if longest > self.max_length:
            raise UserError(
                f"compute.vllm.max_length: prompt and completion may need {longest} tokens; set it to at least that"
            )
        requests = [prompt for prompt in prompts for _ in range(samples)]
        outputs = self.llm.generate(
            [{"prompt_token_ids": prompt} for prompt in requests],
            [
                self.sampling_params(
                    n=1, temperature=temperature, top_p=1.0, top_k=0, max_tokens=max_new_tokens, logprobs=0, detokenize=False,
                    seed=derive_seed(seed, row), stop_token_ids=sorted(end_ids),
                )
                for row in range(len(requests))
            ],
            use_tqdm=False,
        )  # fmt: skip
        return [_completion(output.outputs[0], end_ids) for output in outputs]


def _completion(output: Any, end_ids: set[int]) -> Completion:
    ids = list(output.token_ids)
    logprobs = [place[token].logprob for token, place in zip(ids, output.logprobs, strict=True)]
    return Completion(ids, logprobs, ids[-1] not in end_ids)


def weights(prover: Prover) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of the plain causal model; what adapters add is added to a copy."""
    modules = dict(prover.causal.named_modules())
    for name, parameter in prover.causal.named_parameters():
        if ".lora_" in name:
            continue
        tensor = parameter.detach()
        owner, adapted, leaf = name.partition(".base_layer.")
        if adapted and leaf == "weight":
            layer = modules[owner]
            tensor = sum((layer.get_delta_weight(a).detach() for a in layer.active_adapters), tensor).to(tensor.dtype)
        yield f"{owner}.{leaf}" if adapted else name, tensor


def _load(model: Any, tensors: Iterator[tuple[str, torch.Tensor]]) -> list[str]:
    """Run on vLLM's own model: names of its parameters that were not written, as far as it says."""
    loaded = model.load_weights(tensors)
    return [] if loaded is None else sorted({name for name, _ in model.named_parameters()} - loaded)


def _dtype(prover: Prover) -> torch.dtype:
    return prover.causal.get_input_embeddings().weight.dtype


_engines: dict[str, Engine] = {}  # at most one: it holds most of a GPU's memory


def engine_for(prover: Prover, settings: VLLMSettings) -> Engine:
    """The engine of this architecture, made (and another one dropped) where there is none."""
    shape = {k: v for k, v in prover.causal.config.to_dict().items() if k != "_name_or_path"}
    key = json.dumps([shape, str(_dtype(prover)), settings.model_dump()], sort_keys=True, default=str)
    if key not in _engines:
        require_vllm(prover.device)
        _engines.clear()
        gc.collect()
        _engines[key] = Engine(prover, settings)
    return _engines[key]


def sample_vllm(
    prover: Prover,
    prompts: list[list[int]],
    samples: int,
    *,
    seed: int,
    max_new_tokens: int,
    temperature: float,
    settings: VLLMSettings,
) -> list[Completion]:
    """All completions at once, with the prover's weights as they are now; vLLM makes its own batches."""
    engine = engine_for(prover, settings)
    engine.load(prover)
    return engine.sample(
        prompts, samples, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature, end_ids=prover.end_ids
    )
