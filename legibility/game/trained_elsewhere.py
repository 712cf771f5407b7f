"""A prover phase that another program runs (verl, docs/verl.md): what it is handed, and what is taken back.

`hand_over` writes a folder: prompts of every step, the very problems that `legibility.game.prover_phase` would draw;
what the completions are to be paid; a config for verl. `take_back` makes a finished phase of the prover that came out
and of the completions it was trained on, so that the game goes on as after a phase of its own: collection, the next
verifier, reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from legibility.config import Config
from legibility.errors import UserError
from legibility.files import sha256
from legibility.game.condition import CORRECTNESS, GAME
from legibility.game.context import Game
from legibility.game.phases import METRICS_LOG, round_verifier
from legibility.game.prover_plan import phase_name
from legibility.game.rollout_columns import Rollouts, describe
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import TRAINING, ProverTraining
from legibility.game.solutions import Solution, write_solutions
from legibility.integrations.verl import PROMPTS, RECIPE, ROUND, VerlRound, paid_steps, read_round, write_prompts
from legibility.metrics import number
from legibility.models.loading import resolve
from legibility.models.verifier import Verifier
from legibility.new_folder import new_folder
from legibility.prompts import HELPFUL, ROLES
from legibility.randomness import stream
from legibility.stored import write_stored

TrainProver = Callable[[Game, str, int, Verifier | None, int], None]
"""What trains a prover in a game: `prover_phase.train_prover`, or something that has it done elsewhere."""


class HandedOver(Exception):
    """The game waits for a prover that is trained elsewhere. `folder`: what was handed over."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


@dataclass
class TrainedByVerl:
    """A `TrainProver`: hands each phase over to a folder below `exports`, and takes back what stands in `trained`.

    `trained`, the folder of the prover that verl made, is used once, for the first phase that is not done.
    """

    exports: Path
    trained: Path | None = None
    gpus: int = 1

    def __call__(self, game: Game, arm: str, index: int, verifier: Verifier | None, steps: int) -> None:
        """Raises HandedOver where the phase has to be run by verl first."""
        phase = phase_name(arm, index)
        if game.run.is_done(phase):
            return
        folder = self.exports / phase.replace("/", "-")
        if not (folder / ROUND).is_file():
            hand_over(game, arm, index, steps, folder, self.gpus)
        if self.trained is None:
            raise HandedOver(folder)
        trained, self.trained = self.trained, None
        take_back(game, arm, index, folder, trained)


def hand_over(game: Game, arm: str, index: int, steps: int, folder: Path, gpus: int = 1) -> None:
    """Write a folder for verl, whole or not at all. Raises UserError where the game cannot be played that way."""
    config = game.config
    if config.reward.kind == "goodhart" and arm == GAME:
        raise UserError("reward.kind: a Goodhart round ends by a stop rule that verl has not; train it here")
    if config.stop.rule != "fixed" and arm == GAME:
        raise UserError("stop.rule: verl trains a fixed number of steps; set it to fixed")
    if config.mixture.checkpoints == "all":
        raise UserError("mixture.checkpoints: verl gives back the last prover alone; set it to last")
    prover = game.new_prover(arm, index)
    roles = (HELPFUL,) if arm == CORRECTNESS else ROLES
    size = min(config.ppo.problems_per_step * (2 if arm == CORRECTNESS else 1), len(game.splits.prover))
    drawn = [_problems_of(game, arm, index, step, size) for step in range(1, steps + 1)]
    verified = arm == GAME
    record = VerlRound(
        arm=arm,
        round=index,
        steps=steps,
        reward=config.reward if verified else None,
        verifier=config.verifier if verified else None,
        verifier_folder=str(game.run.verified(round_verifier(index)).resolve()) if verified else None,
        marker=config.grading.marker,
        unparsed=config.grading.unparsed,
        end_ids=sorted(prover.end_ids),
    )
    longest = max(len(prover.prompt_ids(p, role)) for step in drawn for p in step for role in roles)
    model = (
        str(Path(game.base_source).resolve())
        if game.base_source
        else resolve(config.prover.model, "prover", game.base_dir)
    )
    with new_folder(folder) as work:
        write_prompts(work, prover, drawn, roles)
        write_stored(work / ROUND, record)
        recipe = verl_recipe(
            config, folder.resolve(), model, rows=size * len(roles), prompt=longest, steps=steps, gpus=gpus
        )
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
        (work / RECIPE).write_text(f"{_HEAD}{text}", encoding="utf-8")


def _problems_of(game: Game, arm: str, index: int, step: int, size: int) -> list[Any]:
    """The problems that a step of the game's own prover phase draws."""
    problems = game.splits.prover
    chosen = stream(game.config.seed, arm, index, "ppo", step).choice(len(problems), size=size, replace=False)
    return [problems[i] for i in chosen]


_HEAD = """\
# For verl 0.9.1 (docs/verl.md). Made from the game's settings; what belongs to your machines is yours to change.
# VERL_USE_EXTERNAL_MODULES=legibility.integrations.verl_trainer \\
#     python -m verl.trainer.main_ppo --config-path "$PWD" --config-name verl
"""


def verl_recipe(
    config: Config, folder: Path, model: str, *, rows: int, prompt: int, steps: int, gpus: int
) -> dict[str, Any]:
    """verl's settings for a prover phase of these settings. rows: prompts of a step; prompt: tokens of the longest."""
    ppo, lora = config.ppo, config.prover.lora
    micro, lengths = max(1, ppo.micro_batch_size // gpus), {"lr": ppo.learning_rate, "weight_decay": 0.0}
    network = {
        "path": model,
        "enable_gradient_checkpointing": config.prover.gradient_checkpointing,
        **(
            {}
            if lora is None
            else {"lora_rank": lora.r, "lora_alpha": lora.alpha, "target_modules": lora.target_modules}
        ),
    }
    files = str(folder / PROMPTS)
    hook = "legibility.integrations.verl_trainer"
    return {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["ppo_trainer", "_self_"],
        "legibility": {"folder": str(folder), "device": "cpu"},
        "data": {
            "train_files": files, "val_files": files, "train_batch_size": rows, "shuffle": False,
            "max_prompt_length": prompt, "max_response_length": config.sampling.max_new_tokens,
            "filter_overlong_prompts": False, "truncation": "error", "dataloader_num_workers": 0,
        },
        "actor_rollout_ref": {
            "model": network,
            "actor": {
                "optim": dict(lengths), "ppo_mini_batch_size": ppo.minibatch_size // ppo.samples_per_role,
                "ppo_micro_batch_size_per_gpu": micro, "ppo_epochs": ppo.epochs, "shuffle": True,
                "data_loader_seed": config.seed, "clip_ratio": ppo.clip, "clip_ratio_low": ppo.clip,
                "clip_ratio_high": ppo.clip, "clip_ratio_c": 1e6, "grad_clip": ppo.max_grad_norm, "entropy_coeff": 0.0,
                "use_kl_loss": False, "loss_agg_mode": "token-mean",
            },
            "ref": {"log_prob_micro_batch_size_per_gpu": micro},
            "rollout": {
                "name": "vllm", "n": ppo.samples_per_role, "temperature": 1.0, "top_p": 1.0, "top_k": -1,
                "tensor_model_parallel_size": 1, "gpu_memory_utilization": config.compute.vllm.memory,
                "seed": config.seed, "log_prob_micro_batch_size_per_gpu": micro,
            },
        },
        "critic": {
            "model": {"path": model, "enable_gradient_checkpointing": config.prover.gradient_checkpointing},
            "optim": dict(lengths), "ppo_micro_batch_size_per_gpu": micro,
            "ppo_mini_batch_size": ppo.minibatch_size // ppo.samples_per_role, "ppo_epochs": ppo.epochs,
            "grad_clip": ppo.max_grad_norm,
        },
        "algorithm": {
            "adv_estimator": "gae", "gamma": ppo.gamma, "lam": ppo.lam, "use_kl_in_reward": True, "kl_penalty": "kl",
            "kl_ctrl": {"type": "fixed", "kl_coef": ppo.kl_coefficient},
        },
        "reward": {
            "num_workers": 8,
            "reward_manager": {
                "source": "importlib", "name": "LegibilityRewardManager", "module": {"path": f"pkg://{hook}"},
            },
        },
        "trainer": {
            "use_v1": True, "v1": {"trainer_mode": "legibility"}, "total_epochs": 1, "total_training_steps": steps,
            "nnodes": 1, "n_gpus_per_node": gpus, "logger": ["console"], "project_name": "legibility",
            "experiment_name": folder.name, "save_freq": max(1, steps // 4), "test_freq": -1, "val_before_train": False,
            "default_local_dir": str(folder / "checkpoints"), "resume_mode": "auto",
        },
    }  # fmt: skip


def take_back(game: Game, arm: str, index: int, folder: Path, trained: Path) -> None:
    """Make the finished phase of a prover folder that verl's merger wrote and of the steps beside the prompts.

    Raises UserError where steps are missing or of another phase, and where the folder holds no prover of this game, or
    one of another phase.
    """
    record = read_round(folder)
    if (record.arm, record.round) != (arm, index):
        raise UserError(f"{folder}: is of {record.arm}, round {record.round}, and not of {arm}, round {index}")
    done = list(paid_steps(folder))
    if len(done) != record.steps:
        raise UserError(
            f"{folder}: verl has done {len(done)} of {record.steps} steps; let it go on (it resumes from its last checkpoint)"
        )
    _check_handed_to(trained, folder)
    game.progress.phase(f"{phase_name(arm, index)}: a prover that verl trained", len(done))
    prover = game.saved_prover(trained)
    with game.run.phase(phase_name(arm, index)) as work:
        prover.save(work)
        _check_not_taken(game.run, work, trained)
        rows: list[Solution] = []
        with open(work / METRICS_LOG, "w", encoding="utf-8") as log:
            for step in done:
                counts: dict[tuple[str, str], int] = {}
                mine = []
                for read, paid in step.completions:
                    key = read.problem_id, read.role
                    counts[key] = counts.get(key, -1) + 1
                    if read.problem_id not in game.problems:
                        raise UserError(f"{folder}: step {step.step} has a problem of another game ({read.problem_id})")
                    prompt = prover.prompt_ids(game.problems[read.problem_id], read.role)
                    mine.append(
                        Solution(
                            arm=arm, round=index, phase="ppo", split="prover", step=step.step, problem_id=read.problem_id,
                            sample=counts[key], role=read.role, text=read.text, verdict=read.verdict,
                            prompt_tokens=len(prompt), completion_tokens=read.tokens, truncated=read.truncated,
                            score=read.score, reward=paid,
                        )
                    )  # fmt: skip
                metrics = describe(Rollouts.of(mine), np.array([row.reward for row in mine], dtype=float))
                metrics["score_scale"] = step.scale
                log.write(json.dumps({"step": step.step, **{k: number(v) for k, v in metrics.items()}}) + "\n")
                rows += mine
        write_solutions(work / "solutions.parquet", rows)
        facts = ProverTraining(
            arm=arm,
            round=index,
            steps=len(done),
            stopped="all steps done, by verl",
            score_scale=done[-1].scale,
            steps_to_exploit=None,
            reward=CORRECTNESS if record.reward is None else record.reward.kind,
        )
        write_stored(work / TRAINING, facts)
    game.progress.done(f"{len(done)} steps by verl, {len(rows)} completions")


def _check_handed_to(trained: Path, folder: Path) -> None:
    """Raises UserError where a prover stands inside what was handed over for another phase than `folder` was."""
    place = next((p for p in trained.resolve().parents if (p / ROUND).is_file()), None)
    if place is None or place == folder.resolve():
        return
    theirs, ours = read_round(place), read_round(folder)
    other = (theirs.arm, theirs.round) != (ours.arm, ours.round)
    if other or any(sha256(place / name) != sha256(folder / name) for name in (ROUND, PROMPTS)):
        named = f"{theirs.arm}, round {theirs.round}" if other else "another game"
        raise UserError(
            f"{trained}: is of {named} ({place / ROUND}), and the game waits for {ours.arm}, round {ours.round}; give "
            f"the prover that verl made in {folder}"
        )


def _check_not_taken(run: RunFolder, work: Path, trained: Path) -> None:
    """Raises UserError where the weights saved in `work` are those of a finished phase of the run."""
    weights = {p.name: sha256(p) for p in work.glob("*.safetensors")}
    for phase in run.finished_phases():
        known = run.done_record(phase).sha256
        if weights and all(known.get(name) == found for name, found in weights.items()):
            raise UserError(
                f"{trained}: has the very weights of {phase}, which the run has already; give the prover that verl made "
                "for this phase"
            )
