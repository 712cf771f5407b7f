"""Weak and strong classifiers: the package's verifier, or its prover with a head that also reads likelihood.

B replaces the unembedding by a linear head on the last token (`LastToken`, which is the verifier of
the game). A small language model knows more about a solution than its last token's features tell: how
likely it would have been to write it. `Surprisal` gives the head the mean and the least log-likelihood
of the solution's tokens too (ours; docs/weak-to-strong.md has the measurement behind it), and can do
without the last token. All weights are trained with either head.

A classifier's logit is the log-odds that a solution is right; for a pair, the difference of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from legibility.config import ProverSettings, VerifierSettings
from legibility.models.loading import keep_layers, resolve
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.packing import pack
from legibility.weak_to_strong.experiment_settings import ModelSettings
from legibility.weak_to_strong.items import Item

Encoded = tuple[tuple[Any, ...], ...]  # one entry per text of the item


class Classifier(Protocol):
    """What training and prediction need of a model."""

    module: nn.Module

    @property
    def depth(self) -> int:
        """Layers of the model."""

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Token ids of every item's texts, with their problem."""

    def length(self, encoded: Encoded) -> int:
        """Tokens of an item."""

    def scores(self, groups: Sequence[Sequence[Any]]) -> torch.Tensor:
        """Scores (texts,) in float32, with gradients; `groups` hold texts of one problem each."""

    def hidden(self, texts: Sequence[Any]) -> np.ndarray:
        """Frozen features (texts, layers, width)."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What an optimizer trains, each group at its own peak learning rate."""


class LastToken:
    """The game's verifier: one linear head on the last token."""

    def __init__(
        self, settings: ModelSettings, device: str, seed: int, source: str | None, base_dir: Path | None
    ) -> None:
        own = VerifierSettings(
            model=settings.model,
            dtype=settings.dtype,
            layers=settings.layers,
            template=settings.template,
            max_length=settings.max_length,
        )
        self.verifier = Verifier.load(own, device, seed=seed, source=source, base_dir=base_dir)
        if (
            source is not None
            and settings.layers is not None
            and settings.layers < self.verifier.model.config.num_hidden_layers
        ):
            keep_layers(self.verifier.model, settings.layers)
        self.module: nn.Module = self.verifier.model
        self.rate = settings.learning_rate

    @property
    def depth(self) -> int:
        """Layers of the model."""
        return int(self.verifier.model.config.num_hidden_layers)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Token ids of every item's texts, each with its problem."""
        flat = self.verifier.encode([x.problem for x in items for _ in x.texts], [t for x in items for t in x.texts])
        return _regroup([tuple(ids) for ids in flat], items)

    def length(self, encoded: Encoded) -> int:
        """Tokens of an item."""
        return sum(map(len, encoded))

    def scores(self, groups: Sequence[Sequence[Any]]) -> torch.Tensor:
        """Scores (texts,) in float32, with gradients; `groups` hold texts of one problem each."""
        return self.verifier.forward(groups)

    @torch.no_grad()
    def hidden(self, texts: Sequence[Any]) -> np.ndarray:
        """Frozen features of the last token (an encoder's: of the first), every layer: (texts, layers, width)."""
        ids, lengths = _padded(texts, self.verifier.pad_id)
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        device = self.verifier.device
        out = self.verifier.model.base_model(
            input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True
        )
        place = lengths - 1 if self.verifier.reads_last_token else torch.zeros_like(lengths)
        layers = [h[torch.arange(len(texts)), place].float().cpu() for h in out.hidden_states[1:]]
        return torch.stack(layers, 1).numpy()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights, at one learning rate."""
        return [{"params": list(self.module.parameters()), "lr": self.rate}]


class Surprisal:
    """A causal language model with a linear head on the last token and on its own log-likelihood of the solution."""

    def __init__(
        self, settings: ModelSettings, device: str, seed: int, source: str | None, base_dir: Path | None
    ) -> None:
        place = source or resolve(settings.model, "verifier", base_dir)
        self.prover = Prover.load(ProverSettings(dtype=settings.dtype), device, source=place)
        if settings.layers is not None:
            keep_layers(self.prover.model, settings.layers)
        self.before, _, self.after = settings.template.partition("{solution}")
        self.limit, self.device, self.settings = settings.max_length, device, settings
        self.alone = settings.head == "likelihood"
        self.head = _Head(self.prover.hidden_size, seed, likelihood_alone=self.alone).to(device)
        self.module: nn.Module = nn.ModuleList([self.prover.model, self.head])

    @property
    def depth(self) -> int:
        """Layers of the model."""
        return int(self.prover.model.config.num_hidden_layers)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """(prompt ids, solution ids) of every item's texts; a pair that is too long loses its beginning."""
        tokenizer = self.prover.tokenizer
        plain = self.prover.control.plain
        prompts = tokenizer(
            [self.before.replace("{problem}", plain(x.problem.question)) for x in items], add_special_tokens=False
        )["input_ids"]
        flat = [plain(t) + self.after for x in items for t in x.texts]
        texts = iter(tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
        encoded = []
        for x, prompt in zip(items, prompts, strict=True):
            pairs = []
            for _ in x.texts:
                text = next(texts)[-(self.limit - 1) :] or [tokenizer.eos_token_id]
                pairs.append((tuple(prompt[-max(1, self.limit - len(text)) :]), tuple(text)))
            encoded.append(tuple(pairs))
        return encoded

    def length(self, encoded: Encoded) -> int:
        """Tokens of an item."""
        return sum(len(p) + len(t) for p, t in encoded)

    def scores(self, groups: Sequence[Sequence[Any]]) -> torch.Tensor:
        """Scores (texts,) in float32, with gradients; `groups` hold texts of one problem each."""
        last, likelihood = self._read(groups)
        scores: torch.Tensor = self.head(last.float(), likelihood)
        return scores

    @torch.no_grad()
    def hidden(self, texts: Sequence[Any]) -> np.ndarray:
        """Frozen features (texts, 1, width + 2): the last token's (unless the likelihood stands alone), and the likelihood features."""
        last, likelihood = self._read([[t] for t in texts])
        found = likelihood if self.alone else torch.cat([last.float(), likelihood], 1)
        return found[:, None].cpu().numpy()

    def calibrate(self, encoded: Sequence[Encoded]) -> None:
        """Put the likelihood features of these texts at mean 0 and standard deviation 1."""
        with torch.no_grad():
            features = torch.cat([self._read([[t] for t in e])[1] for e in encoded])
        self.head.centre.copy_(features.mean(0))
        self.head.scale.copy_(features.std(0).clamp_min(1e-3))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The language model, the head's weights on features, and those on likelihood, at their own learning rates."""
        return [
            {"params": list(self.prover.model.parameters()), "lr": self.settings.learning_rate},
            {"params": list(self.head.features.parameters()), "lr": 1e-3},
            {"params": list(self.head.likelihood.parameters()), "lr": self.settings.head_learning_rate},
        ]

    def _read(
        self, groups: Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden states (texts, width) and [mean, least] log-likelihood of the solution's tokens (texts, 2)."""
        by_prompt: list[tuple[list[int], list[list[int]]]] = []
        for group in groups:
            for prompt, text in group:
                if not (by_prompt and by_prompt[-1][0] == list(prompt)):
                    by_prompt.append((list(prompt), []))
                by_prompt[-1][1].append(list(text))
        batch = pack([p for p, _ in by_prompt], [t for _, t in by_prompt]).to(self.device)
        hidden, likelihood = self.prover.hidden_and_logprobs(batch)
        counts = [len(t) for _, texts in by_prompt for t in texts]
        ends = torch.tensor(counts).cumsum(0) - 1
        pieces = likelihood.split(counts)
        return hidden[ends], torch.stack([torch.stack([x.mean(), x.min()]) for x in pieces])


class _Head(nn.Module):
    """Linear in the last token's features (width) and in two standardised likelihood features.

    The likelihood weights start at 0, the others close to it; with `likelihood_alone` those are 0 and stay so.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, seed: int, *, likelihood_alone: bool) -> None:
        super().__init__()
        self.features, self.likelihood = nn.Linear(width, 1), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            self.features.weight.copy_(1e-3 * torch.randn(1, width, generator=generator) * (not likelihood_alone))
            self.features.bias.zero_()
            self.likelihood.weight.zero_()
        self.features.weight.requires_grad_(not likelihood_alone)
        self.register_buffer("centre", torch.zeros(2))
        self.register_buffer("scale", torch.ones(2))

    def forward(self, last: torch.Tensor, likelihood: torch.Tensor) -> torch.Tensor:
        """Scores (texts,) of last hidden states (texts, width) and likelihood features (texts, 2)."""
        score: torch.Tensor = self.features(last) + self.likelihood((likelihood - self.centre) / self.scale)
        return score.squeeze(-1)


def load_classifier(
    settings: ModelSettings, device: str, *, seed: int, source: str | None = None, base_dir: Path | None = None
) -> Classifier:
    """A fresh classifier (head drawn from `seed`), from the settings' model or a folder. Raises UserError."""
    kind = LastToken if settings.head == "last_token" else Surprisal
    return kind(settings, device, seed, source, base_dir)


def logits_of(
    classifier: Classifier, encoded: Sequence[Encoded], groups: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, list[int]]:
    """Log-odds of the items of the groups (lists of indices, one problem each), and the items' order."""
    order = [i for group in groups for i in group]
    scores = classifier.scores([[text for i in group for text in encoded[i]] for group in groups])
    if len(encoded[order[0]]) == 2:
        scores = scores[0::2] - scores[1::2]
    return scores, order


@torch.no_grad()
def predict(classifier: Classifier, items: Sequence[Item], encoded: Sequence[Encoded], batch: int = 32) -> np.ndarray:
    """Log-odds (n,) float32 of every item. A larger batch leaves the cache of a CPU and is slower there."""
    classifier.module.eval()
    result = np.zeros(len(items), dtype=np.float32)
    groups = sorted(by_group(items), key=lambda g: (sum(classifier.length(encoded[i]) for i in g), g))
    for chosen in fill(groups, batch):
        values, order = logits_of(classifier, encoded, chosen)
        result[order] = values.float().cpu().numpy()
    return result


@torch.no_grad()
def features(classifier: Classifier, items: Sequence[Item], encoded: Sequence[Encoded], batch: int = 64) -> np.ndarray:
    """Frozen features (items, layers, width); for pairs the difference of the two."""
    classifier.module.eval()
    order = sorted(range(len(items)), key=lambda i: classifier.length(encoded[i]))
    parts = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        found = iter(classifier.hidden([text for i in chosen for text in encoded[i]]))
        for i in chosen:
            both = [next(found) for _ in encoded[i]]
            parts[i] = both[0] if len(both) == 1 else both[0] - both[1]
    return np.stack([parts[i] for i in range(len(items))])


def by_group(items: Sequence[Item]) -> list[list[int]]:
    """Indices of items of the same problem text, so that a batch reads the problem once."""
    found: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        found.setdefault(item.problem.question, []).append(i)
    return list(found.values())


def fill(groups: Sequence[list[int]], size: int) -> list[list[list[int]]]:
    """Consecutive groups in batches of about `size` items."""
    batches: list[list[list[int]]] = [[]]
    for group in groups:
        if batches[-1] and sum(map(len, batches[-1])) + len(group) > size:
            batches.append([])
        batches[-1].append(group)
    return [b for b in batches if b]


def _regroup(flat: list[Any], items: Sequence[Item]) -> list[Encoded]:
    rest = iter(flat)
    return [tuple(next(rest) for _ in x.texts) for x in items]


def _padded(texts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(t) for t in texts])
    ids = torch.full((len(texts), int(lengths.max())), pad, dtype=torch.long)
    for i, row in enumerate(texts):
        ids[i, : len(row)] = torch.tensor(row)
    return ids, lengths
