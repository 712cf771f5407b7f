"""The decoupled game (Kim & Lee 2026, arXiv 2602.23248): a solver trained to be right, and a translator trained to be checked.

The solver is the correctness-only arm's prover, frozen. A translator, restarted every round, rewrites its solution of a
problem in two roles: the faithful one (recorded as helpful) keeps the answer, the sneaky one reaches a wrong one and is
told the right one (`rivals.decoupled.answer_given`). Both are paid by `legibility.rewards.pay_translation`. Verifiers are the
arm's own and read later rounds more, with weights 2^i. A problem of a step has one solution, which all samples of both
roles are made from.

Departures: PPO and the run's verifiers in place of RLOO and cross-entropy, so that arms differ in nothing else; no end is
forced on solutions that were cut off; the stop rule asks for the game's least evidence and for a sneaky role that is
mostly wrong. Validation and test solutions are drawn at the temperature of all reported text, not at the solver's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from legibility.config import Config
from legibility.errors import UserError
from legibility.game.arms.arm import Arm, Budget
from legibility.game.arms.rounds import play_rounds, texts
from legibility.game.arms.translation import Kept, round_figures, step_metrics, taught, training_facts, whole_lines
from legibility.game.condition import CORRECTNESS, DECOUPLED
from legibility.game.context import Drawn, Game, WritingTask
from legibility.game.phase_checkpoints import phase_checkpoints
from legibility.game.phases import arm_figures, arm_warm_start
from legibility.game.prover_plan import Plan, phase_name
from legibility.game.run_records import METRICS, TranslationFigures, TranslationTraining, WarmStartMetrics
from legibility.game.solutions import Solution
from legibility.game.stop import TranslationTracker
from legibility.models.prover import Prover, lora_config
from legibility.models.warm_start import WarmStartSoFar
from legibility.models.warm_start import warm_start as fine_tune
from legibility.problems.records import Problem
from legibility.problems.splits import Part
from legibility.prompts import HELPFUL, SNEAKY
from legibility.randomness import derive_seed, stream
from legibility.rewards import pay_translation
from legibility.stored import write_stored

SOLVER = "decoupled solver"
"""Keys the random numbers of solutions."""
FIGURES = "figures.json"


def play(game: Game, budget: Budget) -> None:
    """The warm start, if there is one, all rounds and the arm's figures, unless done already."""
    solver = game.saved_prover(game.run.verified(phase_name(CORRECTNESS, 0)))
    solver.model.requires_grad_(False)
    write = Translation(solver)
    if game.config.rivals.decoupled.warm_start_steps:
        warm_start(game, write)
        game = replace(game, base_source=str(game.run.verified(arm_warm_start(DECOUPLED)) / "model"))
    mixture = game.config.mixture.model_copy(update={"weights": "pow2"})
    game = replace(game, config=game.config.model_copy(update={"mixture": mixture}))
    play_rounds(game, DECOUPLED, write, partial(translation_plan, game), (solver,))
    if not game.run.is_done(arm_figures(DECOUPLED)):
        found = [round_figures(game, index, frame) for index, frame in texts(game, DECOUPLED).items()]
        with game.run.phase(arm_figures(DECOUPLED)) as work:
            write_stored(work / FIGURES, TranslationFigures(rounds=found))


class Translation:
    """What draws the arm's text: the solver's solutions, then a translator's texts of them."""

    def __init__(self, solver: Prover) -> None:
        self.solver = solver
        self._last: tuple[tuple[object, ...], dict[str, str]] | None = None  # both roles of a step ask for the same

    def __call__(
        self, game: Game, prover: Prover, problems: Sequence[Problem], roles: Sequence[str], samples: int, **where: Any
    ) -> Drawn:
        """`Game.draw`, each text made from the solver's solution. Raises UserError where a prompt is too long."""
        sources = self.solutions(game, problems, where["round_index"], where["phase"], where["split"], where["step"])
        tasks = [
            WritingTask(p, role, _prompt(game, prover, p, sources[p.id], role), source=sources[p.id])
            for role in roles
            for p in problems
        ]
        return game.draw_tasks(prover, tasks, samples, **where)

    def solutions(
        self, game: Game, problems: Sequence[Problem], index: int, phase: Any, split: Part, step: int
    ) -> dict[str, str]:
        """The solver's one solution of every problem, by problem id: the same whenever it is asked for again."""
        key = (index, phase, split, step, *(p.id for p in problems))
        if self._last is None or self._last[0] != key:
            reported = split in ("validation", "test")
            rows = game.draw(
                self.solver,
                problems,
                (HELPFUL,),
                1,
                arm=SOLVER,
                round_index=index,
                phase=phase,
                split=split,
                step=step,
                temperature=game.temperature(split) if reported else game.config.rivals.decoupled.solver_temperature,
            ).rows
            marker = game.config.grading.marker
            self._last = key, {r.problem_id: whole_lines(r.text, marker, r.truncated) for r in rows}
        return self._last[1]


def _prompt(game: Game, prover: Prover, problem: Problem, source: str, role: str) -> list[int]:
    ids = prover.translation_ids(problem, source, role, _told(game, problem, role))
    room, asked = prover.positions, game.config.sampling.max_new_tokens
    if room is not None and len(ids) + asked > room:
        raise UserError(
            f"sampling.max_new_tokens: a translator's prompt has {len(ids)} tokens and {asked} are to follow, but prover.model "
            f"has {room} positions; lower it, or leave decoupled out of game.arms"
        )
    return ids


def _told(game: Game, problem: Problem, role: str) -> str | None:
    return problem.answer if role == SNEAKY and game.config.rivals.decoupled.answer_given else None


def translation_plan(game: Game, plan: Plan) -> Plan:
    """A round of the game as a round of the decoupled one: other pay, other stop rule, more measured."""
    settings = game.config.rivals.decoupled

    def pay(rollouts: Any, _: float) -> Any:
        found = Kept.of(game, rollouts.rows)
        return pay_translation(rollouts, found.kept, found.solved, settings.floor)

    return replace(
        plan,
        scale="none",
        pay=pay,
        tracker=TranslationTracker(game.config.stop.model_copy(update={"ema": settings.smoothing})),
        measure=lambda rollouts: step_metrics(game, rollouts.rows, rollouts.scores),
        facts=lambda rows: training_facts(game, rows),
        record=partial(TranslationTraining, reward=DECOUPLED),
    )


def warm_start(game: Game, write: Translation) -> None:
    """Fine-tune the base policy to follow both translation prompts, on the solver's solutions of the prover's problems.

    Raises UserError where no solution can be handed on or spoilt, or the fine-tuning fails.
    """
    phase, settings, config = arm_warm_start(DECOUPLED), game.config.rivals.decoupled, game.config
    if game.run.is_done(phase):
        return
    game.progress.phase("decoupled, warm start", settings.warm_start_steps)
    # full float32 weights: small learning rates get lost in bfloat16
    plain = config.prover.model_copy(update={"lora": None, "dtype": "float32", "gradient_checkpointing": False})
    prover = Prover.load(plain, game.device, source=game.base_source, base_dir=game.base_dir)
    pairs = _pairs(game, prover, write)
    with game.run.phase(phase) as work:
        checkpoints = phase_checkpoints(game, phase, work)
        found = checkpoints.restore(WarmStartSoFar)
        if found is not None:
            game.progress.resumed(found.step + 1)
        metrics = fine_tune(
            prover.model,
            prover.tokenizer,
            pairs,
            out=work / "model",
            steps=settings.warm_start_steps,
            batch_size=settings.warm_start_batch_size,
            learning_rate=settings.warm_start_learning_rate,
            max_length=prover.positions or 1 << 20,
            seed=derive_seed(config.seed, DECOUPLED, "warm_start") % 2**31,
            device=game.device,
            bf16=config.prover.dtype == "bfloat16",
            lora=lora_config(config.prover),
            on_step=lambda step, loss: game.progress.step(step, {"loss": loss}),
            checkpoints=checkpoints,
            found=found,
        )
        write_stored(work / METRICS, WarmStartMetrics(**metrics))
    game.progress.done(f"loss {metrics['first_loss']:.3f} -> {metrics['last_loss']:.3f}")


def _pairs(game: Game, prover: Prover, write: Translation) -> list[tuple[str, str]]:
    """Prompts and translations to learn, in an order drawn once, as many of each role."""
    settings, seed = game.config.rivals.decoupled, game.config.seed
    rng = stream(seed, DECOUPLED, "warm_start")
    wanted = min(len(game.splits.prover), settings.warm_start_steps * settings.warm_start_batch_size)
    problems = [game.splits.prover[i] for i in rng.permutation(len(game.splits.prover))[:wanted]]
    with game.team.together(write.solver):
        rows: list[Solution] = game.draw(
            write.solver,
            problems,
            (HELPFUL,),
            1,
            arm=SOLVER,
            round_index=0,
            phase="pool",
            split="prover",
            step=0,
            temperature=settings.solver_temperature,
        ).rows
    lessons = taught(rows, game.problems, rng)
    sneaky = sum(x.role == SNEAKY for x in lessons)
    if not sneaky:
        raise UserError(
            "rivals.decoupled.warm_start_steps: no solution of the solver is wrong or can be spoilt, so the sneaky role has "
            "nothing to learn; set it to 0"
        )
    prompts = [prover.translation_text(x.problem, x.source, x.role, _told(game, x.problem, x.role)) for x in lessons]
    space = prover.space_after(prompts[0])
    return [(prompts[i], space + lessons[i].text) for i in rng.permutation(len(lessons))]


def _before(config: Config) -> list[str]:
    return [arm_warm_start(DECOUPLED)] if config.rivals.decoupled.warm_start_steps else []


ARM = Arm("decoupled", play, rounds=True, before=_before, after=lambda config: [arm_figures(DECOUPLED)])
