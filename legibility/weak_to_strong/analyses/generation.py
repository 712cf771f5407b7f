"""The generative task: a strong language model fine-tuned on a weak one's solutions (Burns et al. 2023's chess, in words).

Weak: the small model fine-tuned on worked solutions of half A. It solves half B; the strong model is
fine-tuned on those solutions, right or wrong (only what was cut off is left out: nobody checks them), and
the ceiling on the worked solutions of half B. Each answers every test problem once. `start` is the strong
model as it was before any fine-tuning: below it, weak labels did harm.
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
from legibility.problems import ProblemSplits, load_problems
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL
from legibility.randomness import derive_seed, stream
from legibility.rollouts import sample
from legibility.weak_to_strong.cells import Result, load_or
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.pgr import crossed_bootstrap, pgr_estimate


def generation_summary(experiment: Experiment) -> dict[str, Any]:
    """Accuracy of weak model, student and ceiling at solving test problems, and PGR."""
    config, settings = experiment.config, experiment.config.generation
    assert settings is not None
    results = [generation_cell(experiment, s) for s in config.seeds]
    right = {
        name: np.stack([r.arrays[name][0] for r in results]).astype(bool)
        for name in ("start", "weak", "student", "ceiling")
    }
    groups = [p.id for p in _problems(experiment).test]
    resampling = {"resamples": config.bootstrap, "confidence": config.confidence_level}
    estimate = {
        name: crossed_bootstrap({"x": table}, groups, lambda m: m["x"], **resampling, rng=stream("study bootstrap"))[0]
        for name, table in right.items()
    }
    return {
        "sizes": {"weak": settings.weak, "strong": settings.strong},
        "test_problems": len(groups),
        "start": estimate["start"],
        "weak": estimate["weak"],
        "ceiling": estimate["ceiling"],
        "accuracy": estimate["student"],
        "weak_label_accuracy": float(np.mean([r.info["weak_label_accuracy"] for r in results])),
        "pgr": pgr_estimate(
            right["weak"], right["student"], right["ceiling"], groups, **resampling, rng=stream("study bootstrap")
        ),
    }


def generation_cell(experiment: Experiment, seed: int) -> Result:
    """Right answers of one seed by model: arrays of one row (1, test problems)."""
    splits = _problems(experiment)
    return load_or(
        experiment.run,
        f"cells/seed-{seed}/generation",
        lambda: _seed(experiment, seed, splits.verifier, splits.prover, splits.test),
    )


def _problems(experiment: Experiment) -> ProblemSplits:
    assert experiment.config.generation is not None
    splits = load_problems(experiment.config.generation.problems, base_dir=experiment.base_dir)
    if not all(p.solution for p in (*splits.verifier, *splits.prover)):
        raise UserError("generation.problems: every problem needs a worked solution; use a source that has them")
    return splits


def _seed(
    experiment: Experiment, seed: int, half_a: Sequence[Problem], half_b: Sequence[Problem], test: Sequence[Problem]
) -> Result:
    settings = experiment.config.generation
    assert settings is not None
    scratch = experiment.run.path / f".generation-{seed}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        weak = _taught(
            experiment,
            settings.weak,
            [(p, p.solution) for p in half_a],
            scratch / "weak",
            seed,
            settings.weak_steps,
            settings.weak_learning_rate,
        )
        labels = _solve(experiment, weak, half_b, seed, "labels")
        student = _taught(
            experiment, settings.strong, list(zip(half_b, labels, strict=True)), scratch / "student", seed
        )
        ceiling = _taught(experiment, settings.strong, [(p, p.solution) for p in half_b], scratch / "ceiling", seed)
        start = _load(experiment, settings.strong)
        arrays = {
            name: _right(test, _solve(experiment, prover, test, seed, "test"))[None]
            for name, prover in (("start", start), ("weak", weak), ("student", student), ("ceiling", ceiling))
        }
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Result(arrays, {"weak_label_accuracy": float(_right(half_b, labels).mean())})


def _taught(
    experiment: Experiment,
    model: str,
    pairs: Sequence[tuple[Problem, str]],
    folder: Path,
    seed: int,
    steps: int | None = None,
    rate: float | None = None,
) -> Prover:
    """The language model `model` fine-tuned on (problem, solution) pairs."""
    settings = experiment.config.generation
    assert settings is not None
    prover = _load(experiment, model)
    rows = [(prover.prompts.render(p.question, HELPFUL), text) for p, text in pairs if text]
    order = stream(seed, "generation", folder.name).permutation(len(rows))
    warm_start(
        prover.model,
        prover.tokenizer,
        [rows[i] for i in order],
        out=folder,
        steps=steps or settings.steps,
        batch_size=settings.batch_size,
        learning_rate=rate or settings.learning_rate,
        max_length=settings.max_length,
        seed=derive_seed(seed, "generation", folder.name) % 2**31,
        device=experiment.device,
    )
    return Prover.load(
        ProverSettings(prompts=settings.prompts), experiment.device, source=str(folder), base_dir=experiment.base_dir
    )


def _load(experiment: Experiment, model: str) -> Prover:
    settings = experiment.config.generation
    assert settings is not None
    role = "verifier" if model.startswith("nano-") else "prover"
    source = resolve(model, role, experiment.base_dir)
    return Prover.load(
        ProverSettings(prompts=settings.prompts), experiment.device, source=source, base_dir=experiment.base_dir
    )


def _solve(experiment: Experiment, prover: Prover, problems: Sequence[Problem], seed: int, purpose: str) -> list[str]:
    settings = experiment.config.generation
    assert settings is not None
    drawn = sample(
        prover,
        [prover.prompt_ids(p, HELPFUL) for p in problems],
        1,
        seed=derive_seed(seed, "generation", purpose),
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        engine=experiment.config.compute.engine,
        batch=experiment.config.compute.rollout_batch,
        vllm=experiment.config.compute.vllm,
    )
    return ["" if group[0].truncated else prover.decode(group[0].ids) for group in drawn]


def _right(problems: Sequence[Problem], texts: Sequence[str]) -> np.ndarray:
    return np.array([grade(t, p.answer).value == "correct" for p, t in zip(problems, texts, strict=True)])
