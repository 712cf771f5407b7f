"""Models as their config.json alone says, and small ones to count."""

from __future__ import annotations

import torch
from harness.qwen import qwen_config, qwen_folder
from transformers import Qwen2Config, Qwen2ForCausalLM

__all__ = ["qwen_config", "qwen_folder", "small"]


def small(dtype: torch.dtype = torch.float32, rank: int = 0, layers: int = 3) -> Qwen2ForCausalLM:
    """A random Qwen2, with LoRA adapters of a rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=300,
                hidden_size=128,
                intermediate_size=320,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                tie_word_embeddings=True,
            )
        ).to(dtype)
    if not rank:
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
