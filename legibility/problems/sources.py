"""Where problems come from: the built-in generator, GSM8K, any hub dataset, any file of records.

The paper uses GSM8K and 100k synthetic problems; here the source is a setting. Every source ends in
the same `Problem` record, and gold answers are kept as written after checking that they are numbers.
What cannot be read stops with one line that names the file, the line and the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from legibility.errors import UserError
from legibility.grading import read_gold
from legibility.hub import hub_reachable, only_what_answers
from legibility.printable import printable
from legibility.problems.generator import generate_problems
from legibility.problems.pretraining import built_in_text
from legibility.problems.record_files import Located, Row, SemicolonRow, read_file, short
from legibility.problems.records import Problem
from legibility.settings import Settings

if TYPE_CHECKING:
    from datasets import Dataset

CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")  # GSM8K writes <<48/2=24>> before each result
SOLUTION_MARKER = "####"  # the last line of a worked solution is "#### gold"


class GeneratedSource(Settings):
    """Word problems made by the built-in generator, with exact steps."""

    kind: Literal["generated"] = Field(default="generated", description="Use the built-in generator.")
    count: PositiveInt = Field(default=10_000, description="How many problems to generate.")
    seed: NonNegativeInt = Field(default=0, description="Seed of the generator; the same seed gives the same problems.")
    steps: dict[int, float] | None = Field(
        default=None,
        description="Weight of each step count (2 to 6), as in {2: 1, 3: 1}; null is the generator's own mix.",
    )
    distractor: float = Field(
        default=0.15, ge=0, le=1, description="Chance that a problem holds one irrelevant sentence."
    )
    families: list[str] | None = Field(
        default=None, min_length=1, description="Stories to draw from; null is all of them."
    )
    leave_out_read: bool = Field(
        default=True,
        description="Leave out questions that stand in the built-in models' pre-training text; the next ones drawn take their place.",
    )


class GSM8KSource(Settings):
    """Grade-school maths word problems with human-written solutions (Cobbe et al. 2021)."""

    kind: Literal["gsm8k"] = Field(default="gsm8k", description="Use GSM8K.")
    path: str | None = Field(
        default=None,
        description="Folder that holds train.jsonl and test.jsonl; null downloads openai/gsm8k from the hub.",
    )
    split: str = Field(default="train", description="Which split to read: train or test.")
    max_steps: NonNegativeInt | None = Field(
        default=None,
        description="Keep only problems whose solution has at most this many calculator marks; null keeps all.",
    )
    limit: PositiveInt | None = Field(
        default=None, description="How many problems to read, from the first on; null reads all."
    )


class _MappedSource(Settings):
    question: str | list[str] = Field(
        default="question", description="Field that holds the question, or a list of fields joined by a space."
    )
    answer: str = Field(default="answer", description="Field that holds the gold answer.")
    solution: str | None = Field(
        default=None, description="Field that holds a worked solution; null when there is none."
    )
    id: str | None = Field(default=None, description="Field that holds a unique id; null numbers the records from 0.")
    answer_marker: str | None = Field(
        default=None,
        min_length=1,
        description="The gold answer is what follows the last such marker in the answer field; null takes it whole.",
    )
    limit: PositiveInt | None = Field(
        default=None, description="How many problems to read, from the first on; null reads all."
    )


class DatasetSource(_MappedSource):
    """Any dataset on the Hugging Face hub whose records have a question and a numeric answer."""

    kind: Literal["dataset"] = Field(default="dataset", description="Use a dataset from the hub.")
    name: str = Field(description="Hub id of the dataset, for example openai/gsm8k.")
    subset: str | None = Field(default=None, description="Configuration of the dataset, where it has several.")
    split: str = Field(default="train", description="Which split of the dataset to read.")


class FileSource(_MappedSource):
    """A local file of records: JSON lines, a JSON list of objects, a table with a header, or Parquet."""

    kind: Literal["file"] = Field(default="file", description="Use a local file.")
    path: str = Field(
        description="The .jsonl, .json, .csv, .tsv or .parquet file, all but the last also with .gz, .zst or .zip behind; "
        "relative paths start at the config file's folder."
    )


ProblemSource = Annotated[GeneratedSource | GSM8KSource | DatasetSource | FileSource, Field(discriminator="kind")]


def load_source(source: ProblemSource, *, base_dir: str | Path | None = None) -> list[Problem]:
    """Every problem of `source`, in its own order; never an empty list.

    base_dir: where relative paths start (default: the working directory).
    Raises UserError where the source cannot be read, holds no problems, or has a record without a question and a
    numeric answer.
    """
    if isinstance(source, GeneratedSource):
        return draw_generated(source)[0]
    if isinstance(source, GSM8KSource):
        return _gsm8k(source, base_dir)
    if isinstance(source, DatasetSource):
        return _dataset(source)
    path = resolve_path(source.path, base_dir)
    return _collect(read_file(path), source, prefix=path.stem, label=path.name, place=str(path))


def draw_generated(source: GeneratedSource) -> tuple[list[Problem], int]:
    """The generated problems, and how many were left out because a built-in model has read them. Raises UserError."""
    left_out: set[str] = set()

    def read(question: str) -> bool:
        if source.leave_out_read and built_in_text().holds(question):
            left_out.add(question)
        return question in left_out

    try:
        problems = generate_problems(
            source.count,
            source.seed,
            steps=source.steps,
            distractor=source.distractor,
            families=source.families,
            leave_out=read,
        )
    except ValueError as error:
        raise UserError(f"generated problems: {error}") from error
    return problems, len(left_out)


def _gsm8k(source: GSM8KSource, base_dir: str | Path | None) -> list[Problem]:
    rows: Iterable[Located]
    if source.path is None:
        place = f"openai/gsm8k {source.split}"
        rows = dataset_rows(
            from_hub("openai/gsm8k", "main", source.split, "give a folder with train.jsonl and test.jsonl as path:"),
            place,
        )
    else:
        folder = resolve_path(source.path, base_dir)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; path: of gsm8k is a folder with train.jsonl and test.jsonl")
        place = str(folder / f"{source.split}.jsonl")
        rows = read_file(Path(place))

    def short_enough(row: Row) -> bool:
        return source.max_steps is None or len(CALCULATOR_MARK.findall(row["answer"])) <= source.max_steps

    mapping = _MappedSource(solution="answer", answer_marker=SOLUTION_MARKER, limit=source.limit)
    return _collect(rows, mapping, prefix=f"gsm8k-{source.split}", label="gsm8k", place=place, keep=short_enough)


def _dataset(source: DatasetSource) -> list[Problem]:
    dataset = from_hub(
        source.name, source.subset, source.split, "check name, subset and split, or save it as JSONL and use kind: file"
    )
    place = f"{source.name} {source.split}"
    prefix = f"{source.name.rsplit('/', 1)[-1]}-{source.split}"
    return _collect(dataset_rows(dataset, place), source, prefix=prefix, label=source.name, place=place)


# ---------------------------------------------------------------- records to problems


def _collect(
    rows: Iterable[Located],
    mapping: _MappedSource,
    *,
    prefix: str,
    label: str,
    place: str,
    keep: Callable[[Row], bool] = lambda row: True,
) -> list[Problem]:
    problems: list[Problem] = []
    used: dict[str, str] = {}  # id -> where it was first seen
    total = 0
    for total, (where, row) in enumerate(rows, start=1):
        problem = _problem(row, where, mapping, default_id=f"{prefix}-{total - 1}", label=label)
        if problem.id in used:
            first = used[problem.id]
            raise UserError(f"{where}: id {short(problem.id)} is already used at {first}; ids must be unique")
        used[problem.id] = where
        if keep(row):
            problems.append(problem)
        if len(problems) == mapping.limit:
            break
    if not problems:
        why = (
            f"none of its {total} problems is short enough; raise max_steps"
            if total
            else "it holds no problems; give a source that has some"
        )
        raise UserError(f"{place}: {why}")
    return problems


def _problem(row: Row, where: str, mapping: _MappedSource, *, default_id: str, label: str) -> Problem:
    fields = [mapping.question] if isinstance(mapping.question, str) else mapping.question
    question = " ".join(_text(row, name, where) for name in fields)
    gold = _gold(row, where, mapping)
    solution = ""
    if mapping.solution is not None and not (mapping.solution in row and row[mapping.solution] in (None, "")):
        marker = mapping.answer_marker or SOLUTION_MARKER
        solution = _worked(_text(row, mapping.solution, where), gold, marker)
    name = default_id if mapping.id is None else _text(row, mapping.id, where)
    return Problem(id=name, question=question, answer=gold, solution=solution, source=label)


def _gold(row: Row, where: str, mapping: _MappedSource) -> str:
    gold = _text(row, mapping.answer, where)
    if mapping.answer_marker is not None:
        if mapping.answer_marker not in gold:
            raise UserError(
                f"{where}: no marker {mapping.answer_marker!r} in field {mapping.answer!r}; fix the record or set answer_marker: to the marker there"
            )
        gold = gold.rpartition(mapping.answer_marker)[2].strip()
    if isinstance(row, SemicolonRow) and re.search(r"(?<![\d,.])\d{1,3},\d{3}(?![\d,.])", gold):
        raise UserError(
            f"{where}: the answer {short(gold)} may be a decimal or a thousands comma in a table separated by "
            "semicolons; write it without the comma"
        )
    number = read_gold(gold)
    if number is None:
        hint = "fix the record" if mapping.answer_marker else "set answer_marker: where a solution comes before it"
        raise UserError(f"{where}: the answer {short(gold)} in field {mapping.answer!r} is not a number; {hint}")
    return number


def _worked(text: str, gold: str, marker: str) -> str:
    """A reference solution: no calculator marks, its own marker line replaced by "#### gold"."""
    text = CALCULATOR_MARK.sub("", text)
    head, found, tail = text.rpartition(marker)
    if found and read_gold(tail) is not None:
        text = head
    return f"{text.strip()}\n{SOLUTION_MARKER} {gold}".lstrip()


def field_names(row: Row) -> str:
    """The names of a record's first fields, for messages."""
    shown = [printable(str(name)[:40]) for name in islice(row, 20)]
    return ", ".join(shown) + (", …" if len(row) > len(shown) else "") if shown else "none"


def _text(row: Row, name: str, where: str) -> str:
    if name not in row:
        raise UserError(f"{where}: no field {name!r}; fields there: {field_names(row)}")
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise UserError(
            f"{where}: field {name!r} must hold text or a number, found {short(value)}; "
            "name another field or fix the record"
        )
    if (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, Decimal) and not value.is_finite()
    ):
        raise UserError(
            f"{where}: field {name!r} holds {str(value)!r}, which is not a number; fill it in or remove the record"
        )
    text = (format(value, "f") if isinstance(value, Decimal) else str(value)).strip()
    if not text:
        raise UserError(f"{where}: field {name!r} is empty; fill it in or remove the record")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{where}: field {name!r} holds half a character (a lone surrogate); fix or remove the record")
    return text


# ---------------------------------------------------------------- reading


def resolve_path(path: str, base_dir: str | Path | None) -> Path:
    """A path of a config file, which may begin with ~, from `base_dir` on. Raises UserError for an unknown user."""
    try:
        return Path(base_dir or ".") / Path(path).expanduser()
    except RuntimeError as error:  # "~nobody/…"
        raise UserError(f"{path}: {error}; write the folder out") from error


def from_hub(name: str, subset: str | None, split: str, advice: str) -> Dataset:
    """A split of a data set on the hub. Raises UserError, which ends in `advice`, where it cannot be loaded."""
    import datasets  # slow to import; most sources do without

    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline or not hub_reachable()  # the cache alone, not half a minute of retries
    try:
        with only_what_answers():
            return datasets.load_dataset(name, subset, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = short(" ".join(str(error).split()))
        raise UserError(f"dataset {name} ({split}) could not be loaded from the hub: {reason}; {advice}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def dataset_rows(dataset: Dataset, place: str) -> Iterator[Located]:
    """The records of a data set, each with where it stands: "PLACE record 1", …"""
    for number, row in enumerate(dataset, start=1):
        yield f"{place} record {number}", row
