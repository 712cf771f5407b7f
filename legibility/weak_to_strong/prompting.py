"""In-context weak-to-strong inside a study: a cell per seed, and its table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from legibility.config import ProverSettings
from legibility.models.loading import resolve
from legibility.models.prover import Prover
from legibility.randomness import derive_seed, stream
from legibility.weak_to_strong.cells import Cell, Result, load_or
from legibility.weak_to_strong.context import Study
from legibility.weak_to_strong.in_context import answer, choose, lessons
from legibility.weak_to_strong.items import labels
from legibility.weak_to_strong.pgr import crossed_bootstrap
from legibility.weak_to_strong.study_settings import InContextSettings, StudyConfig


def in_context_summary(study: Study, tables: Any) -> dict[str, Any]:
    """Accuracy and AUROC of every way of choosing demonstrations, against the weak model on the same queries.

    The headline is of calibrated log-odds, but of raw ones after lessons: those teach how often the
    answer is " yes", and a content-free item is like nothing in them. `otherwise` is the other reading.
    """
    config = study.config
    settings = config.in_context
    assert settings is not None
    asked = _asked(study)
    test = study.parts(config.seeds[0]).test
    truth, groups = labels(test)[asked], [test[i].group for i in asked]
    results = [in_context_cell(study, seed) for seed in config.seeds]
    rows = []
    for name in results[0].info["rows"]:
        said, other = (np.stack([r.arrays[f"{name} {kind}"][0] for r in results]) for kind in _readings(settings))
        how, shown = name.split()
        rows.append(
            {
                "select": how,
                "confidence": shown == "confidence",
                "accuracy": _interval(config, {"x": (said > 0) == truth}, groups),
                "says_right": float((said > 0).mean()),
                "auroc": float(np.mean([roc_auc_score(truth, x) for x in said])),
                "otherwise": {
                    "accuracy": float(((other > 0) == truth).mean()),
                    "says_right": float((other > 0).mean()),
                },
            }
        )
    weak = [study.cell(Cell("weak", s, (settings.weak,))).last("test")[asked] for s in config.seeds]
    return {
        "model": settings.model,
        "weak": settings.weak,
        "demonstrations": settings.demonstrations,
        "queries": len(asked),
        "reading": _readings(settings)[0],
        "format_steps": settings.format_steps,
        "trusted": len(study.parts(config.seeds[0]).trusted),
        "weak_accuracy": _interval(config, {"x": np.stack([w > 0 for w in weak]) == truth}, groups),
        "weak_auroc": float(np.mean([roc_auc_score(truth, w) for w in weak])),
        "rows": rows,
    }


def in_context_cell(study: Study, seed: int) -> Result:
    """Log-odds of one seed for every way of choosing and showing: arrays "how confidence|plain calibrated|raw" (1, queries)."""
    settings = study.config.in_context
    assert settings is not None

    def compute() -> Result:
        parts, weak = study.parts(seed), study.cell(Cell("weak", seed, (settings.weak,)))
        log_odds, queries = weak.last("student").astype(float), [parts.test[i] for i in _asked(study)]
        prover = _prover(study, seed, weak.last("trusted").astype(float))
        arrays = {}
        for how in settings.select:
            picked = choose(
                how, parts.student, log_odds, queries, settings.demonstrations, stream(seed, "in-context", how)
            )
            for shown in [False] if how == "none" else settings.confidence:
                name = f"{how} {'confidence' if shown else 'plain'}"
                calibrated, raw = answer(prover, parts.student, log_odds, queries, picked, shown)
                arrays.update({f"{name} calibrated": calibrated[None], f"{name} raw": raw[None]})
        return Result(arrays, {"rows": list(dict.fromkeys(k.rsplit(" ", 1)[0] for k in arrays))})

    return load_or(study.run, f"cells/seed-{seed}/in-context", compute)


def _readings(settings: InContextSettings) -> tuple[str, str]:
    return ("raw", "calibrated") if settings.format_steps else ("calibrated", "raw")


def _asked(study: Study) -> np.ndarray:
    """Indices of the test items that are asked, the same for every seed."""
    assert study.config.in_context is not None
    count = len(study.parts(study.config.seeds[0]).test)
    return np.sort(stream("in-context queries").permutation(count)[: study.config.in_context.queries])


def _prover(study: Study, seed: int, weak: np.ndarray) -> Prover:
    """The model, after its lessons in the form where the config asks for them. weak: log-odds of the trusted part."""
    settings = study.config.in_context
    assert settings is not None
    role = "verifier" if settings.model.startswith("nano-") else "prover"
    place = resolve(settings.model, role, study.base_dir)
    prover = Prover.load(ProverSettings(), study.device, source=place)
    if settings.format_steps == 0:
        return prover
    from legibility.models.warm_start import warm_start

    trusted, batch = study.parts(seed).trusted, 8
    shown = np.where(labels(trusted), 1, -1) * np.maximum(np.abs(weak), 1e-6)
    pairs = lessons(
        trusted, shown, settings.demonstrations, settings.format_steps * batch, stream(seed, "in-context lessons")
    )
    with tempfile.TemporaryDirectory() as folder:
        warm_start(
            prover.model,
            prover.tokenizer,
            pairs,
            out=Path(folder) / "model",
            steps=settings.format_steps,
            batch_size=batch,
            learning_rate=settings.format_learning_rate,
            max_length=getattr(prover.causal.config, "max_position_embeddings", None) or 10**9,
            seed=derive_seed(seed, "in-context lessons") % 2**31,
            device=study.device,
        )
        return Prover.load(ProverSettings(), study.device, source=str(Path(folder) / "model"))


def _interval(config: StudyConfig, tables: dict[str, np.ndarray], groups) -> dict[str, float | None]:
    return crossed_bootstrap(
        tables,
        groups,
        lambda m: m["x"],
        resamples=config.bootstrap,
        confidence=config.confidence_level,
        rng=stream("study bootstrap"),
    )[0]
