import pytest

from legibility.game.arms.sneaky_step import before_a_step, first_right
from legibility.game.reopen import reopen
from legibility.game.solutions import round_solutions

from .test_rft import row

SOLUTION = "2 * 3 = 6\n6 + 1 = 7\n7 * 2 = 14\n#### 14"


@pytest.mark.parametrize(
    ("share", "begun"),
    [(0.0, ""), (0.34, "2 * 3 = 6\n"), (0.67, "2 * 3 = 6\n6 + 1 = 7\n"), (0.999, "2 * 3 = 6\n6 + 1 = 7\n")],
)
def test_a_solution_is_cut_before_a_step_and_never_before_the_answer(share, begun):
    assert before_a_step(SOLUTION, share) == begun
    assert SOLUTION.startswith(begun)


def test_a_bare_answer_is_begun_anew():
    assert before_a_step("#### 14", 0.9) == ""


def test_the_first_right_text_of_a_problem_is_the_one_spoilt():
    rows = [row("a", "incorrect", 0, "x"), row("a", "correct", 0, "y"), row("a", "correct", 0, "z")]
    assert first_right(rows) == {"a": "y"}


def test_sneaky_text_begins_as_its_source_does_and_helpful_text_has_none(tiny_arms_run):
    for index in (0, 1):
        rows = round_solutions(tiny_arms_run, index, "sneaky_step")
        assert set(rows.role) == {"helpful", "sneaky"}
        assert rows[rows.role == "helpful"].source.isna().all()
        spoilt = rows[rows.role == "sneaky"]
        assert spoilt.source.notna().all()  # these problems have solutions of their own
        for text, source in zip(spoilt.text, spoilt.source, strict=True):
            lines = source.splitlines(keepends=True)
            assert any(text.startswith("".join(lines[:k])) for k in range(len(lines)))


def test_samples_of_a_problem_begin_alike(tiny_arms_run):
    rows = round_solutions(tiny_arms_run, 0, "sneaky_step").query("role == 'sneaky' and phase == 'ppo'")
    assert rows.groupby(["step", "problem_id"]).source.nunique().eq(1).all()


def test_what_is_begun_stands_behind_the_prompt_as_the_model_writes_it(tiny_run):
    game = reopen(tiny_run)
    prover, problem = game.new_prover("test"), game.splits.test[0]
    prompt = prover.prompt_ids(problem, "helpful")
    longer = prover.prompt_ids(problem, "helpful", "2 * 3 = 6\n")
    assert longer[: len(prompt)] == prompt
    assert prover.decode(longer[len(prompt) :]) == "2 * 3 = 6"
