"""The vLLM engine against an imitation of vLLM's interface: requests, weights, seeds. No GPU, no vLLM."""

from __future__ import annotations

import importlib.machinery
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from legibility.compute_settings import VLLMSettings
from legibility.config import PPOSettings
from legibility.errors import UserError
from legibility.models.prover import add_lora
from legibility.player_settings import LoraSettings, ProverSettings
from legibility.ppo import PPO, Batch
from legibility.randomness import stream
from legibility.rollouts import sample, vllm
from tests.rollouts.drawn import Tokens, check_logprobs
from tests.support import legibility, prover_of, tiny_model

PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 0, 12]]


@dataclass
class SamplingParams:
    """The fields of vLLM's class that are used here; any other is refused."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)


class Model(torch.nn.Module):
    """vLLM's own module: weights arrive under transformers' names and their names are handed back."""

    def __init__(self, config) -> None:
        super().__init__()
        self.inner = AutoModelForCausalLM.from_config(config).float().eval()

    def named_parameters(self, *args, **kwargs):
        return self.inner.named_parameters(*args, **kwargs)

    def load_weights(self, tensors) -> set[str]:
        own, loaded = dict(self.inner.named_parameters()), set()
        with torch.no_grad():
            for name, tensor in tensors:
                own[name].copy_(tensor)
                loaded.add(name)
        return loaded


class LLM:
    made = 0

    def __init__(self, model, *, skip_tokenizer_init, load_format, generation_config, dtype, logprobs_mode,
                 gpu_memory_utilization, max_model_len, seed) -> None:  # fmt: skip
        assert skip_tokenizer_init and load_format == "dummy" and generation_config == "vllm"
        assert dtype == "float32" and logprobs_mode == "processed_logprobs" and 0 < gpu_memory_utilization < 1
        LLM.made += 1
        self.model, self.max_model_len, self.resets = Model(AutoConfig.from_pretrained(model)), max_model_len, 0

    def apply_model(self, func):
        return [func(self.model)]

    def reset_prefix_cache(self) -> bool:
        self.resets += 1
        return True

    @torch.no_grad()
    def generate(self, prompts, sampling_params, *, use_tqdm=True):
        return [self._one(p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _one(self, prompt, params):
        assert (
            len(prompt) + params.max_tokens <= self.max_model_len
            and params.n == 1
            and params.top_p == 1.0
            and params.top_k == 0
        )
        generator, ids, logprobs = torch.Generator().manual_seed(params.seed), [], []
        while len(ids) < params.max_tokens and (not ids or ids[-1] not in params.stop_token_ids):
            logits = self.model.inner(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, -1] / params.temperature
            scores = torch.log_softmax(logits, -1)
            token = int(torch.multinomial(scores.exp(), 1, generator=generator))
            ids.append(token)
            logprobs.append({token: SimpleNamespace(logprob=float(scores[token]), rank=1)})
        ended = ids[-1] in params.stop_token_ids
        output = SimpleNamespace(token_ids=ids, logprobs=logprobs, finish_reason="stop" if ended else "length")
        return SimpleNamespace(prompt_token_ids=prompt, outputs=[output])


@pytest.fixture
def installed(monkeypatch):
    """An imitation of vLLM, and no engine yet."""
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(vllm, "_engines", {})
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    monkeypatch.setattr(LLM, "made", 0)


def tiny(byte_tokenizer, name="llama", **changes):
    prover = prover_of(tiny_model(name, byte_tokenizer, **changes), byte_tokenizer)
    prover.device = "cuda"  # what is asked for; the imitation computes where the weights are
    return prover


def draw(prover, **changes):
    settings = dict(seed=0, max_new_tokens=8, engine="vllm", vllm=VLLMSettings(max_length=64))
    return sample(prover, PROMPTS, 3, **{**settings, **changes})


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_prover(installed, byte_tokenizer, name, temperature):
    prover = tiny(byte_tokenizer, name)
    drawn = draw(prover, temperature=temperature)
    assert [len(group) for group in drawn] == [3, 3, 3]
    check_logprobs(prover.model, PROMPTS, drawn, temperature)


def test_endings(installed):
    prover = tiny(Tokens(eos_token_id=1, pad_token_id=0, chat_template=None), vocab_size=6, initializer_range=0.1)
    prover.model.generation_config.eos_token_id = [1, 4]
    drawn = sample(prover, [[2, 3], [5]], 30, seed=0, max_new_tokens=6, engine="vllm", vllm=VLLMSettings(max_length=64))
    flat = [c for group in drawn for c in group]
    assert {c.truncated for c in flat} == {True, False}
    for c in flat:
        assert not {1, 4} & set(c.ids[:-1]) and c.truncated == (c.ids[-1] not in (1, 4))
        assert c.values is None and len(c.ids) == len(c.logprobs) <= 6 and (len(c.ids) == 6 or not c.truncated)


def test_a_completion_depends_on_its_row_and_seed_only(installed, byte_tokenizer):
    prover = tiny(byte_tokenizer)
    ids = [[c.ids for c in group] for group in draw(prover)]
    assert len({tuple(c) for group in ids for c in group}) == 9
    torch.manual_seed(5)
    assert [[c.ids for c in group] for group in draw(prover, batch=2)] == ids
    others = sample(
        prover, [[1], PROMPTS[1]], 3, seed=0, max_new_tokens=8, engine="vllm", vllm=VLLMSettings(max_length=64)
    )
    assert [c.ids for c in others[1]] == ids[1]
    assert [[c.ids for c in group] for group in draw(prover, seed=1)] != ids


def test_an_update_reaches_the_engine(installed, byte_tokenizer):
    """One engine over steps and provers, always with the weights of the one that samples."""
    prover = tiny(byte_tokenizer)
    prover.device = "cpu"
    ppo = PPO(prover, PPOSettings(samples_per_role=3, minibatch_size=9, micro_batch_size=9, learning_rate=1e-2))
    prover.device = "cuda"
    before = draw(prover)
    prover.device = "cpu"
    metrics = ppo.step(Batch(PROMPTS, before, np.linspace(-1, 1, 9)), stream(0))
    prover.device = "cuda"
    assert metrics["logprob_gap"] < 1e-4
    after = draw(prover)
    check_logprobs(prover.model, PROMPTS, after)
    assert abs(after[0][0].logprobs[0] - before[0][0].logprobs[0]) > 1e-3
    other = tiny(byte_tokenizer)  # a new round's prover: same architecture, the weights of the start
    assert [[c.ids for c in g] for g in draw(other)] == [[c.ids for c in g] for g in before]
    assert LLM.made == 1
    (engine,) = vllm._engines.values()
    assert engine.llm.resets == 3
    draw(tiny(byte_tokenizer, "qwen2"))
    assert LLM.made == 2 and len(vllm._engines) == 1


def test_adapters_are_merged_into_copies(installed, byte_tokenizer):
    prover = tiny(byte_tokenizer)
    base = {k: v.clone() for k, v in prover.model.state_dict().items()}
    settings = ProverSettings(lora=LoraSettings(r=2, alpha=8, target_modules=["q_proj", "down_proj"]))
    adapted = prover_of(add_lora(prover.model, settings, seed=0), byte_tokenizer)
    adapted.device = "cuda"
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    drawn = draw(adapted)
    check_logprobs(adapted.causal, PROMPTS, drawn, atol=1e-4)
    given = dict(vllm.weights(adapted))
    assert set(given) == {name for name, _ in tiny(byte_tokenizer).model.named_parameters()}
    changed = {name for name, tensor in given.items() if not torch.equal(tensor, base[name])}
    assert changed == {name for name in base if "q_proj" in name or "down_proj" in name}
    for name, tensor in adapted.causal.state_dict().items():
        if "base_layer" in name:
            assert torch.equal(tensor, base[name.replace(".base_layer", "")])


def test_weights_without_a_counterpart_are_refused(installed, byte_tokenizer, monkeypatch):
    prover = tiny(byte_tokenizer)
    monkeypatch.setattr(vllm, "weights", lambda prover: iter([]))
    with pytest.raises(UserError, match=r"a weight the prover lacks \(model\."):
        draw(prover)


def test_bad_settings_are_told_in_one_line(installed, byte_tokenizer):
    prover = tiny(byte_tokenizer)
    with pytest.raises(UserError, match="max_length: prompt and completion may need 13 tokens"):
        draw(prover, vllm=VLLMSettings(max_length=12))
    prover.device = "cuda:1"
    with pytest.raises(UserError, match="first visible GPU and the prover is on cuda:1"):
        draw(tiny_on(prover, byte_tokenizer))


def tiny_on(prover, byte_tokenizer):
    other = tiny(byte_tokenizer, "mistral")
    other.device = prover.device
    return other


def test_not_installed(byte_tokenizer, tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed; pip install"):
        draw(tiny(byte_tokenizer))
    out = tmp_path / "run"
    result = legibility("train", tiny_config_file, "--out", out, *tiny_overrides, "compute.engine=vllm")
    assert result.code == 2 and "compute.engine: vllm is not installed" in result.err and not out.exists()
