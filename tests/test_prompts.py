"""Role prompts: rendering, the built-in sets, and errors that name the file."""

from __future__ import annotations

from copy import deepcopy

import pytest

from legibility.chat import ChatTemplate
from legibility.errors import UserError
from legibility.prompts import HELPFUL, SNEAKY, PromptSet, load_prompts


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
        prompts.render("Q?", HELPFUL, ChatTemplate(tokenizer))
        == "[system]You help[user]H 1 + 1?[assistant]#### 2[user]H Q?[assistant]"
    )
    assert (
        PromptSet(helpful="{problem}", sneaky="{problem}").render("Q?", SNEAKY, ChatTemplate(tokenizer))
        == "[user]Q?[assistant]"
    )


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
