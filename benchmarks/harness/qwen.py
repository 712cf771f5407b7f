"""Qwen2.5 as its config.json alone says: enough to count what it costs."""

from __future__ import annotations

from pathlib import Path

from transformers import Qwen2Config

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
