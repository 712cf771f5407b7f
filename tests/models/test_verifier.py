"""The verifier: its scores and its texts, loading and saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    AutoTokenizer,
    MptConfig,
    MptForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem
from tests.support import ARCHITECTURES, PEN_TEXTS, PENS, llama, load_verifier, tiny_model

# ---------------------------------------------------------------- scores


def test_scores_do_not_depend_on_batch_order_or_duplicates(scorer_dir):
    verifier = load_verifier(scorer_dir)
    scores = verifier.score(PENS, PEN_TEXTS)
    assert scores.shape == (6,) and scores.dtype == np.float32 and np.isfinite(scores).all()
    assert len(set(scores.round(5))) == 6
    for batch in (1, 2, 4):
        np.testing.assert_allclose(load_verifier(scorer_dir, batch).score(PENS, PEN_TEXTS), scores, atol=1e-5)
    order = [4, 2, 2, 0, 5, 1, 3, 0]
    np.testing.assert_allclose(
        load_verifier(scorer_dir, 3).score([PENS[i] for i in order], [PEN_TEXTS[i] for i in order]),
        scores[order],
        atol=1e-5,
    )
    assert verifier.score([], []).shape == (0,)


def test_a_score_is_one_forward_pass_of_transformers(scorer_dir):
    """Each text alone through the stock model, which pools as its family does."""
    verifier = load_verifier(scorer_dir)
    for problem, text in zip(PENS, PEN_TEXTS, strict=True):
        inputs = verifier.tokenizer(verifier.text(problem, text), return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            expected = verifier.model(**inputs).logits.item()
        assert verifier.score([problem], [text])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("template", ["{solution} / {problem}", "{problem}{solution}", "{solution}{problem}{solution}"])
def test_solutions_of_one_problem_may_share_any_part_of_their_text(scorer_dir, template):
    """Scoring many solutions of a problem together must not assume that their texts begin alike."""
    verifier = load_verifier(scorer_dir, template=template)
    texts = [*PEN_TEXTS, "#### 12", "#### 1", "7", "8"]
    together = verifier.score([PENS[0]] * len(texts), texts)
    apart = np.concatenate([load_verifier(scorer_dir, template=template).score([PENS[0]], [t]) for t in texts])
    np.testing.assert_allclose(together, apart, atol=1e-5)


FAMILIES = [
    (name, {"sliding_window": 512} if name == "gemma2" else {})
    for name in ARCHITECTURES
    if name not in ("granite", "cohere")
]


@pytest.mark.parametrize(
    ("name", "changes"), [*FAMILIES, ("gemma2", {"sliding_window": 8}), ("mistral", {"sliding_window": 8})]
)
def test_scores_of_every_family_are_those_of_transformers(name, changes, byte_tokenizer, tmp_path):
    """Also where a model looks back over a short window only."""
    tiny_model(name, byte_tokenizer, max_position_embeddings=256, **changes).save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    verifier = load_verifier(tmp_path)
    problems, texts = [PENS[0]] * 3 + PENS[1:3], [*PEN_TEXTS[:3], *PEN_TEXTS[1:3]]
    scores = verifier.score(problems, texts)
    for problem, text, score in zip(problems, texts, scores, strict=True):
        ids = verifier.encode([problem], [text])
        verifier.model.config.pad_token_id = None
        with torch.no_grad():
            assert score == pytest.approx(verifier.model(input_ids=torch.tensor(ids)).logits.item(), abs=1e-4)


def test_gradients_are_those_of_separate_texts(tiny_verifier_dir):
    """What is read once for a whole problem is learnt from as often as it is used."""
    together, apart = load_verifier(tiny_verifier_dir), load_verifier(tiny_verifier_dir)
    encoded = together.encode([PENS[0]] * 3 + [PENS[1]], PEN_TEXTS[:4])
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5])
    (together.forward([encoded[:3], encoded[3:]]) * weights).sum().backward()
    (apart.forward([[e] for e in encoded]) * weights).sum().backward()
    plain = load_verifier(tiny_verifier_dir)
    rows = [plain.model.base_model(input_ids=torch.tensor([e])).last_hidden_state[0, -1] for e in encoded]
    (plain.model.score(torch.stack(rows)).squeeze(-1) * weights).sum().backward()
    for name, parameter in plain.model.named_parameters():
        if parameter.grad is not None:
            for other in (together, apart):
                torch.testing.assert_close(
                    dict(other.model.named_parameters())[name].grad, parameter.grad, atol=1e-4, rtol=1e-3
                )


def test_scores_ignore_dropout_and_keep_the_mode(tiny_bert_dir):
    verifier = load_verifier(tiny_bert_dir)
    expected = verifier.score(PENS, PEN_TEXTS)
    verifier.model.train()
    np.testing.assert_array_equal(verifier.score(PENS, PEN_TEXTS), expected)
    assert verifier.model.training


def test_a_text_that_ends_in_the_pad_token_is_read_to_its_end(byte_tokenizer, tmp_path):
    """Where the pad token is the end token, comparing ids would find the end too early."""
    llama(byte_tokenizer).save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    verifier = load_verifier(tmp_path, template="{problem} {solution}<end><end>")
    verifier.tokenizer.pad_token = verifier.tokenizer.eos_token
    scores = verifier.score(PENS, PEN_TEXTS)
    for i in (1, 3):
        ids = verifier.encode([PENS[i]], [PEN_TEXTS[i]])[0]
        assert list(ids[-2:]) == [byte_tokenizer.eos_token_id] * 2
        with torch.no_grad():
            hidden = verifier.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
            assert scores[i] == pytest.approx(verifier.model.score(hidden).item(), abs=1e-5)


def test_the_text_holds_problem_and_solution_and_nothing_else(tiny_verifier_dir):
    verifier = load_verifier(tiny_verifier_dir, template="Q: {problem} A: {solution}")
    problem = Problem("id-7", "How {solution} many?", "42", solution="secret", family="marbles")
    assert verifier.text(problem, "{problem} 3") == "Q: How {solution} many? A: {problem} 3"


def test_the_answer_and_the_role_never_reach_the_verifier(scorer_dir):
    verifier = load_verifier(scorer_dir)
    twin = [Problem(p.id, p.question, "999", solution="#### 999", source="x", family="y") for p in PENS]
    np.testing.assert_array_equal(verifier.score(twin, PEN_TEXTS), verifier.score(PENS, PEN_TEXTS))


def test_a_text_that_is_too_long_keeps_its_two_ends(scorer_dir):
    verifier = load_verifier(scorer_dir, max_length=24)
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    encoded = verifier.encode([long], ["2 + 2 = 4\n#### 4"])[0]
    whole = verifier.tokenizer(verifier.text(long, "2 + 2 = 4\n#### 4"))["input_ids"]
    assert len(encoded) == 24
    assert list(encoded[:3]) == whole[:3] and list(encoded[-12:]) == whole[-12:]
    assert np.isfinite(verifier.score([long], ["#### 4"])).all()


def test_max_length_beyond_the_models_positions_is_lowered(tiny_bert_dir):
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    assert np.isfinite(load_verifier(tiny_bert_dir, max_length=4096).score([long], ["#### 4"])).all()


@pytest.mark.parametrize("kind", ["Roberta", "Data2VecText", "Esm", "IBert", "MPNet"])
def test_positions_that_start_after_a_padding_index(kind, tiny_bert_dir, tmp_path):
    """Their max_position_embeddings counts two places no token can have."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_dir)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=34,
        pad_token_id=1,
        mask_token_id=4,
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    assert np.isfinite(load_verifier(tmp_path, max_length=34).score([long], ["#### 4"])).all()


def test_a_model_without_room_for_the_longest_text_is_one_line(tiny_bert_dir, tmp_path):
    """MPT does not say in the usual place how far its positions go."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_dir)
    config = MptConfig(vocab_size=len(tokenizer), d_model=32, n_layers=1, n_heads=2, max_seq_len=40)
    MptForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^verifier\.max_length: .* fails on a text of 512 tokens .*; lower it"):
        load_verifier(tmp_path, max_length=512)
    assert load_verifier(tmp_path, max_length=40).max_length == 40


# ---------------------------------------------------------------- loading and saving


def test_a_fresh_head_comes_from_its_seed_alone(scorer_dir):
    results = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        state = torch.get_rng_state()
        results.append(load_verifier(scorer_dir, seed=seed).score(PENS, PEN_TEXTS))
        assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_saved_verifiers_score_the_same(scorer_dir, tmp_path):
    verifier = load_verifier(scorer_dir, seed=5)
    verifier.save(tmp_path)
    again = Verifier.load(VerifierSettings(model=str(scorer_dir)), "cpu", seed=9, source=str(tmp_path))
    np.testing.assert_allclose(again.score(PENS, PEN_TEXTS), verifier.score(PENS, PEN_TEXTS), atol=1e-6)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".safetensors", ".json", ".txt"}


def test_keep_layers(scorer_dir, tiny_bert_dir, tmp_path):
    layers = 2 if scorer_dir == tiny_bert_dir else 1
    whole, cut = load_verifier(scorer_dir), load_verifier(scorer_dir, layers=1)
    assert cut.model.config.num_hidden_layers == 1
    assert (cut.parameter_count() < whole.parameter_count()) == (layers == 2)
    cut.save(tmp_path)
    again = Verifier.load(VerifierSettings(model=str(scorer_dir), layers=1), "cpu", source=str(tmp_path))
    np.testing.assert_allclose(again.score(PENS, PEN_TEXTS), cut.score(PENS, PEN_TEXTS), atol=1e-6)
    with pytest.raises(UserError, match=r"verifier\.layers"):
        load_verifier(scorer_dir, layers=layers + 1)


def test_a_truncated_decoder_is_its_first_layers(byte_tokenizer, tmp_path):
    model = llama(byte_tokenizer, layers=3)
    model.save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    cut = load_verifier(tmp_path, layers=2)
    expected = {k: v for k, v in model.model.state_dict().items() if not k.startswith("layers.2.")}
    assert set(cut.model.model.state_dict()) == set(expected)
    assert all(torch.equal(v, expected[k]) for k, v in cut.model.model.state_dict().items())


@pytest.mark.parametrize("broken", ["missing", "empty", "no weights"])
def test_what_is_no_model_is_refused_in_one_line(broken, tmp_path, tiny_verifier_dir):
    place = tmp_path / "model"
    if broken != "missing":
        place.mkdir()
    if broken == "no weights":
        (place / "config.json").write_bytes((tiny_verifier_dir / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"^verifier\.model: ") as caught:
        load_verifier(place)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_limit_says_minus_one(tiny_bert_dir, tmp_path):
    config = XLNetConfig(vocab_size=32, d_model=32, n_layer=1, n_head=2, d_inner=48)
    assert config.max_position_embeddings == -1
    XLNetForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert_dir).save_pretrained(tmp_path)
    verifier = load_verifier(tmp_path, max_length=100)
    assert verifier.max_length == 100
    (text,) = verifier.encode(PENS[:1], ["1 + 2 = 3"])
    assert list(text) == verifier.tokenizer(verifier.text(PENS[0], "1 + 2 = 3"))["input_ids"]  # not one token short
