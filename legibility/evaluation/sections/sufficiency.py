"""Do the written steps tell the answer to who does not know the problem? Every arm's text, read and worked out.

Sufficiency of reasoning (SR, arXiv 2604.22074): a reader is given the reasoning without the answer and without the
problem. There a large instructed model reads, a model removes the answer, and SR is whether the reader says the same as
with the problem (`consistent`); `own` and `gold` ask whether that is the text's own answer, and the right one. Here the
reader is the verifier's base, frozen, and the answer is removed by leaving its line out. A base model that has only read
problems with solutions makes nothing of a solution without one (docs/log.md), so the problem is hidden behind another
one, which has another answer: it can mislead the reader and never help. What copying the last number would earn stands
beside it (`told`).

Without any model: does the answer follow from the equations (`follows`, legibility.grading.derivation), and what share
of them does it rest on (`used`)? Both nulls give a text the steps of another text of its arm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Resamples
from legibility.evaluation.reading_schema import SufficiencyRow
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import first_texts, honest
from legibility.evaluation.weak_reading import cannot_write, read_table, weak_writer
from legibility.evaluation.weak_writer import WeakWriter
from legibility.game.condition import Condition
from legibility.game.phases import sufficiency_folder
from legibility.grading import agrees, extract_answer, parse_number
from legibility.grading.derivation import derivation, numbers
from legibility.problems.records import Problem
from legibility.randomness import derive_seed

FILE = "read.parquet"
COLUMNS = ["problem_id", "own_verdict", "answer", "steps", "shown", "without", "with_problem"]
READINGS = ["without", "with_problem"]
"""What the reader puts on the answer line, another problem in place of the text's own, and with its own."""


def compute(run: EvaluationRun) -> list[SufficiencyRow]:
    """A row for every arm's honest text; without what a model reads where the verifier's base writes no text."""
    writer = weak_writer(run, "sufficiency of the steps to a reader") if missing(run) else None
    return [
        describe(condition, read(run, condition, writer), run.problems, run.resamples)
        for condition in run.progress.each("sufficiency", honest(run.texts))
    ]


def missing(run: EvaluationRun) -> list[Condition]:
    """The arms whose text is not read yet."""
    return [c for c in honest(run.texts) if not run.folder.is_done(sufficiency_folder(c.folder))]


def lacking(run: EvaluationRun) -> int:
    """How many answers are still to be drawn at most; none where it was found that the verifier's base cannot write."""
    return 0 if cannot_write(run) else len(READINGS) * len(run.game.splits.test) * len(missing(run))


def read(run: EvaluationRun, condition: Condition, writer: WeakWriter | None) -> pd.DataFrame:
    """The first text of every test problem taken apart, and its steps read; made once and kept.

    writer: None where nothing is missing, or nobody can read; the columns `READINGS` are then absent and nothing is kept.
    Raises UserError for a stored file that was changed.
    """
    phase = sufficiency_folder(condition.folder)
    if not run.folder.is_done(phase):
        table = taken_apart(run.game.splits.test, run.texts[condition], run.config.grading.marker)
        if writer is None:
            return table
        answer_all(table, writer, run.problems, derive_seed(run.config.seed, "sufficiency", condition.folder))
        with run.folder.phase(phase) as work:
            table[COLUMNS].to_parquet(work / FILE, index=False)
    return read_table(run.folder.verified(phase) / FILE, COLUMNS)


def taken_apart(problems: Sequence[Problem], frame: pd.DataFrame, marker: str) -> pd.DataFrame:
    """A row a problem that has a text: `own_verdict` and `answer` of the first one, its `steps`, and the problem `shown`.

    answer: as an exact number, None where it has none. shown: "" where no other problem has another answer.
    """
    first, others = first_texts(frame), other_problems(problems)
    rows = []
    for problem in problems:
        if problem.id in first.index:
            text = first.text[problem.id]
            answer = extract_answer(text, marker)
            told = None if answer is None else str(answer)
            rows.append((problem.id, first.verdict[problem.id], told, steps_of(text, marker), others[problem.id]))
    return pd.DataFrame(rows, columns=COLUMNS[:5])


def steps_of(text: str, marker: str) -> str:
    """A text without the lines that tell its answer; "" where nothing else is written."""
    lines = [line for line in text.strip().split("\n") if not line.strip().startswith(marker.strip())]
    return "\n".join(lines).strip()


def other_problems(problems: Sequence[Problem]) -> dict[str, str]:
    """By problem id the next problem in turn that has another answer; "" where none has."""
    found = {}
    for k, problem in enumerate(problems):
        turn = [*problems[k + 1 :], *problems[:k]]
        value = parse_number(problem.answer)
        found[problem.id] = next((o.id for o in turn if not agrees(value, o.answer)), "")
    return found


def answer_all(table: pd.DataFrame, writer: WeakWriter, problems: Mapping[str, Problem], seed: int) -> None:
    """Let the weak model read the steps of a table: adds `READINGS`, which are None where there are no steps."""
    asked = table.index[table.steps != ""]
    for column, shown in zip(READINGS, ("shown", "problem_id"), strict=True):
        questions = [problems[p].question if p else "" for p in table.loc[asked, shown]]
        said = dict(zip(asked, writer.answers(questions, list(table.steps[asked]), seed), strict=True))
        table[column] = [said.get(place) for place in table.index]


def describe(
    condition: Condition, table: pd.DataFrame, problems: Mapping[str, Problem], resamples: Resamples
) -> SufficiencyRow:
    """The row of an arm; what a model reads is left out where the table has no `READINGS`."""
    ids = list(table.problem_id)
    correct = (table.own_verdict == "correct").to_numpy()
    own = [Fraction(answer) if isinstance(answer, str) else None for answer in table.answer]
    last = [next(reversed(numbers(steps)), None) for steps in table.steps]
    led = [derivation(steps) for steps in table.steps]
    results = [d.result for d in led]
    shares = np.array([d.used / d.steps if d.steps else np.nan for d in led])
    found = {}
    if "without" in table:
        without, given = (_values(table[column]) for column in READINGS)
        hit = _same(own, without)
        right = [agrees(value, problems[p].answer) for p, value in zip(ids, without, strict=True)]
        found = {
            "own": resamples.mean(ids, hit).interval(),
            "own_null": resamples.mean(ids, of_another(own, without)).interval(),
            "right": resamples.ratio(ids, hit & correct, correct).interval(),
            "gold": resamples.mean(ids, right).interval(),
            "consistent": resamples.mean(ids, _same(given, without)).interval(),
        }
    return SufficiencyRow(
        arm=condition,
        texts=len(table),
        no_steps=float(np.mean(table.steps == "")),
        writer=resamples.mean(ids, correct).interval(),
        told=resamples.mean(ids, _same([None if a is None else abs(a) for a in own], last)).interval(),
        follows=resamples.mean(ids, _same(own, results)).interval(),
        follows_null=resamples.mean(ids, of_another(own, results)).interval(),
        used=resamples.mean(ids, shares).interval(),
        **found,
    )


def of_another(own: Sequence[Hashable], read: Sequence[Hashable]) -> np.ndarray:
    """Of each text (n,) the share of the other texts from which its own answer is read; None is no answer."""
    counts = Counter(value for value in read if value is not None)
    others = [counts[answer] - (answer == value) for answer, value in zip(own, read, strict=True)]
    return np.array([0 if a is None else o for a, o in zip(own, others, strict=True)]) / max(len(own) - 1, 1)


def _same(one: Sequence[Hashable], other: Sequence[Hashable]) -> np.ndarray:
    """Where two answers are one (n,); none is none."""
    return np.array([a is not None and a == b for a, b in zip(one, other, strict=True)], dtype=bool)


def _values(column: pd.Series) -> list[Fraction | None]:
    return [parse_number(line) if isinstance(line, str) else None for line in column]  # a frame has nan for None
