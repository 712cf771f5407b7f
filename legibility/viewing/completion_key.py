"""The stable name of a completion: what it was drawn for, in which run. A link to it works in every later session.

It does not hang on where the completion is stored: a round's completions move from a file per step to one per phase
to one per round.
"""

from __future__ import annotations

from dataclasses import dataclass

from legibility.errors import UserError

_BETWEEN = "~"


@dataclass(frozen=True)
class CompletionKey:
    """Run (its name on the page), place (`run_files.CompletionFile.place`), what it was drawn for, and which sample it is."""

    run: str
    place: str
    phase: str
    split: str
    step: int
    role: str
    sample: int
    problem_id: str

    @classmethod
    def parse(cls, text: str) -> CompletionKey:
        """The key that `str` wrote. Raises UserError for anything else."""
        try:
            run, place, phase, split, step, role, sample, problem_id = text.split(_BETWEEN, 7)
            return cls(run, place, phase, split, _whole(step), role, _whole(sample), problem_id)
        except ValueError:
            raise UserError(f"no completion is called {text[:200]!r}") from None

    def __str__(self) -> str:
        # the problem's id stands last: only that may hold anything
        return _BETWEEN.join(
            map(str, (self.run, self.place, self.phase, self.split, self.step, self.role, self.sample, self.problem_id))
        )


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**31:
        raise ValueError(text)
    return number
