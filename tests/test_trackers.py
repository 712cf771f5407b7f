"""Trackers: what the real TensorBoard and an offline W&B are given, and what is left where one cannot start."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from legibility.errors import UserError
from legibility.trackers import TrackedTable, Trackers, as_markdown, flat

TABLE = TrackedTable("completions", ("role", "completion", "score"), [("sneaky", "1 + 1 = <b>3</b>\n#### 3 | *", 0.25)])


def started(names, run: Path, warn=None) -> Trackers:
    return Trackers.start(names, "legibility", run, {"seed": 0, "ppo": {"steps": 3, "lora": None}}, warn or print)


def pages(run: Path) -> tuple[Path, list[Path]]:
    (run / "figures").mkdir()
    (run / "report.html").write_text("<html>the report</html>")
    imsave(run / "figures" / "tax.png", np.zeros((4, 6, 3)))
    return run / "report.html", [run / "figures" / "tax.png"]


def joined(raw: bytes) -> bytes:
    """The records of a .wandb file, which are cut at every 32 KiB; each piece has a head of 7 bytes."""
    found, place = b"", 7
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size = int.from_bytes(raw[place + 4 : place + 6], "little")
        found, place = found + raw[place + 7 : place + 7 + size], place + 7 + size
    return found


def test_tensorboard_gets_numbers_text_and_figures(tmp_path):
    run = tmp_path / "my run"
    with started(["tensorboard"], run) as trackers:
        trackers.numbers({"round 0 prover/KL": 0.5, "gap": float("nan")})
        trackers.numbers({"round 0 prover/KL": 0.25})
        trackers.table(TABLE)
        trackers.report(*pages(run))
    (file,) = [p for p in (run / "trackers/legibility").glob("events*")]
    events = EventAccumulator(str(file)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("round 0 prover/KL")] == [(1, 0.5), (2, 0.25)]
    (text,) = events.Tensors("completions/text_summary")
    assert text.step == 2 and "&#60;b&#62;3" in text.tensor_proto.string_val[0].decode()
    (image,) = events.Images("report/tax")
    assert (image.width, image.height) == (6, 4)
    assert "gap" not in events.Tags()["scalars"]


def test_wandb_gets_numbers_a_table_and_the_report(tmp_path, monkeypatch):
    run = tmp_path / "my run"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for place in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place))
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    with started(["wandb"], run, said.append) as trackers:
        trackers.numbers({"round 0 prover/KL": 0.5})
        trackers.table(TABLE)
        trackers.report(*pages(run))
    assert said == [] and not (tmp_path / "wandb").exists(), "W&B writes beside the run's other trackers alone"
    (kept,) = (run / "trackers/wandb").glob("offline-run-*")
    (table,) = kept.rglob("*.table.json")
    assert json.loads(table.read_text()) == {
        "columns": list(TABLE.columns),
        "data": [list(TABLE.rows[0])],
        **{k: v for k, v in json.loads(table.read_text()).items() if k not in ("columns", "data")},
    }
    (log,) = kept.glob("*.wandb")
    wanted, end = (b"round 0 prover/KL", b"ppo.steps", b"report.html", b"figures/tax.png"), time.monotonic() + 60
    while not all(word in joined(log.read_bytes()) for word in wanted):  # W&B's own process writes it
        assert time.monotonic() < end, joined(log.read_bytes())
        time.sleep(0.1)


def test_a_tracker_that_cannot_start_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no key\nanywhere")

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", refuse)
    with pytest.raises(UserError, match=r"wandb cannot start \(no key anywhere\); run wandb login"):
        started(["wandb"], tmp_path / "deep/run")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError):
        started(["wandb"], tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and not list((tmp_path / "run").iterdir())


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("legibility.trackers.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "legibility\[wandb\]"'):
        started(["wandb"], tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_one_that_fails_later_is_a_warning():
    class Broken:
        def log(self, *_, **__):
            raise OSError("the disk is full")

    said: list[str] = []
    Trackers(Broken(), said.append).numbers({"loss": 1.0})
    assert said == ["tracking: the disk is full"]
    nothing = Trackers()
    assert not nothing
    nothing.numbers({"loss": 1.0})
    nothing.table(TABLE)
    nothing.close()


def test_settings_are_told_one_by_one():
    assert flat({"a": 1, "b": {"c": None, "d": {"e": [1, 2]}, "f": {}}}) == {
        "a": 1,
        "b.c": "None",
        "b.d.e": "[1, 2]",
        "b.f": "{}",
    }


def test_a_cells_text_stays_text():
    import markdown

    shown = markdown.markdown(as_markdown(TABLE), extensions=["tables"])
    assert shown.count("<td>") == 3 and "<b>" not in shown and "*" not in shown.replace("&#42;", "")
