"""What trackers see of a round's text is what the run has stored."""

from __future__ import annotations

from legibility.game.reopen import reopen
from legibility.game.solutions import round_solutions
from legibility.game.tracked_completions import COLUMNS, completions_table


def test_the_same_problems_every_round_one_solution_a_role(tiny_run):
    config = tiny_run.config()
    game = reopen(
        tiny_run, config=config.model_copy(update={"tracking": config.tracking.model_copy(update={"completions": 3})})
    )
    tables = [completions_table(game, index) for index in (0, 1)]
    ids = [[row[2] for row in table.rows] for table in tables]
    assert ids[0] == ids[1] and len(set(ids[0])) == 3 and len(ids[0]) == 6
    stored = round_solutions(tiny_run, 1)
    for row in tables[1].rows:
        told = dict(zip(COLUMNS, row, strict=True))
        own = stored[(stored.phase == "collection") & (stored.split == "test") & (stored.problem_id == told["problem"])]
        own = own[(own.role == told["role"]) & (own["sample"] == 0)].iloc[0]
        assert (told["completion"], told["verdict"], told["round"]) == (own.text, own.verdict, 1)
        assert told["score"] == float(own.score) and told["question"] == game.problems[told["problem"]].question
