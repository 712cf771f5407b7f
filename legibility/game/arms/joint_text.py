"""Text that two models write in turns: a senior that is trained, and a frozen junior that takes over at random.

Before every unit (a line, or a token) a coin decides who writes it. Coins are keyed by text and unit and known
beforehand, so all units that a writer has in a row are one stretch; texts that wait for the same writer go on together.
Text crosses between the models, never ids: the junior reads the problem and what is written as its own tokens, and the
senior gets the junior's words as tokens of its own. What the senior sampled stays as it was sampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from legibility.errors import UserError
from legibility.game.context import Game, WritingTask
from legibility.models.prover import Prover
from legibility.models.weak_model import load_weak_model, weak_prompt
from legibility.randomness import derive_seed, uniforms
from legibility.rival_settings import TandemSettings
from legibility.rollouts import sample
from legibility.rollouts.completion import Completion, Stretch, Stretches

ANCHOR = "\n"
"""Text is tokenised behind it, so that no tokenizer takes its first letter for the beginning of a text."""


@dataclass
class _Text:
    """A text under way: row (its coins and random numbers), task, the senior's tokens and what is known of them."""

    row: int
    task: int
    ids: list[int] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    drawn: int = 0  # tokens that anybody drew
    unit: int = 0
    valued: bool = True  # whether the senior's engine keeps values
    done: bool = False
    ended: bool = False

    def add(self, ids: list[int], logprobs: list[float] | None, values: list[float] | None) -> None:
        """Take in tokens: the senior's with their log-probs, or the junior's without."""
        nothing = [0.0] * len(ids)
        self.ids += ids
        self.own += [logprobs is not None] * len(ids)
        self.logprobs += nothing if logprobs is None else logprobs
        self.values += nothing if values is None else values


@dataclass
class JointWriting:
    """A junior, and how it takes turns. `template` is the verifier's; control tokens in what either writes are letters."""

    junior: Prover
    template: str
    settings: TandemSettings

    @classmethod
    def load(cls, game: Game) -> JointWriting:
        """The base of the game's verifiers, frozen. Raises UserError where it cannot write."""
        junior = load_weak_model(game.config.verifier, game.device, game.base_dir)
        junior.model.eval().requires_grad_(False)
        return cls(junior, game.config.verifier.template, game.config.rivals.tandem)

    @cached_property
    def ends(self) -> np.ndarray:
        """Which of the junior's tokens end a unit."""
        return ending_tokens(self.junior, self.settings.unit)

    def sample(
        self,
        tasks: Sequence[WritingTask],
        prover: Prover,
        prompts: Sequence[list[int]],
        samples: int,
        *,
        seed: int,
        max_new_tokens: int,
        **how: Any,
    ) -> list[list[Completion]]:
        """As `legibility.rollouts.sample`, with the junior's turns; `own` says which tokens are the senior's.

        tasks: what the prompts ask. how: what else `sample` takes. Where no coin falls for the junior the very text of
        `sample` comes out. Raises UserError where the junior's probabilities are no numbers.
        """
        rows = len(prompts) * samples
        turns = uniforms(derive_seed(seed, "junior"), np.arange(rows), max_new_tokens) < self.settings.share
        if not turns.any():
            return sample(prover, prompts, samples, seed=seed, max_new_tokens=max_new_tokens, **how)
        ends = ending_tokens(prover, self.settings.unit)
        texts = [_Text(row, row // samples) for row in range(rows)]
        options = {"seed": seed, "max_new_tokens": max_new_tokens, **how}
        while any(not text.done for text in texts):
            for by_junior in (False, True):
                mine = [t for t in texts if not t.done and turns[t.row, t.unit] == by_junior]
                if not mine:
                    continue
                parts = [
                    Stretch(t.row, t.drawn, max_new_tokens - len(t.ids), _in_a_row(turns[t.row, t.unit :]))
                    for t in mine
                ]
                if by_junior:
                    self._junior_goes_on(mine, tasks, parts, prover, **options)
                else:
                    _senior_goes_on(mine, prompts, Stretches(parts, ends), prover, **options)
                for t in mine:
                    t.done |= len(t.ids) >= max_new_tokens or t.unit >= max_new_tokens
        completions = [Completion(t.ids, t.logprobs, not t.ended, t.values if t.valued else None, t.own) for t in texts]
        return [completions[i : i + samples] for i in range(0, rows, samples)]

    def _junior_goes_on(
        self,
        texts: Sequence[_Text],
        tasks: Sequence[WritingTask],
        parts: Sequence[Stretch],
        senior: Prover,
        *,
        max_new_tokens: int,
        value_head: object = None,
        **how: Any,
    ) -> None:
        """A stretch of each text by the junior."""
        junior = self.junior
        prompts = [
            weak_prompt(junior, self.template, tasks[t.task].problem.question, written(senior, t.ids).lstrip())
            for t in texts
        ]
        drawn = sample(junior, prompts, 1, max_new_tokens=max_new_tokens, stretches=Stretches(parts, self.ends), **how)
        for t, part, prompt, (completion,) in zip(texts, parts, prompts, drawn, strict=True):
            if math.isnan(sum(completion.logprobs)):
                raise UserError(
                    "rivals.tandem: the weak model's next-token probabilities are no numbers; give another verifier.model"
                )
            piece = written(junior, completion.ids, prompt[-1:])
            room = max_new_tokens - len(t.ids)
            ids = self._for_senior(senior, tasks[t.task], t, piece)
            units = int(self.ends[completion.ids].sum())
            t.add(ids[:room], None, None)
            t.drawn += len(completion.ids)
            t.unit += units
            t.ended = not completion.truncated and len(ids) <= room
            # one that has used up its limit within a unit has nothing left to say, in fewer tokens of the senior's though
            t.done = not completion.truncated or len(ids) > room or (units < part.units)

    def _for_senior(self, senior: Prover, task: WritingTask, text: _Text, piece: str) -> list[int]:
        """The junior's words as the senior's tokens, standing where they stand in its text."""
        if not piece:
            return []
        if not text.ids:
            whole = senior.prompt_ids(task.problem, task.role, piece)
            if whole[: len(task.prompt)] == task.prompt:
                return whole[len(task.prompt) :]
        encode, plain = senior.tokenizer, senior.control.plain(piece)
        anchor, ids = (list(encode(x, add_special_tokens=False)["input_ids"]) for x in (ANCHOR, ANCHOR + plain))
        if ids[: len(anchor)] == anchor:
            return ids[len(anchor) :]
        return list(encode(plain, add_special_tokens=False)["input_ids"])


def _senior_goes_on(
    texts: Sequence[_Text], prompts: Sequence[list[int]], stretches: Stretches, senior: Prover, **how: Any
) -> None:
    """A stretch of each text by the senior."""
    drawn = sample(senior, [prompts[t.task] + t.ids for t in texts], 1, stretches=stretches, **how)
    for t, (completion,) in zip(texts, drawn, strict=True):
        t.valued = completion.values is not None
        t.add(completion.ids, completion.logprobs, completion.values)
        t.drawn += len(completion.ids)
        t.unit += int(stretches.ends[completion.ids].sum())
        t.ended = t.done = not completion.truncated


def _in_a_row(turns: np.ndarray) -> int:
    """How many units from the first on are one writer's."""
    others = np.flatnonzero(turns != turns[0])
    return int(others[0]) if len(others) else len(turns)


def written(model: Prover, ids: Sequence[int], before: Sequence[int] = ()) -> str:
    """The text of tokens as it stands behind those `before` it, white space kept and special tokens left out."""
    decode = model.tokenizer.decode
    head = decode(list(before), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    whole = decode([*before, *ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if whole.startswith(head):
        return whole[len(head) :]
    return decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def ending_tokens(model: Prover, unit: str) -> np.ndarray:
    """Which tokens (vocabulary,) end a unit: those with a line break, or all that are whole characters."""
    known = len(model.tokenizer)
    texts = model.tokenizer.batch_decode([[i] for i in range(known)], clean_up_tokenization_spaces=False)
    ends = np.zeros(max(known, model.causal.get_output_embeddings().weight.shape[0]), dtype=bool)
    ends[:known] = ["\n" in text if unit == "line" else "\ufffd" not in text for text in texts]
    return ends
