"""What verl's hooks compute: the game's own rewards on stored batches, verdicts and scores of its texts, its prompts."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from legibility.config import RewardSettings
from legibility.errors import UserError
from legibility.game.phases import round_verifier
from legibility.game.reopen import reopen
from legibility.game.solutions import round_solutions
from legibility.integrations.verl import (
    BatchPay,
    CompletionReader,
    ReadCompletion,
    VerlRound,
    add_step,
    forget_steps_after,
    paid_steps,
    write_prompts,
)
from legibility.prompts import ROLES

NOTHING_TO_SHOW = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


def record(reward: RewardSettings | None = None, **changes) -> VerlRound:
    facts = dict(
        arm="game", round=0, steps=3, reward=reward, verifier=None, verifier_folder=None, marker="####", unparsed="invalid",
        end_ids=[1],
    )  # fmt: skip
    return VerlRound(**{**facts, **changes})


def read(score: float | None, verdict: str, role: str = "helpful", problem: str = "p") -> ReadCompletion:
    return ReadCompletion(
        problem_id=problem, role=role, text="t", verdict=verdict, score=score, tokens=3, truncated=False
    )


def stored_steps(run, index: int):
    """Of every PPO step of a round: completions as the reward manager would give them on, and what they were paid."""
    rows = round_solutions(run, index)
    for _, step in rows[rows.phase == "ppo"].groupby("step"):
        completions = [
            ReadCompletion(
                problem_id=r.problem_id, role=r.role, text=r.text, verdict=r.verdict, score=float(r.score),
                tokens=int(r.completion_tokens), truncated=bool(r.truncated),
            )
            for r in step.itertuples()
        ]  # fmt: skip
        yield completions, step.reward.to_numpy()


@pytest.mark.parametrize("index", [0, 1])
def test_the_rewards_of_a_played_round_come_out_again(tiny_run, index):
    paying, steps = BatchPay(record(tiny_run.config().reward)), list(stored_steps(tiny_run, index))
    assert len(steps) == 3 and all(len(completions) == 32 for completions, _ in steps)
    for completions, rewards in steps:
        told = [json.loads(json.dumps(c.as_extra_info())) for c in completions]  # as it passes through verl
        paid = paying.pay([ReadCompletion.of_extra_info(info) for info in told])
        np.testing.assert_array_equal(paid.astype(np.float32), rewards)
        assert np.unique(rewards).size > 8


def test_a_batch_in_another_order_is_paid_the_same(tiny_run):
    """verl balances batches over ranks, so groups do not stand together."""
    for completions, rewards in stored_steps(tiny_run, 0):
        order = np.random.default_rng(0).permutation(len(completions))
        paying = BatchPay(record(tiny_run.config().reward))
        paid = paying.pay([completions[i] for i in order])
        np.testing.assert_allclose(paid, rewards[order], atol=1e-5)
        break


def test_by_hand():
    """SRC, running scale. Step 1: scores 3, 1 | 0, 4, spreads 1 and 2, scale 1.5. Step 2: spread 3, scale 1.8."""
    paying = BatchPay(record(RewardSettings(kind="src", scale="running")))
    first = [
        read(3.0, "correct"), read(1.0, "incorrect"), read(0.0, "incorrect", "sneaky"), read(4.0, "correct", "sneaky")
    ]  # fmt: skip
    np.testing.assert_allclose(paying.pay(first), [1 / 1.5, -1, -1, -2 / 1.5])
    second = [read(6.0, "invalid"), read(0.0, "correct")]
    np.testing.assert_allclose(paying.pay(second), [min(-1, -3 / 1.8), -1])
    assert paying.so_far().scale == pytest.approx(1.8) and paying.so_far().step == 2
    other = BatchPay(record(RewardSettings(kind="src", scale="running")))
    other.go_on_from(paying.so_far())
    third = [read(2.0, "correct"), read(0.0, "incorrect")]
    np.testing.assert_array_equal(other.pay(third), paying.pay(third))
    alone = BatchPay(record(None, arm="correctness"))
    np.testing.assert_array_equal(alone.pay([read(None, "correct"), read(None, "invalid")]), [1, -1])


def test_batches_that_cannot_be_paid():
    paying = BatchPay(record(RewardSettings()))
    with pytest.raises(UserError, match="no finite score"):
        paying.pay([read(float("nan"), "correct"), read(1.0, "correct")])
    with pytest.raises(UserError, match=r"every group is of one completion; set rollout\.n"):
        paying.pay([read(1.0, "correct"), read(1.0, "correct", "sneaky")])
    with pytest.raises(UserError, match=r"without verdict and score; set reward\.reward_manager"):
        ReadCompletion.of_extra_info({"acc": 1.0})


def test_verdicts_and_scores_of_a_played_round_come_out_again(tiny_run):
    config = tiny_run.config()
    reader = CompletionReader(
        record(config.reward, verifier=config.verifier, verifier_folder=str(tiny_run.folder(round_verifier(0))))
    )
    problems = reopen(tiny_run).problems
    rows = round_solutions(tiny_run, 0)
    rows = rows[rows.phase == "ppo"].iloc[::5]
    assert set(rows.verdict) >= {"correct", "incorrect"}
    for r in rows.itertuples():
        found = reader.read(problems[r.problem_id], r.role, r.text, int(r.completion_tokens), bool(r.truncated))
        assert found.verdict == r.verdict and found.score == pytest.approx(r.score, abs=1e-4)


def test_prompts_are_those_of_the_game(tiny_run, tmp_path):
    game = reopen(tiny_run)
    prover = game.new_prover("game", 0)
    steps = [game.splits.prover[:2], game.splits.prover[3:5]]
    with pytest.raises(UserError, match=r"prover\.chat_template: verl writes every prompt by the tokenizer's default"):
        write_prompts(tmp_path, prover, steps, ROLES)
    from legibility.chat import ChatTemplate

    prover.tokenizer.chat_template = NOTHING_TO_SHOW
    prover.chat = ChatTemplate.of(prover.tokenizer, True)
    write_prompts(tmp_path, prover, steps, ROLES)
    rows = pq.read_table(tmp_path / "train.parquet").to_pylist()
    assert [(r["extra_info"]["step"], r["extra_info"]["role"], r["extra_info"]["problem_id"]) for r in rows] == [
        (number, role, problem.id) for number, problems in enumerate(steps, 1) for role in ROLES for problem in problems
    ]
    for row in rows:
        problem = game.problems[row["extra_info"]["problem_id"]]
        ids = prover.tokenizer.apply_chat_template(row["prompt"], tokenize=True, add_generation_prompt=True)
        ids = ids["input_ids"] if not isinstance(ids, list) else ids
        assert ids == prover.prompt_ids(problem, row["extra_info"]["role"])
        assert (
            row["reward_model"]["ground_truth"] == problem.answer and row["extra_info"]["question"] == problem.question
        )


def test_steps_come_back_as_they_were_paid(tmp_path):
    for step in (1, 2, 3):
        add_step(tmp_path, step, 1.5, [read(0.5, "correct"), read(-1.0, "invalid")], np.array([step, -1.0]))
    found = list(paid_steps(tmp_path))
    assert [s.step for s in found] == [1, 2, 3] and found[2].completions[0] == (read(0.5, "correct"), 3.0)
    with open(tmp_path / "steps.jsonl", "a") as file:
        file.write('{"step": 4, "sca')  # killed here
    forget_steps_after(tmp_path, 2)
    add_step(tmp_path, 3, 1.0, [read(0.0, "correct")], np.array([9.0]))
    assert [(s.step, s.scale) for s in paid_steps(tmp_path)] == [(1, 1.5), (2, 1.5), (3, 1.0)]


@pytest.mark.parametrize("text", ['{"step": 1}', "nonsense", "[1]", '{"step": 2, "scale": 1.0, "completions": []}'])
def test_damaged_steps_are_one_line(tmp_path, text):
    with pytest.raises(UserError, match="has verl run"):
        list(paid_steps(tmp_path))
    (tmp_path / "steps.jsonl").write_text(text + "\n")
    with pytest.raises(UserError, match=r"line 1 is .*run verl again from its last checkpoint"):
        list(paid_steps(tmp_path))
