"""The base of all settings: strictness, the one printer of errors, and names that changed."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field

from legibility.errors import UserError
from legibility.settings import Settings, models_in, parse_settings, read_yaml, with_new_names


class Inner(Settings):
    steps: int = Field(3, ge=1)


class Outer(Settings):
    renamed: ClassVar[dict[str, str]] = {"old.count": "inner.steps", "gone": "name"}
    name: str = "x"
    inner: Inner = Field(default_factory=Inner)
    maybe: Inner | None = None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"step": 1}}, "f.yaml: inner.step: unknown key; did you mean 'steps'?"),
        ({"zzz": 1}, "f.yaml: zzz: unknown key; known keys: name, inner, maybe"),
        ({"inner": {"steps": 0}}, "f.yaml: inner.steps: Input should be greater than or equal to 1 (got 0)"),
        ({"inner": {"steps": 0}, "name": 3}, "f.yaml: name: Input should be a valid string (got 3) (and 1 more)"),
        ({"gone": "y"}, "f.yaml: gone: this setting has a new name; write name instead"),
        ({"old": {"count": 2}}, "f.yaml: old.count: this setting has a new name; write inner.steps instead"),
    ],
)
def test_a_bad_setting_is_one_line_with_file_field_and_fix(data, message):
    with pytest.raises(UserError) as error:
        parse_settings(data, "f.yaml", Outer)
    assert str(error.value) == message


def test_stored_settings_are_read_under_todays_names_and_left_as_they_are():
    stored = {"old": {"count": 2}, "gone": "y", "maybe": None}
    assert with_new_names(stored, Outer) == {"name": "y", "maybe": None, "inner": {"steps": 2}}
    assert stored == {"old": {"count": 2}, "gone": "y", "maybe": None}


def test_a_setting_under_both_names_keeps_todays_value():
    assert with_new_names({"gone": "old", "name": "new"}, Outer) == {"name": "new"}


def test_models_in_finds_sections_behind_none():
    assert models_in(Outer.model_fields["maybe"].annotation) == [Inner]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "must hold a mapping of sections, not a list"),
        ("a: [1\n", "not valid YAML"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line(tmp_path, text, message):
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_yaml(tmp_path / "f.yaml")
    assert "\n" not in str(error.value)


def test_an_empty_file_holds_no_settings_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") == {}
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        read_yaml(tmp_path / "none.yaml")
