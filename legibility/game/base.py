"""The base policy: optional warm start, and the text it writes before any game.

Base text is what round 0's verifier and the held-out judge learn from, and what the start accuracy
of every arm is measured on. The base policy writes under the helpful prompt (plus the prompt set's
few-shot examples, the paper's Appendix H), and is recorded with role "base".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from legibility.errors import UserError
from legibility.game import gates
from legibility.game.condition import BASE_ROLE, INIT, START
from legibility.game.context import Game
from legibility.game.phase_checkpoints import phase_checkpoints
from legibility.game.phases import BASE, WARM_START
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import METRICS, BaseMetrics, WarmStartMetrics
from legibility.game.solutions import Solution, read_solutions, write_solutions
from legibility.models.prover import Prover, lora_config
from legibility.models.warm_start import WarmStartSoFar
from legibility.models.warm_start import warm_start as fine_tune
from legibility.problems.corruption import corrupt
from legibility.problems.records import Problem
from legibility.problems.splits import Part
from legibility.prompts import HELPFUL, SNEAKY
from legibility.randomness import derive_seed, stream
from legibility.stored import write_stored


def warm_start(game: Game) -> None:
    """Fine-tune the prover briefly on reference solutions of the prover half, if the settings ask for it.

    With `sneaky: corrupted` the sneaky prompt learns their corrupted twins in the same batches.
    Raises UserError where the problems carry no solutions (or none that can be corrupted), or the fine-tuning fails.
    """
    settings = game.config.prover.warm_start
    if settings.steps == 0:
        return
    if not game.run.is_done(WARM_START):
        worked = [p for p in game.splits.prover if p.solution]
        if not worked:
            raise UserError("prover.warm_start: the problems carry no worked solutions to learn from; set steps to 0")
        game.progress.phase("warm start", settings.steps)
        # full float32 weights: small learning rates get lost in bfloat16
        plain = game.config.prover.model_copy(
            update={"lora": None, "dtype": "float32", "gradient_checkpointing": False}
        )
        prover = Prover.load(plain, game.device, base_dir=game.base_dir)
        taught = [(HELPFUL, p, p.solution) for p in worked]
        if settings.sneaky == "corrupted":
            taught += _corrupted(worked, stream(game.config.seed, "warm_start", "twins"))
        prompts = [prover.prompt_text(p, role) for role, p, _ in taught]
        pairs = [
            (prompt, prover.space_after(prompt) + text) for prompt, (*_, text) in zip(prompts, taught, strict=True)
        ]
        order = stream(game.config.seed, "warm_start").permutation(len(pairs))
        with game.run.phase(WARM_START) as work:
            checkpoints = phase_checkpoints(game, WARM_START, work)
            found = checkpoints.restore(WarmStartSoFar)
            if found is not None:
                game.progress.resumed(found.step + 1)
            metrics = fine_tune(
                prover.model,
                prover.tokenizer,
                [pairs[i] for i in order],
                out=work / "model",
                steps=settings.steps,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                max_length=settings.max_length,
                seed=derive_seed(game.config.seed, "warm_start") % 2**31,
                device=game.device,
                bf16=game.config.prover.dtype == "bfloat16",
                lora=lora_config(game.config.prover),
                on_step=lambda step, loss: game.progress.step(step, {"loss": loss}),
                checkpoints=checkpoints,
                found=found,
            )
            twins = {"sneaky_pairs": len(taught) - len(worked)} if settings.sneaky == "corrupted" else {}
            write_stored(work / METRICS, WarmStartMetrics(**metrics, **twins))
        game.progress.done(f"loss {metrics['first_loss']:.2f} -> {metrics['last_loss']:.2f}")
    game.base_source = str(game.run.verified(WARM_START) / "model")


def _corrupted(worked: Sequence[Problem], rng: np.random.Generator) -> list[tuple[str, Problem, str]]:
    """What the sneaky role learns: a corrupted twin of every solution that has one, as (role, problem, text)."""
    twins = [(p, corrupt(p, rng)) for p in worked]
    found = [(SNEAKY, p, twin.text) for p, twin in twins if twin is not None]
    if not found:
        raise UserError(
            "prover.warm_start.sneaky: no solution can be corrupted (their equations cannot be read); set it to none"
        )
    return found


def sample_base(game: Game) -> None:
    """Sample the verifier half, validation, test and the judge's problems with the base policy; check its gate.

    Raises GateClosed where the base policy hardly ever succeeds.
    """
    config = game.config
    if not game.run.is_done(BASE):
        prover = game.new_prover("base")
        count = config.game.base_samples or max(config.verifier.solutions_per_problem, config.game.collection_samples)
        jobs: list[tuple[Part, str, int]] = [
            ("verifier", HELPFUL, count),
            ("validation", HELPFUL, config.evaluation.samples),
            ("validation", SNEAKY, config.evaluation.samples),
            ("test", HELPFUL, config.evaluation.samples),
            ("test", SNEAKY, config.evaluation.samples),
        ]
        if config.game.held_out_judge and game.splits.judge:
            jobs.append(("judge", HELPFUL, count))
        game.progress.phase("base policy text", len(jobs))
        rows: list[Solution] = []
        accuracy = {}
        with game.run.phase(BASE) as work, game.team.together(prover):
            for k, (split, role, samples) in enumerate(jobs):
                drawn = game.draw(
                    prover,
                    game.splits.part(split),
                    (role,),
                    samples,
                    arm=INIT,
                    round_index=START.round,
                    phase="base",
                    split=split,
                    step=0,
                    label=BASE_ROLE if role == HELPFUL else SNEAKY,
                    temperature=game.temperature(split),
                ).rows
                accuracy[f"{split}_{role}"] = float(np.mean([r.verdict == "correct" for r in drawn]))
                rows += drawn
                if split in ("verifier", "judge"):
                    rows += _draw_more(game, prover, drawn, count, split)
                game.progress.step(k + 1, accuracy)
            write_solutions(work / "solutions.parquet", rows)
            write_stored(work / METRICS, BaseMetrics(**accuracy))
        game.progress.done(
            f"helpful accuracy {accuracy['test_helpful']:.3f}, sneaky {accuracy['test_sneaky']:.3f} (test)"
        )
    reasons = gates.check_base(config.gates, base_metrics(game.run).validation_helpful)
    gates.enforce(config.gates, "the base policy", reasons, game.force, game.progress.warn)


def _draw_more(game: Game, prover: Prover, rows: list[Solution], count: int, part: Part) -> list[Solution]:
    """Further base text for problems of a part that have none of one label, `count` texts each and draw.

    Ends after `game.base_draws` draws, or when distinct texts fill the mixture of a verifier that learns from base text
    alone. The number of the draw is recorded as the step.
    """
    problems, settings = game.splits.part(part), game.config
    wanted = settings.verifier.solutions_per_problem * len(problems) // 2
    more: list[Solution] = []
    for draw in range(1, settings.game.base_draws):
        texts: dict[str, set[tuple[str, str]]] = {"correct": set(), "incorrect": set(), "invalid": set()}
        for row in (*rows, *more):
            texts[row.verdict].add((row.problem_id, row.text))
        if min(len(texts["correct"]), len(texts["incorrect"])) >= wanted:
            break
        both = {p for p, _ in texts["correct"]} & {p for p, _ in texts["incorrect"]}
        short = [p for p in problems if p.id not in both]
        if not short:
            break
        more += game.draw(
            prover,
            short,
            (HELPFUL,),
            count,
            arm=INIT,
            round_index=START.round,
            phase="base",
            split=part,
            step=draw,
            label=BASE_ROLE,
        ).rows
    return more


def base_metrics(run: RunFolder) -> BaseMetrics:
    """Accuracy of the base policy. Raises UserError where its phase is unfinished or changed."""
    return run.stored(BASE, METRICS, BaseMetrics)


def base_solutions(game: Game) -> pd.DataFrame:
    """The base policy's text. Raises UserError where it cannot be read."""
    return read_solutions(game.run.folder(BASE) / "solutions.parquet")
