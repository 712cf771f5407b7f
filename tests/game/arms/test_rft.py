import json
from dataclasses import replace

import pytest

from legibility.game.arms.rft import best, problems_for
from legibility.game.reopen import reopen
from legibility.game.solutions import Solution, read_solutions


def row(problem: str, verdict: str, score: float, text: str = "") -> Solution:
    where = {"arm": "rft", "round": 0, "phase": "rejection", "split": "prover", "step": 0, "sample": 0}
    sizes = {"prompt_tokens": 1, "completion_tokens": 1, "truncated": False}
    return Solution(**where, **sizes, problem_id=problem, role="helpful", text=text, verdict=verdict, score=score)


ROWS = [
    row("a", "correct", 0.2, "right"),
    row("a", "correct", 0.9, "right and convincing"),
    row("a", "incorrect", 2.0, "wrong and convincing"),
    row("a", "invalid", 9.0, "unreadable"),
    row("b", "incorrect", 0.1, "wrong"),
    row("c", "correct", 1.0, "first"),
    row("c", "correct", 1.0, "second"),
]


def test_the_most_convincing_right_text_of_a_problem_is_kept():
    assert [r.text for r in best(ROWS, correct_only=True)] == ["right and convincing", "first"]


def test_without_the_grader_the_most_convincing_text_is_kept():
    assert [r.text for r in best(ROWS, correct_only=False)] == ["wrong and convincing", "wrong", "first"]


def test_nothing_right_is_nothing_kept():
    assert best([ROWS[4]], correct_only=True) == []


def test_it_draws_as_many_completions_as_the_steps_of_the_others(tiny_arms_run):
    game = reopen(tiny_arms_run)
    # 2 roles of 4 problems, 4 samples: 32 completions a step; 8 completions of each problem here
    assert len(problems_for(game, 3)) == 3 * 32 / 8
    assert len(problems_for(game, 1000)) == len(game.splits.prover)
    drawn = read_solutions(tiny_arms_run.path / "arms/rft/prover/solutions.parquet")
    assert len(drawn) == 3 * 32
    assert set(drawn.phase) == {"rejection"}


def test_the_record_counts_what_was_kept(tiny_arms_run):
    training = json.loads((tiny_arms_run.path / "arms/rft/prover/training.json").read_text())
    drawn = read_solutions(tiny_arms_run.path / "arms/rft/prover/solutions.parquet")
    assert training["kept"] == drawn[drawn.verdict == "correct"].problem_id.nunique()
    assert training["completions"] == len(drawn)
    assert training["steps"] == 0


def test_a_text_cannot_be_chosen_without_a_right_one(tiny_arms_run, tmp_path, monkeypatch):
    from legibility.errors import UserError
    from legibility.game.arms import rft

    game = reopen(tiny_arms_run)
    monkeypatch.setattr(rft, "_drawn", lambda *_: [replace(ROWS[4])])
    with pytest.raises(UserError, match="rft has nothing to learn from"):
        rft._train(game, 3)


def test_what_is_learnt_is_what_the_policy_writes(tiny_arms_run):
    """A text of the policy's own costs it as few nats as sampling said: nothing stands before it that it would not write."""
    import torch

    from legibility.models.warm_start import encode_pairs
    from legibility.rollouts import sample

    game = reopen(tiny_arms_run)
    prover, problem = game.new_prover("test"), game.splits.test[0]
    prompt = prover.prompt_text(problem, "helpful")
    drawn = sample(prover, [prover.prompt_ids(problem, "helpful")], 4, seed=0, max_new_tokens=16)[0]
    whole = next(c for c in drawn if not c.truncated)
    (pair,) = encode_pairs(prover.tokenizer, [(prompt, prover.space_after(prompt) + prover.decode(whole.ids))], 512)
    assert pair.prompt == prover.prompt_ids(problem, "helpful")
    with torch.no_grad():
        logits = prover.causal(torch.tensor([pair.prompt + pair.completion])).logits[0].float()
    taken = torch.log_softmax(logits, -1)[len(pair.prompt) - 1 : -1]
    nats = -taken.gather(1, torch.tensor(pair.completion)[:, None]).sum()
    assert nats == pytest.approx(-sum(whole.logprobs), abs=0.5)
