"""DATASHEET.md: what a study holds and how it was made, for its organisers. Counts only, nothing per item."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from legibility.judging.power import Power
from legibility.judging.protocol import Protocol
from legibility.judging.study_schema import ATTENTION, KeyEntry, Provenance, Slot


def datasheet(
    rules: Protocol, entries: Sequence[KeyEntry], listed: Sequence[Slot], facts: Provenance, power: Power
) -> str:
    """The datasheet as Markdown. listed: what every rater is shown."""
    slots = [slot.items for slot in listed]
    study = [e for e in entries if e.kind != ATTENTION]
    checks = {e.item_id for e in entries if e.kind == ATTENTION}
    sizes = [sum(i not in checks for i in slot) for slot in slots]
    each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    notes = [f"- {note}" for note in facts.notes] or ["- nothing fell short"]
    return "\n".join(
        [
            f"# Study {rules.study_id}",
            "",
            "For the organisers; do not show this page, `key.jsonl` or `provenance.json` to raters.",
            "",
            f"Solutions from `{facts.run}` (seed {facts.seed}), to be judged right or wrong by people, {rules.time_limit_seconds:g} seconds each.",
            f"{len(study)} items and {len(checks)} attention checks; {len(slots)} rater slots of {each} items each, plus every check.",
            "",
            "| condition | correct | incorrect | mean length, correct | mean length, incorrect | planned judgments |",
            "|---|---|---|---|---|---|",
            *_rows(study, slots),
            "",
            _consent(rules),
            "",
            *_assisted(entries, listed, facts),
            "Lengths in characters."
            + (
                " Chosen so that all conditions and labels share one length distribution." if facts.length_match else ""
            ),
            "",
            "## How items were chosen",
            "",
            "- readable solutions of test problems; of one prover at most one correct and one incorrect solution per problem",
            "- problems whose solutions are all right or all wrong are dropped for that condition",
            "- half correct, half incorrect; sneaky conditions contribute incorrect solutions only",
            "- no rater sees a problem twice; every rater sees as many correct as incorrect items, in an order of their own",
            "- ids, file order and lists come from a random secret, not from the seed",
            "",
            "## What fell short",
            "",
            *notes,
            "",
            "## Power",
            "",
            power.sentence(rules.planned),
            f"Assumed intra-class correlations: {rules.planned.icc_rater:g} between raters, {rules.planned.icc_problem:g} between problems.",
            "",
            "## Label",
            "",
            "A solution counts as correct when its final answer is; the reasoning was not checked (as in the paper).",
            "",
        ]
    )


def _consent(rules: Protocol) -> str:
    if rules.consent is None:
        return "Raters are asked for no consent (`consent` in the protocol)."
    return f"Raters agree to version {rules.consent.version} of the text in `study.yaml` before they begin."


def _assisted(entries: Sequence[KeyEntry], listed: Sequence[Slot], facts: Provenance) -> list[str]:
    if facts.assisted is None or facts.adviser is None:
        return []
    study = {e.item_id for e in entries if e.kind != ATTENTION}
    planned = sum(i in study for slot in listed for i in slot.items)
    shaded = sum(i in study for slot in listed for i in slot.assisted or ())
    who = (
        "half of every rater's items, each item to half of its raters"
        if facts.assisted == "item"
        else "half of the raters"
    )
    return [
        "## Assisted checking",
        "",
        f"What {facts.adviser.label} doubts is shown shaded to {who}: {shaded} of the {planned} planned judgments of study "
        "items. Attention checks are shaded likewise. The shading of a text is against its most doubted token; no score "
        "is shown. Accuracies of conditions, and the power below, rest on the judgments made without it; `analyze` "
        "compares the two.",
        "",
    ]


def _rows(study: Sequence[KeyEntry], slots: Sequence[Sequence[str]]) -> list[str]:
    rows = []
    for condition in dict.fromkeys(e.condition for e in study):
        mine = [e for e in study if e.condition == condition]
        right, wrong = ([e.solution_chars for e in mine if e.correct is label] for label in (True, False))
        ids = {e.item_id for e in mine}
        planned = sum(i in ids for slot in slots for i in slot)
        rows.append(f"| {condition} | {len(right)} | {len(wrong)} | {_mean(right)} | {_mean(wrong)} | {planned} |")
    return rows


def _mean(lengths: Sequence[int]) -> str:
    return f"{fmean(lengths):.0f}" if lengths else "–"
