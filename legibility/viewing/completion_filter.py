"""Which completions are asked for and in what order, as SQL with bound parameters.

Column names stand here and only here; what comes from the page are values, and every value is bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

Sort = Literal[
    "newest", "oldest", "score_high", "score_low", "fooled", "disagreement", "reward_high", "reward_low", "longest"
]
_GAME = "turn, place, phase <> 'ppo', step, file, row"  # the order of the game: a round's training, then its collection
SORTS: dict[Sort, str] = {
    "newest": "turn desc, place desc, phase = 'ppo', step desc, file, row",
    "oldest": _GAME,
    "score_high": f"score desc nulls last, {_GAME}",
    "score_low": f"score nulls last, {_GAME}",
    "fooled": f"fooled desc nulls last, score desc nulls last, {_GAME}",
    "disagreement": f"disagreement desc nulls last, {_GAME}",
    "reward_high": f"reward desc nulls last, {_GAME}",
    "reward_low": f"reward nulls last, {_GAME}",
    "longest": f"completion_tokens desc, {_GAME}",
}
_FIRST = "min(turn), min(step), same_text"
GROUPED: dict[Sort, str] = {
    "score_high": f"max(score) desc nulls last, {_FIRST}",
    "score_low": f"min(score) nulls last, {_FIRST}",
    "fooled": f"max(fooled) desc nulls last, max(score) desc nulls last, {_FIRST}",
    "disagreement": f"max(disagreement) desc nulls last, {_FIRST}",
    "reward_high": f"max(reward) desc nulls last, {_FIRST}",
    "reward_low": f"min(reward) nulls last, {_FIRST}",
    "longest": f"max(completion_tokens) desc, {_FIRST}",
}
"""Orders in which a text that a writer repeats stands once, with its number; the others follow the game."""
assert set(SORTS) == set(get_args(Sort))

FACETS = ("run", "arm", "round", "phase", "split", "role", "verdict")
"""Columns that are filtered by choosing among their values."""

T = TypeVar("T")


Values = Annotated[tuple[T, ...], Field(max_length=1000)]
Step = Annotated[int | None, Field(ge=-(2**31), lt=2**31)]
Words = Annotated[str, Field(max_length=1000)]


class CompletionFilter(BaseModel):
    """What the page asks for. An empty tuple of a facet means all of it; `step_from` and `step_to` are inclusive.

    text: found in the completion or in its problem's question, whatever the case of its letters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Values[str] = ()
    arm: Values[str] = ()
    round: Values[int] = ()
    phase: Values[str] = ()
    split: Values[str] = ()
    role: Values[str] = ()
    verdict: Values[str] = ()
    step_from: Step = None
    step_to: Step = None
    problem: Words = ""
    text: Words = ""
    sort: Sort = "newest"

    @property
    def without_facets(self) -> CompletionFilter:
        """The same with every facet open and no order: what the facets' counts are counted in."""
        return CompletionFilter(
            step_from=self.step_from, step_to=self.step_to, problem=self.problem, text=self.text.lower()
        )

    @property
    def unordered(self) -> CompletionFilter:
        """The same completions, whatever their order and page."""
        return CompletionFilter(**{**self.model_dump(include=set(CompletionFilter.model_fields)), "sort": "newest"})

    def admits(self, values: dict[str, Any], besides: str = "") -> bool:
        """Whether a combination of facet values is asked for, whatever is chosen of the facet `besides`."""
        return all(name == besides or not getattr(self, name) or values[name] in getattr(self, name) for name in FACETS)


@dataclass
class Where:
    """Conditions and the values bound in them, in order."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        """One more condition that must hold, with a `?` per value."""
        self.conditions.append(condition)
        self.values += values

    def __str__(self) -> str:
        return " and ".join(self.conditions) or "true"


def where(asked: CompletionFilter) -> Where:
    """The conditions of a filter but for its text, which is looked for in the files."""
    made = Where()
    for name in FACETS:
        chosen = list(getattr(asked, name))
        if chosen:
            made.add(f"{name} in ({', '.join('?' * len(chosen))})", *chosen)
    if asked.step_from is not None:
        made.add("step >= ?", asked.step_from)
    if asked.step_to is not None:
        made.add("step <= ?", asked.step_to)
    if asked.problem:
        made.add("problem_id = ?", asked.problem)
    return made
