"""Data sets as items: multiple choice, and rows that cannot serve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legibility.errors import UserError
from legibility.weak_to_strong.classification import classification_rows
from legibility.weak_to_strong.task_settings import ClassificationTask
from tests.support import legibility
from tests.weak_to_strong.world import config_file


def rows_file(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_multiple_choice_becomes_balanced_binary(tmp_path):
    rows = [{"question": f"Q{k}?", "a": f"right{k}", "b": f"w{k}", "c": f"v{k}", "answer": "a"} for k in range(40)]
    rows_file(tmp_path / "mc.jsonl", rows)
    task = ClassificationTask(path="mc.jsonl", label="answer", choices=["a", "b", "c"])
    parts = classification_rows(task, tmp_path)
    items = [x for part in parts.values() for x in part]
    assert len(items) == 80 and sum(x.label for x in items) == 40
    assert all(x.texts[0].startswith("right") == x.label for x in items)
    assert not {x.group for x in parts["train"]} & {x.group for x in parts["test"]}
    listed = [
        {"question": r["question"], "options": [r["b"], r["a"]], "answer": label}
        for r, label in zip(rows, ["B", "2", "right2", "b"], strict=False)
    ]
    rows_file(tmp_path / "list.jsonl", listed[:3])
    found = classification_rows(ClassificationTask(path="list.jsonl", label="answer", choices=["options"]), tmp_path)
    assert all(x.texts[0].startswith("right") == x.label for part in found.values() for x in part)


def test_a_choice_that_says_the_same_is_not_the_wrong_one(tmp_path):
    rows_file(tmp_path / "mc.jsonl", [{"question": f"{k}?", "o": ["4", "4", "5"], "a": "AC"[k % 2]} for k in range(40)])
    parts = classification_rows(ClassificationTask(path="mc.jsonl", label="a", choices=["o"]), tmp_path)
    for part in parts.values():
        texts = {label: {(x.group, x.texts[0]) for x in part if x.label is label} for label in (True, False)}
        assert not texts[True] & texts[False]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"question": "a?"}, {"question": "b?"}], {}, "no column 'label'; columns there: question"),
        ([{"question": f"{k}?", "label": 1} for k in range(9)], {}, "one class only"),
        ([{"question": "a?", "label": "maybe"}], {}, "holds 'maybe'"),
        ([{"question": "a?", "label": None}], {}, "is empty"),
        ([{"question": "a?", "o": ["x", "y"], "label": "z"}], {"choices": ["o"]}, "is no choice"),
        ([{"question": "a?", "o": "x", "label": "x"}], {"choices": ["o"]}, "column with a list"),
        ([{"question": "a?", "o": ["x", None], "label": "x"}], {"choices": ["o"]}, "choice 2 is empty"),
        ([{"question": "a?", "o": ["x", "y", " "], "label": "x"}], {"choices": ["o"]}, "choice 3 is empty"),
        ([{"question": "a?", "o": ["x", "x"], "label": "A"}], {"choices": ["o"]}, "so none is wrong"),
    ],
)
def test_rows_that_cannot_serve_are_one_line_naming_the_file(tmp_path, rows, options, message):
    rows_file(tmp_path / "bad.jsonl", rows)
    with pytest.raises(UserError, match=message) as error:
        classification_rows(ClassificationTask(path="bad.jsonl", **options), tmp_path)
    assert "\n" not in str(error.value) and "bad.jsonl" in str(error.value)


def classified(folder: Path, tiny_experiment: dict, rows: list[dict], **task) -> object:
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    off = dict.fromkeys(("auto_aligner", "in_context", "game_teacher"))
    config = config_file(
        folder,
        tiny_experiment,
        task={"kind": "classification", "path": "rows.jsonl", **task},
        oversight={},
        teachers={},
        seeds=[0],
        grid=[{"weak": ["bytes"], "strong": ["mid"]}],
        parts={p: 8 for p in ("weak", "student", "trusted", "validation", "test")},
        **off,
    )
    return legibility("weak-to-strong", config, "--out", folder / "out")


def test_a_classification_file(tiny_experiment, tmp_path):
    rows = [{"question": f"Is {k} even?", "label": k % 2 == 0} for k in range(120)]
    result = classified(tmp_path, tiny_experiment, rows)
    assert result.code == 0, result.err
    assert json.loads((tmp_path / "out/summary.json").read_text())["task"] == "classification"


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        ([{"question": f"{k}?"} for k in range(60)], {}, "no column 'label'"),
        ([{"question": f"{k}?", "label": 1} for k in range(60)], {}, "one class only"),
        (
            [{"question": f"{k}?", "label": k % 2} for k in range(60)],
            {"student_path": "rows.jsonl"},
            "must not overlap",
        ),
    ],
)
def test_bad_data_is_one_line_and_leaves_nothing(tiny_experiment, tmp_path, rows, task, message):
    result = classified(tmp_path, tiny_experiment, rows, **task)
    assert result.code == 2 and message in result.err and result.err.count("\n") == 1, result.err
    assert not (tmp_path / "out").exists()


def test_labels_are_read_alike_in_every_file(tmp_path):
    """A test file without the telling label (4 of 4) follows the train file, which counts from 1."""
    rows = [{"question": f"Q{k}?", "o": [f"{k}a", f"{k}b", f"{k}c", f"{k}d"], "label": k % 4 + 1} for k in range(40)]
    rows_file(tmp_path / "train.jsonl", rows)
    rows_file(tmp_path / "test.jsonl", [r for r in rows if r["label"] in (2, 3)])
    task = ClassificationTask(path="train.jsonl", test_path="test.jsonl", choices=["o"])
    parts = classification_rows(task, tmp_path)
    right = {x.problem.question: x.texts[0] for part in parts.values() for x in part if x.label}
    assert right == {f"Q{k}?": f"{k}{'abcd'[k % 4]}" for k in range(40)}


def test_whole_numbers_that_became_floats_are_labels(tmp_path):
    rows_file(tmp_path / "rows.jsonl", [{"question": f"{k}?", "label": float(k % 2)} for k in range(40)])
    items = [x for part in classification_rows(ClassificationTask(path="rows.jsonl"), tmp_path).values() for x in part]
    assert {x.problem.question: x.label for x in items} == {f"{k}?": k % 2 == 1 for k in range(40)}
    rows_file(tmp_path / "bad.jsonl", [{"question": "a?", "label": float("nan")}])
    with pytest.raises(UserError, match=r"bad.jsonl line 1: column 'label' is empty"):
        classification_rows(ClassificationTask(path="bad.jsonl"), tmp_path)
