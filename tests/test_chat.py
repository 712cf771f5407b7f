"""Chat templates: named ones, broken ones, and those that know no system message."""

from __future__ import annotations

from copy import deepcopy

import pytest

from legibility.chat import ChatTemplate
from legibility.errors import UserError
from legibility.models.prover import Prover
from legibility.prompts import HELPFUL, SNEAKY, PromptSet
from tests.support import PENS, llama

KEEPS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
DROPS = "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + KEEPS
SILENT = "{% for m in messages %}<{{ m.role }}>{% endfor %}"
ROLE_IN_SYSTEM = PromptSet(
    helpful="{problem}", sneaky="{problem}", system="Be {role}.", helpful_role="helpful", sneaky_role="sneaky"
)


@pytest.fixture
def tokenizer_with(byte_tokenizer):
    def make(template):
        tokenizer = deepcopy(byte_tokenizer)
        tokenizer.chat_template = template
        return tokenizer

    return make


def prover(tokenizer, prompts=ROLE_IN_SYSTEM, chat=True):
    return Prover(llama(tokenizer), tokenizer, prompts, device="cpu", chat_template=chat)


def text(found, role):
    return found.tokenizer.decode(found.prompt_ids(PENS[0], role))


def test_a_system_message_stays_where_the_template_takes_it(tokenizer_with):
    found = prover(tokenizer_with(KEEPS))
    found.check_roles()
    assert found.chat.takes_system
    assert text(found, HELPFUL) == f"<system>Be helpful.<user>{PENS[0].question}"


@pytest.mark.parametrize("template", [DROPS, REFUSES])
def test_a_system_message_that_is_dropped_or_refused_begins_the_users(template, tokenizer_with):
    found = prover(tokenizer_with(template))
    found.check_roles()
    assert not found.chat.takes_system
    assert text(found, HELPFUL) == f"<user>Be helpful.\n\n{PENS[0].question}"
    assert text(found, SNEAKY) == f"<user>Be sneaky.\n\n{PENS[0].question}"


def test_only_the_first_of_several_user_messages_carries_it(tokenizer_with):
    shots = ROLE_IN_SYSTEM.model_copy(update={"few_shot": [{"problem": "1 + 1?", "solution": "2"}]})
    shots = PromptSet.model_validate(shots.model_dump())
    found = prover(tokenizer_with(DROPS), shots)
    assert text(found, SNEAKY) == f"<user>Be sneaky.\n\n1 + 1?<assistant>2<user>{PENS[0].question}"


def test_a_template_by_name(tokenizer_with):
    tokenizer = tokenizer_with({"default": KEEPS, "other": "OTHER" + KEEPS})
    assert text(prover(tokenizer), HELPFUL).startswith("<system>")
    assert text(prover(tokenizer, chat="other"), HELPFUL).startswith("OTHER<system>")
    assert prover(tokenizer, chat="other").frozen_copy().chat.name == "other"


@pytest.mark.parametrize(
    ("template", "setting", "says"),
    [
        (None, True, "no chat template; set it to false"),
        (KEEPS, "other", "no template 'other'; it has one without a name"),
        ({"default": KEEPS, "tool": KEEPS}, "other", "it has default, tool"),
        ({"rag": KEEPS, "tool": KEEPS}, True, "no default; it has rag, tool"),
        ("{% for m in messages %}", True, "template fails"),
        ("{{ messages[7].content.nothing() }}", True, "template fails"),
    ],
)
def test_what_cannot_be_used_is_one_line(template, setting, says, tokenizer_with):
    with pytest.raises(UserError) as caught:
        ChatTemplate.of(tokenizer_with(template), setting)
    assert str(caught.value).startswith("prover.chat_template: ") and says in str(caught.value)


def test_a_template_without_the_problem_is_refused(tokenizer_with):
    with pytest.raises(UserError, match="leaves the problem out"):
        prover(tokenizer_with(SILENT)).check_roles()


def test_roles_that_read_the_same_are_refused(byte_tokenizer, tiny_bert_dir):
    same = PromptSet(helpful="{problem}", sneaky="{problem}")
    with pytest.raises(UserError, match=r"^prover\.prompts: helpful and sneaky prompts are the same"):
        prover(byte_tokenizer, same, chat=False).check_roles()


def test_roles_in_words_that_the_tokenizer_does_not_know_are_the_same():
    """Every unknown word is one token, so the texts differ and the ids do not."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"[UNK]": 0, "<end>": 1, "pens": 2, "has": 3}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", eos_token="<end>", pad_token="<end>")
    roles = PromptSet(helpful="good {problem}", sneaky="bad {problem}")
    with pytest.raises(UserError, match="the same to this model's tokenizer"):
        Prover(llama(words), words, roles, device="cpu").check_roles()


def test_today_is_always_the_same_day(tokenizer_with):
    """Llama's template writes the date: a game that goes on tomorrow would have other prompts."""
    found = prover(tokenizer_with("{{ strftime_now('%d %b %Y') }}" + KEEPS))
    found.check_roles()
    assert text(found, HELPFUL).startswith("26 Jul 2024<system>")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (
            "{% for m in messages %}{{ m.content | e }}{% endfor %}",
            "leaves the problem out of the prompt or changes it",
        ),
        ("{{ range(1000) | random }}" + KEEPS, "writes another prompt each time"),
    ],
)
def test_a_template_that_changes_problems_or_is_never_the_same(template, says, tokenizer_with):
    with pytest.raises(UserError, match=says):
        prover(tokenizer_with(template)).check_roles()
