"""Summaries of runs of two rounds, made up or of copies of a run, for what reads several of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legibility.evaluation.summary_schema import Summary
from legibility.game.run_folder import RunFolder
from tests.support import forget_hashes

SETUP = {"problems_per_step": 16, "incorrect": 0.95, "goodhart_accuracy": 0.2, "goodhart_start": 0.4}
AUROC = {"pooled": None, "within_role": None, "pairwise": None}


def summary_of(
    seed: int,
    *,
    steps: tuple[int | None, int | None] = (20, 60),
    length: int = 80,
    best: tuple[float, float] = (0.3, 0.6),
    null: float | None = 0.45,
    game: float = 0.5,
    same_style: tuple[float, float] | None = (0.6, 0.7),
    attacks: tuple[tuple[int, ...], ...] = (),
    quick: bool = False,
    rates: Mapping[str, Sequence[Sequence[float]]] | None = None,
    auroc: tuple[float, float] | None = None,
    retained: float = 0.5,
    rounds: int = 2,
    **sections: Any,
) -> Summary:
    """A run's summary with what the claims read; all else is null. Rounds beyond the second are as the second.

    steps: PPO steps to exploit, by round, of phases of `length` steps. best: balanced best-of-16 by round, a little
    better with every seed. null: what random scores get there (None: an older file). same_style: accuracy of the
    round's verifier on its own text, likewise. attacks: steps of SRC attacks by verifier; at 100 they are given up. rates: by reward
    and verifier the false-positive rate under each attack, after 32 steps (twice that after 16) and at 2 nats (half).
    auroc: of the last verifier on its own text, pooled and within roles. sections: others of the evaluation, as in
    the file.
    """
    policy = {"interval": [None, None], "mean_length": None, "invalid": None, "checkability": {}}
    unknown = {
        f"{role}_{what}": [None, None] if what == "interval" else None
        for role in ("helpful", "sneaky")
        for what in ("interval", "length", "invalid")
    }
    texts = {"parameters": 1000, "texts": 100}
    counts = {"pairs": 90, "problems": 30, "coverage": 0.5, "standard_error": None, "low": None, "high": None}
    pairs = [{} if same_style is None else {"same_style": {"value": value, **counts}} for value in same_style or (0, 0)]
    judged = {f"auroc_{text}": AUROC for text in ("base", "previous_round", "own_round")}
    if auroc is not None:
        judged["auroc_own_round"] = {"pooled": auroc[0], "within_role": auroc[1], "pairwise": None}
    lines = [
        {
            "round": r,
            "steps": length,
            "stopped": "all steps done",
            "steps_to_exploit": steps[min(r, 1)],
            "score_scale": 1.0,
            "helpful_accuracy": game,
            "sneaky_accuracy": 0.05,
            **unknown,
            "score_helpful_correct": None,
            "score_sneaky_incorrect": None,
            "checkability": {},
            "verifier": {**texts, **judged, **pairs[min(r, 1)]},
        }
        for r in range(rounds)
    ]
    decoding = {"temperature": 1.0, "samples": 16, "problems": 50}
    favourites = [
        {"round": r, "n": 16, "value": best[min(r, 1)] + 0.01 * seed, "low": None, "high": None, "problems": 50}
        | {
            "role": "helpful",
            "decoding": decoding,
            "null": null,
            "above_null": null and {"value": best[min(r, 1)] + 0.01 * seed - null},
        }
        for r in range(rounds)
    ]
    made = [
        {"verifier": v, "reward": "src", "seed": i, "steps": t, "exploited": t < 100, "cap": 100, "quick": quick}
        | {"start": "base", "settings": SETUP}
        for v, times in enumerate(attacks)
        for i, t in enumerate(times)
    ]
    robustness = []
    for reward, by_verifier in (rates or {}).items():
        for v, found in enumerate(by_verifier):
            for i, rate in enumerate(found):
                whose = {"verifier": v, "reward": reward, "seed": i}
                attack = {"steps": 32, "exploited": False, "cap": 32, "quick": quick, "start": "base"}
                made.append({**whose, **attack, "settings": SETUP})
                for at, target, value in (("steps", 16, 2 * rate), ("steps", 32, rate), ("kl", 2.0, rate / 2)):
                    bounds = {"low": None, "high": None, "own_round": {}, "texts": 90, "problems": 30}
                    place = {
                        "at": at,
                        "target": target,
                        "steps": 16 if target == 16 else 32,
                        "kl": 2.0,
                        "window": 8,
                        "recall": 0.8,
                    }
                    robustness.append({**whose, **place, "fpr": value, **bounds})
    return Summary.model_validate(
        {
            "run": f"r{seed}",
            "seed": seed,
            "wall_seconds": 60.0,
            "peak_memory_mb": 500.0,
            "decoding": {"temperature": 1.0, "samples": 2, "test_problems": 50},
            "reward": "cgc",
            "arms": {
                "init": {"accuracy": 0.3, **policy},
                "game": {"rounds": lines, "accuracy": game, "interval": [None, None]},
                "correctness": {"accuracy": game + 0.1, **policy, "steps": length},
            },
            "legibility_tax": {"value": 0.1},
            "legibility_tax_equal_helpful_samples": {},
            "retained_gain": {"value": retained},
            "evaluation": {"best_of_n": favourites, "attacks": made, "robustness": robustness, **sections},
        }
    )


def runs_by_seed(run: RunFolder, folder: Path) -> list[Path]:
    """Three copies of a finished run that differ in their seed and a little in their numbers."""
    paths = []
    for seed in range(3):
        path = folder / f"seed-{seed}"
        shutil.copytree(run.path, path)
        summary = json.loads((path / "summary.json").read_text())
        summary.update(seed=seed, run=path.name)
        summary["arms"]["correctness"]["accuracy"] = 0.6 + 0.01 * seed
        summary["arms"]["game"]["rounds"][1]["helpful_accuracy"] = 0.5 + 0.02 * seed
        (path / "summary.json").write_text(json.dumps(summary))
        config = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(config.replace("seed: 0", f"seed: {seed}", 1))
        forget_hashes(path)
        paths.append(path)
    return paths
