"""What several tests of weak-to-strong need: items of known truth, config files, checks of intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from legibility.problems.generator import flawed_solution, generate_problems, worked_solution
from legibility.weak_to_strong.items import Item


def labelled_items(count: int = 6) -> list[Item]:
    """A right and a wrong solution of each of `count` problems."""
    rng = np.random.default_rng(0)
    items = []
    for p in generate_problems(count, 3):
        style = {"steps": 1.0}
        items.append(Item(f"{p.id}/r", p.id, p, (worked_solution(p, rng, style),), True, "base"))
        items.append(Item(f"{p.id}/w", p.id, p, (flawed_solution(p, rng, style)[0],), False, "base"))
    return items


def config_file(folder: Path, settings: dict, **changes) -> Path:
    """An experiment's YAML file with some sections changed."""
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**settings, **changes}, sort_keys=False), encoding="utf-8")
    return path


def check_estimate(value: dict) -> None:
    """A PGR of a stored summary: numbers in order, or a sentence instead of them."""
    assert {"value", "low", "high"} <= set(value)
    if value["value"] is None:
        assert value["undefined"]
    else:
        assert value["low"] <= value["high"]
