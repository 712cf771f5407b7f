"""In-context weak-to-strong: no training, only demonstrations that the weak model labelled (Sang et al. 2024).

The strong model reads a few items with the weak model's verdicts, optionally with its confidence, and
is asked for the verdict of the next one; its answer is the larger of the log-probabilities of " yes" and
" no". Demonstrations come from half B: at random, by similarity to the query, or the Top-K most
confident ones (half of them "yes", so that the prompt does not fix the answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel

from legibility.errors import UserError
from legibility.models.loading import encode_prompt
from legibility.models.prover import Prover
from legibility.weak_to_strong.items import Item

ANSWERS = (" no", " yes")


def choose(
    how: str, pool: Sequence[Item], weak: np.ndarray, queries: Sequence[Item], count: int, rng: np.random.Generator
) -> list[list[int]]:
    """Indices into the pool of each query's demonstrations, the best last (next to the query). weak: log-odds (pool,)."""
    if how == "random":
        return [rng.choice(len(pool), min(count, len(pool)), replace=False).tolist() for _ in queries]
    if how == "confident":
        order = np.argsort(-np.abs(weak), kind="stable")
        yes = [int(i) for i in order if weak[i] > 0][: (count + 1) // 2]
        no = [int(i) for i in order if weak[i] <= 0][: count // 2]
        return [rng.permutation([*yes, *no]).astype(int).tolist() for _ in queries]
    vectors = TfidfVectorizer(token_pattern=r"\S+").fit([text_of(x) for x in pool])
    near = linear_kernel(vectors.transform([text_of(x) for x in queries]), vectors.transform([text_of(x) for x in pool]))
    return [np.argsort(row, kind="stable")[-count:].tolist() for row in near]


def text_of(item: Item) -> str:
    return f"{item.problem.question}\n{item.texts[0]}"


def demonstration(item: Item, log_odds: float | None, confidence: bool) -> str:
    """An item with its (weak) verdict; without log_odds, the open question."""
    asked = f"Question: {item.problem.question}\nSolution: {item.texts[0]}\nIs the solution right?"
    if log_odds is None:
        return asked
    stated = f" (Confidence: {expit(abs(log_odds)):.2f})" if confidence else ""
    return f"{asked}{ANSWERS[int(log_odds > 0)]}{stated}\n\n"


@torch.no_grad()
def answer(
    prover: Prover, pool: Sequence[Item], weak: np.ndarray, queries: Sequence[Item], chosen: Sequence[Sequence[int]], confidence: bool,
    batch: int = 16,
) -> np.ndarray:
    """Log-odds of " yes" against " no" for every query, float32 (queries,). Prompts too long for the model lose their first demonstrations."""
    tokenizer, model = prover.tokenizer, prover.causal
    limit = getattr(model.config, "max_position_embeddings", None) or 10**9
    endings = [tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in ANSWERS]
    if endings[0] == endings[1]:
        raise UserError("in_context.model: its tokenizer begins \" yes\" and \" no\" with one token; choose another model")
    start, prompts = encode_prompt(tokenizer, ""), []
    for item, picked in zip(queries, chosen, strict=True):
        texts = [*(demonstration(pool[i], float(weak[i]), confidence) for i in picked), demonstration(item, None, confidence)]
        pieces = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        while len(pieces) > 1 and len(start) + sum(map(len, pieces)) > limit:
            pieces.pop(0)
        prompts.append((start + [i for piece in pieces for i in piece])[-limit:])
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    result = np.zeros(len(prompts), dtype=np.float32)
    for first in range(0, len(order), batch):
        part = order[first : first + batch]
        result[part] = _last_logits(prover, model, [prompts[i] for i in part], endings)
    return result


def _last_logits(prover: Prover, model: Any, prompts: Sequence[Sequence[int]], endings: Sequence[int]) -> np.ndarray:
    lengths = torch.tensor([len(p) for p in prompts])
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, : len(prompt)] = torch.tensor(prompt)
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    out = model.get_decoder()(input_ids=ids.to(prover.device), attention_mask=mask.to(prover.device), use_cache=False)
    logits = prover.logits(out.last_hidden_state[torch.arange(len(prompts)), lengths - 1])
    return (logits[:, endings[1]] - logits[:, endings[0]]).cpu().numpy()
