"""Can a weak model finish what somebody else began? The text of every arm, handed over at a random line.

A measure of legibility that needs no trained judge: what a reader can go on from, it has understood well enough. It is
the transfer utility of "weak-to-strong legibility" (arXiv 2603.20508) and the handoff that tandem training pays for
(arXiv 2510.13551, 2606.28166). Those truncate by tokens; here text ends at a line, so that two tokenizers need not
agree, and the last line, which tells the answer, is never handed over. The weak model is the verifier's base, frozen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Resamples
from legibility.evaluation.reading_schema import HandoffRow
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import first_texts, honest
from legibility.evaluation.weak_reading import cannot_write, read_table, weak_writer
from legibility.evaluation.weak_writer import WeakWriter
from legibility.game.condition import Condition
from legibility.game.context import Game
from legibility.game.phases import ALONE, handoff_folder
from legibility.grading import grade
from legibility.problems.records import Problem
from legibility.randomness import derive_seed, stream

FILE = "handed_over.parquet"
COLUMNS = ["problem_id", "own_verdict", "begun", "ending", "truncated", "verdict"]


def compute(run: EvaluationRun) -> list[HandoffRow]:
    """A row for every arm's honest text; none where the verifier's base writes no text."""
    writer = weak_writer(run, "handoff") if missing(run) else None
    if missing(run) and writer is None:
        return []
    handed = {c: handed_over(run, c, writer) for c in run.progress.each("handoff", [*honest(run.texts), None])}
    alone = handed[None]
    return [describe(condition, table, alone, run.resamples) for condition, table in handed.items() if condition]


def missing(run: EvaluationRun) -> list[Condition | None]:
    """The conditions whose handoff is not made yet; None: the weak model alone."""
    return [c for c in (*honest(run.texts), None) if not run.folder.is_done(handoff_folder(_name(c)))]


def lacking(run: EvaluationRun) -> int:
    """How many endings are still to be drawn; none where it was found that the verifier's base cannot write."""
    if cannot_write(run):
        return 0
    return len(run.game.splits.test) * len(missing(run))


def handed_over(run: EvaluationRun, condition: Condition | None, writer: WeakWriter | None) -> pd.DataFrame:
    """The first text of every test problem, its beginning handed over and ended by the weak model; made once and kept.

    condition None: nothing is handed over, and the weak model solves the problems alone. writer: may be None where
    nothing is `missing`. Raises UserError for a stored file that was changed.
    """
    name = _name(condition)
    phase = handoff_folder(name)
    if writer is not None and not run.folder.is_done(phase):
        frame = None if condition is None else run.texts[condition]
        table = beginnings(run.game.splits.test, frame, run.config.seed)
        with run.folder.phase(phase) as work:
            finish(table, writer, run.game, derive_seed(run.config.seed, "handoff", name))
            table[COLUMNS].to_parquet(work / FILE, index=False)
    return read_table(run.folder.verified(phase) / FILE, COLUMNS)


def beginnings(problems: Sequence[Problem], frame: pd.DataFrame | None, seed: int) -> pd.DataFrame:
    """A row a problem: `problem_id`, `own_verdict` of its first text and what is handed over of it (`begun`).

    The line is drawn by problem, so the same share of every arm's text is handed over.
    """
    shares = stream(seed, "handoff").random(len(problems))
    if frame is None:
        return pd.DataFrame({"problem_id": [p.id for p in problems], "own_verdict": None, "begun": ""})
    first = first_texts(frame)
    rows = [
        (p.id, first.verdict[p.id], beginning(first.text[p.id], share))
        for p, share in zip(problems, shares, strict=True)
        if p.id in first.index
    ]
    return pd.DataFrame(rows, columns=["problem_id", "own_verdict", "begun"])


def beginning(text: str, share: float) -> str:
    """A text up to one of its seams, drawn by `share` in [0, 1): ends of lines, of sentences where there is one line.

    The last piece is never in it; a text in one piece hands over nothing.
    """
    text = text.rstrip()
    seams = [m.end() for m in re.finditer(r"\n+", text)] or [m.end() for m in re.finditer(r"[.!?]\s+", text)]
    return text[: seams[int(share * len(seams))]] if seams else ""


def finish(table: pd.DataFrame, writer: WeakWriter, game: Game, seed: int) -> None:
    """Let the weak model end the texts of a table: adds `ending`, `truncated` and the whole text's `verdict`."""
    problems, grading = [game.problems[p] for p in table.problem_id], game.config.grading
    endings = writer.go_on([p.question for p in problems], list(table.begun), seed)
    table["ending"] = [text for text, _ in endings]
    table["truncated"] = [truncated for _, truncated in endings]
    table["verdict"] = [
        grade(begun + ending, p.answer, grading.marker, truncated=truncated, unparsed=grading.unparsed).value
        for p, begun, (ending, truncated) in zip(problems, table.begun, endings, strict=True)
    ]


def describe(condition: Condition, table: pd.DataFrame, alone: pd.DataFrame, resamples: Resamples) -> HandoffRow:
    """The row of an arm. `alone`: the weak model's own answers."""
    ids = list(table.problem_id)
    own, joint = (table.own_verdict == "correct").to_numpy(), (table.verdict == "correct").to_numpy()
    unaided = alone.set_index("problem_id").verdict.reindex(ids).eq("correct").to_numpy()
    return HandoffRow(
        arm=condition,
        texts=len(table),
        nothing_handed_over=float(np.mean(table.begun == "")),
        writer=resamples.mean(ids, own).interval(),
        alone=resamples.mean(ids, unaided).interval(),
        joint=resamples.mean(ids, joint).interval(),
        utility=resamples.mean(ids, joint.astype(float) - unaided).interval(),
        robustness=resamples.ratio(ids, joint & own, own).interval(),
    )


def _name(condition: Condition | None) -> str:
    return ALONE if condition is None else condition.folder
