"""Counts from settings: as written, as GSM8K has them, or read from the source."""

from __future__ import annotations

import json

import pytest

from legibility.config import Config
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.planning.amounts import GamePartSizes, part_sizes, text_lengths
from tests.support import ROOT, sums


def test_numbers_that_are_written_are_taken():
    assert part_sizes(load_config(ROOT / "configs/nano.yaml")) == GamePartSizes(1500, 150, 400, 750)


def test_gsm8k_is_counted_without_its_text(monkeypatch):
    monkeypatch.setattr("legibility.planning.amounts.load_problems", None)
    assert part_sizes(load_config(ROOT / "configs/paper.yaml")) == GamePartSizes((7473 - 1300) // 2, 300, 1319, 1000)


def test_another_source_is_read(tmp_path):
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(p) + "\n" for p in sums(120)))
    config = Config.model_validate(
        {"problems": {"train": {"kind": "file", "path": "mine.jsonl", "solution": "solution"}}}
    )
    sizes = part_sizes(config, tmp_path)
    assert 0 < sizes.verifier <= 60 and sizes.validation == sizes.test > 0


def test_lengths_are_given_or_assumed():
    config = load_config(ROOT / "configs/paper.yaml")
    assumed = text_lengths(config)
    assert assumed.answer == 200 and assumed.longest == 400
    assert 120 < assumed.prompt < 260 and 50 < assumed.prompt_for_verifier < 70
    given = text_lengths(config, 100, 300)
    assert (given.prompt, given.answer, given.verifier_text) == (100, 300, given.prompt_for_verifier + 300)
    with pytest.raises(UserError, match=r"--answer-tokens: 401 is more than sampling\.max_new_tokens"):
        text_lengths(config, 100, 401)
