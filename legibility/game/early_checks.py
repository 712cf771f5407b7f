"""What can be known about a game before anything is written, beside its settings and its models: do the two go together?

Each of these would otherwise be found hours later, in a run folder that is of no use.
"""

from __future__ import annotations

import os

from legibility.config import ComputeSettings, Config
from legibility.errors import UserError
from legibility.grading import Verdict, grade
from legibility.models.prover import Prover
from legibility.models.warm_start import encode_pairs
from legibility.problems import ProblemSplits
from legibility.problems.corruption import corrupt
from legibility.problems.records import Problem
from legibility.problems.splits import PARTS
from legibility.prompts import HELPFUL, ROLES
from legibility.randomness import stream

PER_CORE = (
    8  # processes or threads on one core; more of them only take memory, and thousands end the process without a word
)
LONGEST = 32  # questions with the most characters; one of them has nearly the most tokens


def check_counts(compute: ComputeSettings) -> None:
    """Raises UserError for processes or threads that no machine like this one can start."""
    cores = os.cpu_count() or 1
    for name, count in (("workers", compute.workers), ("threads", compute.threads)):
        if count is not None and count > PER_CORE * cores:
            raise UserError(f"compute.{name}: {count} on a machine of {cores} cores; give at most one a core")


def check_start(config: Config, splits: ProblemSplits, prover: Prover) -> None:
    """Raises UserError where the prover can never end a text or has no room for one, or where the worked solutions are none to learn from."""
    if not prover.end_ids:
        raise UserError(
            "prover.model: neither the tokenizer nor the generation settings name an end token, so no completion would "
            "ever end; set eos_token in the model's folder"
        )
    _check_room(config, splits, prover)
    if config.verifier.reference_solutions:
        _check_references(config, splits)
    if "decoupled" in config.game.played:
        _check_translation(config, splits, prover)
    if config.prover.warm_start.steps:
        _check_warm_start(config, splits, prover)


def _check_room(config: Config, splits: ProblemSplits, prover: Prover) -> None:
    """Places that a model has no position for are an error inside it, or text beyond what it was trained on."""
    room = prover.positions
    if room is None:
        return
    problems = _longest(splits)
    longest = max(len(prover.prompt_ids(p, role)) for p in problems for role in ROLES)
    asked = config.sampling.max_new_tokens
    if longest + asked > room:
        raise UserError(
            f"sampling.max_new_tokens: prompts have up to {longest} tokens and {asked} are to follow, but prover.model has "
            f"{room} positions; at most {max(0, room - longest)} fit, or use shorter prompts or another model"
        )


def _longest(splits: ProblemSplits) -> list[Problem]:
    return sorted((p for part in PARTS for p in splits.part(part)), key=lambda p: -len(p.question))[:LONGEST]


def _check_translation(config: Config, splits: ProblemSplits, prover: Prover) -> None:
    """A translator's prompt holds a solution beside the problem, as long as the solver may write one."""
    if not prover.prompts.translates:
        raise UserError(
            f"prover.prompts: {config.prover.prompts} has no templates faithful and translate_sneaky, by which the arm "
            "decoupled rewrites solutions; add them, or leave decoupled out of game.arms"
        )
    room, asked = prover.positions, config.sampling.max_new_tokens
    if room is None:
        return
    longest = max(len(prover.translation_ids(p, "", role, p.answer)) for p in _longest(splits) for role in ROLES)
    if longest + 2 * asked > room:
        raise UserError(
            f"sampling.max_new_tokens: a translator's prompt has up to {longest} tokens and a solution of {asked}, {asked} "
            f"more are to follow, and prover.model has {room} positions; at most {max(0, (room - longest) // 2)} fit, or "
            "leave decoupled out of game.arms"
        )


def _check_references(config: Config, splits: ProblemSplits) -> None:
    """Reference solutions that no sample looks like would teach the verifier their form."""
    marker, worked = config.grading.marker, [p for p in splits.verifier if p.solution]
    if not any(grade(p.solution, p.answer, marker) is Verdict.CORRECT for p in worked):
        raise UserError(
            f"verifier.reference_solutions: no worked solution ends with grading.marker {marker!r} and its answer, so the "
            "verifier would learn to tell their form; set grading.marker to what they end with, or leave them out (false)"
        )


def _check_warm_start(config: Config, splits: ProblemSplits, prover: Prover) -> None:
    settings, marker = config.prover.warm_start, config.grading.marker
    worked = [p for p in splits.prover if p.solution]
    if not worked:
        raise UserError("prover.warm_start: the problems carry no worked solutions to learn from; set steps to 0")
    if not any(grade(p.solution, p.answer, marker) is Verdict.CORRECT for p in worked):
        raise UserError(
            f"prover.warm_start: no worked solution ends with grading.marker {marker!r} and its answer, so the prover would "
            "learn a form that is never graded; set grading.marker to what they end with, or steps to 0"
        )
    pairs = ((prover.prompt_text(p, HELPFUL), p.solution) for p in worked)
    if not any(encode_pairs(prover.tokenizer, [pair], settings.max_length) for pair in pairs):
        raise UserError(
            f"prover.warm_start.max_length: none of the {len(worked)} prompts with its solution fits in "
            f"{settings.max_length} tokens; raise it"
        )
    if settings.sneaky == "corrupted":
        rng = stream(config.seed, "warm_start", "check")
        if not any(corrupt(p, rng) is not None for p in worked):
            raise UserError(
                "prover.warm_start.sneaky: no solution can be corrupted (their equations cannot be read); set it to none"
            )
