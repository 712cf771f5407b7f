"""The base policy's text: which problems it writes for, under which name, and what is recorded of it."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import pandas as pd
import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game import base
from legibility.game.base import base_metrics, base_solutions, sample_base
from legibility.game.context import Game
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import WarmStartMetrics
from legibility.grading import grade
from legibility.problems import load_problems
from legibility.progress import Progress
from tests.support import quiet


@pytest.fixture(scope="module")
def game(tiny_run):
    return reopen(tiny_run)


def test_base_text_is_drawn_of_every_part_but_the_provers(game):
    rows = base_solutions(game)
    sizes = rows.groupby(["split", "role"]).size().to_dict()
    assert sizes == {
        ("verifier", "base"): 30 * 4,  # the larger of what a mixture and a collection take
        ("validation", "base"): 16 * 2,
        ("validation", "sneaky"): 16 * 2,
        ("test", "base"): 20 * 2,
        ("test", "sneaky"): 20 * 2,
        ("judge", "base"): 30 * 4,
    }
    assert set(rows.arm) == {"init"} and set(rows["round"]) == {-1} and set(rows.phase) == {"base"}
    assert rows.score.isna().all() and rows.reward.isna().all()


def test_accuracy_is_that_of_the_stored_text(game, tiny_run):
    rows, metrics = base_solutions(game), base_metrics(tiny_run)
    for (split, role), part in rows.groupby(["split", "role"]):
        name = f"{split}_{'helpful' if role == 'base' else role}"
        assert getattr(metrics, name) == pytest.approx((part.verdict == "correct").mean())


@pytest.fixture
def play_base(tmp_path, tiny_config_file, tiny_overrides):
    """Draws base text with further settings and returns it."""

    def play(*overrides):
        config = load_config(tiny_config_file, [*tiny_overrides, *overrides])
        run = RunFolder.open(tmp_path / "run", config, resume=False)
        game = Game(config, run, load_problems(config.problems), "cpu", quiet(), force=True)
        sample_base(game)
        return base_solutions(game)

    return play


def test_problems_without_a_right_or_a_wrong_text_are_drawn_again(play_base, tiny_run):
    """Further draws are recorded by their number, leave the first as it was, and are only for problems that lack a label."""
    texts = play_base("game.base_draws=3")
    mine = texts[texts.split == "verifier"]
    first, before = mine[mine.step == 0], base_solutions(reopen(tiny_run))
    pd.testing.assert_frame_equal(first, before[before.split == "verifier"])
    assert mine.step.max() == 2
    for draw in (1, 2):
        so_far = mine[mine.step < draw]
        both = so_far[so_far.verdict != "invalid"].groupby("problem_id").verdict.nunique() == 2
        lacking = set(mine.problem_id) - set(both[both].index)
        assert set(mine[mine.step == draw].problem_id) == lacking
        assert (mine[mine.step == draw].groupby("problem_id").size() == 4).all()


def test_nothing_is_drawn_again_once_distinct_texts_suffice(play_base):
    texts = play_base("game.base_draws=50", "verifier.solutions_per_problem=2", "game.base_samples=2")
    mine = texts[(texts.split == "verifier") & (texts.verdict != "invalid")]
    distinct = mine.drop_duplicates(["problem_id", "text"])

    def least(frame):
        return frame.verdict.value_counts().reindex(["correct", "incorrect"], fill_value=0).min()

    wanted = 30  # pairs: 2 texts for each of 30 problems
    assert least(distinct[distinct.step < distinct.step.max()]) < wanted
    assert least(distinct) >= wanted or distinct.step.max() == 49


def test_the_judges_problems_are_drawn_as_often_as_the_verifiers(play_base, tiny_run):
    """Further draws too, so that its training text is no poorer."""
    texts = play_base("game.base_draws=3", "game.base_samples=3")
    first = texts[texts.step == 0]
    assert first[(first.role == "base") & first.split.isin(["verifier", "judge"])].groupby(
        "split"
    ).size().to_dict() == {"judge": 90, "verifier": 90}
    assert "judge" in set(texts[texts.step > 0].split)
    assert set(texts[texts.split == "judge"].role) == {"base"}


class Shown(Progress):
    """Keeps what a phase shows."""

    def __init__(self):
        super().__init__(quiet=True)
        self.steps: list[tuple[int, dict]] = []

    def step(self, step, shown, tracked=None):
        self.steps.append((step, dict(shown)))


@pytest.fixture
def start_warm(tmp_path, tiny_config_file, tiny_overrides, monkeypatch):
    """Runs a warm start with these settings; returns its metrics, the taught (prompt, completion) pairs and what was shown."""

    def start(*overrides, **changes):
        taught = []
        original = base.fine_tune

        def spy(model, tokenizer, pairs, **options):
            taught.extend(pairs)
            return original(model, tokenizer, pairs, **options)

        monkeypatch.setattr(base, "fine_tune", spy)
        config = load_config(tiny_config_file, [*tiny_overrides, "prover.warm_start.steps=3", *overrides])
        splits = load_problems(config.problems)
        splits = replace(splits, prover=[replace(p, **changes) for p in splits.prover])
        run, progress = RunFolder.open(tmp_path / "run", config, resume=False), Shown()
        base.warm_start(Game(config, run, splits, "cpu", progress))
        return run.stored("warm_start", "metrics.json", WarmStartMetrics), taught, progress.steps, splits

    return start


def test_a_warm_start_shows_every_step_and_teaches_the_helpful_role_alone(start_warm):
    metrics, taught, shown, splits = start_warm()
    assert [step for step, _ in shown] == [1, 2, 3]
    assert [values["loss"] for _, values in shown] == pytest.approx([metrics.first_loss, ANY, metrics.last_loss])
    assert sorted(text.strip() for _, text in taught) == sorted(p.solution for p in splits.prover)
    assert metrics.sneaky_pairs is None


def test_the_sneaky_role_learns_corrupted_twins_in_the_same_batches(start_warm):
    metrics, taught, _, splits = start_warm("prover.warm_start.sneaky=corrupted")
    roles = ["sneaky" if prompt.startswith("<|sneaky|>") else "helpful" for prompt, _ in taught]
    right = [text.strip() for role, (_, text) in zip(roles, taught, strict=True) if role == "helpful"]
    assert sorted(right) == sorted(p.solution for p in splits.prover)
    sneaky = [text.strip() for role, (_, text) in zip(roles, taught, strict=True) if role == "sneaky"]
    assert len(sneaky) == metrics.sneaky_pairs > 20 and len(taught) == 40 + len(sneaky) == metrics.pairs
    answers = {p.question: p.answer for p in splits.prover}
    for (prompt, text), role in zip(taught, roles, strict=True):
        if role == "sneaky":
            assert (
                grade(text.strip(), answers[prompt.removeprefix("<|sneaky|>").removesuffix("<|solution|>")]).value
                == "incorrect"
            )
    assert roles != sorted(roles), "the roles are mixed, not one after the other"


def test_without_a_solution_that_can_be_corrupted_nothing_is_taught(start_warm, tmp_path):
    with pytest.raises(UserError, match=r"prover.warm_start.sneaky: no solution can be corrupted"):
        start_warm("prover.warm_start.sneaky=corrupted", solution="It is so.\n#### 7")
    assert not (tmp_path / "run/warm_start").exists()
