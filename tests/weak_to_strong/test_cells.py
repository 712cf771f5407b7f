"""Cells: what they need, and how they are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.weak_to_strong.cells import Cell, CellResult, EnsembleInfo, load_or, with_needs


def test_every_cell_comes_after_what_it_needs():
    far, near, weak = Cell("student", 0, ("a", "b", "c")), Cell("student", 0, ("a", "b")), Cell("weak", 0, ("a",))
    assert with_needs([far, Cell("ceiling", 0, ("c",)), near]) == {
        far: [near],
        Cell("ceiling", 0, ("c",)): [],
        near: [weak],
        weak: [],
    }


def test_names_say_what_a_cell_is():
    assert Cell("weak", 1, ("a",), teacher="bag", oversight="debate").name == "cells/seed-1/weak/a/bag+debate"
    assert Cell("student", 0, ("a", "b", "c"), "product").name == "cells/seed-0/student/a-b-c/product/single+none"
    assert Cell("ceiling", 0, ("c",), "probe").name == "cells/seed-0/ceiling/c/probe"


def test_a_cell_is_computed_once_and_comes_back_as_it_was(tmp_path):
    run, calls = RunFolder(tmp_path), []
    info = EnsembleInfo(size=2, validation_accuracy_by_size=[0.5, 0.75], learner_weights=[], stopped=None)

    def compute() -> CellResult[EnsembleInfo]:
        calls.append(1)
        return CellResult({"steps": np.array([3, 5]), "test": np.array([[1.0, -1.0], [2.0, -2.0]])}, info)

    first, second = (load_or(run, "cells/x", EnsembleInfo, compute) for _ in range(2))
    assert len(calls) == 1 and first.info == second.info and first.info.cpu_seconds >= 0
    assert first.info.model_copy(update={"cpu_seconds": 0.0}) == info
    assert list(second.last("test")) == [2, -2] and list(second.arrays["steps"]) == [3, 5]
    stored = json.loads((tmp_path / "cells/x/cell.json").read_text())
    assert set(stored) == {"size", "validation_accuracy_by_size", "learner_weights", "stopped", "cpu_seconds"}


def test_a_changed_cell_is_refused(tmp_path):
    run = RunFolder(tmp_path)
    info = EnsembleInfo(size=1, validation_accuracy_by_size=[1.0], learner_weights=[], stopped=None)
    load_or(run, "cells/x", EnsembleInfo, lambda: CellResult({"test": np.zeros((1, 2))}, info))
    (tmp_path / "cells/x/cell.json").write_text("{}")
    with pytest.raises(UserError, match="missing or changed"):
        load_or(run, "cells/x", EnsembleInfo, lambda: pytest.fail("trained again"))
