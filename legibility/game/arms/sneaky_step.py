"""One wrong step: a game whose sneaky role spoils a right solution at one step and carries the error on.

After the sneaky generator of self-play critics (SPC, Chen et al. 2025, arXiv 2504.19162), which turns a correct step into
an incorrect one. Here a text that the policy itself wrote for the problem, and that is right, is cut before a step drawn
at random; the sneaky role goes on from there and is paid as in the game, for being wrong and convincing. What it was
given is part of its text for graders, verifiers and readers, and no part of what PPO learns from. The helpful role is the
game's. Departures: SPC's generator rewrites one given step and its critic judges that step; here the solution goes on to
its end, and the verifier reads all of it.
"""

from __future__ import annotations

import re
from typing import Any

from legibility.game.arms.arm import Arm, Budget
from legibility.game.arms.rounds import play_rounds
from legibility.game.condition import SNEAKY_STEP
from legibility.game.context import Drawn, Game, WritingTask
from legibility.game.solutions import Solution
from legibility.models.prover import Prover
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, SNEAKY
from legibility.randomness import stream

TRIES = 4
"""Helpful texts of a problem among which a right one is looked for, where the helpful role is not asked for itself."""


def play(game: Game, budget: Budget) -> None:
    """All rounds of the arm that are not done yet."""
    play_rounds(game, SNEAKY_STEP, write)


def write(
    game: Game, prover: Prover, problems: list[Problem], roles: tuple[str, ...], samples: int, **where: Any
) -> Drawn:
    """`Game.draw`, but the sneaky role goes on with the beginning of a right solution where the policy wrote one.

    Without one it goes on with the data set's own solution, and where there is none it begins by itself.
    """
    if SNEAKY not in roles:
        return game.draw(prover, problems, roles, samples, **where)
    if HELPFUL in roles:
        honest = game.draw(prover, problems, (HELPFUL,), samples, **where)
        right = first_right(honest.rows)
    else:
        honest = Drawn([], [], [])
        right = first_right(game.draw(prover, problems, (HELPFUL,), TRIES, **where).rows)
    rng = stream(game.config.seed, SNEAKY_STEP, where["round_index"], where["phase"], where["split"], where["step"])
    tasks = []
    for problem, share in zip(problems, rng.random(len(problems)), strict=True):
        source = right.get(problem.id) or problem.solution
        begun = before_a_step(source, float(share)) if source else ""
        tasks.append(WritingTask(problem, SNEAKY, prover.prompt_ids(problem, SNEAKY, begun), begun, source or None))
    spoilt = game.draw_tasks(prover, tasks, samples, **where)
    return Drawn(honest.rows + spoilt.rows, honest.prompts + spoilt.prompts, honest.completions + spoilt.completions)


def first_right(rows: list[Solution]) -> dict[str, str]:
    """The first correct text of every problem that has one, by problem id."""
    found: dict[str, str] = {}
    for row in rows:
        if row.verdict == "correct":
            found.setdefault(row.problem_id, row.text)
    return found


def before_a_step(solution: str, share: float) -> str:
    """A solution up to one of its steps, drawn by `share` in [0, 1): none, or the first lines whole.

    The last line, which tells the answer, is no step: to change it alone would be an answer that does not follow.
    """
    starts = [0, *(m.end() for m in re.finditer(r"\n+", solution.rstrip()))]
    steps = starts[:-1] or starts
    return solution[: steps[int(share * len(steps))]]


ARM = Arm("sneaky_step", play, rounds=True)
