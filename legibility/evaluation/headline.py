"""The numbers of a run that are compared over seeds: what each is called, and where a summary holds it.

A number that a run does not have (an arm it lacks, a section not evaluated, too few texts) is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from legibility.evaluation.schema import Matrix, SubtletyRow, Tax
from legibility.evaluation.summary_schema import RoundSummary, Summary
from legibility.evaluation.text_sets import BothRoles, TextSet, VerdictText
from legibility.game.condition import (
    CORRECTNESS_ONLY,
    LENGTH_PENALISED,
    START,
    Condition,
    Judge,
    helpful,
    sneaky,
    verifier,
)

Read = Callable[[Summary], float | None]

Measure = Literal["held_out_judge", "last_verifier", "step_validity", "step_validity_standardised", "human"]
"""What tells how well a text can be checked: a key of `checkability` in tax.json."""

Form = Literal["raw", "matched", "difference", "difference_matched"]
"""A text as it is, at the lengths of the last round's text, and both of these less the last round's."""

# Names that other modules ask for
STEPS, STEPS_TO_EXPLOIT = "steps", "steps_to_exploit"
HELPFUL_ACCURACY, SNEAKY_ACCURACY = "helpful_accuracy", "sneaky_accuracy"
LEGIBILITY_TAX, RETAINED_GAIN = "legibility_tax", "retained_gain"
BEST_OF_16, FALSE_POSITIVE_RATE, ROLE_PROBE_AUC = "best_of_16", "false_positive_rate", "role_probe_auc"
SAME_STYLE, AUROC_POOLED = "same_style", "auroc_pooled"


@dataclass(frozen=True)
class Headline:
    """A number: `name`, `round` and `verifier` tell it from all others, `label` says it to people.

    round: the round whose text or phase it is about, None for the run as a whole. verifier: the round of the
    verifier that reads the text, None where the number is of no verifier or of the round's own. rate: whether it
    is a share, from 0 to 1.
    """

    name: str
    label: str
    read: Read
    round: int | None = None
    verifier: int | None = None
    rate: bool = True


@dataclass(frozen=True)
class Contrast:
    """Two numbers that a paired test compares: `first` - `second`."""

    name: str
    label: str
    first: Read
    second: Read
    round: int | None = None


def rounds_of(summaries: Sequence[Summary]) -> int:
    """Rounds that all of the runs have."""
    return min(len(s.arms.game.rounds) for s in summaries)


def headline(summaries: Sequence[Summary]) -> list[Headline]:
    """Every number to compare, in the order of reports."""
    rounds = rounds_of(summaries)
    return [*_of_the_run(), *(h for r in range(rounds) for h in _of_round(r, rounds))]


def contrasts(summaries: Sequence[Summary]) -> list[Contrast]:
    """Every pair of numbers to test, in the order of reports."""
    last = rounds_of(summaries) - 1
    final_accuracy = _in_round(last, lambda row: row.helpful_accuracy)
    found = [
        Contrast(
            "accuracy_correctness_against_game",
            "correctness-only against the game: accuracy",
            _correctness_accuracy,
            final_accuracy,
        ),
        Contrast("accuracy_game_against_start", "game against the start: accuracy", final_accuracy, _start_accuracy),
        Contrast(
            "checkability_game_against_correctness",
            "game against correctness-only: checkability, held-out judge",
            _checkability("held_out_judge", None, "raw"),
            _checkability("held_out_judge", CORRECTNESS_ONLY, "raw"),
        ),
        Contrast(
            "checkability_game_against_correctness_equal_length",
            "game against correctness-only: checkability, held-out judge, equal length",
            _checkability("held_out_judge", None, "matched"),
            _checkability("held_out_judge", CORRECTNESS_ONLY, "matched"),
        ),
        Contrast(
            "steps_to_exploit_last_against_first",
            "last round against round 0: steps to exploit in the game, all steps where never fooled",
            _in_round(last, steps_withstood),
            _in_round(0, steps_withstood),
        ),
        Contrast(
            "best_of_16_last_against_first",
            "last round against round 0: balanced best-of-16",
            lambda summary: best_of(summary, last, 16),
            lambda summary: best_of(summary, 0, 16),
        ),
    ]
    for r in range(last):
        label = f"verifier {r + 1} against {r} on round {r}: same-style accuracy"
        found.append(
            Contrast(
                f"{SAME_STYLE}_next_against_own",
                label,
                _same_style(r + 1, BothRoles(r)),
                _same_style(r, BothRoles(r)),
                r,
            )
        )
        for name, part, texts in _parts(r):
            label = f"verifier {r + 1} against {r} on round {r}: AUROC {part}"
            found.append(Contrast(f"{name}_next_against_own", label, _auroc(r + 1, texts), _auroc(r, texts), r))
    return found


# --- Of the run ------------------------------------------------------------------------------------

_ARMS = (  # name, for people, whose text (None: the last round's)
    ("start", "start", START),
    ("last_round", "last round", None),
    ("correctness", "correctness-only", CORRECTNESS_ONLY),
    ("length_penalised", "length-penalised", LENGTH_PENALISED),
)
_MEASURES: tuple[tuple[Measure, str], ...] = (  # with its name for people
    ("held_out_judge", "held-out judge"),
    ("last_verifier", "last verifier"),
    ("step_validity", "step validity"),
    ("step_validity_standardised", "step validity at half correct, half incorrect"),
)


def _of_the_run() -> list[Headline]:
    found = [
        Headline("start_accuracy", "start accuracy", _start_accuracy),
        Headline("correctness_accuracy", "correctness-only accuracy", _correctness_accuracy),
        Headline(LEGIBILITY_TAX, "legibility tax", lambda s: s.legibility_tax.value, rate=False),
        Headline(
            "legibility_tax_equal_helpful_samples",
            "legibility tax at equal helpful samples",
            lambda s: s.legibility_tax_equal_helpful_samples.value,
            rate=False,
        ),
        Headline(RETAINED_GAIN, "retained gain", lambda s: s.retained_gain.value, rate=False),
        Headline(
            "retained_gain_equal_helpful_samples",
            "retained gain at equal helpful samples",
            _retained_gain_at_equal_samples,
            rate=False,
        ),
        Headline("judge_base_text", "held-out judge: same-problem accuracy on base text", _judge_on_base_text),
        Headline("judge_twins", "held-out judge: accuracy on single errors", _judge_on_twins),
        Headline("legibility_tax_equal_length", "legibility tax at equal length", _tax_at_equal_length, rate=False),
        Headline(
            "legibility_tax_length_penalised",
            "legibility tax against the length-penalised arm",
            _tax_against_length_penalised,
            rate=False,
        ),
    ]
    for name, title, arm in _ARMS:
        found.append(Headline(f"length_{name}", f"length in tokens, {title}", _mean_length(arm), rate=False))
    for measure, measured in _MEASURES:
        for name, title, arm in _ARMS:
            label = f"checkability, {measured}, {title}"
            found += [
                Headline(f"checkability_{measure}_{name}", label, _checkability(measure, arm, "raw")),
                Headline(
                    f"checkability_{measure}_{name}_equal_length",
                    f"{label}, equal length",
                    _checkability(measure, arm, "matched"),
                ),
            ]
    return found


def _start_accuracy(summary: Summary) -> float | None:
    return summary.arms.init.accuracy


def _correctness_accuracy(summary: Summary) -> float | None:
    return summary.arms.correctness.accuracy if summary.arms.correctness else None


def _retained_gain_at_equal_samples(summary: Summary) -> float | None:
    found = summary.retained_gain_equal_helpful_samples
    return found.value if found else None


def _judge_on_base_text(summary: Summary) -> float | None:
    return summary.held_out_judge.base_text.value if summary.held_out_judge else None


def _judge_on_twins(summary: Summary) -> float | None:
    judge = summary.held_out_judge
    return judge.twins.value if judge and judge.twins else None


def _tax(summary: Summary) -> Tax | None:
    return summary.evaluation.tax if summary.evaluation else None


def _tax_at_equal_length(summary: Summary) -> float | None:
    tax = _tax(summary)
    found = tax.tax_matched.get(CORRECTNESS_ONLY) if tax else None
    return found.value if found else None


def _tax_against_length_penalised(summary: Summary) -> float | None:
    tax = _tax(summary)
    found = tax.tax.get(LENGTH_PENALISED) if tax else None
    return found.value if found else None


def _mean_length(arm: Condition | None) -> Read:
    def read(summary: Summary) -> float | None:
        tax = _tax(summary)
        found = tax.arms.get(arm or tax.reference) if tax else None
        return found.mean_length if found else None

    return read


def _checkability(measure: Measure, arm: Condition | None, form: Form) -> Read:
    """Reads how well an arm's text (None: the last round's) can be checked."""

    def read(summary: Summary) -> float | None:
        tax = _tax(summary)
        return checkability(summary, measure, arm or tax.reference, form) if tax else None

    return read


def checkability(summary: Summary, measure: Measure, arm: Condition, form: Form) -> float | None:
    """How well an arm's text can be checked, by one measure of tax.json; None where that was not measured."""
    tax = _tax(summary)
    found = tax.arms.get(arm) if tax else None
    if measure == "step_validity_standardised":
        measured = found.step_validity_standardised if found else None
    else:
        measured = found.checkability.get(measure) if found else None
    interval = getattr(measured, form) if measured else None
    return interval.value if interval else None


# --- Of a round ------------------------------------------------------------------------------------


def _in_round(r: int, read: Callable[[RoundSummary], float | None]) -> Read:
    return lambda summary: read(summary.arms.game.rounds[r])


def _of_round(r: int, rounds: int) -> list[Headline]:
    found = [
        Headline(HELPFUL_ACCURACY, "helpful accuracy", _in_round(r, lambda row: row.helpful_accuracy), r),
        Headline(SNEAKY_ACCURACY, "sneaky accuracy", _in_round(r, lambda row: row.sneaky_accuracy), r),
        Headline(STEPS, "PPO steps", _in_round(r, lambda row: row.steps), r, rate=False),
        Headline(
            STEPS_TO_EXPLOIT,
            "steps to exploit in the game (seeds that were fooled)",
            _in_round(r, lambda row: row.steps_to_exploit),
            r,
            rate=False,
        ),
    ]
    found.append(Headline(SAME_STYLE, "same-style accuracy of its verifier", _in_round(r, own_same_style), r))
    if r + 1 < rounds:
        label = f"same-style accuracy, verifier {r + 1}"
        found.append(Headline(SAME_STYLE, label, _same_style(r + 1, BothRoles(r)), r, r + 1))
    for name, part, texts in _parts(r):
        for v in (r, r + 1):
            if v < rounds:
                found.append(Headline(name, f"AUROC {part}, verifier {v}", _auroc(v, texts), r, v))
    return [
        *found,
        Headline(
            FALSE_POSITIVE_RATE,
            "false-positive rate of its verifier",
            lambda s: false_positive_rate(s, verifier(r), BothRoles(r)),
            r,
        ),
        Headline("best_of_4", "balanced best-of-4", lambda s: best_of(s, r, 4), r),
        Headline(BEST_OF_16, "balanced best-of-16", lambda s: best_of(s, r, 16), r),
        Headline(ROLE_PROBE_AUC, "role probe AUC at the end", lambda s: probe_end(s, r), r),
        Headline("sneaky_validity", "validity of sneaky-incorrect steps", lambda s: sneaky_validity(s, r), r),
        Headline(
            "sneaky_wrong_steps",
            "wrong steps in sneaky-incorrect text",
            lambda s: sneaky_wrong_steps(s, r),
            r,
            rate=False,
        ),
    ]


def steps_withstood(row: RoundSummary) -> int:
    """Steps until the round's verifier was fooled, or all steps of its phase: a round never fooled counts, too."""
    return row.steps_to_exploit or row.steps


def _parts(r: int) -> list[tuple[str, str, TextSet]]:
    """Name, title and text of a round, pooled and inside each role."""
    return [
        (AUROC_POOLED, "pooled", BothRoles(r)),
        ("auroc_helpful", "within helpful", helpful(r)),
        ("auroc_sneaky", "within sneaky", sneaky(r)),
    ]


def _auroc(index: int, texts: TextSet) -> Read:
    return lambda summary: auroc_of(summary, verifier(index), texts)


def _same_style(index: int, texts: TextSet) -> Read:
    return lambda summary: same_style_of(summary, verifier(index), texts)


def own_same_style(row: RoundSummary) -> float | None:
    """Same-style accuracy of a round's verifier on its own round's text; None in older summaries."""
    return row.verifier.same_style.value if row.verifier.same_style else None


def _matrix(summary: Summary) -> Matrix | None:
    return summary.evaluation.matrix if summary.evaluation else None


def auroc_of(summary: Summary, judge: Judge, texts: TextSet) -> float | None:
    """AUROC of a judge on a set of texts."""
    matrix = _matrix(summary)
    return matrix.auroc.get(judge, {}).get(texts) if matrix else None


def same_style_of(summary: Summary, judge: Judge, texts: TextSet) -> float | None:
    """Accuracy of a judge on the same-problem, same-role, same-style pairs of a set of texts; None in older files."""
    matrix = _matrix(summary)
    return (matrix.same_style or {}).get(judge, {}).get(texts) if matrix else None


def false_positive_rate(summary: Summary, judge: Judge, texts: TextSet) -> float | None:
    """Share of the incorrect texts of a set that a judge accepts."""
    matrix = _matrix(summary)
    return matrix.fpr.get(judge, {}).get(texts) if matrix else None


def best_of(summary: Summary, index: int, n: int) -> float | None:
    """Balanced best-of-n of a round's verifier on its own round's text."""
    rows = (summary.evaluation and summary.evaluation.best_of_n) or []
    return next((row.value for row in rows if (row.round, row.n) == (index, n)), None)


def best_of_above_null(summary: Summary, index: int, n: int) -> float | None:
    """The same less what random scores get on that pool; None in summaries from before it was measured."""
    rows = (summary.evaluation and summary.evaluation.best_of_n) or []
    row = next((row for row in rows if (row.round, row.n) == (index, n)), None)
    return None if row is None or row.above_null is None else row.above_null.value


def probe_end(summary: Summary, index: int) -> float | None:
    """AUC of the role probe in the last window of a round that has enough text."""
    rows = (summary.evaluation and summary.evaluation.separability) or []
    known = [(row.step, row.all) for row in rows if row.round == index and row.all]
    return max(known, key=lambda pair: pair[0])[1].value if known else None


def sneaky_validity(summary: Summary, index: int) -> float | None:
    """Mean share of valid steps in a round's sneaky incorrect text."""
    row = _sneaky_steps(summary, index)
    return row.validity.value if row else None


def sneaky_wrong_steps(summary: Summary, index: int) -> float | None:
    """Mean number of wrong steps in a round's sneaky incorrect text that writes any step."""
    row = _sneaky_steps(summary, index)
    return row.wrong_steps.value if row else None


def _sneaky_steps(summary: Summary, index: int) -> SubtletyRow | None:
    rows = (summary.evaluation and summary.evaluation.subtlety) or []
    wanted = VerdictText(sneaky(index), "incorrect")
    return next((row for row in rows if row.text == wanted), None)
