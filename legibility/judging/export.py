"""Making a study folder: choose, blind, assign, seal. Written whole or not at all, and never over anything."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from legibility.errors import UserError
from legibility.files import seen_from
from legibility.game.condition import Condition, Judge
from legibility.judging import study_folder as files
from legibility.judging.assignment import assign
from legibility.judging.assistance import assign_assisted
from legibility.judging.candidates import Candidates, chosen_conditions
from legibility.judging.checks import AttentionCheck, attention_checks
from legibility.judging.datasheet import datasheet
from legibility.judging.formats import write_formats
from legibility.judging.power import Power, power_of
from legibility.judging.protocol import Planned, Protocol, read_protocol
from legibility.judging.sampling import select
from legibility.judging.study_folder import StudyFolder, json_lines
from legibility.judging.study_schema import (
    ATTENTION,
    STUDY,
    Assisted,
    ItemDoubts,
    KeyEntry,
    Provenance,
    Slot,
    StudyItem,
    content_hash,
)
from legibility.new_folder import check_new, new_folder
from legibility.problems.sources import SOLUTION_MARKER
from legibility.randomness import stream
from legibility.stored import write_stored


@dataclass(frozen=True)
class Exported:
    """What an export made: `items` with the attention checks, `notes` on what fell short, power of the `planned` test."""

    path: Path
    items: int
    slots: list[list[str]]
    notes: list[str]
    power: Power
    planned: Planned


def export_study(
    candidates: Candidates,
    out: Path,
    *,
    conditions: Sequence[str] | None = None,
    per_condition: int = 40,
    raters: int = 10,
    per_rater: int | None = None,
    attention: int = 4,
    seed: int = 0,
    length_match: bool = False,
    protocol: Path | None = None,
    assisted: Assisted | None = None,
    doubts_of: int | None = None,
) -> Exported:
    """Export a study of some of the candidates to the new folder `out` (`legibility export`).

    The seed decides which solutions are chosen; ids, file order and assignments come from a random
    secret that is kept on the sealed side. conditions: as ARM:ROUND:ROLE (None: all); per_condition,
    per_rater: items; attention: checks for every rater; protocol: a YAML file of settings to change;
    assisted: assign half of every rater's items, or half of the raters, to see the doubts of the verifier of round
    `doubts_of` (None: the last).
    Raises UserError before anything is written.
    """
    check_new(out, "study")
    if attention < 0 or attention % 2 or attention > 20:
        raise UserError(f"--attention {attention}: give an even number from 0 to 20 (half of them correct)")
    if doubts_of is not None and assisted is None:
        raise UserError(f"--doubts-of {doubts_of}: nobody is shown doubts; add --assisted item")
    rules = read_protocol(protocol) if protocol else Protocol()
    adviser = candidates.adviser(doubts_of) if assisted else None
    if adviser is not None:
        rules = rules.model_copy(update={"instructions": [*rules.instructions, rules.doubt_note]})
    wanted = chosen_conditions(candidates, conditions)
    bins = rules.analysis.length_bins if length_match else None
    selection = select(candidates, wanted, per_condition, stream(seed, "judging", "select"), length_bins=bins)
    checks = attention_checks(attention, SOLUTION_MARKER, stream(seed, "judging", "checks"))
    secret = secrets.randbits(128)
    entries, items = _blind(candidates, selection.frame, checks, np.random.default_rng([secret, 0]))
    slots = assign(entries, raters, per_rater, np.random.default_rng([secret, 1]))
    rules = rules.model_copy(update={"study_id": secrets.token_hex(6)})
    shown = assign_assisted(entries, slots, assisted, np.random.default_rng([secret, 2])) if assisted else None
    listed = [
        Slot(slot=i + 1, items=ids) if shown is None else Slot(slot=i + 1, items=ids, assisted=shown[i])
        for i, ids in enumerate(slots)
    ]
    alone = [[i for i in slot.items if i not in set(slot.assisted or ())] for slot in listed]
    power = _power(rules, entries, alone)
    notes = [*selection.notes, *_coverage_notes(entries, slots, per_rater)]
    facts = Provenance(
        run=candidates.run,
        run_path=seen_from(out, candidates.origin) if candidates.origin else None,
        seed=seed,
        secret=f"{secret:032x}",
        conditions=wanted,
        per_condition=per_condition,
        raters=raters,
        per_rater=per_rater,
        attention=attention,
        length_match=length_match,
        assisted=assisted,
        adviser=None if adviser is None else adviser.judge,
        notes=notes,
    )
    doubts = None if adviser is None else adviser.doubts(items)
    _write_folder(out, rules, entries, items, listed, doubts, facts, power)
    return Exported(out, len(items), slots, notes, power, rules.planned)


def _write_folder(
    out: Path,
    rules: Protocol,
    entries: Sequence[KeyEntry],
    items: Sequence[StudyItem],
    slots: Sequence[Slot],
    doubts: Sequence[ItemDoubts] | None,
    facts: Provenance,
    power: Power,
) -> None:
    """Write the whole study, or nothing (`new_folder`: what a killed export leaves may hold a sealed key)."""
    sealed = sorted(entries, key=lambda entry: entry.item_id)  # by random id: an order that tells nothing
    with new_folder(out) as work:
        _write(work / files.ITEMS, json_lines(items))
        _write(work / files.ASSIGNMENTS, json_lines(slots))
        if doubts is not None:
            _write(work / files.DOUBTS, json_lines(doubts))
        _write(work / files.PROTOCOL, rules.to_yaml())
        _write(work / files.KEY, json_lines(sealed))
        write_stored(work / files.PROVENANCE, facts)
        for name in files.SEALED:
            os.chmod(work / name, 0o600)
        files.write_checksums(work)
        _write(work / "DATASHEET.md", datasheet(rules, entries, slots, facts, power))
        write_formats(StudyFolder.open(work))


def _blind(
    candidates: Candidates, chosen: pd.DataFrame, checks: Sequence[AttentionCheck], rng: np.random.Generator
) -> tuple[list[KeyEntry], list[StudyItem]]:
    """Key entries and items under random ids; items in random order."""
    scores = candidates.score(chosen)
    total = len(chosen) + len(checks)
    ids: dict[str, None] = {}
    while len(ids) < total:
        ids.setdefault(f"q{rng.bytes(6).hex()}")  # with a letter in front no spreadsheet takes it for a number
    names = list(ids)
    entries: list[KeyEntry] = []
    items: list[StudyItem] = []

    def add(
        problem: str,
        solution: str,
        *,
        kind: Literal["study", "attention"],
        problem_id: str,
        writer: Condition,
        correct: bool,
        score: float | None = None,
        scores: Mapping[Judge, float] | None = None,
        tokens: int | None = None,
        first_wrong_line: int | None = None,
    ) -> None:
        name = names[len(items)]
        items.append(StudyItem(item_id=name, problem=problem, solution=solution))
        entries.append(
            KeyEntry(
                item_id=name,
                problem_id=problem_id,
                arm=writer.arm,
                round=writer.round,
                role=writer.role,
                correct=correct,
                score=score,
                scores=dict(scores or {}),
                problem_chars=len(problem),
                solution_chars=len(solution),
                solution_tokens=tokens,
                first_wrong_line=first_wrong_line,
                kind=kind,
                run=candidates.run,
                content_sha256=content_hash(problem, solution),
            )
        )

    for row, found in zip(chosen.itertuples(index=False), scores, strict=True):
        add(
            candidates.problems[row.problem_id].question,
            row.text,
            kind=STUDY,
            problem_id=row.problem_id,
            writer=Condition(row.arm, int(row.round), row.role),
            correct=bool(row.correct),
            score=None if pd.isna(row.score) else float(row.score),
            scores=found,
            tokens=_whole(row.completion_tokens),
            first_wrong_line=_whole(row.first_wrong_line),
        )
    for k, check in enumerate(checks):
        add(
            check.problem,
            check.solution,
            kind=ATTENTION,
            problem_id=f"{ATTENTION}-{k}",
            writer=Condition(ATTENTION, -1, ATTENTION),
            correct=check.correct,
            first_wrong_line=None if check.correct else 1,
        )
    return entries, [items[i] for i in rng.permutation(total)]


def _whole(value: Any) -> int | None:
    """A whole number of a table, None where the cell is empty."""
    return None if pd.isna(value) else int(value)


def _power(rules: Protocol, entries: Sequence[KeyEntry], slots: Sequence[Sequence[str]]) -> Power:
    """Power of the smallest condition whose writer was asked to be right (of any, where there is none)."""
    study = {e.item_id: e for e in entries if e.kind == STUDY}
    judged = Counter(study[i].condition for slot in slots for i in slot if i in study)
    problems = {c: len({e.problem_id for e in study.values() if e.condition == c}) for c in judged}
    smallest = min([c for c in judged if not c.sneaky] or judged, key=lambda c: judged[c])
    return power_of(rules.planned, judged[smallest], len(slots), problems[smallest])


def _coverage_notes(entries: Sequence[KeyEntry], slots: Sequence[Sequence[str]], per_rater: int | None) -> list[str]:
    judged = Counter(i for slot in slots for i in slot)
    missed = sum(judged[e.item_id] == 0 for e in entries)
    once = sum(judged[e.item_id] == 1 for e in entries)
    notes = []
    if missed:
        notes.append(f"{missed} of {len(entries)} items are in no rater's list; add raters or lower --per-condition")
    if once:
        notes.append(f"{once} items are judged by one rater only (agreement cannot be measured on them)")
    checks = sum(e.kind == ATTENTION for e in entries)
    if per_rater and any(len(slot) - checks < per_rater for slot in slots):
        notes.append(f"some raters get fewer than {per_rater} items: too few different problems of one label")
    return notes


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
