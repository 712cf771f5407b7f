"""The verifier: a small language model with one scalar score V(x, z) per solution.

Kirchner et al. 2024, Sec. 3.2. It reads problem and solution as text, never the role and never the
gold answer, through its own tokenizer. `score` is the one scoring function of the package: training
metrics, rewards and evaluation all call it. Scores are raw and unbounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.models.flat import packed_hidden
from legibility.models.loading import attention_window, load_classifier, load_tokenizer, resolve
from legibility.packing import pack
from legibility.problems.records import Problem
from legibility.team import Team, team_of

ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


class Verifier:
    """`model` (sequence classification, one logit), `tokenizer`, the text `template`."""

    def __init__(
        self, model: Any, tokenizer: Any, *, template: str, max_length: int, device: str, batch: int = 256
    ) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.device, self.batch = device, batch
        limit = getattr(model.config, "max_position_embeddings", None) or max_length
        if getattr(model.config, "model_type", "") in ROBERTA_LIKE:
            limit -= model.config.pad_token_id + 1  # positions start after the padding index
        self.max_length = min(max_length, limit)
        self.window = attention_window(model.config)
        # A decoder's score is read at the last real token by length, not by comparing with the pad id
        # (which may equal the end token); encoders bring their own pooling.
        self.reads_last_token = hasattr(model, "score") and isinstance(model.score, torch.nn.Linear)

    @classmethod
    def load(
        cls,
        settings: VerifierSettings,
        device: str,
        *,
        seed: int = 0,
        source: str | None = None,
        batch: int = 256,
        base_dir: Path | None = None,
    ) -> Verifier:
        """Load a base (fresh head drawn from `seed`) or, with `source`, a saved verifier.

        Raises UserError where the model cannot be loaded or cannot classify sequences.
        """
        place = source or resolve(settings.model, "verifier", base_dir)
        model = load_classifier(place, settings.dtype, device, seed, settings.attention)
        if settings.layers is not None and source is None:
            keep_layers(model, settings.layers)
        tokenizer = load_tokenizer(place, "verifier")
        return cls(
            model, tokenizer, template=settings.template, max_length=settings.max_length, device=device, batch=batch
        )

    def text(self, problem: Problem, solution: str) -> str:
        """What the verifier reads: the template, filled in. Never the role, never the gold answer."""
        # in one pass: a problem may hold "{solution}" itself
        return re.sub(
            r"\{(problem|solution)\}", lambda m: problem.question if m[1] == "problem" else solution, self.template
        )

    def encode(self, problems: Sequence[Problem], solutions: Sequence[str]) -> list[list[int]]:
        """Token ids of every (problem, solution); a text that is too long loses its middle."""
        texts = [self.text(p, s) for p, s in zip(problems, solutions, strict=True)]
        encoded = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
        return [_shorten(ids, self.max_length) for ids in encoded]

    def forward(self, groups: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
        """Scores in float32 of encoded texts, grouped by problem and flat in that order, with gradients.

        A decoder reads the tokens that the texts of a group begin with only once (see
        `legibility.packing`); its score is the head on each text's last token.
        """
        texts = [t for group in groups for t in group]
        packs = self.window is None or max(map(len, texts)) <= self.window
        if self.reads_last_token and packs:
            prefixes = [_common_prefix(texts) for texts in groups]
            # one token more, so that the text's own last token keeps its place; its hidden state is the one read
            suffixes = [[[*t[n:], 0] for t in texts] for texts, n in zip(groups, prefixes, strict=True)]
            packed = pack([texts[0][:n] for texts, n in zip(groups, prefixes, strict=True)], suffixes).to(self.device)
            ends = torch.tensor([len(s) for suffix in suffixes for s in suffix], device=self.device).cumsum(0) - 1
            packed.chosen = packed.chosen[ends]
            return self.model.score(packed_hidden(self.model, packed, "verifier")).float().squeeze(-1)
        lengths = torch.tensor([len(t) for t in texts])
        padded = torch.full((len(texts), int(lengths.max())), self.tokenizer.pad_token_id, dtype=torch.long)
        for i, row in enumerate(texts):
            padded[i, : len(row)] = torch.tensor(row)
        mask = (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
        if self.reads_last_token:
            hidden = self.model.base_model(
                input_ids=padded.to(self.device), attention_mask=mask.to(self.device), use_cache=False
            ).last_hidden_state
            return self.model.score(hidden[torch.arange(len(texts)), lengths - 1]).float().squeeze(-1)
        out = self.model(input_ids=padded.to(self.device), attention_mask=mask.to(self.device))
        return out.logits.float().squeeze(-1)

    def score(self, problems: Sequence[Problem], solutions: Sequence[str], team: Team | None = None) -> np.ndarray:
        """Raw scores V, float32 (n,), in the order given. Equal texts are scored once; a `team` that has this verifier shares them."""
        if len(problems) == 0:
            return np.zeros(0, dtype=np.float32)
        encoded = self.encode(problems, solutions)
        index: dict[tuple[int, ...], int] = {}
        place = np.array([index.setdefault(tuple(row), len(index)) for row in encoded], dtype=np.int64)
        unique = list(index)
        owner: dict[str, list[int]] = {}
        for problem, k in dict.fromkeys(zip((p.id for p in problems), place.tolist(), strict=True)):
            owner.setdefault(problem, []).append(k)
        groups = [part for members in owner.values() for part in _split(sorted(set(members)), 16)]
        groups.sort(key=lambda g: (sum(len(unique[k]) for k in g), g[0]))  # similar sizes together
        team = team_of(team, self)
        scores = np.zeros(len(unique), dtype=np.float32)
        for chosen, found in team.run(_score_share, team, self, unique, groups):
            scores[chosen] = found
        return scores[place]

    def parameter_count(self) -> int:
        """How many weights the model has, head included."""
        return sum(p.numel() for p in self.model.parameters())

    def save(self, folder: Path) -> None:
        """Write model and tokenizer, loadable with transformers alone."""
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


@torch.no_grad()
def _score_share(
    team: Team, verifier: Verifier, texts: Sequence[Sequence[int]], groups: Sequence[list[int]]
) -> tuple[list[int], np.ndarray]:
    """This process's groups of texts: which texts they are, and their scores."""
    was_training = verifier.model.training
    verifier.model.eval()
    chosen: list[int] = []
    scores: list[np.ndarray] = []
    for batch in _fill(team.share(groups), verifier.batch):
        chosen += [k for group in batch for k in group]
        scores.append(verifier.forward([[texts[k] for k in group] for group in batch]).cpu().numpy())
    verifier.model.train(was_training)
    return chosen, np.concatenate(scores) if scores else np.zeros(0, dtype=np.float32)


def keep_layers(model: Any, count: int) -> None:
    """Keep the first `count` transformer layers of a model, in place. Raises UserError where it cannot."""
    base = model.base_model
    for owner, name in ((base, "layers"), (getattr(base, "encoder", None), "layer"), (base, "h")):
        layers = getattr(owner, name, None)
        if isinstance(layers, torch.nn.ModuleList):
            if count > len(layers):
                raise UserError(
                    f"verifier.layers: the model has {len(layers)} layers, {count} asked for; ask for fewer, or null for all"
                )
            setattr(owner, name, layers[:count])
            model.config.num_hidden_layers = count
            if getattr(model.config, "layer_types", None):
                model.config.layer_types = model.config.layer_types[:count]
            return
    raise UserError("verifier.layers: this architecture cannot be truncated; set it to null")


def _common_prefix(texts: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all texts share (perhaps none), leaving every text at least one of its own."""
    shortest = min(map(len, texts)) - 1
    first = texts[0]
    return next((i for i in range(shortest) if any(t[i] != first[i] for t in texts)), shortest)


def _split(items: list[int], size: int) -> list[list[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _fill(groups: list[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Consecutive groups whose texts number about `size` together."""
    batch: list[list[int]] = []
    for group in groups:
        if batch and sum(map(len, batch)) + len(group) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _shorten(ids: list[int], limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    head = limit // 4  # the start of the problem; the solution's end carries the answer
    return ids[:head] + ids[len(ids) - (limit - head) :]
