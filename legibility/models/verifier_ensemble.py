"""Several verifiers as one: N members trained from N seeds on the same text, read by a soft minimum of their scores.

Not in the paper. A prover that is paid by one verifier finds what that one misjudges; members that begin from other
heads and meet their batches in another order misjudge other things (ensembles against reward hacking: Coste et al.
2023, arXiv 2310.02743, whose worst case is the minimum). With members' scores V_i,

    V = -log (1/N sum_i exp(-V_i)),

at most log N above the least of them and exactly their score where they agree, so that thresholds and settings keep
their meaning. The temperature is 1, a member's own unit: under the pairwise loss a difference of 1 is odds of e.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.models.verifier import Explanation, Verifier
from legibility.models.verifier_text import EncodedText
from legibility.problems.records import Problem
from legibility.randomness import derive_seed
from legibility.sharding import Holder
from legibility.stored import Stored, read_stored, write_stored

ENSEMBLE = "ensemble.json"


class EnsembleRecord(Stored):
    """ensemble.json: a verifier folder that holds members in member_0, member_1 and so on, each loadable alone."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    members: int = Field(ge=1, description="How many members there are.")


def pooled(scores: torch.Tensor) -> torch.Tensor:
    """-log mean exp(-V) over the members: (members, n) -> (n,)."""
    return math.log(len(scores)) - torch.logsumexp(-scores, 0)


class VerifierEnsemble(Verifier):
    """A verifier whose score is the soft minimum of its members'. They read through one tokenizer and template."""

    def __init__(self, members: Sequence[Verifier]) -> None:
        vars(self).update(vars(members[0]))  # tokenizer, template, how texts are read: alike in all
        del self.__dict__["model"]
        self._members = tuple(members)

    @property
    def model(self) -> nn.ModuleList:
        """The members' models."""
        found = nn.ModuleList([m.model for m in self._members])
        found.training = self._members[0].model.training
        return found

    @property
    def members(self) -> tuple[Verifier, ...]:
        """The verifiers that are trained one by one."""
        return self._members

    def forward(self, groups: Sequence[Sequence[EncodedText]]) -> torch.Tensor:
        """Scores in float32 of encoded texts, flat, as `Verifier.forward` gives them."""
        return pooled(torch.stack([m.forward(groups) for m in self._members]))

    def explain(self, problem: Problem, solution: str) -> Explanation:
        """The score by token: members' parts, each weighted by its say p_i = exp(-V_i) / sum exp(-V).

        V = sum p_i V_i + log N - H(p) exactly; the last two, at most log N together, belong to no token and are in `rest`.
        Raises UserError where the members' score is a head on the last token.
        """
        parts = [m.explain(problem, solution) for m in self._members]
        say = torch.softmax(-torch.tensor([p.score for p in parts], dtype=torch.float64), 0)
        beyond = math.log(len(parts)) + float((say * say.clamp_min(1e-300).log()).sum())
        weights = say.tolist()
        tokens = [
            replace(same[0], share=sum(w * t.share for w, t in zip(weights, same, strict=True)))
            for same in zip(*(p.tokens for p in parts), strict=True)
        ]
        rest = sum(w * p.rest for w, p in zip(weights, parts, strict=True)) + beyond
        return Explanation(rest + sum(t.share for t in tokens), rest, tokens)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Everything that training changes, member by member."""
        return [p for m in self._members for p in m.parameters]

    def parameter_count(self) -> int:
        """Weights of all members."""
        return sum(m.parameter_count() for m in self._members)

    def holders(self) -> list[Holder]:
        """The members' networks."""
        return [holder for m in self._members for holder in m.holders()]

    def take_up(self, device: str) -> None:
        """The weights are on another device now."""
        self.device = device
        for member in self._members:
            member.take_up(device)

    def save(self, folder: Path) -> None:
        """Write every member into a folder of its own, each loadable alone."""
        for k, member in enumerate(self._members):
            member.save(folder / f"member_{k}")
        write_stored(folder / ENSEMBLE, EnsembleRecord(members=len(self._members)))


def load_verifier(
    settings: VerifierSettings,
    device: str,
    *,
    seed: int = 0,
    source: str | None = None,
    batch: int = 256,
    base_dir: Path | None = None,
) -> Verifier:
    """A verifier as the settings describe it, or a saved one (`source`), be it one model or an ensemble.

    Raises UserError where a model cannot be loaded or cannot give the score asked for.
    """
    if source is not None:
        count = _saved_members(Path(source))
        places: list[str | None] = [source] if count is None else [f"{source}/member_{k}" for k in range(count)]
    else:
        places = [None] * settings.ensemble
    members = [
        Verifier.load(
            settings,
            device,
            seed=seed if k == 0 else derive_seed(seed, "member", k),
            source=place,
            batch=batch,
            base_dir=base_dir,
        )
        for k, place in enumerate(places)
    ]
    return members[0] if len(members) == 1 else VerifierEnsemble(members)


def _saved_members(folder: Path) -> int | None:
    """Members of a saved ensemble; None where the folder is one verifier."""
    if not (folder / ENSEMBLE).is_file():
        return None
    count = read_stored(folder / ENSEMBLE, EnsembleRecord, fix="restore the verifier's folder from a copy").members
    missing = [k for k in range(count) if not (folder / f"member_{k}").is_dir()]
    if missing:
        raise UserError(
            f"{folder}: member_{missing[0]} of {count} is missing; restore the verifier's folder from a copy"
        )
    return count
