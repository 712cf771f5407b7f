"""What trackers see of a round's text: the same test problems every round, one solution a role."""

from __future__ import annotations

from legibility.game.context import Game
from legibility.game.solutions import round_solutions
from legibility.prompts import ROLES
from legibility.trackers import TrackedTable

COLUMNS = ("round", "role", "problem", "question", "answer", "completion", "verdict", "score", "tokens")


def completions_table(game: Game, index: int) -> TrackedTable:
    """The first solution of each role of the first `tracking.completions` test problems of a finished round."""
    chosen = [p.id for p in game.splits.test[: game.config.tracking.completions]]
    frame = round_solutions(game.run, index)
    frame = frame[(frame.phase == "collection") & (frame["sample"] == 0) & frame.problem_id.isin(chosen)]
    found = {(row.problem_id, row.role): row for row in frame.itertuples()}
    rows = []
    for problem_id in chosen:
        for role in ROLES:
            row = found.get((problem_id, role))
            if row is not None:
                problem = game.problems[problem_id]
                told = (problem_id, problem.question, problem.answer, row.text, row.verdict)
                rows.append((index, role, *told, float(row.score), int(row.completion_tokens)))
    return TrackedTable("completions", COLUMNS, rows)
