"""`weak-to-strong --quick`: an experiment at its smallest, to see every part of it work in under three minutes.

One seed, the first weak model and the strongest student (and one in between for bootstrapping); every objective on
the plain teacher, every teacher and oversight once with the first objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legibility.config_file import load_config
from legibility.settings import parse_settings
from legibility.weak_to_strong.experiment_settings import ExperimentSettings

QUICK_SHARE = 0.4  # of the items


def quick_experiment(config: str | Path, overrides: Sequence[str] = ()) -> ExperimentSettings:
    """The experiment of a config made small. `overrides` come last, so what is given by hand is played.

    Raises UserError as `load_config` does.
    """
    whole = load_config(config, overrides, ExperimentSettings)
    small, typed = _smaller(whole), whole.model_dump()
    names = [override.partition("=")[0] for override in overrides]
    if "grid" in names:  # it may name any of them
        small["models"] = typed["models"]
    for name in names:
        _restore(small, typed, name.split("."))
    return parse_settings(small, str(config), ExperimentSettings)


def _restore(small: dict[str, Any], typed: dict[str, Any], path: Sequence[str]) -> None:
    """Put a setting back to what was typed; with its section where the small experiment has none."""
    first, *rest = path
    if rest and isinstance(small.get(first), dict):
        _restore(small[first], typed[first], rest)
    else:
        small[first] = typed[first]


def _smaller(whole: ExperimentSettings) -> dict[str, Any]:
    students = {s for b in whole.grid for s in b.strong}
    weak, strong = whole.grid[0].weak[0], max(students, key=list(whole.models).index)
    middle = [n for n in whole.models if n in students - {weak, strong}][-1:]
    kept = [weak, *middle, strong]
    objectives = list(dict.fromkeys(o for b in whole.grid for o in b.objectives))
    used = {k: list(dict.fromkeys(n for b in whole.grid for n in getattr(b, k))) for k in ("teachers", "oversight")}
    blocks: list[dict[str, Any]] = [
        {"objectives": objectives},
        *({"teachers": [t]} for t in used["teachers"]),
        *({"oversight": [o]} for o in used["oversight"]),
    ]
    small = whole.model_dump()
    small.update(
        seeds=whole.seeds[:1],
        models={k: small["models"][k] for k in kept},
        parts={k: max(4, round(v * QUICK_SHARE)) for k, v in small["parts"].items()},
        grid=[{"weak": [weak], "strong": [strong], **b} for b in blocks],
        steps_between=middle,
        bootstrap=min(whole.bootstrap, 200),
        generation=None,
    )
    if whole.auto_aligner:
        small["auto_aligner"]["generations"] = kept
    if whole.in_context:
        steps = round(QUICK_SHARE * whole.in_context.format_steps)
        small["in_context"].update(
            weak=weak, queries=min(20, whole.in_context.queries), confidence=[True], format_steps=steps
        )
    if whole.game_teacher:
        small["game_teacher"].update(student=strong, items=max(4, round(whole.game_teacher.items * QUICK_SHARE)))
    for teacher in small["teachers"].values():
        teacher["members"] = min(3, teacher["members"])
    problems = small["task"].get("problems")
    if problems and small["task"].get("run") is None:
        for part in ("verifier", "validation", "test_size"):
            problems[part] = problems[part] and max(4, round(problems[part] * QUICK_SHARE))
    return small
