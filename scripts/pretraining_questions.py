"""Write down which questions the shipped nano models read: `legibility/weights/pretraining_questions.npz`.

    python scripts/pretraining_questions.py            # three minutes on one core; replays and compares
    python scripts/pretraining_questions.py --write    # and writes the record

Replays the text of every pre-training run behind the shipped folders (`legibility/weights/README.md` has their
commands) and stops where its length is not what the run wrote down. The maker of flawed solutions was mended after
the first five runs; that moved the length of their solutions a little and no question (docs/log.md). New weights
need a line in `RUNS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from transformers import AutoTokenizer

from legibility.models import nano
from legibility.models.step_marking import marking_batches
from legibility.problems.pretraining import QUESTIONS_FILE, PretrainingText
from legibility.script import run_script

TOKENIZER = nano.NANO_DIR / "prover"
TOLERANCE = 1e-3  # of the tokens


@dataclass(frozen=True)
class Run:
    """One pre-training run: the shipped files that have its token count, and the arguments it was made with."""

    files: tuple[str, ...]
    size: str
    seed: int = 0
    polished: bool = False
    marked: bool = False
    steps: int = 0  # 0: the size's own

    @property
    def nano_size(self) -> nano.NanoSize:
        size = nano.SIZES[self.size]
        return replace(size, steps=self.steps, marking_steps=self.steps) if self.steps else size

    def replay(self) -> Iterator[tuple[list[str], int]]:
        """Questions and tokens, in pieces."""
        tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
        if self.marked:
            for marking in marking_batches(self.nano_size.marking_steps, self.seed, tokenizer):
                yield [p.question for p in marking.problems], len(marking.packed.ids)
            return
        curriculum = nano.POLISH if self.polished else nano.CURRICULUM
        yield list(nano.training_questions(self.nano_size, seed=self.seed, curriculum=curriculum)), 0
        batches = nano.training_batches(
            self.nano_size, tokenizer, seed=self.seed, roles=self.size == "prover", curriculum=curriculum
        )
        yield [], sum(batch.tokens for batch in batches)


RUNS = (
    Run(("prover/pretraining_first_run.json",), "prover"),
    Run(("prover/pretraining.json",), "prover", seed=7, polished=True, steps=1200),
    Run(("verifier-xs/pretraining.json", "verifier-m/pretraining.json"), "verifier-m"),
    Run(("verifier-s/pretraining.json",), "verifier-s"),
    Run(tuple(f"verifier-{size}-marked/pretraining.json" for size in ("xs", "s", "m")), "verifier-m", marked=True),
    Run(("verifier-equal-marked/pretraining.json",), "prover", marked=True, steps=2500),
)


def main(write: Annotated[bool, typer.Option("--write", help="Write the record anew.")] = False) -> None:
    """Replay the built-in models' pre-training text and compare its length with what each run wrote down."""
    read: set[str] = set()
    for run in RUNS:
        before, total = len(read), 0
        for questions, tokens in run.replay():
            read.update(questions)
            total += tokens
        print(f"{', '.join(run.files)}: {total} tokens, {len(read) - before} new questions", flush=True)
        for file in run.files:
            wanted = json.loads((nano.NANO_DIR / file).read_text())["marking_tokens" if run.marked else "tokens"]
            if abs(total - wanted) > TOLERANCE * wanted:
                raise SystemExit(f"{file}: {wanted:.0f} tokens were read, {total} were replayed: not the same text")
    record = PretrainingText.of(read)
    found = f"{len(record.questions)} questions, {len(record.wordings)} wordings"
    if not write:
        print(f"{found}; --write puts them into {QUESTIONS_FILE}")
        return
    record.save(QUESTIONS_FILE)
    print(f"{QUESTIONS_FILE}: {found}, {QUESTIONS_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    run_script(main)
