"""What the paper claims, and whether it holds in given runs: a rule per claim, fixed before looking.

A claim is a difference that should be positive, measured once per seed. It *held* where its t interval
over seeds lies above 0, *failed* where the mean is not above 0, and is *not clear* in between; with
one seed nothing holds. Survival claims compare attacks on the last verifier with those on verifier 0
by a log-rank test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from legibility.evaluation.compare import over_seeds, pooled_survival
from legibility.evaluation.headline import (
    Form,
    attacks_of,
    auroc_of,
    best_of_above_null,
    checkability,
    own_same_style,
    probe_end,
    rounds_of,
    same_style_of,
    sneaky_validity,
)
from legibility.evaluation.summary_schema import Summary
from legibility.evaluation.text_sets import REWARDS, BothRoles, TextSet, reward_label
from legibility.game.condition import CORRECTNESS_ONLY, Judge, helpful, sneaky, verifier

HELD, FAILED, UNCLEAR, UNKNOWN = "held", "failed", "not clear", "not measured"


_FORMS: tuple[tuple[str, Form], ...] = (("raw", "difference"), ("at equal length", "difference_matched"))


@dataclass(frozen=True)
class Claim:
    """A claim and its verdict. `paper`: where it stands there; `evidence`: the number the verdict rests on."""

    text: str
    paper: str
    evidence: str
    verdict: str


def claims(summaries: Sequence[Summary], confidence_level: float = 0.95) -> list[Claim]:
    """Every claim that these runs can speak to."""
    last = rounds_of(summaries) - 1
    found = [_survival_claim(summaries, reward, last, confidence_level) for reward in REWARDS]
    table: list[tuple[str, str, str, Callable[[Summary], float | None]]] = [
        (
            "Within the game, the last verifier takes more steps to fool than verifier 0",
            "4.2, Fig. 5",
            "steps (the phase's length where it was not fooled)",
            lambda s: _steps(s, last) - _steps(s, 0),
        ),
        (
            "Round 0's verifier picks below chance in balanced best-of-16",
            "4.3.1, Fig. 6b",
            "share of random scores' correct favourites - its own",
            lambda s: _minus(0.0, best_of_above_null(s, 0, 16)),
        ),
        (
            "The last verifier picks above chance in balanced best-of-16",
            "4.3.1, Fig. 6b",
            "share of correct favourites - random scores' on the same pool",
            lambda s: best_of_above_null(s, last, 16),
        ),
        (
            "Best-of-16 improves over the rounds",
            "4.3.1, Fig. 6b",
            "last round - round 0, each above its own chance",
            lambda s: _minus(best_of_above_null(s, last, 16), best_of_above_null(s, 0, 16)),
        ),
        (
            "The last verifier tells right from wrong in its own round's text, same problem, role and style",
            "3.2 (the measure is ours)",
            "share of pairs ranked right - 0.5",
            lambda s: _minus(own_same_style(s.arms.game.rounds[last]), 0.5),
        ),
        *(
            (
                f"Later verifiers read earlier rounds' text better than its own verifier did, {name}",
                "3.2 (the matrix is ours)",
                f"mean {measure} below the diagonal - on it",
                lambda s, read=read, texts_of=texts_of: below_diagonal(s, last, texts_of, read),
            )
            for name, measure, read, texts_of in (
                ("same problem, role and style", "share of pairs ranked right", same_style_of, BothRoles),
                ("pooled", "AUROC", auroc_of, BothRoles),
                ("inside the helpful role", "AUROC", auroc_of, helpful),
                ("inside the sneaky role", "AUROC", auroc_of, sneaky),
            )
        ),
        (
            "The game ends with higher helpful accuracy than the start",
            "4.2, Fig. 5",
            "accuracy, last round - start",
            lambda s: _minus(s.arms.game.accuracy, s.arms.init.accuracy),
        ),
        (
            "Checkability costs accuracy (legibility tax)",
            "1, Fig. 1",
            "accuracy, correctness-only - last round",
            lambda s: s.legibility_tax.value,
        ),
        *(
            (
                f"The game's text is easier to check than the correctness-only arm's, {title}",
                "1, Fig. 1, 4b",
                "pairwise accuracy of a held-out judge that can read, game - correctness-only",
                lambda s, form=form: _easier_to_check(s, form),
            )
            for title, form in _FORMS
        ),
        (
            "Sneaky flaws get subtler over the rounds",
            "4.3.2, Fig. 7a",
            "mean validity of sneaky-incorrect steps, last round - round 0",
            lambda s: _minus(sneaky_validity(s, last), sneaky_validity(s, 0)),
        ),
        (
            "The roles get harder to tell apart over the rounds",
            "App. C, Fig. S3",
            "role probe AUC at the end, round 0 - last round",
            lambda s: _minus(probe_end(s, 0), probe_end(s, last)),
        ),
    ]
    return found + [
        Claim(text, paper, *_verdict([read(s) for s in summaries], evidence, confidence_level))
        for text, paper, evidence, read in table
    ]


def _easier_to_check(summary: Summary, form: Form) -> float | None:
    """Checkability of the game's text less that of the correctness-only arm's; None where the judge is not believed."""
    if summary.judge_doubt:
        return None
    return _minus(0.0, checkability(summary, "held_out_judge", CORRECTNESS_ONLY, form))


def below_diagonal(
    summary: Summary,
    last: int,
    texts_of: Callable[[int], TextSet],
    read: Callable[[Summary, Judge, TextSet], float | None] = auroc_of,
) -> float | None:
    """Mean over rounds j < i of verifier i's figure less verifier j's, both on round j's text, `texts_of(j)`.

    read: the figure, AUROC unless said.
    """
    gaps = [
        _minus(read(summary, verifier(i), texts_of(j)), read(summary, verifier(j), texts_of(j)))
        for j in range(last)
        for i in range(j + 1, last + 1)
    ]
    known = [g for g in gaps if g is not None]
    return float(np.mean(known)) if known else None


def _verdict(values: list[float | None], evidence: str, confidence_level: float) -> tuple[str, str]:
    """The evidence with its numbers, and whether the claim held."""
    found = over_seeds(values, confidence_level)
    if found.mean is None:
        return evidence, UNKNOWN
    text = f"{evidence}: {found.text()}, {found.n} seed{'s' if found.n > 1 else ''}"
    if found.mean <= 0:
        return text, FAILED
    return text, HELD if found.low is not None and found.low > 0 else UNCLEAR


def _survival_claim(summaries: Sequence[Summary], reward: str, last: int, confidence_level: float) -> Claim:
    text = f"The last verifier withstands {reward_label(reward)} attacks for longer than verifier 0"
    paper = "4.3.1, Fig. 6a"
    rows = {r.verifier: r for r in pooled_survival(summaries, confidence_level) if r.reward == reward}
    if 0 not in rows or last not in rows or last == 0:
        return Claim(text, paper, "median steps to exploit", UNKNOWN)
    from lifelines.statistics import logrank_test  # of the extra `evaluate`; without attacks nobody needs it

    records = [r for r in attacks_of(summaries) if r.reward == reward]
    first, final = ([r for r in records if r.verifier == v] for v in (0, last))
    p = logrank_test(
        [r.steps for r in first], [r.steps for r in final], [r.exploited for r in first], [r.exploited for r in final]
    ).p_value
    shown = [f"{r.median:g}" if r.median is not None else f"> {r.cap}" for r in (rows[0], rows[last])]
    evidence = (
        f"median steps to exploit {shown[0]} → {shown[1]}, log-rank p = {p:.3f}, {len(first)} and {len(final)} attacks"
    )
    early, late = (r.median if r.median is not None else np.inf for r in (rows[0], rows[last]))
    if late <= early:
        return Claim(text, paper, evidence, FAILED if np.isfinite(late) else UNCLEAR)
    return Claim(text, paper, evidence, HELD if p < 1 - confidence_level else UNCLEAR)


def _steps(summary: Summary, index: int) -> int:
    """Steps until the round's verifier was fooled, or all steps of its phase."""
    row = summary.arms.game.rounds[index]
    return row.steps_to_exploit or row.steps


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
