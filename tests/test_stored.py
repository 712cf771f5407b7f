"""Records in JSON files: written whole, read back as they were, refused with one line."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import BaseModel, Field, ValidationError

from legibility.errors import UserError
from legibility.stored import Interval, Number, Sparse, Stored, read_stored, stored_text, write_stored


class Entry(Stored):
    version: int = Field(1, alias="schema")
    name: str
    score: Number = None


class Loose(Sparse):
    name: str
    note: str | None = None


def test_a_record_is_written_under_its_aliases_and_read_back(tmp_path):
    record = Entry(name="a", score=0.5)
    write_stored(tmp_path / "entry.json", record)
    assert json.loads((tmp_path / "entry.json").read_text()) == {"schema": 1, "name": "a", "score": 0.5}
    assert read_stored(tmp_path / "entry.json", Entry, fix="restore it") == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_defined_is_null(value):
    assert json.loads(stored_text(Entry(name="a", score=value)))["score"] is None
    assert Interval(value=value, low=0.0, high=1.0).value is None


def test_a_sparse_record_leaves_out_what_nobody_gave():
    assert json.loads(stored_text(Loose(name="a"))) == {"name": "a"}
    assert json.loads(stored_text(Loose(name="a", note=None))) == {"name": "a", "note": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "missing; restore it"),
        ("{", "cannot be read; restore it"),
        ('{"schema": 1}', "name: Field required; restore it"),
        ('{"name": "a", "extra": 1}', "extra: Extra inputs are not permitted; restore it"),
        ("[]", "restore it"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it_and_the_fix(tmp_path, text, message):
    if text is not None:
        (tmp_path / "entry.json").write_text(text)
    with pytest.raises(UserError) as error:
        read_stored(tmp_path / "entry.json", Entry, fix="restore it")
    assert message in str(error.value) and "entry.json" in str(error.value) and "\n" not in str(error.value)


def test_what_an_earlier_version_wrote_is_upgraded_first(tmp_path):
    (tmp_path / "entry.json").write_text('{"title": "a"}')
    read = read_stored(tmp_path / "entry.json", Entry, fix="restore it", upgrade=lambda data: {"name": data["title"]})
    assert read == Entry(name="a")


class Whole(Stored):
    part: Loose


def test_a_sparse_part_leaves_its_keys_out_too():
    assert Whole(part=Loose(name="a")).model_dump(mode="json") == {"part": {"name": "a"}}


def test_a_record_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Entry(name="a").name = "b"


@pytest.mark.parametrize("mode", ["serialization", "validation"])
def test_the_json_schema_has_the_fields_of_sparse_records_too(mode):
    part = Whole.model_json_schema(mode=mode)["$defs"]["Loose"]
    assert set(part["properties"]) == {"name", "note"} and part["required"] == ["name"]
    assert part["additionalProperties"] is False


class _Plain(BaseModel):
    x: float


def test_json_refuses_what_json_cannot_say_and_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_stored(tmp_path / "a.json", _Plain(x=float("inf")))
    assert not (tmp_path / "a.json").exists()
    target = tmp_path / "x.json"
    write_stored(target, _Plain(x=1))
    with pytest.raises(ValueError):
        write_stored(target, _Plain(x=float("nan")))
    assert json.loads(target.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
