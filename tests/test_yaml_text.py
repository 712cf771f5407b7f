"""legibility.yaml_text: what is no settings file is refused at once, with its line; what is one is read as PyYAML does."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given

from legibility.yaml_text import parse_yaml
from tests.fuzzing.settings_input import YAML_TEXT, bomb


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("seed: 1\nppo: {steps: 2}\nseed: 2", "line 3: the key 'seed' stands there twice"),
        ("ppo:\n  steps: 1\n  steps: 1\n", "line 3: the key 'steps'"),
        ("[" * 70 + "]" * 70, "nested more than 60 levels"),
        ("[" * 20_000, "nested more than 60 levels"),
        ("".join(f"{' ' * k}a:\n" for k in range(1200)), "nested more than 60 levels"),
        (bomb(10, 12), "aliases stand for more than 100,000 values"),
        ("a: &a [1, *a]", "line 1: an alias stands inside what it names"),
        ("seed: " + "9" * 5000, "a number of 5,000 digits"),
        ("seed: 0x" + "f" * 9000, "digits"),
        ("text: \"\\ud800\"", "half of a surrogate pair"),
        ("!!timestamp x", "does not fit its tag"),
        ("!!bool maybe", "does not fit its tag"),
        ("a: 2026-13-45", "month"),
        ("a: b\x00", "not valid YAML"),
        ("a: " + "x" * 1_100_000, "longer than 1,000,000 characters"),
        ("a: *" + "b" * 5000, "undefined alias"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_what_is_no_settings_file_is_one_line_at_once(text, what):
    started = time.process_time()
    with pytest.raises(ValueError) as error:
        parse_yaml(text)
    message = str(error.value)
    assert what in message and "\n" not in message and len(message) < 400
    assert time.process_time() - started < 5  # a second here; the aliases would take the memory of any machine


def test_ordinary_yaml_is_read_as_ever():
    text = (
        "a: &base {x: 1, y: [1, 2.5, null, true]}\nb: {<<: *base, y: text}\nc: *base\nd: 2026-11-26\n1: one\n'1': two\n"
    )
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None and parse_yaml("# nothing\n") is None


@given(YAML_TEXT)
def test_whatever_is_read_is_what_pyyaml_reads(text):
    """Nothing but ValueError; and no other data than PyYAML's."""
    try:
        data = parse_yaml(text)
    except ValueError:
        return
    assert repr(data) == repr(yaml.safe_load(text))
