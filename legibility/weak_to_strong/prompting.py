"""In-context weak-to-strong inside a study: a cell per seed and way of choosing demonstrations."""

from __future__ import annotations

from typing import Any

import numpy as np

from legibility.config import ProverSettings
from legibility.models.loading import resolve
from legibility.models.prover import Prover
from legibility.randomness import stream
from legibility.weak_to_strong.cells import Cell, Result, load_or
from legibility.weak_to_strong.config import StudyConfig
from legibility.weak_to_strong.in_context import answer, choose
from legibility.weak_to_strong.items import labels
from legibility.weak_to_strong.pgr import crossed_bootstrap
from legibility.weak_to_strong.study import Study


def in_context_summary(study: Study, tables: Any) -> dict[str, Any]:
    """Accuracy of every way of choosing demonstrations, against the weak model on the same queries."""
    config = study.config
    settings = config.in_context
    assert settings is not None
    rng = stream("in-context queries")
    test = study.parts(config.seeds[0]).test
    asked = np.sort(rng.permutation(len(test))[: settings.queries])
    truth, groups = labels(test)[asked], [test[i].group for i in asked]
    weak = {s: study.cell(Cell("weak", s, (settings.weak,))) for s in config.seeds}
    prover = None
    rows = []
    for how in settings.select:
        for shown in settings.confidence:
            tested = []
            for seed in config.seeds:
                def compute(how=how, shown=shown, seed=seed) -> Result:
                    nonlocal prover
                    prover = prover or _load(study, config)
                    pool, queries = study.parts(seed).student, [study.parts(seed).test[i] for i in asked]
                    log_odds = weak[seed].last("student").astype(float)
                    picked = choose(how, pool, log_odds, queries, settings.demonstrations, stream(seed, "in-context", how))
                    return Result({"test": answer(prover, pool, log_odds, queries, picked, shown)[None]}, {})

                name = f"cells/seed-{seed}/in-context/{how}-{'confidence' if shown else 'plain'}"
                tested.append(load_or(study.run, name, compute).last("test") > 0)
            tested = np.stack(tested)
            rows.append({
                "select": how, "confidence": shown, "says_right": float(tested.mean()),
                "accuracy": _accuracy(config, tested == truth, groups),
            })
    taught = np.stack([weak[s].last("test")[asked] > 0 for s in config.seeds])
    return {
        "model": settings.model, "weak": settings.weak, "demonstrations": settings.demonstrations, "queries": len(asked),
        "weak_accuracy": _accuracy(config, taught == truth, groups), "rows": rows,
    }


def _load(study: Study, config: StudyConfig) -> Prover:
    assert config.in_context is not None
    role = "verifier" if config.in_context.model.startswith("nano-") else "prover"
    return Prover.load(ProverSettings(), study.device, source=resolve(config.in_context.model, role, study.base_dir))


def _accuracy(config: StudyConfig, right: np.ndarray, groups) -> dict[str, float | None]:
    return crossed_bootstrap(
        {"x": right}, groups, lambda m: m["x"], resamples=config.bootstrap, confidence=config.confidence_level,
        rng=stream("study bootstrap"),
    )[0]
