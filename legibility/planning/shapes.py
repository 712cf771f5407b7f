"""The sizes of a model from its config.json alone: built on torch's meta device, where weights have a shape and no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.models.adapters import adapter_at
from legibility.models.loading import keep_layers, resolve
from legibility.models.pretrained import pretrained, readable_errors
from legibility.player_settings import LoraSettings


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder.

    parameters: all weights, tied ones once; linear: weights of the layers' matrices, last_linear: those of them that the
    last layer applies to read tokens alone (all but keys and values); adapters: weights of LoRA's matrices, 0 without.
    query, key: heads x head size and key heads x head size; vocabulary: of the output layer, 0 for a classifier.
    """

    parameters: int
    linear: int
    last_linear: int
    adapters: int
    layers: int
    hidden: int
    query: int
    key: int
    intermediate: int
    heads: int
    vocabulary: int

    @property
    def trained(self) -> int:
        """Weights that an optimizer changes: the adapters where there are some, else all."""
        return self.adapters or self.parameters


def prover_shape(settings: ProverSettings, base_dir: Path | None = None) -> ModelShape:
    """The prover's sizes. Raises UserError where its config.json cannot be found or its family is not counted here."""
    model = _on_meta(resolve(settings.model, "prover", base_dir), "prover", settings.revision, AutoModelForCausalLM)
    return shape_of(model, "prover", settings.lora)


def verifier_shape(settings: VerifierSettings, base_dir: Path | None = None) -> ModelShape:
    """A verifier's sizes, as many layers of it as `verifier.layers` keeps. Raises UserError as `prover_shape` does."""
    kind = AutoModelForSequenceClassification if settings.score == "last_token" else AutoModelForCausalLM
    model = _on_meta(resolve(settings.model, "verifier", base_dir), "verifier", settings.revision, kind)
    if settings.layers is not None:
        keep_layers(model, settings.layers)
    return shape_of(model, "verifier")


def shape_of(model: Any, role: str, lora: LoraSettings | None = None) -> ModelShape:
    """The sizes of a transformers model, whatever device it is on; `lora`: with these adapters.

    Raises UserError for mixtures of experts, of whose weights a token meets a part.
    """
    config = model.config.get_text_config()
    if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise UserError(f"{role}.model: mixtures of experts are not counted by the plan; give a dense model")
    layers = _count(config, "num_hidden_layers", "n_layer")
    hidden = _count(config, "hidden_size", "n_embd")
    heads = _count(config, "num_attention_heads", "n_head")
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or hidden // heads
    matrices = {name: m for name, m in model.base_model.named_modules() if _is_matrix(m)}
    linear = sum(m.weight.numel() for m in matrices.values())
    keys = 2 * hidden * key_heads * size
    output = model.get_output_embeddings()
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        linear=linear,
        last_linear=linear // layers - keys,
        adapters=sum(lora.r * sum(m.weight.shape) for m in _adapted(matrices, lora)) if lora else 0,
        layers=layers,
        hidden=hidden,
        query=heads * size,
        key=key_heads * size,
        intermediate=getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden,
        heads=heads,
        vocabulary=0 if output is None else output.weight.shape[0],
    )


def _adapted(matrices: dict[str, Any], lora: LoraSettings) -> Sequence[Any]:
    """The matrices that get an adapter, as peft finds them by the end of their names."""
    wanted = lora.target_modules
    if wanted == "all-linear":
        return list(matrices.values())
    return [m for name, m in matrices.items() if any(name == w or name.endswith(f".{w}") for w in wanted)]


def _is_matrix(module: Any) -> bool:
    """A linear layer, or GPT-2's Conv1D, which is one."""
    weight = getattr(module, "weight", None)
    return weight is not None and weight.dim() == 2 and not isinstance(module, torch.nn.Embedding)


def _count(config: Any, *names: str) -> int:
    return next(int(value) for name in names if (value := getattr(config, name, None)) is not None)


def _on_meta(source: str, role: str, revision: str | None, kind: Any) -> Any:
    """The model behind a folder or hub id, without its weights; of an adapter its base."""
    while (adapter := adapter_at(source, role, revision)) is not None:
        source, revision = adapter.base, adapter.base_revision
    config = pretrained(AutoConfig, source, role, revision)
    if kind is AutoModelForSequenceClassification:
        config.num_labels = 1
    with readable_errors(source, role), torch.device("meta"):
        return kind.from_config(config)
