"""Scores made of a solution's tokens: pooling against hand-computed numbers, then whole verifiers against the plainest pass."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from legibility.config import Config, VerifierSettings
from legibility.errors import UserError
from legibility.forked_team import ForkedTeam
from legibility.models.score_heads import (
    EMPTY,
    HEAD_SETTINGS,
    HEAD_WEIGHTS,
    MEAN_WEIGHT,
    SOFT_MIN_WEIGHT,
    LikelihoodHead,
    Reading,
    TokenHead,
    load_head,
    mean,
    new_head,
    save_head,
    soft_min,
)
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem
from legibility.randomness import stream
from legibility.verifier_training import LabelledSolution, train_verifier
from tests.support import ARCHITECTURES, tiny_model


def test_the_mean_is_over_each_solution_and_0_for_none():
    values = torch.tensor([-1.0, -3.0, -5.0])
    assert mean(values, [2, 0, 1]).tolist() == [-2.0, 0.0, -5.0]


def test_the_soft_minimum_is_minus_log_sum_exp():
    values = torch.tensor([-1.0, -3.0, -5.0])
    expected = -math.log(math.exp(1) + math.exp(3))
    assert soft_min(values, [2, 0, 1]).tolist() == pytest.approx([expected, 0.0, -5.0])


def test_the_soft_minimum_survives_very_unlikely_tokens():
    values = torch.tensor([-500.0, -0.1], requires_grad=True)
    least = soft_min(values, [2])
    least.sum().backward()
    assert least.item() == pytest.approx(-500.0) and values.grad.tolist() == pytest.approx([1.0, 0.0])


def test_good_tokens_never_lift_the_soft_minimum_and_do_lift_the_mean():
    bad, padded = torch.tensor([-4.0]), torch.tensor([-4.0, -0.01, -0.01])
    assert soft_min(padded, [3]) < soft_min(bad, [1]) and mean(padded, [3]) > mean(bad, [1])


def reading(counts: list[int], width: int = 4, seed: int = 0) -> Reading:
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    return Reading(
        last=torch.randn(len(counts), width, generator=generator),
        counts=counts,
        tokens=torch.randn(total, width, generator=generator),
        logprobs=-torch.rand(total, generator=generator) * 3,
    )


def test_likelihood_is_the_weighted_sum_of_its_three_parts():
    head, read = new_head("likelihood", 4, "mean", seed=1), reading([3, 2])
    assert isinstance(head, LikelihoodHead) and read.logprobs is not None
    first, second = read.logprobs[:3], read.logprobs[3:]
    for score, logprobs, last in zip(head(read), (first, second), read.last, strict=True):
        expected = (head.last.weight @ last).item() + MEAN_WEIGHT * logprobs.mean().item()
        expected -= SOFT_MIN_WEIGHT * math.log((-logprobs).exp().sum())
        assert score.item() == pytest.approx(expected, abs=1e-5)


def test_an_empty_solution_is_as_unlikely_as_can_be():
    """Without a token the mean is 0, the best there is: the empty text must not win by that."""
    head = LikelihoodHead(4)
    read = reading([0, 3])
    empty, other = head(Reading(torch.zeros(2, 4), read.counts, logprobs=read.logprobs)).tolist()
    assert empty == pytest.approx(EMPTY * (MEAN_WEIGHT + SOFT_MIN_WEIGHT)) and other > empty


@pytest.mark.parametrize("pooling", ["mean", "soft_min"])
def test_token_pools_a_value_of_every_token(pooling):
    head, read = new_head("token", 4, pooling, seed=1), reading([3, 2])
    assert isinstance(head, TokenHead) and read.tokens is not None
    values = (read.tokens @ head.each.weight[0]).split([3, 2])
    expected = [v.mean() if pooling == "mean" else -(-v).exp().sum().log() for v in values]
    torch.testing.assert_close(head(read), torch.stack(expected))


@pytest.mark.parametrize(("score", "pooling"), [("likelihood", "mean"), ("token", "mean"), ("token", "soft_min")])
def test_the_parts_add_up_to_the_score(score, pooling):
    head, read = new_head(score, 4, pooling, seed=1), reading([3, 2, 1] if score == "token" else [3, 0, 2])
    parts = head.explain(read)
    summed = [part.sum() for part in parts.shares.split(list(read.counts))]
    torch.testing.assert_close(parts.rest + torch.stack(summed), head(read))


def test_the_worst_token_has_the_largest_say():
    head = LikelihoodHead(4)
    logprobs = torch.tensor([-0.1, -6.0, -0.2])
    shares = head.explain(Reading(torch.zeros(1, 4), [3], logprobs=logprobs)).shares
    assert shares.argmin().item() == 1 and (shares <= 0).all()


@pytest.mark.parametrize(("score", "pooling"), [("likelihood", "soft_min"), ("token", "mean")])
def test_a_head_is_read_back_as_it_was_written(score, pooling, tmp_path):
    head = new_head(score, 4, pooling, seed=5)
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    read = reading([3, 2])
    assert type(again) is type(head) and torch.equal(again(read), head(read))


def test_a_damaged_head_is_one_line(tmp_path):
    save_head(LikelihoodHead(4), tmp_path)
    (tmp_path / HEAD_SETTINGS).write_text("{")
    with pytest.raises(UserError, match=r"score_head\.json: cannot be read; restore the verifier's folder"):
        load_head(tmp_path)


def test_a_head_is_drawn_from_its_seed_alone():
    one, same, other = (new_head("token", 8, "mean", seed=s) for s in (3, 3, 4))
    assert torch.equal(one.each.weight, same.each.weight) and not torch.equal(one.each.weight, other.each.weight)


# ---------------------------------------------------------------- whole verifiers

PROBLEMS = [Problem(f"p{i}", f"Tom has {i} pens. Ann has {i + 1}.", str(2 * i + 1)) for i in range(3)]
TEXTS = ["1 + 2 = 3\n#### 3", "1 + 2 = 4\n#### 4", "#### 9", "", "é ≠ ∞ 漢字"]
KINDS = [("likelihood", "soft_min"), ("token", "mean"), ("token", "soft_min")]


def load(folder, score: str = "likelihood", pooling: str = "soft_min", **changes) -> Verifier:
    return Verifier.load(VerifierSettings(model=str(folder), score=score, pooling=pooling, **changes), "cpu", seed=1)


def plain_score(verifier: Verifier, problem: Problem, solution: str) -> float:
    """One text alone through the whole model: every logit made, every token looked up by hand."""
    text = verifier.text(problem, solution)
    made = verifier.tokenizer(text, return_offsets_mapping=True)
    ids = made["input_ids"]
    start = text.rindex(solution, 0, len(text)) if solution else len(verifier.template.split("{solution}")[0])
    start = len(verifier.template.partition("{solution}")[0].replace("{problem}", problem.question))
    inside = [k for k, (a, b) in enumerate(made["offset_mapping"]) if a < b and b > start and a < start + len(solution)]
    first = inside[0] if inside else sum(b <= start for _, b in made["offset_mapping"])
    last = inside[-1] + 1 if inside else first
    places = list(range(max(first, 1), min(last + 1, len(ids))))  # and the token that ends it
    out = verifier.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    hidden = out.hidden_states[-1][0].float()
    logprobs = torch.log_softmax(out.logits[0].float(), -1)
    head = verifier.head
    if head.kind == "token":
        values = hidden[places] @ head.each.weight[0]
        if not places:
            return 0.0
        return float(values.mean() if head.pooling == "mean" else -(-values).exp().sum().log())
    found = torch.stack([logprobs[k - 1, ids[k]] for k in places]) if places else torch.tensor([])
    pooled = (found.mean(), -(-found).exp().sum().log()) if places else (torch.tensor(-10.0),) * 2
    last = head.last.weight[0] @ hidden[-1] + head.bias
    return float(last + head.weights[0] * pooled[0] + head.weights[1] * pooled[1])


@pytest.mark.parametrize(("score", "pooling"), KINDS)
@pytest.mark.parametrize(
    "template", ["{problem}\n\n{solution}", "Q {problem} A {solution}<end>", "{problem}{solution} Is it right?"]
)
def test_a_score_is_the_plain_forward_pass(score, pooling, template, tiny_verifier_dir):
    """Also with text after the solution, for an empty solution, and where solutions share their beginning."""
    verifier = load(tiny_verifier_dir, score, pooling, template=template)
    problems = [PROBLEMS[0]] * 3 + [PROBLEMS[1], PROBLEMS[2]]
    with torch.no_grad():
        expected = [plain_score(verifier, p, t) for p, t in zip(problems, TEXTS, strict=True)]
    np.testing.assert_allclose(verifier.score(problems, TEXTS), expected, atol=2e-5)
    alone = [verifier.score([p], [t])[0] for p, t in zip(problems, TEXTS, strict=True)]
    np.testing.assert_allclose(alone, expected, atol=2e-5)


FAMILIES = [(name, {"sliding_window": 512} if name == "gemma2" else {}) for name in ARCHITECTURES]


@pytest.mark.parametrize(("name", "changes"), [*FAMILIES, ("mistral", {"sliding_window": 8})])
def test_every_family_reads_its_own_likelihood(name, changes, byte_tokenizer, tmp_path):
    """With the scaled and capped logits some families have, and a window shorter than the text."""
    tiny_model(name, byte_tokenizer, max_position_embeddings=256, **changes).save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    verifier = load(tmp_path)
    problems, texts = [PROBLEMS[0]] * 2 + [PROBLEMS[1]], [*TEXTS[:2], TEXTS[1]]
    with torch.no_grad():
        expected = [plain_score(verifier, p, t) for p, t in zip(problems, texts, strict=True)]
    np.testing.assert_allclose(verifier.score(problems, texts), expected, atol=1e-4)


@pytest.mark.parametrize(("score", "pooling"), KINDS)
def test_gradients_are_those_of_separate_texts(score, pooling, tiny_verifier_dir):
    together, apart = load(tiny_verifier_dir, score, pooling), load(tiny_verifier_dir, score, pooling)
    encoded = together.encode([PROBLEMS[0]] * 3 + [PROBLEMS[1]], TEXTS[:4])
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5])
    (together.forward([encoded[:3], encoded[3:]]) * weights).sum().backward()
    for weight, text in zip(weights, encoded, strict=True):
        (apart.forward([[text]]) * weight).sum().backward()
    for one, other in zip(together.parameters, apart.parameters, strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("score", "pooling"), KINDS)
def test_a_saved_verifier_is_a_causal_model_with_a_head_beside_it(score, pooling, tiny_verifier_dir, tmp_path):
    verifier = load(tiny_verifier_dir, score, pooling)
    verifier.save(tmp_path)
    assert (tmp_path / HEAD_WEIGHTS).is_file()
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.architectures == ["LlamaForCausalLM"]
    again = Verifier.load(
        VerifierSettings(model=str(tiny_verifier_dir)), "cpu", source=str(tmp_path)
    )  # it knows its kind
    expected = verifier.score(PROBLEMS, TEXTS[:3])
    np.testing.assert_allclose(again.score(PROBLEMS, TEXTS[:3]), expected, atol=1e-6)


def test_a_verifier_of_an_earlier_run_loads_whatever_the_settings_say(tiny_verifier_dir, tmp_path):
    old = Verifier.load(VerifierSettings(model=str(tiny_verifier_dir)), "cpu", seed=1)
    old.save(tmp_path)
    again = Verifier.load(VerifierSettings(model="nano-m", score="likelihood"), "cpu", source=str(tmp_path))
    assert again.head is None
    np.testing.assert_allclose(again.score(PROBLEMS, TEXTS[:3]), old.score(PROBLEMS, TEXTS[:3]), atol=1e-6)


def test_an_encoder_has_no_likelihood_to_read(tiny_bert_dir, tmp_path):
    with pytest.raises(UserError, match=r"verifier\.model: .* lacks .* of the weights of BertLMHeadModel"):
        load(tiny_bert_dir)
    shutil.copytree(tiny_bert_dir, tmp_path / "bert")
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_bert_dir)).save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match=r"verifier\.score: likelihood needs a causal language model") as error:
        load(tmp_path / "bert")
    assert "\n" not in str(error.value)


def test_a_language_model_loss_needs_a_language_model():
    with pytest.raises(ValueError, match="lm_weight needs"):
        Config(verifier={"lm_weight": 0.3})


@pytest.mark.parametrize(("score", "pooling"), KINDS)
def test_an_explanation_adds_up_and_points_into_the_solution(score, pooling, tiny_verifier_dir):
    verifier = load(tiny_verifier_dir, score, pooling, template="{problem} / {solution}<end>")
    told = verifier.explain(PROBLEMS[0], TEXTS[0])
    assert told.score == pytest.approx(verifier.score([PROBLEMS[0]], [TEXTS[0]])[0], abs=1e-5)
    assert told.rest + sum(t.share for t in told.tokens) == pytest.approx(told.score, abs=1e-5)
    assert "".join(t.text for t in told.tokens) == TEXTS[0] and told.tokens[-1].text == ""
    assert all(TEXTS[0][t.start : t.end] == t.text for t in told.tokens)


def test_a_last_token_score_has_no_parts(tiny_verifier_dir):
    verifier = Verifier.load(VerifierSettings(model=str(tiny_verifier_dir)), "cpu")
    with pytest.raises(UserError, match="last_token has no parts"):
        verifier.explain(PROBLEMS[0], TEXTS[0])


def test_a_text_that_is_too_long_keeps_the_end_of_its_solution(tiny_verifier_dir):
    verifier = load(tiny_verifier_dir, max_length=24)
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    (text,) = verifier.encode([long], ["#### 4"])
    assert len(text) == 24 and verifier.tokenizer.decode([text[k] for k in text.solution]) == "#### 4"
    (cut,) = verifier.encode([PROBLEMS[0]], ["x" * 100])
    assert cut.solution == range(6, 24)  # its beginning went with the middle
    assert np.isfinite(verifier.score([long, PROBLEMS[0]], ["#### 4", "x" * 100])).all()
    assert verifier.explain(long, "#### 4").tokens[-1].text == "4"


def items() -> list[LabelledSolution]:
    return [
        LabelledSolution(p, f"{answer} is it", answer == p.answer, "base", "base")
        for p in PROBLEMS
        for answer in ("1", "3", "5")
    ]


SETTINGS = {"updates": 6, "batch_problems": 3, "learning_rate": 3e-3}


@pytest.mark.parametrize(("score", "pooling"), KINDS)
def test_training_makes_right_solutions_score_higher(score, pooling, tiny_verifier_dir):
    verifier = load(tiny_verifier_dir, score, pooling)
    settings = VerifierSettings(**{**SETTINGS, "updates": 60}, score=score, pooling=pooling)
    metrics = train_verifier(verifier, items(), settings, stream(0, "test"))
    assert metrics["pair_accuracy"] > 0.9


def test_the_language_model_loss_is_the_mean_surprisal_of_correct_solutions(tiny_verifier_dir):
    """One update with and without it: the losses differ by the weight times that surprisal, computed by hand."""
    losses = []
    for weight in (0.0, 0.3):
        verifier = load(tiny_verifier_dir)
        settings = VerifierSettings(updates=1, batch_problems=3, lm_weight=weight, score="likelihood")
        losses.append(train_verifier(verifier, items(), settings, stream(0, "test"))["loss"])
    verifier, found = load(tiny_verifier_dir), []
    for item in items():
        if item.correct:
            (text,) = verifier.encode([item.problem], [item.text])
            logprobs = torch.log_softmax(verifier.model(input_ids=torch.tensor([text])).logits[0].float(), -1)
            found += [-logprobs[k - 1, text[k]].item() for k in text.predicted]
    assert losses[1] - losses[0] == pytest.approx(0.3 * np.mean(found), abs=1e-4)


def test_scores_begin_around_zero(tiny_verifier_dir):
    """Log-probs are all negative, and the loss pulls scores to 0: without a start there, that is all it would do."""
    verifier = load(tiny_verifier_dir)
    before = verifier.score([x.problem for x in items()], [x.text for x in items()])
    train_verifier(
        verifier, items(), VerifierSettings(updates=1, batch_problems=3, learning_rate=1e-9), stream(0, "test")
    )
    after = verifier.score([x.problem for x in items()], [x.text for x in items()])
    assert before.mean() < -5 and after.mean() == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(after - after.mean(), before - before.mean(), atol=1e-3)


def test_two_workers_train_the_same_verifier(tiny_verifier_dir):
    scores = []
    for workers in (1, 2):
        torch.set_num_threads(1)
        verifier, team = load(tiny_verifier_dir), ForkedTeam(workers)
        settings = VerifierSettings(**SETTINGS, lm_weight=0.2, score="likelihood")
        with team.together(verifier, gradients=verifier.parameter_count()):
            metrics = train_verifier(verifier, items(), settings, stream(0, "test"), team=team)
        scores.append([*verifier.score([x.problem for x in items()], [x.text for x in items()]), metrics["loss"]])
    np.testing.assert_allclose(scores[0], scores[1], atol=5e-3)  # Adam magnifies the order of sums
