"""The verifier: its scores and its texts, loading and saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem
from tests.support import ARCHITECTURES, llama, tiny_model

# ---------------------------------------------------------------- scores

PROBLEMS = [Problem(f"p{i}", f"Tom has {i} pens. Ann has {i + 1}.", str(2 * i + 1)) for i in range(6)]
TEXTS = ["#### 1", "1 + 2 = 3\n#### 3", "2 + 3 = 5\n" * 4 + "#### 5", "", "#### 9", "é ≠ ∞ 漢字"]


@pytest.fixture(scope="session", params=["decoder", "encoder"])
def folder(request, tiny_verifier_dir, tiny_bert_dir):
    return {"decoder": tiny_verifier_dir, "encoder": tiny_bert_dir}[request.param]


def load(folder, batch: int = 256, seed: int = 0, **changes) -> Verifier:
    return Verifier.load(VerifierSettings(model=str(folder), **changes), "cpu", seed=seed, batch=batch)


def test_scores_do_not_depend_on_batch_order_or_duplicates(folder):
    verifier = load(folder)
    scores = verifier.score(PROBLEMS, TEXTS)
    assert scores.shape == (6,) and scores.dtype == np.float32 and np.isfinite(scores).all()
    assert len(set(scores.round(5))) == 6
    for batch in (1, 2, 4):
        np.testing.assert_allclose(load(folder, batch).score(PROBLEMS, TEXTS), scores, atol=1e-5)
    order = [4, 2, 2, 0, 5, 1, 3, 0]
    np.testing.assert_allclose(
        load(folder, 3).score([PROBLEMS[i] for i in order], [TEXTS[i] for i in order]), scores[order], atol=1e-5
    )
    assert verifier.score([], []).shape == (0,)


def test_a_score_is_one_forward_pass_of_transformers(folder):
    """Each text alone through the stock model, which pools as its family does."""
    verifier = load(folder)
    for problem, text in zip(PROBLEMS, TEXTS, strict=True):
        inputs = verifier.tokenizer(verifier.text(problem, text), return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            expected = verifier.model(**inputs).logits.item()
        assert verifier.score([problem], [text])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("template", ["{solution} / {problem}", "{problem}{solution}", "{solution}{problem}{solution}"])
def test_solutions_of_one_problem_may_share_any_part_of_their_text(folder, template):
    """Scoring many solutions of a problem together must not assume that their texts begin alike."""
    verifier = load(folder, template=template)
    texts = [*TEXTS, "#### 12", "#### 1", "7", "8"]
    together = verifier.score([PROBLEMS[0]] * len(texts), texts)
    apart = np.concatenate([load(folder, template=template).score([PROBLEMS[0]], [t]) for t in texts])
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
    verifier = load(tmp_path)
    problems, texts = [PROBLEMS[0]] * 3 + PROBLEMS[1:3], [*TEXTS[:3], *TEXTS[1:3]]
    scores = verifier.score(problems, texts)
    for problem, text, score in zip(problems, texts, scores, strict=True):
        ids = verifier.encode([problem], [text])
        verifier.model.config.pad_token_id = None
        with torch.no_grad():
            assert score == pytest.approx(verifier.model(input_ids=torch.tensor(ids)).logits.item(), abs=1e-4)


def test_gradients_are_those_of_separate_texts(tiny_verifier_dir):
    """What is read once for a whole problem is learnt from as often as it is used."""
    together, apart = load(tiny_verifier_dir), load(tiny_verifier_dir)
    encoded = together.encode([PROBLEMS[0]] * 3 + [PROBLEMS[1]], TEXTS[:4])
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5])
    (together.forward([encoded[:3], encoded[3:]]) * weights).sum().backward()
    (apart.forward([[e] for e in encoded]) * weights).sum().backward()
    plain = load(tiny_verifier_dir)
    rows = [plain.model.base_model(input_ids=torch.tensor([e])).last_hidden_state[0, -1] for e in encoded]
    (plain.model.score(torch.stack(rows)).squeeze(-1) * weights).sum().backward()
    for name, parameter in plain.model.named_parameters():
        if parameter.grad is not None:
            for other in (together, apart):
                torch.testing.assert_close(
                    dict(other.model.named_parameters())[name].grad, parameter.grad, atol=1e-4, rtol=1e-3
                )


def test_scores_ignore_dropout_and_keep_the_mode(tiny_bert_dir):
    verifier = load(tiny_bert_dir)
    expected = verifier.score(PROBLEMS, TEXTS)
    verifier.model.train()
    np.testing.assert_array_equal(verifier.score(PROBLEMS, TEXTS), expected)
    assert verifier.model.training


def test_a_text_that_ends_in_the_pad_token_is_read_to_its_end(byte_tokenizer, tmp_path):
    """Where the pad token is the end token, comparing ids would find the end too early."""
    llama(byte_tokenizer).save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    verifier = load(tmp_path, template="{problem} {solution}<end><end>")
    verifier.tokenizer.pad_token = verifier.tokenizer.eos_token
    scores = verifier.score(PROBLEMS, TEXTS)
    for i in (1, 3):
        ids = verifier.encode([PROBLEMS[i]], [TEXTS[i]])[0]
        assert ids[-2:] == [byte_tokenizer.eos_token_id] * 2
        with torch.no_grad():
            hidden = verifier.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
            assert scores[i] == pytest.approx(verifier.model.score(hidden).item(), abs=1e-5)


def test_the_text_holds_problem_and_solution_and_nothing_else(tiny_verifier_dir):
    verifier = load(tiny_verifier_dir, template="Q: {problem} A: {solution}")
    problem = Problem("id-7", "How {solution} many?", "42", solution="secret", family="marbles")
    assert verifier.text(problem, "{problem} 3") == "Q: How {solution} many? A: {problem} 3"


def test_the_answer_and_the_role_never_reach_the_verifier(folder):
    verifier = load(folder)
    twin = [Problem(p.id, p.question, "999", solution="#### 999", source="x", family="y") for p in PROBLEMS]
    np.testing.assert_array_equal(verifier.score(twin, TEXTS), verifier.score(PROBLEMS, TEXTS))


def test_a_text_that_is_too_long_keeps_its_two_ends(folder):
    verifier = load(folder, max_length=24)
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    encoded = verifier.encode([long], ["2 + 2 = 4\n#### 4"])[0]
    whole = verifier.tokenizer(verifier.text(long, "2 + 2 = 4\n#### 4"))["input_ids"]
    assert len(encoded) == 24
    assert encoded[:3] == whole[:3] and encoded[-12:] == whole[-12:]
    assert np.isfinite(verifier.score([long], ["#### 4"])).all()


def test_max_length_beyond_the_models_positions_is_lowered(tiny_bert_dir):
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    assert np.isfinite(load(tiny_bert_dir, max_length=4096).score([long], ["#### 4"])).all()


def test_roberta_positions_start_after_the_padding_index(tiny_bert_dir, tmp_path):
    """Its max_position_embeddings counts two places no token can have."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_dir)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=34,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    long = Problem("long", "Tom has 1 pens. " * 50, "1")
    assert np.isfinite(load(tmp_path, max_length=34).score([long], ["#### 4"])).all()


# ---------------------------------------------------------------- loading and saving


def test_a_fresh_head_comes_from_its_seed_alone(folder):
    results = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        state = torch.get_rng_state()
        results.append(load(folder, seed=seed).score(PROBLEMS, TEXTS))
        assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_saved_verifiers_score_the_same(folder, tmp_path):
    verifier = load(folder, seed=5)
    verifier.save(tmp_path)
    again = Verifier.load(VerifierSettings(model=str(folder)), "cpu", seed=9, source=str(tmp_path))
    np.testing.assert_allclose(again.score(PROBLEMS, TEXTS), verifier.score(PROBLEMS, TEXTS), atol=1e-6)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".safetensors", ".json", ".txt"}


def test_keep_layers(folder, tiny_bert_dir, tmp_path):
    layers = 2 if folder == tiny_bert_dir else 1
    whole, cut = load(folder), load(folder, layers=1)
    assert cut.model.config.num_hidden_layers == 1
    assert (cut.parameter_count() < whole.parameter_count()) == (layers == 2)
    cut.save(tmp_path)
    again = Verifier.load(VerifierSettings(model=str(folder), layers=1), "cpu", source=str(tmp_path))
    np.testing.assert_allclose(again.score(PROBLEMS, TEXTS), cut.score(PROBLEMS, TEXTS), atol=1e-6)
    with pytest.raises(UserError, match=r"verifier\.layers"):
        load(folder, layers=layers + 1)


def test_a_truncated_decoder_is_its_first_layers(byte_tokenizer, tmp_path):
    model = llama(byte_tokenizer, layers=3)
    model.save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    cut = load(tmp_path, layers=2)
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
        load(place)
    assert "\n" not in str(caught.value)
