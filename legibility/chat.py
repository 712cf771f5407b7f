"""Chat templates: a tokenizer's own way of writing a conversation, by name, tried before anything depends on it.

Some templates refuse a system message and some leave it out without a word; the two roles would then read the same.
Where a template does either, what would be the system message stands at the head of the first user message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from legibility.errors import UserError

Message = dict[str, str]  # role and content, as chat templates take them
SETTING = "prover.chat_template"


class _OneDay(datetime):
    """A clock that stands still, on the day that Llama's templates fall back to."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _OneDay:
        return cls(2024, 7, 26, tzinfo=tz)


@contextmanager
def _always_the_same_day() -> Iterator[None]:
    """Templates that write today's date write one day: a game that goes on tomorrow would have other prompts."""
    from transformers.utils import chat_template_utils  # slow to import; only chat templates need it

    clock: Any = chat_template_utils
    before, clock.datetime = clock.datetime, _OneDay
    try:
        yield
    finally:
        clock.datetime = before


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer with one of its templates; `takes_system`: whether a system message reaches the text."""

    tokenizer: Any
    name: str | None = None
    takes_system: bool = True

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as text, up to where the assistant answers. Raises UserError where the template fails."""
        try:
            with _always_the_same_day():
                return str(
                    self.tokenizer.apply_chat_template(
                        self.shown(messages), tokenize=False, add_generation_prompt=True, chat_template=self.name
                    )
                )
        except Exception as error:  # a template is a program of its own: jinja's errors, and whatever it raises
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"{SETTING}: the tokenizer's template fails ({type(error).__name__}: {reason}); "
                "mend it in the model's folder, or set chat_template to false"
            ) from None

    def shown(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as this template takes them: a system message that it would leave out begins the first of the user."""
        first, rest = list(messages[:1]), list(messages[1:])
        if not self.takes_system and first and first[0]["role"] == "system" and rest:
            rest[0] = {**rest[0], "content": f"{first[0]['content']}\n\n{rest[0]['content']}"}
            first = []
        return [*first, *rest]

    @classmethod
    def of(cls, tokenizer: Any, setting: bool | str) -> ChatTemplate | None:
        """The template of `prover.chat_template`: false none, true the default one, or a name. Raises UserError for a missing one."""
        if setting is False:
            return None
        found = tokenizer.chat_template
        if not found:
            raise UserError(f"{SETTING}: this model's tokenizer has no chat template; set it to false")
        names = sorted(found) if isinstance(found, dict) else []
        known = f"it has {', '.join(names)}" if names else "it has one without a name; set it to true"
        if isinstance(setting, str) and setting not in names:
            raise UserError(f"{SETTING}: this model's tokenizer has no template {setting!r}; {known}")
        if setting is True and names and "default" not in names:
            raise UserError(
                f"{SETTING}: this model's tokenizer has several templates and no default; {known}, name one"
            )
        whole = cls(tokenizer, setting if isinstance(setting, str) else None)
        return cls(tokenizer, whole.name, takes_system=whole._shows_system())

    def _shows_system(self) -> bool:
        try:
            text = self.render([{"role": "system", "content": "Be 7b1d."}, {"role": "user", "content": "2 + 2?"}])
        except UserError:
            self.render([{"role": "user", "content": "2 + 2?"}])  # fails too: then the template itself is broken
            return False
        return "Be 7b1d." in text
