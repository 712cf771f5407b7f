"""The numbers of arms beside the game that are compared over seeds: accuracy, length and checkability of their text.

Of an arm with rounds it is the last one's. The correctness-only arms are among the run's own headlines
(legibility.evaluation.headline).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from legibility.evaluation.headline import Form, Headline, Measure, checkability
from legibility.evaluation.summary_schema import PolicySummary, Summary
from legibility.game.condition import ARM_OF, ARMS, CORRECTNESS, CORRECTNESS_SHORT, GAME, Condition

RIVALS = tuple(arm for arm in ARM_OF.values() if arm not in (GAME, CORRECTNESS, CORRECTNESS_SHORT))
FORMS: tuple[tuple[Form, str, str], ...] = (("raw", "", ""), ("matched", "_equal_length", ", equal length"))


def arm_headlines(summaries: Sequence[Summary]) -> list[Headline]:
    """The numbers of every arm that one of the runs has played."""
    found: list[Headline] = []
    for arm in RIVALS:
        if any(last_text(summary, arm) for summary in summaries):
            found += _of_arm(arm)
    return found


def last_text(summary: Summary, arm: str) -> tuple[Condition, PolicySummary] | None:
    """The last honest text of an arm and what the summary says of it; None where the run has none."""
    texts = {c: found for c, found in (summary.arms.others or {}).items() if c.arm == arm and not c.sneaky}
    return max(texts.items(), key=lambda item: item[0].round) if texts else None


def _of_arm(arm: str) -> list[Headline]:
    found = [
        Headline(f"accuracy_{arm}", f"accuracy, {ARMS[arm]}", _read(arm, lambda _, c, known: known.accuracy)),
        Headline(
            f"length_{arm}",
            f"length in tokens, {ARMS[arm]}",
            _read(arm, lambda _, c, known: known.mean_length),
            rate=False,
        ),
    ]
    for measure in get_args(Measure):
        for form, suffix, said in FORMS:
            label = f"checkability, {measure.replace('_', ' ')}, {ARMS[arm]}{said}"
            found.append(Headline(f"checkability_{measure}_{arm}{suffix}", label, _checked(arm, measure, form)))
    return found


def _read(
    arm: str, of: Callable[[Summary, Condition, PolicySummary], float | None]
) -> Callable[[Summary], float | None]:
    def read(summary: Summary) -> float | None:
        found = last_text(summary, arm)
        return of(summary, *found) if found else None

    return read


def _checked(arm: str, measure: Measure, form: Form) -> Callable[[Summary], float | None]:
    return _read(arm, lambda summary, condition, _: checkability(summary, measure, condition, form))
