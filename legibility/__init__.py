"""Prover-verifier legibility games (Kirchner, Chen et al. 2024): the public names, loaded when first used.

    import legibility

    config = legibility.load_config("configs/nano.yaml", ["game.rounds=2"])
    run = legibility.train(config, "runs/mine")
    legibility.evaluate("runs/mine", quick=True)
    legibility.report("runs/mine")

The verbs are those of the command line. Importing the package loads neither torch nor transformers; a name
loads what it needs. The rest of the package reads in the order config, problems, prompts, rollouts, grading,
verifier_training, rewards, ppo, game, evaluation, reporting; CONTRIBUTING.md has the layers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legibility.config import Config as Config
    from legibility.config_file import load_config as load_config
    from legibility.evaluation.compare import compare as compare
    from legibility.evaluation.dataframes import load_run as load_run
    from legibility.evaluation.evaluate import attack as attack
    from legibility.evaluation.evaluate import evaluate as evaluate
    from legibility.game.run_folder import RunFolder as RunFolder
    from legibility.models.prover import Prover as Prover
    from legibility.models.verifier import Verifier as Verifier
    from legibility.play import train as train
    from legibility.problems.records import Problem as Problem
    from legibility.reporting import report as report

__version__ = "0.1.0"

_HOMES = {
    "Config": "legibility.config",
    "Problem": "legibility.problems.records",
    "Prover": "legibility.models.prover",
    "RunFolder": "legibility.game.run_folder",
    "Verifier": "legibility.models.verifier",
    "attack": "legibility.evaluation.evaluate",
    "compare": "legibility.evaluation.compare",
    "evaluate": "legibility.evaluation.evaluate",
    "load_config": "legibility.config_file",
    "load_run": "legibility.evaluation.dataframes",
    "report": "legibility.reporting",
    "train": "legibility.play",
}
"""Public name -> the module it stands in. No module may be called as one of these: it would hide the name."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
