"""What the real TensorBoard gets of an evaluation, and what happens where it cannot start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from legibility.trackers import Trackers
from tests.evaluation.helpers import SMALL
from tests.support import legibility

TENSORBOARD = "tracking.trackers=[tensorboard]"


@pytest.fixture
def copied(tiny_run, tmp_path) -> Path:
    return shutil.copytree(tiny_run.path, tmp_path / "tiny")


def test_an_evaluation_sends_its_numbers_and_a_table_per_section(copied):
    result = legibility("evaluate", copied, "--quick", "--no-report", *SMALL, TENSORBOARD)
    assert result.code == 0, result
    (file,) = (copied / "trackers/legibility").glob("events*")
    events = EventAccumulator(str(file)).Reload()
    summary = json.loads((copied / "summary.json").read_text())
    (sent,) = events.Scalars("evaluation/helpful_accuracy/round 1")
    assert sent.value == pytest.approx(summary["arms"]["game"]["rounds"][1]["helpful_accuracy"])
    tables = {name.partition("/text_summary")[0] for name in events.Tags()["tensors"]}
    assert {"evaluation/matrix", "evaluation/soundness", "evaluation/tax"} <= tables
    (table,) = events.Tensors("evaluation/soundness/text_summary")
    assert "| verifier |" in table.tensor_proto.string_val[0].decode()
    assert not (copied / "config.yaml").read_text().count("tensorboard"), "the run's own settings stay"


def test_without_trackers_nothing_is_sent(copied):
    assert legibility("evaluate", copied, "--quick", "--no-report", *SMALL).code == 0
    assert not (copied / "trackers").exists()


def test_a_tracker_that_cannot_start_is_a_warning(copied, monkeypatch):
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "init_trackers", lambda *_, **__: 1 / 0)
    result = legibility("evaluate", copied, "--quick", "--no-report", *SMALL, TENSORBOARD)
    assert result.code == 0 and "nothing of this evaluation is tracked" in result.out + result.err
    assert (copied / "evaluation/soundness.json").is_file()


def test_attacks_are_sent_too(copied, monkeypatch):
    tables = []
    monkeypatch.setattr(Trackers, "table", lambda self, table: tables.append(table))
    more = ("attack.max_steps=1", "attack.problems_per_step=3", TENSORBOARD)
    assert legibility("attack", copied, "--verifier", "0", "--reward", "src", "--quick", *more).code == 0
    assert {"evaluation/attacks", "evaluation/survival"} <= {table.name for table in tables}
