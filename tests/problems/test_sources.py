"""Problem sources: mappings, and one-line errors that name the file, the line and the field."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from legibility.errors import UserError
from legibility.grading import grade, parse_number
from legibility.problems import Problem, ProblemSettings, load_problems, record_files
from legibility.problems.sources import (
    DatasetSource,
    FileSource,
    GeneratedSource,
    GSM8KSource,
    ProblemSource,
    load_source,
)
from tests.support import GSM8K

GOOD = '{"question": "Ann has 3 pens and buys %d more. How many?", "answer": "%d"}'


def jsonl(folder: Path, *lines: str, name: str = "file.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def good(n: int) -> list[str]:
    return [GOOD % (i, i + 3) for i in range(n)]


def failure(path: Path, **fields: object) -> str:
    with pytest.raises(UserError) as caught:
        load_source(FileSource(path=str(path), **fields))
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- files


def test_jsonl_with_the_default_fields(tmp_path):
    path = jsonl(tmp_path, *good(2), "", '{"question": " Q 3? ", "answer": 1200, "extra": null}')
    assert load_source(FileSource(path=str(path))) == [
        Problem("file-0", "Ann has 3 pens and buys 0 more. How many?", "3", source="file.jsonl"),
        Problem("file-1", "Ann has 3 pens and buys 1 more. How many?", "4", source="file.jsonl"),
        Problem("file-2", "Q 3?", "1200", source="file.jsonl"),
    ]


def test_relative_paths_start_at_base_dir(tmp_path):
    jsonl(tmp_path, *good(1))
    assert len(load_source(FileSource(path="file.jsonl"), base_dir=tmp_path)) == 1


def test_csv_mapping(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes('\ufeffkey,ask,gold,how\na7,"Two, or\nthree?","1,200",\nb2,Four?,$4.50,2+2.50\n'.encode())
    source = FileSource(path=str(path), question="ask", answer="gold", solution="how", id="key")
    assert load_source(source) == [
        Problem("a7", "Two, or\nthree?", "1,200", source="data.csv"),
        Problem("b2", "Four?", "$4.50", "2+2.50\n#### $4.50", source="data.csv"),
    ]


def test_json_list_with_a_question_in_two_fields(tmp_path):
    path = tmp_path / "svamp.json"
    path.write_text(json.dumps([{"ID": "x-1", "Body": "Ed has 5 hats.", "Question": "How many?", "Answer": 5.0}]))
    source = FileSource(path=str(path), question=["Body", "Question"], answer="Answer", id="ID")
    assert load_source(source) == [Problem("x-1", "Ed has 5 hats. How many?", "5.0", source="svamp.json")]


def test_answer_marker_and_worked_solution(tmp_path):
    row = {"question": "Q?", "answer": "#### Plan\n4 * 3 = <<4*3=12>>12\nAnswer: 12"}
    path = jsonl(tmp_path, json.dumps(row))
    (problem,) = load_source(FileSource(path=str(path), answer_marker="Answer:", solution="answer"))
    assert problem.answer == "12"
    assert problem.solution == "#### Plan\n4 * 3 = 12\n#### 12"


@pytest.mark.parametrize(
    "number", ["2.0107e-06", "-7.5E-3", "1e-300", "1.7976931348623157e308", "9" * 100, "9" * 4300, "-0", "1E5"]
)
def test_every_finite_json_number_is_a_gold(tmp_path, number):
    (problem,) = load_source(FileSource(path=str(jsonl(tmp_path, f'{{"question": "Q?", "answer": {number}}}'))))
    assert parse_number(problem.answer) == Fraction(number)
    assert grade(f"#### {problem.answer}", problem.answer) == "correct"


def test_units_behind_a_gold_are_left_out(tmp_path):
    rows = ["4 + 5 = 9\n#### 9 apples", "#### 9 (apples)", "#### $9.00", "#### 9%"]
    path = jsonl(tmp_path, *(json.dumps({"question": f"Q{i}?", "answer": text}) for i, text in enumerate(rows)))
    problems = load_source(FileSource(path=str(path), answer_marker="####", solution="answer"))
    assert [p.answer for p in problems] == ["9", "9", "$9.00", "9%"]
    assert problems[0].solution == "4 + 5 = 9\n#### 9"
    path = jsonl(tmp_path, '{"question": "Q?", "answer": "#### 9 dozen"}')
    assert "line 1: the answer '9 dozen' in field 'answer' is not a number" in failure(path, answer_marker="####")


def test_limit_keeps_the_first_and_reads_no_further(tmp_path):
    path = jsonl(tmp_path, *good(3), "broken")
    assert [p.id for p in load_source(FileSource(path=str(path), limit=2))] == ["file-0", "file-1"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz", "b.csv"])
def test_a_file_of_empty_lines_is_not_read_to_its_end(name, tmp_path, monkeypatch):
    """A packed one of 1 MB can hold a billion."""
    monkeypatch.setattr(record_files, "MAX_EMPTY", 50)
    content = (b"question,answer\n" if name == "b.csv" else b"") + b"\n" * 60
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert "more than 50 empty lines; check whether it is the right file" in failure(tmp_path / name)


def test_a_line_separator_inside_a_string_is_no_line_end(tmp_path):
    path = jsonl(tmp_path, '{"question": "one\u2028two?", "answer": "1"}', *good(5), "{")
    assert "file.jsonl line 7:" in failure(path)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('{"question": "Q?", "answer": 3', ["not valid JSON", "fix or remove the line"]),
        ("[" * 100_000, ["not valid JSON"]),
        ('{"question": "Q?", "answer": ' + "9" * 5000 + "}", ["not valid JSON"]),
        ('["Q?", 3]', ["expected an object"]),
        ('{"question": "Q?", "result": 3, "note": 1}', ["no field 'answer'", "question, result, note"]),
        ('{"question": "", "answer": 3}', ["'question' is empty"]),
        ('{"question": null, "answer": 3}', ["'question' must hold text", "None"]),
        ('{"question": "Q?", "answer": true}', ["'answer' must hold text or a number", "True"]),
        ('{"question": "Q?", "answer": "a dozen"}', ["'a dozen'", "field 'answer'", "not a number"]),
        ('{"question": "Q?", "answer": NaN}', ["'nan'", "not a number"]),
        ('{"question": "\\ud83d?", "answer": 3}', ["'question'", "surrogate"]),
    ],
)
def test_a_bad_line_7_is_named(tmp_path, line, parts):
    path = jsonl(tmp_path, *good(6), line, *good(1))
    message = failure(path)
    assert f"{path} line 7: " in message
    for part in parts:
        assert part in message


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_bytes(GOOD.encode() % (1, 4) + b'\n{"question": "caf\xe9", "answer": 1}\n')
    assert "line 2: not valid JSON (not UTF-8" in failure(path)
    path = tmp_path / "file.csv"
    path.write_bytes(b"question,answer\ncaf\xe9,1\n")
    assert "file.csv line 1 or soon after: not UTF-8" in failure(path)


def test_missing_marker_id_and_solution_fields(tmp_path):
    path = jsonl(tmp_path, *good(1))
    assert "line 1: no marker '####' in field 'answer'" in failure(path, answer_marker="####")
    assert "line 1: no field 'uid'; fields there: question, answer" in failure(path, id="uid")
    assert "line 1: no field 'how'" in failure(path, solution="how")


def test_repeated_id(tmp_path):
    rows = [{"question": f"Q{i}?", "answer": i, "uid": uid} for i, uid in enumerate(["a", "b", "a"])]
    message = failure(jsonl(tmp_path, *map(json.dumps, rows)), id="uid")
    assert "line 3: id 'a' is already used at" in message
    assert "line 1;" in message


def test_missing_empty_and_unknown_files(tmp_path):
    assert "nowhere.jsonl: no such file" in failure(tmp_path / "nowhere.jsonl")
    assert "file.jsonl: it holds no problems" in failure(jsonl(tmp_path, ""))
    assert ".jsonl, .json, .csv, .tsv or .parquet" in failure(tmp_path / "data.xml")
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv: cannot be read" in failure(tmp_path / "folder.csv")


def test_bad_json_files(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('[\n{"question": 1,}\n]')
    assert "file.json: not valid JSON" in failure(path)
    assert "line 2" in failure(path)
    path.write_text('{"data": [{"question": "Q?"}]}')
    assert "expected a list of objects, found one under 'data'; save that list alone" in failure(path)
    path.write_text("3")
    assert "expected a list of objects, found int" in failure(path)
    path.write_text('[{"question": "Q?", "answer": 1}, {"question": "Q?"}]')
    assert "file.json record 2: no field 'answer'" in failure(path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("question,answer\nQ?,1\nR?,2,3\n", ["line 3", "more cells"]),
        ("question,answer\nQ?,1\nR?\n", ["line 3", "no field 'answer'", "fields there: question"]),
        ('question,answer\nQ?,1\n"R?,2\n', ["line 3", "not valid CSV"]),
        ('question,answer\n\n"Q\n?",1\n"R\n?",two\n', ["line 5", "'two'", "not a number"]),
        ("question,question\nQ?,1\n", ["line 1", "same name"]),
        ("question,answer\n", ["holds no problems"]),
        ("", ["holds no problems"]),
    ],
)
def test_bad_csv(tmp_path, text, parts):
    path = tmp_path / "file.csv"
    path.write_text(text)
    message = failure(path)
    for part in ["file.csv", *parts]:
        assert part in message


# ---------------------------------------------------------------- GSM8K and the hub

ROWS = [
    {"question": "Q0?", "answer": "He runs 3*3=<<3*3=9>>9 times\nSo 9*60=$<<9*60=540>>540\n#### 1,540"},
    {"question": "Q1?", "answer": "It takes 2/2=<<2/2=1>>1 bolt\n#### 1"},
    {"question": "Q2?", "answer": "No marks.\n#### -7"},
]
SOLUTION_0 = "He runs 3*3=9 times\nSo 9*60=$540\n#### 1,540"


@pytest.fixture
def gsm8k(tmp_path):
    jsonl(tmp_path, *map(json.dumps, ROWS), name="test.jsonl")
    return tmp_path


def test_gsm8k_from_a_folder(gsm8k):
    problems = load_source(GSM8KSource(path=".", split="test"), base_dir=gsm8k)
    assert problems[0] == Problem("gsm8k-test-0", "Q0?", "1,540", SOLUTION_0, source="gsm8k")
    assert [p.answer for p in problems] == ["1,540", "1", "-7"]


def test_gsm8k_max_steps_keeps_ids(gsm8k):
    def ids(**fields):
        return [p.id for p in load_source(GSM8KSource(path=str(gsm8k), split="test", **fields))]

    assert ids(max_steps=1) == ["gsm8k-test-1", "gsm8k-test-2"]
    assert ids(max_steps=1, limit=1) == ["gsm8k-test-1"]
    assert ids(max_steps=0) == ["gsm8k-test-2"]
    jsonl(gsm8k, json.dumps(ROWS[0]), name="test.jsonl")
    with pytest.raises(UserError, match=r"test.jsonl: none of its 1 problems is short enough; raise max_steps"):
        ids(max_steps=1)


def test_gsm8k_missing_folder_and_split(gsm8k):
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        load_source(GSM8KSource(path="nowhere"), base_dir=gsm8k)
    with pytest.raises(UserError, match=r"train.jsonl: no such file"):
        load_source(GSM8KSource(path=str(gsm8k)))


def test_hub_sources_map_like_files(gsm8k, monkeypatch):
    datasets = pytest.importorskip("datasets")
    calls = []

    def load_dataset(*args, **kwargs):
        calls.append((args, kwargs))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    from_hub = load_source(GSM8KSource(split="test"))
    assert calls.pop() == (("openai/gsm8k", "main"), {"split": "test"})
    assert from_hub == load_source(GSM8KSource(path=str(gsm8k), split="test"))

    source = DatasetSource(name="who/what", subset="easy", split="dev", answer_marker="####")
    assert load_source(source)[0] == Problem("what-dev-0", "Q0?", "1,540", source="who/what")
    assert calls.pop() == (("who/what", "easy"), {"split": "dev"})
    with pytest.raises(UserError, match=r"who/what train record 1: no field 'ask'; fields there: question, answer"):
        load_source(DatasetSource(name="who/what", question="ask"))


def test_an_unreachable_hub_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def load_dataset(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'openai/gsm8k'\non the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError) as caught:
        load_source(GSM8KSource())
    assert "path:" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"dataset who/what \(train\) could not be loaded.*kind: file"):
        load_source(DatasetSource(name="who/what"))


@pytest.mark.skipif(not (GSM8K / "train.jsonl").exists(), reason="GSM8K is not on this machine (LEGIBILITY_GSM8K)")
def test_all_of_gsm8k():
    train = load_source(GSM8KSource(path=str(GSM8K)))
    test = load_source(GSM8KSource(path=str(GSM8K), split="test"))
    assert (len(train), len(test)) == (7473, 1319)
    for problem in train + test:
        value = parse_number(problem.answer)
        assert value is not None and value == int(problem.answer.replace(",", ""))
        assert "<<" not in problem.solution
        assert problem.solution.endswith(f"\n#### {problem.answer}")
        assert problem.solution.count("####") == 1
    assert len(load_source(GSM8KSource(path=str(GSM8K), max_steps=2))) == 95 + 404 + 2175


# ---------------------------------------------------------------- generator and config


def test_generated_source_is_a_function_of_its_settings():
    source = GeneratedSource(count=20, seed=3, steps={2: 1}, distractor=0)
    problems = load_source(source)
    assert problems == load_source(source)
    assert problems != load_source(source.model_copy(update={"seed": 4}))
    assert all(len(p.steps) == 2 for p in problems)


def test_generator_settings_it_cannot_use():
    with pytest.raises(UserError, match="moonbase"):
        load_source(GeneratedSource(count=1, families=["moonbase"]))
    with pytest.raises(UserError, match="steps"):
        load_source(GeneratedSource(count=1, steps={40: 1}))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"kind": "gsm8k", "spilt": "test"}, "spilt"),
        ({"kind": "filed", "path": "x.csv"}, "filed"),
        ({"kind": "file"}, "path"),
        ({"kind": "generated", "count": 0}, "count"),
    ],
)
def test_settings_are_validated(source, complaint):
    with pytest.raises(ValidationError, match=complaint):
        TypeAdapter(ProblemSource).validate_python(source)


def test_every_setting_says_what_it_is():
    for model in (GeneratedSource, GSM8KSource, DatasetSource, FileSource, ProblemSettings):
        for name, info in model.model_fields.items():
            assert info.description and info.description.endswith("."), f"{model.__name__}.{name}"


def test_load_problems_from_a_config(tmp_path):
    jsonl(tmp_path, *(json.dumps({"question": f"What is {i} + 1?", "answer": i + 1}) for i in range(40)))
    config = ProblemSettings.model_validate(
        {"train": {"kind": "file", "path": "file.jsonl"}, "prover": 10, "verifier": 9, "validation": 8, "test_size": 7}
    )
    splits = load_problems(config, base_dir=tmp_path)
    assert [len(part) for part in (splits.prover, splits.verifier, splits.validation, splits.test)] == [10, 9, 8, 7]
    assert splits == load_problems(config, base_dir=tmp_path)
    assert ProblemSettings.model_validate(config.model_dump()) == config
