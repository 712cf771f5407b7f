"""The verifier: a small language model with one scalar score V(x, z) per solution.

Kirchner et al. 2024, Sec. 3.2. It reads problem and solution as text, never the role and never the
gold answer, through its own tokenizer. `score` is the one scoring function of the package: training
metrics, rewards and evaluation all call it. Scores are raw and unbounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.models.loading import load_classifier, load_tokenizer, resolve
from legibility.problems.records import Problem


class Verifier:
    """`model` (sequence classification, one logit), `tokenizer`, the text `template`."""

    def __init__(self, model: Any, tokenizer: Any, *, template: str, max_length: int, device: str, batch: int = 256) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.device, self.batch = device, batch
        limit = getattr(model.config, "max_position_embeddings", None) or max_length
        self.max_length = min(max_length, limit)
        # A decoder's score is read at the last real token by length, not by comparing with the pad id
        # (which may equal the end token); encoders bring their own pooling.
        self.reads_last_token = hasattr(model, "score") and isinstance(model.score, torch.nn.Linear)

    @classmethod
    def load(
        cls, settings: VerifierSettings, device: str, *, seed: int = 0, source: str | None = None, batch: int = 256,
        base_dir: Path | None = None,
    ) -> Verifier:
        """Load a base (fresh head drawn from `seed`) or, with `source`, a saved verifier.

        Raises UserError where the model cannot be loaded or cannot classify sequences.
        """
        place = source or resolve(settings.model, "verifier", base_dir)
        model = load_classifier(place, settings.dtype, device, seed)
        if settings.layers is not None and source is None:
            keep_layers(model, settings.layers)
        tokenizer = load_tokenizer(place, "verifier")
        return cls(model, tokenizer, template=settings.template, max_length=settings.max_length, device=device, batch=batch)

    def text(self, problem: Problem, solution: str) -> str:
        return self.template.replace("{problem}", problem.question).replace("{solution}", solution)

    def encode(self, problems: Sequence[Problem], solutions: Sequence[str]) -> list[list[int]]:
        """Token ids of every (problem, solution); a text that is too long loses its middle."""
        texts = [self.text(p, s) for p, s in zip(problems, solutions, strict=True)]
        encoded = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
        return [_shorten(ids, self.max_length) for ids in encoded]

    def forward(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Scores (n,) in float32 of encoded texts, with gradients."""
        lengths = torch.tensor([len(row) for row in ids])
        padded = torch.full((len(ids), int(lengths.max())), self.tokenizer.pad_token_id, dtype=torch.long)
        for i, row in enumerate(ids):
            padded[i, : len(row)] = torch.tensor(row)
        mask = (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
        padded, mask, lengths = padded.to(self.device), mask.to(self.device), lengths.to(self.device)
        if self.reads_last_token:
            # right padding: causal attention never sees it, so no mask is needed
            hidden = self.model.base_model(input_ids=padded, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(ids), device=hidden.device), lengths - 1]
            return self.model.score(last).float().squeeze(-1)
        return self.model(input_ids=padded, attention_mask=mask).logits.float().squeeze(-1)

    @torch.no_grad()
    def score(self, problems: Sequence[Problem], solutions: Sequence[str]) -> np.ndarray:
        """Raw scores V, float32 (n,), in the order given. Equal texts are scored once."""
        was_training = self.model.training
        self.model.eval()
        encoded = self.encode(problems, solutions)
        index: dict[tuple[int, ...], int] = {}
        place = np.array([index.setdefault(tuple(row), len(index)) for row in encoded], dtype=np.int64)
        unique = list(index)
        scores = np.zeros(len(unique), dtype=np.float32)
        order = sorted(range(len(unique)), key=lambda i: len(unique[i]))  # similar lengths together
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            scores[chosen] = self.forward([unique[i] for i in chosen]).cpu().numpy()
        self.model.train(was_training)
        return scores[place] if len(place) else scores

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def save(self, folder: Path) -> None:
        """Write model and tokenizer, loadable with transformers alone."""
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def keep_layers(model: Any, count: int) -> None:
    """Keep the first `count` transformer layers of a model, in place. Raises UserError where it cannot."""
    base = model.base_model
    for owner, name in ((base, "layers"), (getattr(base, "encoder", None), "layer"), (base, "h")):
        layers = getattr(owner, name, None)
        if isinstance(layers, torch.nn.ModuleList):
            if count > len(layers):
                raise UserError(f"verifier.layers: the model has {len(layers)} layers, {count} asked for")
            setattr(owner, name, layers[:count])
            model.config.num_hidden_layers = count
            if getattr(model.config, "layer_types", None):
                model.config.layer_types = model.config.layer_types[:count]
            return
    raise UserError("verifier.layers: this architecture cannot be truncated; set it to null")


def _shorten(ids: list[int], limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    head = limit // 4  # the start of the problem; the solution's end carries the answer
    return ids[:head] + ids[len(ids) - (limit - head) :]
