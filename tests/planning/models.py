"""Models as their config.json alone says, and small ones to count."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

QWEN = {  # the published sizes of Qwen2.5: hidden, layers, heads, key heads, MLP, vocabulary, tied
    "0.5B": (896, 24, 14, 2, 4864, 151936, True),
    "1.5B": (1536, 28, 12, 2, 8960, 151936, True),
    "7B": (3584, 28, 28, 4, 18944, 152064, False),
}


def qwen_config(size: str) -> Qwen2Config:
    hidden, layers, heads, key_heads, mlp, vocabulary, tied = QWEN[size]
    return Qwen2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=mlp,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        architectures=["Qwen2ForCausalLM"],
    )


def qwen_folder(size: str, folder: Path) -> Path:
    """A folder with the config.json of a Qwen2.5 and nothing else."""
    place = folder / f"qwen2.5-{size.lower()}"
    qwen_config(size).save_pretrained(place)
    return place


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
