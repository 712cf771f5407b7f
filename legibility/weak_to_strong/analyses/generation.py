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

import numpy as np
from pydantic import Field

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
from legibility.weak_to_strong.cells import CellInfo, CellResult, load_or
from legibility.weak_to_strong.estimates import Estimator
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import GenerationPair, GenerationSection
from legibility.weak_to_strong.experiment_settings import GenerationSettings


class GenerationInfo(CellInfo):
    """cell.json: what the generative task notes."""

    weak_label_accuracy: float = Field(description="Share of right answers among the weak model's solutions of half B.")


def generation_cell(experiment: Experiment, seed: int) -> CellResult[GenerationInfo]:
    """Right answers of one seed by model ("start", "weak", "student", "ceiling"): arrays (1, test problems)."""
    splits = _problems(experiment)
    return load_or(
        experiment.run, f"cells/seed-{seed}/generation", GenerationInfo, lambda: _answers(experiment, seed, splits)
    )


def generation_summary(experiment: Experiment) -> GenerationSection:
    """Accuracy of weak model, student and ceiling at solving test problems, and PGR."""
    settings = _settings(experiment)
    results = [generation_cell(experiment, seed) for seed in experiment.config.seeds]
    groups = [p.id for p in _problems(experiment).test]
    estimator = Estimator.of(experiment.config, groups)

    def right(name: str) -> np.ndarray:
        return np.stack([r.last(name) for r in results]).astype(bool)

    return GenerationSection(
        sizes=GenerationPair(weak=settings.weak, strong=settings.strong),
        test_problems=len(groups),
        start=estimator.accuracy(right("start")),
        weak=estimator.accuracy(right("weak")),
        ceiling=estimator.accuracy(right("ceiling")),
        accuracy=estimator.accuracy(right("student")),
        weak_label_accuracy=float(np.mean([r.info.weak_label_accuracy for r in results])),
        pgr=estimator.pgr(right("weak"), right("student"), right("ceiling")),
    )


def _problems(experiment: Experiment) -> ProblemSplits:
    splits = load_problems(_settings(experiment).problems, base_dir=experiment.base_dir)
    if not all(p.solution for p in (*splits.verifier, *splits.prover)):
        raise UserError("generation.problems: every problem needs a worked solution; use a source that has them")
    return splits


def _answers(experiment: Experiment, seed: int, splits: ProblemSplits) -> CellResult[GenerationInfo]:
    """Train and ask everyone. Models stand in a scratch folder that is gone afterwards."""
    settings = _settings(experiment)
    half_a, half_b, test = splits.verifier, splits.prover, splits.test
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
        texts = _solve(experiment, weak, half_b, seed, "labels")
        student = _taught(experiment, settings.strong, list(zip(half_b, texts, strict=True)), scratch / "student", seed)
        ceiling = _taught(experiment, settings.strong, [(p, p.solution) for p in half_b], scratch / "ceiling", seed)
        start = _load(experiment, settings.strong)
        arrays = {
            name: _right(test, _solve(experiment, prover, test, seed, "test"))[None]
            for name, prover in (("start", start), ("weak", weak), ("student", student), ("ceiling", ceiling))
        }
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return CellResult(arrays, GenerationInfo(weak_label_accuracy=float(_right(half_b, texts).mean())))


def _taught(
    experiment: Experiment,
    model: str,
    pairs: Sequence[tuple[Problem, str]],
    folder: Path,
    seed: int,
    steps: int | None = None,
    rate: float | None = None,
) -> Prover:
    """The language model `model` fine-tuned on (problem, solution) pairs; those without a solution are left out."""
    settings = _settings(experiment)
    prover = _load(experiment, model)
    rows = [(prover.prompt_text(p, HELPFUL), text) for p, text in pairs if text]
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
    settings = _settings(experiment)
    role = "verifier" if model.startswith("nano-") else "prover"
    source = resolve(model, role, experiment.base_dir)
    return Prover.load(
        ProverSettings(prompts=settings.prompts), experiment.device, source=source, base_dir=experiment.base_dir
    )


def _solve(experiment: Experiment, prover: Prover, problems: Sequence[Problem], seed: int, purpose: str) -> list[str]:
    settings = _settings(experiment)
    drawn = sample(
        prover,
        [prover.prompt_ids(p, HELPFUL) for p in problems],
        1,
        seed=derive_seed(seed, "generation", purpose),
        max_new_tokens=settings.sampling.max_new_tokens,
        temperature=settings.sampling.temperature,
        engine=experiment.config.compute.engine,
        batch=experiment.config.compute.rollout_batch,
        vllm=experiment.config.compute.vllm,
    )
    # an answer that was cut off is no solution
    return ["" if group[0].truncated else prover.decode(group[0].ids) for group in drawn]


def _right(problems: Sequence[Problem], texts: Sequence[str]) -> np.ndarray:
    return np.array([grade(t, p.answer).value == "correct" for p, t in zip(problems, texts, strict=True)])


def _settings(experiment: Experiment) -> GenerationSettings:
    assert experiment.config.generation is not None  # only called where the section is there
    return experiment.config.generation
