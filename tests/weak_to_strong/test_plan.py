"""Which cells a grid asks for."""

from __future__ import annotations

from legibility.weak_to_strong.cells import Cell
from legibility.weak_to_strong.experiment_settings import Combination, ExperimentSettings
from legibility.weak_to_strong.plan import ceiling_cell, chain, planned_cells, student_cell


def settings(**changes) -> ExperimentSettings:
    models = {name: {"model": "nano-xs"} for name in "abcd"}
    grid = [{"weak": ["a"], "strong": ["b", "d"], "objectives": ["xent"]}]
    return ExperimentSettings.model_validate({"seeds": [0], "models": models, "grid": grid, **changes})


def test_bootstrapping_passes_through_the_grids_students_in_the_order_of_the_models():
    assert chain(settings(), "a", "d") == ("a", "b", "d")
    assert chain(settings(steps_between=["c", "b"]), "a", "d") == ("a", "b", "c", "d")
    assert chain(settings(steps_between=[]), "a", "d") == ("a", "d")


def test_the_cell_of_a_student():
    found = student_cell(settings(), 3, Combination("a", "d", "confidence", "bag", "debate"))
    assert found == Cell("student", 3, ("a", "d"), "confidence", "bag", "debate")
    assert student_cell(settings(), 3, Combination("a", "d", "bootstrapping")) == Cell("student", 3, ("a", "b", "d"))
    assert student_cell(settings(), 3, Combination("a", "b", "bootstrapping")) is None  # it would be xent


def test_the_ceiling_of_a_probe_is_a_probe():
    assert ceiling_cell(0, "d", "probe") == Cell("ceiling", 0, ("d",), "probe")
    assert ceiling_cell(0, "d", "product") == Cell("ceiling", 0, ("d",), "xent")


def test_a_plan_has_every_student_its_plain_weak_model_and_its_ceiling_once():
    cells = planned_cells(
        settings(auto_aligner={"generations": ["a", "b", "d"]}, in_context={"model": "x", "weak": "c"})
    )
    assert set(cells) == {
        Cell("student", 0, ("a", "b")),
        Cell("student", 0, ("a", "d")),
        Cell("student", 0, ("a", "b", "d")),  # what the auto-aligner is compared with
        Cell("weak", 0, ("a",)),
        Cell("weak", 0, ("c",)),  # what labels the demonstrations
        Cell("ceiling", 0, ("b",)),
        Cell("ceiling", 0, ("d",)),
    }
    assert len(cells) == len(set(cells))
