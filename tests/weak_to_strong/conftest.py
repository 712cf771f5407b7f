"""A tiny experiment, run once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import legibility
from tests.weak_to_strong.world import config_file


@pytest.fixture(scope="session")
def tiny_experiment(tiny_run, tiny_prover_dir, tiny_verifier_dir) -> dict:
    """Settings of an experiment of seconds on the tiny game's stored text, everything switched on once."""
    models = {
        "bytes": {"model": str(tiny_verifier_dir), "learning_rate": 3e-3},
        "mid": {"model": str(tiny_prover_dir), "layers": 1, "learning_rate": 3e-3},
        "big": {
            "model": str(tiny_prover_dir),
            "head": "surprisal",
            "template": "<|helpful|>{problem}<|solution|>{solution}<|end|>",
        },
    }
    return {
        "seeds": [0, 1],
        "task": {"kind": "solutions", "run": str(tiny_run.path), "balance": "label"},
        "parts": {"weak": 24, "student": 24, "trusted": 12, "validation": 16, "test": 24},
        "models": models,
        "training": {"epochs": 1, "batch_size": 8, "evaluations": 2},
        "teachers": {
            "bag": {"kind": "bagging", "members": 2},
            "boost": {"kind": "adaboost", "members": 2, "learner": "probe"},
        },
        "oversight": {"debate": {"kind": "debate"}, "check": {"kind": "interaction", "help": "step_check"}},
        "grid": [
            {
                "weak": ["bytes"],
                "strong": ["big"],
                "objectives": ["xent", "confidence", "product", "bootstrapping", "probe"],
            },
            {"weak": ["bytes"], "strong": ["mid"], "objectives": ["bootstrapping"]},  # nothing in between
            {"weak": ["bytes"], "strong": ["big"], "teachers": ["bag", "boost"], "oversight": ["none", "debate"]},
            {"weak": ["bytes"], "strong": ["big"], "oversight": ["check"]},
        ],
        "steps_between": ["mid"],
        "auto_aligner": {"generations": ["bytes", "mid", "big"], "stop": False},
        "in_context": {
            "model": str(tiny_prover_dir),
            "weak": "bytes",
            "demonstrations": 2,
            "queries": 6,
            "format_steps": 1,
        },
        "game_teacher": {"student": "big", "items": 16},
        "bootstrap": 20,
        "compute": {"threads": 1, "device": "cpu"},
    }


@pytest.fixture(scope="session")
def finished(tiny_experiment, tmp_path_factory) -> Path:
    """The folder of a finished tiny experiment, run by the command. Read only."""
    folder = tmp_path_factory.mktemp("experiment")
    result = legibility("weak-to-strong", config_file(folder, tiny_experiment), "--out", folder / "out")
    assert result.code == 0, result.err
    return folder / "out"
