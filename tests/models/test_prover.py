"""The prover around its weights: prompts, where models are looked for, what text comes out."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from tokenizers import processors

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.models.loading import resolve
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.models.warm_start import encode_prompt
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, SNEAKY, PromptSet, load_prompts
from tests.support import llama, prover_of

PROBLEM = Problem("p", "How many?", "7", solution="the secret")

# ---------------------------------------------------------------- prompts


def test_plain_rendering():
    prompts = PromptSet(
        helpful="H {problem}",
        sneaky="S {problem}",
        system="You {role}.",
        helpful_role="help",
        sneaky_role="trick",
        few_shot=[{"problem": "1 + 1?", "solution": "#### 2"}],
    )
    assert prompts.render("Q?", HELPFUL) == "You help.\n\nH 1 + 1? #### 2\n\nH Q?"
    assert prompts.render("Q?", SNEAKY) == "You trick.\n\nS 1 + 1? #### 2\n\nS Q?"
    assert PromptSet(helpful="{problem}", sneaky="-{problem}").render("{role} {problem}", SNEAKY) == "-{role} {problem}"
    with pytest.raises(ValueError, match="role"):
        prompts.render("Q?", "base")


def test_chat_rendering(byte_tokenizer):
    tokenizer = deepcopy(byte_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    prompts = PromptSet(
        helpful="H {problem}",
        sneaky="S {problem}",
        system="You {role}",
        helpful_role="help",
        few_shot=[{"problem": "1 + 1?", "solution": "#### 2"}],
    )
    assert (
        prompts.render("Q?", HELPFUL, tokenizer)
        == "[system]You help[user]H 1 + 1?[assistant]#### 2[user]H Q?[assistant]"
    )
    assert PromptSet(helpful="{problem}", sneaky="{problem}").render("Q?", SNEAKY, tokenizer) == "[user]Q?[assistant]"


@pytest.mark.parametrize("name", ["nano", "tutor", "plain"])
def test_built_in_prompts_tell_the_roles_apart(name):
    prompts = load_prompts(name)
    helpful, sneaky = (prompts.render("THE PROBLEM", role) for role in (HELPFUL, SNEAKY))
    assert helpful != sneaky
    for text in (helpful, sneaky):
        assert text.count("THE PROBLEM") == 1 and "{problem}" not in text and "{role}" not in text


@pytest.mark.parametrize(
    "text",
    [
        "helpful: '{problem}'\n",
        "- 1\n",
        "helpful: '{problem}'\nsneaky: '{problem}'\nrude: x\n",
        "{",
        "helpful: 3\nsneaky: 4\n",
    ],
)
def test_a_broken_prompt_file_is_named(tmp_path, text):
    (tmp_path / "roles.yaml").write_text(text)
    with pytest.raises(UserError, match=r"roles\.yaml") as caught:
        load_prompts("roles.yaml", tmp_path)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- token ids


@pytest.fixture
def special_tokenizer(byte_tokenizer):
    """make(template): the byte tokenizer, adding special tokens as some models' do."""

    def make(template: str):
        tokenizer = deepcopy(byte_tokenizer)
        tokenizer.add_special_tokens({"bos_token": "<bos>"})
        ids = [("<bos>", tokenizer.bos_token_id), ("<end>", tokenizer.eos_token_id)]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
        return tokenizer

    return make


@pytest.mark.parametrize(
    ("template", "begins"), [("$A", False), ("<bos> $A", True), ("<bos> $A <end>", True), ("$A <end>", False)]
)
def test_prompts_begin_as_the_model_expects_and_do_not_end(special_tokenizer, template, begins):
    """BOS once where the tokenizer uses it, no end token after the prompt; the same ids as in the warm start."""
    tokenizer = special_tokenizer(template)
    prover = prover_of(llama(tokenizer), tokenizer)
    ids = prover.prompt_ids(PROBLEM, HELPFUL)
    plain = tokenizer("hHow many?", add_special_tokens=False)["input_ids"]
    assert ids == ([tokenizer.bos_token_id] if begins else []) + plain
    assert ids == encode_prompt(tokenizer, "hHow many?")


def test_a_chat_template_that_writes_bos_itself_gets_one(special_tokenizer):
    tokenizer = special_tokenizer("<bos> $A")
    tokenizer.chat_template = "<bos>{% for m in messages %}{{ m.content }}{% endfor %}"
    prompts = PromptSet(helpful="{problem}", sneaky="{problem}!")
    prover = Prover(llama(tokenizer), tokenizer, prompts, device="cpu", chat_template=True)
    plain = tokenizer("How many?", add_special_tokens=False)["input_ids"]
    assert prover.prompt_ids(PROBLEM, HELPFUL) == [tokenizer.bos_token_id, *plain]


def test_decoding_drops_special_tokens_and_outer_space(byte_tokenizer):
    prover = prover_of(llama(byte_tokenizer), byte_tokenizer)
    ids = byte_tokenizer("  3 + 4 = 7\n#### 7 \n", add_special_tokens=False)["input_ids"]
    assert prover.decode([*ids, byte_tokenizer.eos_token_id]) == "3 + 4 = 7\n#### 7"


# ---------------------------------------------------------------- where models are


def test_resolving_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "model").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    assert Path(resolve("nano", "prover")).name == "prover"
    assert {Path(resolve(n, "verifier")).name for n in ("nano", "nano-s", "nano-xs", "nano-m", "nano-equal")} == {
        "verifier-s",
        "verifier-xs",
        "verifier-m",
        "prover",
    }
    assert resolve("model", "prover", tmp_path / "config") == str(
        tmp_path / "config" / "model"
    )  # the config's folder first
    assert Path(resolve("model", "prover")).resolve() == tmp_path / "model"
    assert resolve("somebody/some-model", "prover") == "somebody/some-model"
    for path in ("/no/where", "./nowhere", "a/b/c"):
        with pytest.raises(UserError, match="no folder"):
            resolve(path, "verifier")


def test_home_is_a_place_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve("~/model", "prover") == str(tmp_path / "model")


def test_the_shipped_models_load():
    prover = Prover.load(ProverSettings(), "cpu")
    assert prover.end_ids == {prover.tokenizer.eos_token_id}
    for name in (f"nano-{size}{kind}" for size in ("xs", "s", "m", "equal") for kind in ("", "-marked")):
        verifier = Verifier.load(VerifierSettings(model=name), "cpu")
        assert verifier.parameter_count() <= sum(p.numel() for p in prover.model.parameters()) + 200
        assert verifier.score([PROBLEM], ["#### 7"]).shape == (1,)


@pytest.mark.parametrize(("kind", "settings"), [(Prover, ProverSettings), (Verifier, VerifierSettings)])
def test_flex_attention_is_refused_where_it_cannot_train(kind, settings, tiny_prover_dir):
    with pytest.raises(UserError, match=r"^(prover|verifier)\.attention: flex_attention .* GPU"):
        kind.load(settings(model=str(tiny_prover_dir), attention="flex_attention"), "cpu")


def test_a_prompt_is_tokenised_once(tiny_prover_dir, monkeypatch):
    from legibility.models import prover as module

    prover = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
    texts: list[str] = []
    monkeypatch.setattr(
        module, "encode_prompt", lambda tokenizer, text: texts.append(text) or encode_prompt(tokenizer, text)
    )
    one, other = Problem("1", "Tom has 2 pens.", "2"), Problem("2", "Ann has 3 pens.", "3")
    first = prover.prompt_ids(one, HELPFUL)
    first.append(0)  # the caller's own list
    assert prover.prompt_ids(one, HELPFUL) == first[:-1]
    assert prover.prompt_ids(one, SNEAKY) != prover.prompt_ids(other, SNEAKY)
    assert len(texts) == 3
