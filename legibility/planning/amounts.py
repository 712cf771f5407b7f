"""How much of everything a game has, counted from its settings: problems of each part, lengths of texts, completions.

What settings do not say is assumed and named in the plan: how long prompts and answers are on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from legibility.config import Config
from legibility.errors import UserError
from legibility.problems import load_problems
from legibility.prompts import ROLES, load_prompts

QUESTION = 45  # words of a question of GSM8K, on average
CHARACTERS = 4.2  # of a token of English text, about
CHAT = 20  # tokens that a chat template writes around two messages
GSM8K = (7473, 1319)  # problems of its parts; their text is not needed to count them


@dataclass(frozen=True)
class Lengths:
    """Tokens: of a prompt, of an answer on average and at most, and of the prompt as the verifier reads it."""

    prompt: float
    answer: float
    longest: float
    prompt_for_verifier: float

    @property
    def verifier_text(self) -> float:
        """A whole text that a verifier reads."""
        return self.prompt_for_verifier + self.answer


@dataclass(frozen=True)
class GamePartSizes:
    """Problems of every part of a game but the prover's, which draws from as many as there are."""

    verifier: int
    validation: int
    test: int
    judge: int


def text_lengths(
    config: Config, prompt: float | None = None, answer: float | None = None, base_dir: Path | None = None
) -> Lengths:
    """Lengths as given, or as assumed: prompts by their characters, answers half of what they may be."""
    longest = config.sampling.max_new_tokens
    question = QUESTION * 5.6 / CHARACTERS
    if prompt is None:
        prompts = load_prompts(config.prover.prompts, base_dir)
        frame = sum(len(prompts.render("", role)) for role in ROLES) / len(ROLES) / CHARACTERS
        prompt = question + frame + (CHAT if config.prover.chat_template else 0)
    else:
        question = min(question, prompt)
    answer = longest / 2 if answer is None else answer
    if answer > longest:
        raise UserError(f"--answer-tokens: {answer:g} is more than sampling.max_new_tokens ({longest})")
    return Lengths(prompt, answer, longest, question)


def part_sizes(config: Config, base_dir: Path | None = None) -> GamePartSizes:
    """Problems of each part: as the settings say, as GSM8K has them, or counted once the sources are read.

    Raises UserError where a source has to be read and cannot be.
    """
    p = config.problems
    if None not in (p.prover, p.verifier, p.validation, p.test_size, p.judge):
        return GamePartSizes(p.verifier or 0, p.validation or 0, p.test_size or 0, p.judge or 0)
    test_source = p.test
    if p.train.kind == "gsm8k" and test_source is not None and test_source.kind == "gsm8k" and not _limited(config):
        pool = GSM8K[0] - (p.validation or GSM8K[0] // 10) - (p.judge or 0)
        verifier = p.verifier or (pool - p.prover if p.prover else pool // 2)
        judge = p.judge if p.judge is not None else 0
        return GamePartSizes(verifier, p.validation or GSM8K[0] // 10, p.test_size or GSM8K[1], judge)
    counts = load_problems(p, base_dir=base_dir).counts
    return GamePartSizes(counts.verifier, counts.validation, counts.test, counts.judge or 0)


def _limited(config: Config) -> bool:
    """Whether a source takes a part of GSM8K only."""
    sources = (config.problems.train, config.problems.test)
    return any(getattr(s, name, None) is not None for s in sources for name in ("limit", "max_steps"))
