"""The whole game: rounds of verifier phase, gates, prover phase, collection; then the arms and the summary.

Reads top to bottom like Sec. 3.2 of the paper. Every phase is skipped if it is done, so a resumed run
goes through the same lines. `legibility train` is this function behind a command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from legibility.config import ComputeSettings, Config, ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.evaluation.doubts import write_doubts
from legibility.evaluation.summary import write_summary
from legibility.evaluation.summary_schema import SUMMARY, read_summary
from legibility.forked_team import ForkedTeam
from legibility.game import base, collection, phases, prover_phase, verifier_phase
from legibility.game.arms.all_arms import arm_phases, planned, play_arms
from legibility.game.arms.arm import Budget
from legibility.game.condition import GAME, HELD_OUT_JUDGE
from legibility.game.context import Game
from legibility.game.early_checks import check_counts, check_start
from legibility.game.extension import begun_with, extend
from legibility.game.pinned import pinned
from legibility.game.rollout_columns import score_scale
from legibility.game.run_folder import PROBLEMS, RunFolder, peak_memory_mb
from legibility.game.run_records import RESOURCES, ModelFacts, ProblemFacts, Resources
from legibility.game.solutions import check_round, round_solutions
from legibility.game.tracked_completions import completions_table
from legibility.game.trained_elsewhere import TrainProver
from legibility.integrations.trl_settings import check_trainer, trainer_notice
from legibility.launch import Launch, launch
from legibility.launched_team import LaunchedTeam
from legibility.models.loading import pick_device
from legibility.models.prover import Prover
from legibility.models.self_check import notice
from legibility.models.verifier import Verifier
from legibility.pasted import typed_command
from legibility.problems import ProblemSplits, load_problems
from legibility.problems.earlier import as_begun
from legibility.problems.storage import write_problems
from legibility.progress import Progress
from legibility.prompts import load_prompts
from legibility.reporting import write_report
from legibility.rollouts.choice import check_vllm, engine_notice, require_sampler, usable_engine
from legibility.sharded_team import ShardedTeam
from legibility.stored import read_stored, write_stored
from legibility.team import Team
from legibility.trackers import Trackers


def train(
    config: Config,
    out: Path | str,
    *,
    resume: bool = False,
    force: bool = False,
    quick: Sequence[str] | None = None,
    base_dir: Path | None = None,
    progress: Progress | None = None,
    train_prover: TrainProver = prover_phase.train_prover,
) -> RunFolder:
    """Play a whole game in run folder `out`, or the rest of one.

    resume: continue the run in `out` if there is one, with more `game.rounds` too (legibility.game.extension). force: warn where a gate is closed instead of stopping.
    quick: what was made smaller for a quick look (`legibility.quick_game`); the run is marked with it, and gates warn.
    base_dir: where relative paths in the config start (default: the working directory). train_prover: what trains the
    provers of rounds and of the correctness-only arm (legibility.game.trained_elsewhere has another than PPO here).
    Raises UserError for bad input before anything is written, GateClosed where a gate refuses.
    """
    out, progress, place = Path(out), progress or Progress(), launch()
    if place is not None and place.rank > 0:
        LaunchedTeam.serve(place)
        return RunFolder(out)
    score_scale(config.reward)  # refuses what cannot be paid
    check_counts(config.compute)
    if train_prover is not prover_phase.train_prover and set(config.game.played) - {"game", "correctness"}:
        raise UserError("game.arms: a game whose provers are trained elsewhere has the arms game and correctness only")
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    with _team(config.compute, place, progress.warn) as team:
        return _train(config, out, resume, force, quick, base_dir, progress, team, train_prover)


def _train(
    config: Config,
    out: Path,
    resume: bool,
    force: bool,
    quick: Sequence[str] | None,
    base_dir: Path | None,
    progress: Progress,
    team: Team,
    train_prover: TrainProver,
) -> RunFolder:
    """`train` with the processes that share its work."""
    begun = begun_with(out, config) if resume else config
    if resume and begun == config and finished(out, config):
        progress.note(f"{out}: this run is finished; nothing to do")
        return RunFolder(out)
    splits = load_problems(config.problems, base_dir=base_dir)
    check_trainer(config, len(splits.prover), team.workers if isinstance(team, LaunchedTeam) else 1)
    device = pick_device(config.compute.device)
    checked = check_models(config, device, base_dir, splits)
    for line in filter(None, (trainer_notice(config), *checked.notices)):
        progress.warn(line)
    if quick is not None:
        progress.warn(
            f"quick: a small game to look at, its numbers measure nothing; it sets {' '.join(quick) or 'nothing'}"
        )
    problems_file = out / PROBLEMS
    if resume and problems_file.is_file():
        splits = as_begun(problems_file, config.problems, splits, base_dir=base_dir)
    assert splits.report is not None, "load_problems always checks the parts"
    facts = ProblemFacts(counts=splits.counts, contamination=splits.report)
    RunFolder.check(out, begun, resume=resume)
    tracking, told = config.tracking, config.model_dump(mode="json")
    trackers = Trackers.start(tracking.trackers, tracking.project, out, told, progress.warn)
    with trackers as progress.trackers, RunFolder.open(out, begun, resume=resume) as run:
        if begun != config:
            aside = extend(run, begun.game.rounds, config)
            progress.note(
                f"game.rounds {begun.game.rounds} -> {config.game.rounds}: what told of the shorter game is kept in {aside}"
            )
        if not problems_file.exists():
            write_problems(problems_file, splits)
        run.write_manifest(
            command=typed_command(),
            device=device,
            seed=config.seed,
            base_dir=base_dir,
            problems=facts,
            models=checked.models,
            **({"ranks": team.workers} if isinstance(team, LaunchedTeam) else {}),
            **({} if quick is None else {"quick": list(quick)}),
        )
        try:
            settings = pinned(config, run.manifest().models)
            _play(
                Game(
                    settings,
                    run,
                    splits,
                    device,
                    progress,
                    force=force or quick is not None,
                    base_dir=base_dir,
                    team=team,
                ),
                train_prover,
            )
            if trackers:
                trackers.report(write_report(run), (run.path / "figures").glob("*.png"))
        finally:
            progress.close()
    return run


def _team(compute: ComputeSettings, place: Launch | None, warn: Callable[[str], None]) -> Team:
    """The processes that share the work: the launcher's ranks, or forked helpers.

    Raises UserError where the ranks do not belong together.
    """
    if place is not None:
        if ":" in compute.device:
            raise UserError(
                f"compute.device: {compute.device} is one card for {place.size} ranks; give cuda, and each takes its own"
            )
        if compute.workers > 1:
            warn(
                f"compute.workers: the work is shared by the {place.size} ranks of the launcher, without forked helpers"
            )
        if compute.shard:
            if compute.engine not in ("fast", "hf"):
                raise UserError(
                    f"compute.shard: {compute.engine} takes whole weights from one process; set compute.engine to fast or hf"
                )
            return ShardedTeam.join_sharded(place, compute.rank_timeout, pick_device(compute.device))
        return LaunchedTeam.join(place, compute.rank_timeout)
    if compute.shard:
        raise UserError(
            "compute.shard: weights are spread over ranks, and this is one process; start with "
            "torchrun --nproc-per-node N -m legibility train ..., or set it to false"
        )
    team = ForkedTeam(compute.workers)
    if team.workers < compute.workers:
        warn("compute.workers: processes share work on Linux without a GPU only; this run uses threads")
    return team


def _play(game: Game, train_prover: TrainProver) -> None:
    """All phases of the game that are not done yet, and the summary."""
    run, config, progress = game.run, game.config, game.progress
    started = time.time()
    base.warm_start(game)
    base.sample_base(game)
    for index in range(config.game.rounds):
        check_round(run, index)
    for index in range(config.game.rounds):
        verifier = verifier_phase.train_round_verifier(game, index)
        train_prover(game, GAME, index, verifier, config.ppo.steps)
        new = not run.is_done(phases.round_collection(index))
        collection.collect_round(game, index, verifier)
        if new and progress.trackers and config.tracking.completions:
            progress.trackers.table(completions_table(game, index))
    last = prover_phase.load_training(run, GAME, config.game.rounds - 1)
    play_arms(game, Budget(last.steps, train_prover))
    verifier_phase.train_judge(game)
    _record_memory(run, time.time() - started)
    summary = write_summary(run, device=game.device, team=game.team)
    write_doubts(run, game.device)
    if summary.judge_doubt:
        progress.warn(summary.judge_doubt)


def finished(out: Path, config: Config) -> bool:
    """Whether `out` holds a complete run of these very settings, each file as it was written.

    Raises UserError for other settings and for a changed file.
    """
    run = RunFolder(out)
    if not run.config_file.is_file():
        return False
    run.check_settings(config)
    made = game_phases(config)
    if not all(run.is_done(phase) for phase in made):
        return False
    _ = run.manifest(), run.problems_file  # raise where they are not what the run wrote
    if (run.path / RESOURCES).is_file():
        read_stored(run.path / RESOURCES, Resources, fix="delete it")
    for phase in made:
        run.verified(phase)
    for index in range(config.game.rounds):
        round_solutions(run, index)
    try:
        read_summary(run.path / SUMMARY)
    except UserError:
        return False  # it is made of the phases, and will be again
    return True


def game_phases(config: Config) -> list[str]:
    """Every phase of a game with these settings, in order."""
    rounds = range(config.game.rounds)
    return [
        *([phases.WARM_START] if config.prover.warm_start.steps else []),
        phases.BASE,
        *(
            part(index)
            for index in rounds
            for part in (phases.round_verifier, phases.round_prover, phases.round_collection)
        ),
        *arm_phases(config),
        *([phases.JUDGE] if config.game.held_out_judge else []),
    ]


@dataclass(frozen=True)
class Checked:
    """Models that will do: where they are from, and what the user should know of them, a line each."""

    models: list[ModelFacts]
    notices: list[str]


def check_models(config: Config, device: str, base_dir: Path | None, splits: ProblemSplits) -> Checked:
    """Fail on an unusable model, tokenizer or prompt set before the run folder is made. Raises UserError."""
    load_prompts(config.prover.prompts, base_dir)
    if config.compute.engine == "vllm":
        require_sampler(config.compute.vllm, device)
    prover = Prover.load(config.prover, device, base_dir=base_dir)
    prover.check_roles()
    check_start(config, splits, prover)
    for arm in planned(config):
        if arm.check is not None:
            arm.check(config, prover, device, base_dir)
    if config.compute.engine == "vllm":
        check_vllm(prover, config.compute.vllm)
    engine = usable_engine(prover, config.compute.engine)
    notices = [notice(prover.causal, "prover", prover.route), engine_notice(prover, config.compute.engine, engine)]
    if config.compute.vllm.server is not None and config.compute.engine != "vllm":
        notices.append(f"compute.vllm.server: not used by compute.engine {config.compute.engine}; set that to vllm")
    if prover.chat and not prover.chat.takes_system and prover.prompts.system:
        notices.append(
            "prover.chat_template: the template takes no system message; its text begins the first user message"
        )
    models = [_facts("prover", config.prover, prover)]
    judges = {"verifier": config.verifier}
    if config.game.held_out_judge and HELD_OUT_JUDGE.settings(config) != config.verifier:
        judges[str(HELD_OUT_JUDGE)] = HELD_OUT_JUDGE.settings(config)
    for role, settings in judges.items():
        verifier = Verifier.load(settings, device, base_dir=base_dir)
        notices.append(notice(verifier.model, "verifier", verifier.reading))
        models.append(_facts(role, settings, verifier))
    return Checked(models, list(dict.fromkeys(line for line in notices if line is not None)))


def _facts(role: str, settings: ProverSettings | VerifierSettings, loaded: Prover | Verifier) -> ModelFacts:
    return ModelFacts(role=role, model=settings.model, revision=settings.revision, commit=loaded.commit)


def _record_memory(run: RunFolder, seconds: float) -> None:
    """Wall time and peak memory of this session."""
    write_stored(run.path / RESOURCES, Resources(last_session_seconds=seconds, peak_memory_mb=peak_memory_mb()))
