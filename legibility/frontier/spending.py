"""What an arm's prover cost until it wrote a text: PPO steps, completions, FLOPs.

FLOPs are those of matrix products: 2 a weight and token forwards, 6 with the backward pass (Kaplan et al. 2020, Sec. 2.1);
attention's scores and the value head are left out, alike in every arm. Counted from the tokens that stand in the run
folder: the policy's sampling and PPO passes, the reference's log-probs, the scores of verifiers and their training, a
frozen solver's text. The prompt of a group is read once a pass (legibility.packing). What only reports read (test text)
is nobody's cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from legibility.config import Config
from legibility.game.condition import CORRECTNESS, DECOUPLED, GAME, RFT, ROUND_ARMS, TANDEM, Condition
from legibility.game.phases import arm_prover, arm_warm_start, round_verifier
from legibility.game.prover_phase import load_training
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import METRICS, TRAINING, VerifierTraining, WarmStartMetrics
from legibility.game.solutions import read_solutions, round_solutions
from legibility.planning.shapes import prover_shape

FORWARD, BOTH = 2, 6
"""FLOPs a weight and token: of a forward pass, and with the backward pass."""


@dataclass(frozen=True)
class Spent:
    """steps: PPO steps; completions: drawn to learn from, by provers and verifiers; flops: of matrix products."""

    steps: int = 0
    completions: int = 0
    flops: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.steps + other.steps, self.completions + other.completions, self.flops + other.flops)


@dataclass(frozen=True)
class Sizes:
    """Weights of the prover and of a verifier."""

    prover: int
    verifier: int


def spent(run: RunFolder, condition: Condition) -> Spent:
    """All that went into the prover that wrote a condition's text: its own phase, and what that rests on.

    Of an arm with rounds: the verifiers and the text of earlier rounds. Of the decoupled game also its solver, the
    correctness-only arm. Nothing for the start. Raises UserError where a phase is unfinished or changed.
    """
    config = run.config()
    arm, last = condition.arm, condition.round
    if last < 0:
        return Spent()
    sizes = Sizes(prover_shape(config.prover, run.base_dir).parameters, _verifier(run, 0, GAME).parameters)
    if arm not in (GAME, *ROUND_ARMS):
        frame = read_solutions(run.verified(arm_prover(arm)) / "solutions.parquet")
        scored = bool(frame.score.notna().any())
        verifiers = Spent()
        if scored:  # by round 0's, or (rejection sampling) by the last, which rests on the game
            verifiers = _verifier_spent(run, config, 0, GAME, sizes)
        return verifiers + _phase(run, config, arm, 0, frame, sizes)
    total = Spent()
    if arm == DECOUPLED:
        total = spent(run, Condition(CORRECTNESS, 0, condition.role)) + _warm_start(run, sizes)
    for index in range(last + 1):
        frame = round_solutions(run, index, arm)
        total += _verifier_spent(run, config, index, arm, sizes)
        total += _phase(run, config, arm, index, frame[frame.phase == "ppo"], sizes)
        if index < last:
            total += _collected(frame[(frame.phase == "collection") & (frame.split == "verifier")], sizes)
    return total


def _warm_start(run: RunFolder, sizes: Sizes) -> Spent:
    """What taught the translator its prompts, where anything did."""
    phase = arm_warm_start(DECOUPLED)
    if not run.is_done(phase):
        return Spent()
    return Spent(flops=BOTH * sizes.prover * float(run.stored(phase, METRICS, WarmStartMetrics).tokens))


def _phase(run: RunFolder, config: Config, arm: str, index: int, frame: pd.DataFrame, sizes: Sizes) -> Spent:
    training = load_training(run, arm, index)
    frame = frame[frame.phase.isin(("ppo", "rejection"))]
    completion, prompt = tokens(frame)
    flops = FORWARD * sizes.prover * (completion + prompt)  # sampling
    if (
        arm == TANDEM
    ):  # the junior reads every text too, and writes its part; what a change of hands reads anew is left out
        flops += FORWARD * sizes.verifier * (completion + prompt)
    if frame.score.notna().any():
        flops += FORWARD * sizes.verifier * float((frame.prompt_tokens + frame.completion_tokens).sum())
    if arm == RFT:
        kept = frame[frame.verdict == "correct"].drop_duplicates("problem_id")
        flops += BOTH * sizes.prover * config.rivals.rft.epochs * sum(tokens(kept))
    else:
        passes = BOTH * config.ppo.epochs + FORWARD  # and the reference's
        flops += passes * sizes.prover * (completion + prompt)
    sources = frame.dropna(subset=["source"]).drop_duplicates(["step", "problem_id"])
    if arm == DECOUPLED:  # a solver wrote them; about as long as what was made of them
        flops += FORWARD * sizes.prover * sum(tokens(sources))
    return Spent(training.steps, len(frame), flops)


def tokens(frame: pd.DataFrame) -> tuple[float, float]:
    """Completion tokens, and prompt tokens with a group's prompt counted once."""
    groups = frame.drop_duplicates(["step", "problem_id", "role"])
    return float(frame.completion_tokens.sum()), float(groups.prompt_tokens.sum())


def _collected(frame: pd.DataFrame, sizes: Sizes) -> Spent:
    return Spent(completions=len(frame), flops=FORWARD * sizes.prover * sum(tokens(frame)))


def _verifier(run: RunFolder, index: int, arm: str) -> VerifierTraining:
    return run.stored(round_verifier(index, arm), TRAINING, VerifierTraining)


def _verifier_spent(run: RunFolder, config: Config, index: int, arm: str, sizes: Sizes) -> Spent:
    """Training of a round's verifier: as many texts a step as its settings say, as long as those of its mixture."""
    settings, made = config.verifier, _verifier(run, index, arm)
    texts = settings.updates * settings.batch_problems * settings.solutions_per_problem * settings.ensemble
    frame = read_solutions(run.verified("base") / "solutions.parquet")
    length = float((frame.prompt_tokens + frame.completion_tokens).mean())
    return Spent(flops=BOTH * made.parameters / settings.ensemble * texts * length)
