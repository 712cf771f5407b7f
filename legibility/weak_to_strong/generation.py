"""The generative task: a strong language model fine-tuned on a weak one's solutions (Burns et al. 2023's chess, in words).

Weak: the small model fine-tuned on worked solutions of half A. It solves half B; the strong model is
fine-tuned on those solutions, right or wrong (only what was cut off is left out: nobody checks them), and
the ceiling on the worked solutions of half B. Each answers every test problem once, at temperature 1.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legibility.config import ProverSettings
from legibility.errors import UserError
from legibility.grading import grade
from legibility.models.loading import resolve
from legibility.models.prover import Prover
from legibility.models.warm_start import warm_start
from legibility.problems import load_problems
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL
from legibility.randomness import derive_seed, stream
from legibility.rollouts import sample
from legibility.weak_to_strong.cells import Result, load_or
from legibility.weak_to_strong.pgr import crossed_bootstrap, pgr_estimate
from legibility.weak_to_strong.study import Study


def generation_summary(study: Study) -> dict[str, Any]:
    """Accuracy of weak model, student and ceiling at solving test problems, and PGR."""
    config, settings = study.config, study.config.generation
    assert settings is not None
    splits = load_problems(settings.problems, base_dir=study.base_dir)
    if not all(p.solution for p in (*splits.verifier, *splits.prover)):
        raise UserError("generation.problems: every problem needs a worked solution; use a source that has them")
    results = [
        load_or(study.run, f"cells/seed-{s}/generation", lambda s=s: _seed(study, s, splits.verifier, splits.prover, splits.test))
        for s in config.seeds
    ]
    right = {name: np.stack([r.arrays[name][0] for r in results]).astype(bool) for name in ("weak", "student", "ceiling")}
    groups = [p.id for p in splits.test]
    resampling = {"resamples": config.bootstrap, "confidence": config.confidence_level}
    estimate = {
        name: crossed_bootstrap({"x": table}, groups, lambda m: m["x"], **resampling, rng=stream("study bootstrap"))[0]
        for name, table in right.items()
    }
    return {
        "sizes": {"weak": settings.weak, "strong": settings.strong}, "test_problems": len(groups),
        "weak": estimate["weak"], "ceiling": estimate["ceiling"], "accuracy": estimate["student"],
        "weak_label_accuracy": float(np.mean([r.info["weak_label_accuracy"] for r in results])),
        "pgr": pgr_estimate(right["weak"], right["student"], right["ceiling"], groups, **resampling, rng=stream("study bootstrap")),
    }


def _seed(study: Study, seed: int, half_a: Sequence[Problem], half_b: Sequence[Problem], test: Sequence[Problem]) -> Result:
    settings = study.config.generation
    assert settings is not None
    scratch = study.run.path / f".generation-{seed}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        weak = _taught(study, settings.weak, [(p, p.solution) for p in half_a], scratch / "weak", seed)
        labels = _solve(study, weak, half_b, seed, "labels")
        student = _taught(study, settings.strong, list(zip(half_b, labels, strict=True)), scratch / "student", seed)
        ceiling = _taught(study, settings.strong, [(p, p.solution) for p in half_b], scratch / "ceiling", seed)
        arrays = {
            name: _right(test, _solve(study, prover, test, seed, "test"))[None]
            for name, prover in (("weak", weak), ("student", student), ("ceiling", ceiling))
        }
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Result(arrays, {"weak_label_accuracy": float(_right(half_b, labels).mean())})


def _taught(study: Study, model: str, pairs: Sequence[tuple[Problem, str]], folder: Path, seed: int) -> Prover:
    """The language model `model` fine-tuned on (problem, solution) pairs."""
    settings = study.config.generation
    assert settings is not None
    role = "verifier" if model.startswith("nano-") else "prover"
    own = ProverSettings(prompts=settings.prompts)
    prover = Prover.load(own, study.device, source=resolve(model, role, study.base_dir), base_dir=study.base_dir)
    rows = [(prover.prompts.render(p.question, HELPFUL), text) for p, text in pairs if text]
    order = stream(seed, "generation", folder.name).permutation(len(rows))
    warm_start(
        prover.model, prover.tokenizer, [rows[i] for i in order], out=folder, steps=settings.steps, batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, max_length=settings.max_length,
        seed=derive_seed(seed, "generation", folder.name) % 2**31, device=study.device,
    )
    return Prover.load(own, study.device, source=str(folder), base_dir=study.base_dir)


def _solve(study: Study, prover: Prover, problems: Sequence[Problem], seed: int, purpose: str) -> list[str]:
    settings = study.config.generation
    assert settings is not None
    drawn = sample(
        prover, [prover.prompt_ids(p, HELPFUL) for p in problems], 1, seed=derive_seed(seed, "generation", purpose),
        max_new_tokens=settings.max_new_tokens, engine=study.config.compute.engine, batch=study.config.compute.rollout_batch,
        vllm=study.config.compute.vllm,
    )
    return ["" if group[0].truncated else prover.decode(group[0].ids) for group in drawn]


def _right(problems: Sequence[Problem], texts: Sequence[str]) -> np.ndarray:
    return np.array([grade(t, p.answer).value == "correct" for p, t in zip(problems, texts, strict=True)])
