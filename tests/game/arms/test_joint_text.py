"""Two models that write one text: who writes where, what the senior keeps, and what depends on chance alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.forked_team import ForkedTeam, can_fork
from legibility.game.arms import joint_text
from legibility.game.arms.joint_text import JointWriting, ending_tokens, written
from legibility.game.context import WritingTask
from legibility.game.reopen import reopen
from legibility.randomness import derive_seed, uniforms
from legibility.rival_settings import TandemSettings
from legibility.rollouts import sample
from legibility.rollouts.completion import Completion

SEED, LIMIT, SAMPLES = 3, 16, 4
PURPOSE = {"arm": "tandem", "round_index": 0, "phase": "ppo", "split": "prover", "step": 1}


@pytest.fixture(scope="module")
def game(tiny_run):
    return reopen(tiny_run)


@pytest.fixture(scope="module")
def senior(game):
    return game.new_prover("test")


@pytest.fixture(scope="module")
def tasks(game, senior):
    return [WritingTask(p, "helpful", senior.prompt_ids(p, "helpful")) for p in game.splits.test[:6]]


def writing(game, **settings) -> JointWriting:
    """The tiny verifier, which reads bytes, beside the tiny prover, which does not."""
    joint = JointWriting.load(game)
    joint.settings = TandemSettings(**settings)
    return joint


def alike(game, **settings) -> JointWriting:
    """A junior that is the senior: it reads the senior's prompt and has its weights."""
    return JointWriting(
        game.new_prover("test"), "<|helpful|>{problem}<|solution|>{solution}", TandemSettings(**settings)
    )


def drawn(joint, tasks, senior, **how):
    options = {"seed": SEED, "max_new_tokens": LIMIT, **how}
    return joint.sample(tasks, senior, [t.prompt for t in tasks], SAMPLES, **options)


def solo(tasks, senior, **how):
    return sample(senior, [t.prompt for t in tasks], SAMPLES, seed=SEED, max_new_tokens=LIMIT, **how)


def flat(groups) -> list[Completion]:
    return [c for group in groups for c in group]


def coins(share, rows=24):
    return uniforms(derive_seed(SEED, "junior"), np.arange(rows), LIMIT) < share


def scripted(junior, text):
    """What samples when the junior always writes `text` and ends there."""

    def draw(prover, prompts, samples, **how):
        if prover is not junior:
            return sample(prover, prompts, samples, **how)
        ids = [*junior.tokenizer(text)["input_ids"], junior.tokenizer.eos_token_id]
        return [[Completion(ids, [-1.0] * len(ids), False)] for _ in prompts]

    return draw


# ---------------------------------------------------------------- chance


def test_without_turns_of_the_junior_it_is_the_text_of_the_sampler(game, senior, tasks):
    assert drawn(writing(game, share=0.0), tasks, senior) == solo(tasks, senior)


def test_texts_in_which_no_coin_falls_for_the_junior_are_the_samplers(game, senior, tasks):
    joint = flat(drawn(writing(game, share=0.05), tasks, senior))
    alone = flat(solo(tasks, senior))
    kept = [i for i, turns in enumerate(coins(0.05)) if not turns.any()]
    assert 3 < len(kept) < len(joint)
    for i in kept:
        assert joint[i].ids == alone[i].ids and all(joint[i].own)
        np.testing.assert_allclose(joint[i].logprobs, alone[i].logprobs, atol=1e-4)


@pytest.mark.parametrize("unit", ["line", "token"])
def test_a_junior_like_the_senior_writes_what_the_senior_had_written(game, senior, tasks, unit):
    """Random numbers go on where the other stopped, so a change of hands between equals changes nothing."""
    joint = flat(drawn(alike(game, share=0.5, unit=unit), tasks, senior))
    alone = flat(solo(tasks, senior))
    assert any(c.own and not all(c.own) for c in joint)
    texts = [[written(senior, c.ids) for c in found] for found in (joint, alone)]
    assert np.mean([a == b for a, b in zip(*texts, strict=True)]) > 0.9  # a junior's words may be other tokens


def test_a_text_does_not_hang_on_those_beside_it(game, senior, tasks):
    joint = writing(game, share=0.5)
    whole, part = drawn(joint, tasks, senior, batch=2), drawn(joint, tasks[:2], senior)
    assert [[c.ids for c in g] for g in whole[:2]] == [[c.ids for c in g] for g in part]
    assert [[c.own for c in g] for g in whole[:2]] == [[c.own for c in g] for g in part]


@pytest.mark.skipif(not can_fork(), reason="processes are forked on Linux without a GPU only")
def test_two_processes_write_what_one_writes(game, senior, tasks):
    joint, team = writing(game, share=0.5), ForkedTeam(2)
    alone = drawn(joint, tasks, senior)
    with team.together(senior, joint.junior):
        together = drawn(joint, tasks, senior, team=team)
    team.close()
    assert [(c.ids, c.own) for c in flat(alone)] == [(c.ids, c.own) for c in flat(together)]


# ---------------------------------------------------------------- who writes what


def test_lines_are_the_writers_of_their_coins(game, senior, tasks):
    """The first unit up to its line break is one writer's, by the first coin."""
    ends = ending_tokens(senior, "line")
    for row, completion in enumerate(flat(drawn(alike(game, share=0.5), tasks, senior))):
        if not completion.ids:
            continue
        unit = np.concatenate([[0], np.cumsum(ends[completion.ids])[:-1]])
        for k, own in zip(unit, completion.own, strict=True):
            assert own != coins(0.5)[row, k]


def test_what_the_senior_sampled_stays_and_has_its_logprobs(game, senior, tasks):
    """Log-probs of its tokens are those of a plain forward pass over the joint text."""
    from tests.support import forward_logprobs

    for task, group in zip(tasks, drawn(writing(game, share=0.4), tasks, senior), strict=True):
        for completion in group:
            if not completion.own_count:
                continue
            expected = forward_logprobs(senior.model, task.prompt, completion.ids).detach().numpy()
            np.testing.assert_allclose(
                completion.of_own(completion.logprobs), completion.of_own(expected.tolist()), atol=1e-4
            )


def test_values_are_kept_for_the_seniors_tokens(game, senior, tasks):
    completions = flat(drawn(writing(game, share=0.4), tasks, senior, value_head=lambda hidden: hidden[:, 0]))
    assert all(len(c.values) == len(c.ids) for c in completions if c.own_count)


@pytest.mark.parametrize("engine", ["fast", "hf"])
def test_other_engines_are_cut_where_the_fast_one_stops(game, senior, tasks, engine):
    joint = writing(game, share=0.5)
    found = flat(drawn(joint, tasks[:3], senior, engine=engine))
    assert [(c.ids, c.own) for c in found] == [(c.ids, c.own) for c in flat(drawn(joint, tasks[:3], senior))]


def test_no_text_is_longer_than_the_limit(game, senior, tasks):
    assert all(len(c.ids) <= 5 for c in flat(drawn(writing(game, share=0.5), tasks, senior, max_new_tokens=5)))


# ---------------------------------------------------------------- planted and null


def accuracy(game, senior, tasks, joint) -> float:
    found = game.draw_tasks(senior, tasks, SAMPLES, sampler=partial(joint.sample, tasks), **PURPOSE)
    return float(np.mean([row.verdict == "correct" for row in found.rows]))


def test_a_junior_that_writes_the_right_last_line_makes_every_text_right(game, senior, tasks, monkeypatch):
    joint = writing(game, share=0.999)
    task = tasks[0]
    monkeypatch.setattr(joint_text, "sample", scripted(joint.junior, f"#### {task.problem.answer}"))
    assert accuracy(game, senior, [task], joint) == 1.0


def test_a_junior_that_writes_rubbish_makes_none_right(game, senior, tasks, monkeypatch):
    joint = writing(game, share=0.999)
    monkeypatch.setattr(joint_text, "sample", scripted(joint.junior, "pens pens"))
    assert accuracy(game, senior, tasks, joint) == 0.0


def test_what_the_junior_writes_is_text_whatever_it_spells(game, senior, tasks, monkeypatch):
    joint = writing(game, share=0.999)
    monkeypatch.setattr(joint_text, "sample", scripted(joint.junior, "7 <|end|> <|sneaky|>"))
    special = set(senior.tokenizer.all_special_ids)
    assert not any(special & set(c.ids) for c in flat(drawn(joint, tasks, senior)))


def test_a_junior_without_probabilities_is_refused(game, senior, tasks, monkeypatch):
    joint = writing(game, share=0.5)
    broken = [[Completion([5], [float("nan")], True)]]
    monkeypatch.setattr(
        joint_text,
        "sample",
        lambda p, prompts, n, **how: broken * len(prompts) if p is joint.junior else sample(p, prompts, n, **how),
    )
    with pytest.raises(UserError, match="no numbers"):
        drawn(joint, tasks, senior)


# ---------------------------------------------------------------- small parts


def test_text_behind_other_text_keeps_its_white_space(senior):
    ids = senior.tokenizer("1 + 2\n 3 = 4\n")["input_ids"]
    for k in range(1, len(ids)):
        assert written(senior, ids[:k]) + written(senior, ids[k:], ids[k - 1 : k]) == written(senior, ids)


def test_units_end_behind_line_breaks_or_whole_characters(game, senior):
    line, token = ending_tokens(senior, "line"), ending_tokens(senior, "token")
    (newline,) = senior.tokenizer("\n")["input_ids"]
    assert line[newline] and 0 < line.sum() < 10
    assert token.sum() > len(senior.tokenizer) / 2
    junior = JointWriting.load(game).junior  # bytes: some are no characters
    assert not ending_tokens(junior, "token").all()
