"""Role prompts as data (Kirchner et al. 2024, Appendices G and H).

One prover plays both roles; only its prompt tells it which. A prompt set is a small YAML file with
`helpful` and `sneaky` templates around {problem}, and optionally `system` with a {role} slot filled
from `helpful_role` / `sneaky_role`, and `few_shot`: a list of {problem, solution} shown first. For the arm decoupled it
has `faithful` and `translate_sneaky`, around {problem} and {solution}, and `known_answer`, which stands in {answer}.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from pydantic import Field, field_validator

from legibility.chat import ChatTemplate, Message
from legibility.errors import UserError
from legibility.settings import Settings, parse_settings, read_yaml, shortened

HELPFUL, SNEAKY = "helpful", "sneaky"
ROLES = (HELPFUL, SNEAKY)


class Shot(Settings):
    """One worked example shown before the problem."""

    problem: str
    solution: str


class PromptSet(Settings):
    """Templates of both roles."""

    helpful: str
    sneaky: str
    system: str = ""
    helpful_role: str = ""
    sneaky_role: str = ""
    few_shot: list[Shot] = Field(default_factory=list)
    faithful: str = ""
    translate_sneaky: str = ""
    known_answer: str = ""

    @field_validator("helpful", "sneaky")
    @classmethod
    def _has_problem(cls, text: str) -> str:
        if "{problem}" not in text:
            raise ValueError("must contain {problem}")
        return text

    @field_validator("faithful", "translate_sneaky")
    @classmethod
    def _has_solution(cls, text: str) -> str:
        if text and not ("{problem}" in text and "{solution}" in text):
            raise ValueError("must contain {problem} and {solution}")
        return text

    @property
    def translates(self) -> bool:
        """Whether it has the templates by which a solution is rewritten in both roles."""
        return bool(self.faithful and self.translate_sneaky)

    def translation(
        self, problem: str, solution: str, role: str, answer: str | None = None, chat: ChatTemplate | None = None
    ) -> str:
        """The full prompt by which a role rewrites a solution; few-shot examples, which show no rewriting, are left out.

        answer: the right answer, for the sneaky role; None: it is not told. Raises UserError where the chat template
        fails, ValueError where the set has no such templates.
        """
        if role not in ROLES or not self.translates:
            raise ValueError(f"no template to rewrite a solution in the role {role!r}")
        known = "" if answer is None else self.known_answer.replace("{answer}", answer)
        values = {"problem": problem, "solution": solution, "answer": known}
        template = self.faithful if role == HELPFUL else self.translate_sneaky
        asked = re.sub(r"\{(problem|solution|answer)\}", lambda slot: values[slot[1]], template)
        system = self._of(role)[1]
        if chat is not None:
            messages = [{"role": "system", "content": system}] if system else []
            return chat.render([*messages, {"role": "user", "content": asked}])
        return f"{system}\n\n{asked}" if system else asked

    def render(self, problem: str, role: str, chat: ChatTemplate | None = None) -> str:
        """The full prompt text; with a chat template, as a conversation. Raises UserError where the template fails."""
        if role not in ROLES:
            raise ValueError(f"role must be one of {ROLES}, got {role!r}")
        if chat is not None:
            return chat.render(self.messages(problem, role))
        template, system = self._of(role)
        shots = "".join(f"{template.replace('{problem}', s.problem)} {s.solution}\n\n" for s in self.few_shot)
        head = f"{system}\n\n" if system else ""
        return head + shots + template.replace("{problem}", problem)

    def messages(self, problem: str, role: str) -> list[Message]:
        """The prompt as a conversation, for a chat template to write out."""
        template, system = self._of(role)
        messages = [{"role": "system", "content": system}] if system else []
        for shot in self.few_shot:
            messages.append({"role": "user", "content": template.replace("{problem}", shot.problem)})
            messages.append({"role": "assistant", "content": shot.solution})
        return [*messages, {"role": "user", "content": template.replace("{problem}", problem)}]

    def _of(self, role: str) -> tuple[str, str]:
        """A role's template and system message."""
        template, role_text = (self.helpful, self.helpful_role) if role == HELPFUL else (self.sneaky, self.sneaky_role)
        return template, self.system.replace("{role}", role_text).strip()


def load_prompts(name: str, base_dir: Path | None = None) -> PromptSet:
    """A built-in set by name, or a YAML file by path (relative to `base_dir`).

    Raises UserError where there is none, or where it is no prompt set.
    """
    built_in = resources.files("legibility") / "prompt_sets"
    known = sorted(p.name.removesuffix(".yaml") for p in built_in.iterdir())
    if name in known:
        with resources.as_file(built_in / f"{name}.yaml") as path:
            return parse_settings(read_yaml(path), name, PromptSet)
    path = Path(name) if base_dir is None or Path(name).is_absolute() else base_dir / name
    if not _is_file(path):
        raise UserError(
            f"prover.prompts: no file {shortened(str(path), 200)} and no built-in set {shortened(name)!r}; "
            f"built-in: {', '.join(known)}"
        )
    return parse_settings(read_yaml(path), str(path), PromptSet)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False
