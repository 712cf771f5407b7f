"""The verifier phase of a round: build the mixture, train a fresh verifier, check its gates.

Kirchner et al. 2024, Sec. 3.2: the verifier is re-initialised every round and trained for a constant
number of updates; only its data change. The held-out judge is trained here too, on base text alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.game import gates
from legibility.game.base import base_solutions
from legibility.game.condition import ARMS, BASE_ROLE, GAME, HELD_OUT_JUDGE, reader
from legibility.game.context import Game
from legibility.game.discrimination import discrimination, same_style
from legibility.game.mixture import BASE, build_mixture, component
from legibility.game.phase_checkpoints import phase_checkpoints
from legibility.game.phases import METRICS_LOG, round_verifier
from legibility.game.run_records import TRAINING, Discrimination, LastUpdates, VerifierTraining
from legibility.game.solutions import round_solutions
from legibility.metrics import number
from legibility.models.verifier import Verifier
from legibility.models.verifier_ensemble import load_verifier
from legibility.problems.splits import Part
from legibility.prompts import ROLES
from legibility.randomness import derive_seed, stream
from legibility.stored import write_stored
from legibility.verifier_course import VerifierSoFar
from legibility.verifier_training import LabelledSolution, train_verifier


def train_round_verifier(game: Game, index: int, arm: str = GAME) -> Verifier:
    """The verifier of round `index`, trained now or loaded; its gates are checked either way.

    arm: whose rounds it learns from; round 0's, which learns from base text alone, is the game's in every arm.

    Raises UserError where there is nothing to learn from, GateClosed where the verifier is of no use.
    """
    if index == 0 and arm != GAME:
        return game.saved_verifier(0)  # the game has checked its gates
    phase = round_verifier(index, arm)
    title = f"round {index} verifier" if arm == GAME else f"{ARMS[arm]}, round {index} verifier"
    if not game.run.is_done(phase):
        texts = {past: round_solutions(game.run, past, arm) for past in range(index)}
        components = _components(game, texts)
        source = None
        if game.config.verifier.init == "persist" and index > 0:
            source = str(game.run.verified(round_verifier(index - 1, arm)))
        purpose = ("round", index) if arm == GAME else (arm, "round", index)
        _train(game, phase, title, components, game.config.verifier, purpose, source, texts)
    verifier = game.saved_verifier(index, arm)
    held_out = _valid(base_solutions(game), "validation", (BASE_ROLE,))
    if index > 0:
        held_out = pd.concat([held_out, _valid(round_solutions(game.run, index - 1, arm), "validation", ROLES)])
    scores = _scores(game, verifier, held_out)
    found = same_style(held_out, scores)
    reasons = gates.check_verifier(game.config.gates, scores, (held_out.verdict == "correct").to_numpy(), found)
    for doubt in gates.doubts(game.config.gates, found) if game.config.gates.enabled else ():
        game.progress.warn(f"{title}: {doubt}")
    gates.enforce(game.config.gates, title, reasons, game.force, game.progress.warn)
    return verifier


def _components(game: Game, texts: Mapping[int, pd.DataFrame]) -> dict[str, list[LabelledSolution]]:
    """What a verifier learns from by component: base text, and what was written in rounds."""
    past = {component(index): _labelled(game, frame, component(index)) for index, frame in texts.items()}
    return {BASE: _labelled(game, base_solutions(game), BASE), **past}


def train_judge(game: Game) -> None:
    """The held-out judge: other problems, model and score (as far as set), base text only, never optimised against."""
    if not game.config.game.held_out_judge or game.run.is_done(HELD_OUT_JUDGE.phase):
        return
    part: Part = "judge" if game.splits.judge else "verifier"
    components = {BASE: _labelled(game, base_solutions(game), BASE, part)}
    settings, phase = HELD_OUT_JUDGE.settings(game.config), HELD_OUT_JUDGE.phase
    _train(game, phase, HELD_OUT_JUDGE.label, components, settings, ("judge",), None, {}, part)


def train_reader(game: Game, arm: str, texts: Mapping[int, pd.DataFrame]) -> None:
    """The reader of an arm: a verifier that has learnt from base text and all that the arm wrote.

    Every arm has one, with rounds or without, so that arms are checked and attacked alike. texts: the arm's completions
    by round (0: an arm without rounds). Raises UserError where there is nothing to learn from.
    """
    judge = reader(arm)
    if game.run.is_done(judge.phase):
        return
    components = _components(game, texts)
    _train(game, judge.phase, judge.label, components, judge.settings(game.config), ("reader", arm), None, texts)


def load_judge(game: Game) -> Verifier | None:
    """The held-out judge, or None where the run has none."""
    if not game.run.is_done(HELD_OUT_JUDGE.phase):
        return None
    folder = game.run.verified(HELD_OUT_JUDGE.phase)
    settings, batch = HELD_OUT_JUDGE.settings(game.config), game.config.compute.score_batch
    return load_verifier(settings, game.device, source=str(folder), batch=batch)


def _train(
    game: Game,
    phase: str,
    title: str,
    components: dict[str, list[LabelledSolution]],
    settings: VerifierSettings,
    purpose: tuple[int | str, ...],
    source: str | None,
    past_rounds: Mapping[int, pd.DataFrame],
    part: Part = "verifier",
) -> None:
    """Train a verifier on a mixture of the components, measure it on held-out text and store it.

    `purpose` keys its random numbers; `source` is a saved verifier to start from, None for a fresh one;
    `past_rounds` are the completions by round that it is measured on beside base text; `part` holds the problems the
    components are about.
    """
    seed = game.config.seed
    if settings.reference_solutions:
        components[BASE] = _with_references(game, components[BASE], part)
    mixture = build_mixture(
        components,
        game.splits.part(part),
        settings.solutions_per_problem,
        game.config.mixture,
        stream(seed, "mixture", *purpose),
    )
    if not any(x.correct for x in mixture.items):
        raise UserError(
            f"{title}: no problem has both a correct and an incorrect solution to learn from; "
            "use easier problems, more samples, or verifier.reference_solutions: true"
        )
    for cell in mixture.short:
        game.progress.detail(
            f"{title}: {cell.component} / {cell.role}: {cell.distinct} of {cell.wanted} texts "
            f"({cell.distinct_correct} correct, {cell.distinct_incorrect} incorrect to choose from)"
        )
    repeated = f", {mixture.repeated} of them repeated" if mixture.repeated else ""
    game.progress.phase(title, settings.updates * settings.ensemble, f"{len(mixture.items)} texts{repeated}")
    with game.run.phase(phase) as work:
        checkpoints = phase_checkpoints(game, phase, work)
        found = checkpoints.restore(VerifierSoFar)
        if found is not None:
            game.progress.resumed(found.step + 1)
        verifier = load_verifier(
            settings,
            game.device,
            seed=derive_seed(seed, "verifier", *purpose),
            source=source,
            batch=game.config.compute.score_batch,
            base_dir=game.base_dir,
        )
        parameters = verifier.parameter_count()
        with (
            game.team.together(verifier, gradients=parameters),
            open(work / METRICS_LOG, "a", buffering=1, encoding="utf-8") as log,
        ):

            def on_update(step: int, metrics: dict[str, float]) -> None:
                log.write(json.dumps({"step": step, **{k: number(v) for k, v in metrics.items()}}) + "\n")
                game.progress.step(step, metrics)

            rng = stream(seed, "batches", *purpose)
            final = train_verifier(
                verifier, mixture.items, settings, rng, on_update, game.team, checkpoints=checkpoints, found=found
            )
            held_out = {VerifierTraining.key(None): _valid(base_solutions(game), "test", (BASE_ROLE,))}
            for past, written in past_rounds.items():
                held_out[VerifierTraining.key(past)] = _valid(written, "test", ROLES)
            evaluation = {
                name: discrimination(frame, _scores(game, verifier, frame)) for name, frame in held_out.items()
            }
        verifier.save(work)
        facts = VerifierTraining(
            texts=len(mixture.items),
            cells=mixture.cells,
            parameters=parameters,
            final=LastUpdates(**final),
            test=evaluation,
        )
        write_stored(work / TRAINING, facts)
    shown = facts.on(max(past_rounds, default=None))
    game.progress.done(
        f"pair accuracy {final['pair_accuracy']:.3f}, held-out same-style accuracy {_shown_same_style(shown)}, "
        f"AUROC pooled {_shown(shown.pooled)}, within role {_shown(shown.within_role)}"
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _shown_same_style(found: Discrimination) -> str:
    pairs = found.same_style
    return "unknown" if pairs is None or pairs.value is None else f"{pairs.value:.3f} ({pairs.pairs} pairs)"


def _scores(game: Game, verifier: Verifier, frame: pd.DataFrame) -> np.ndarray:
    return verifier.score([game.problems[p] for p in frame.problem_id], list(frame.text), game.team)


def _valid(frame: pd.DataFrame, split: Part, roles: tuple[str, ...]) -> pd.DataFrame:
    keep = (frame.split == split) & frame.role.isin(roles) & (frame.verdict != "invalid") & (frame.phase != "ppo")
    return frame[keep]


def _labelled(game: Game, frame: pd.DataFrame, component: str, part: Part = "verifier") -> list[LabelledSolution]:
    keep = (frame.split == part) & (frame.verdict != "invalid")
    return [
        LabelledSolution(game.problems[r.problem_id], r.text, r.verdict == "correct", component, r.role)
        for r in frame[keep].itertuples()
    ]


def _with_references(game: Game, texts: list[LabelledSolution], part: Part) -> list[LabelledSolution]:
    """Add the data set's own solution where a problem has incorrect samples and no correct one."""
    solved = {x.problem.id for x in texts if x.correct}
    tried = {x.problem.id for x in texts}
    added = [
        LabelledSolution(p, p.solution, True, BASE, BASE_ROLE)
        for p in game.splits.part(part)
        if p.id in tried and p.id not in solved and p.solution
    ]
    if added:
        game.progress.warn(
            f"{len(added)} of {len(tried)} problems have no correct sample; reference solutions stand in "
            "(the verifier may learn their style instead of their truth)"
        )
    return texts + added
