"""Four disjoint parts of the problems, and the contamination check between them.

The paper halves its training problems between prover and verifier and reports on a test set; we add
a validation part for gates and stop rules, and go by the text of a question, not by its id. Exact
duplicates and near duplicates (word 5-gram Jaccard) across parts are removed from the training side
and counted in `ProblemSplits.report`. Template problems may share their wording and differ in their
numbers: numbers are words of the 5-grams, so such pairs are mostly kept, and counted as information.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from legibility.errors import UserError
from legibility.problems.records import Problem

PARTS = ("prover", "verifier", "validation", "test")
SHINGLE = 5  # words
EXAMPLES = 5  # id pairs per finding in the report
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
TOKEN = re.compile(rf"{NUMBER.pattern}|\w+|[-+*/×÷=<>^%−]")  # signs are words: 3 + 4 is not 3 - 4


@dataclass(frozen=True)
class ProblemSplits:
    """The four parts; no question is in two of them. `report` is JSON-ready, for the manifest."""

    prover: list[Problem]
    verifier: list[Problem]
    validation: list[Problem]
    test: list[Problem]
    report: dict[str, Any] = field(default_factory=dict, repr=False)


def split_problems(
    train: Sequence[Problem],
    test: Sequence[Problem] | None,
    *,
    sizes: Mapping[str, int | None] | None = None,
    seed: int,
    threshold: float = 0.8,
) -> ProblemSplits:
    """Split problems at random into prover, verifier, validation and test.

    test: the only place test problems come from; None sets some of `train` aside. Training problems
    are checked against all of it, drawn or not.
    sizes: part -> count. None or missing means: all of `test` (or a tenth of `train`), a tenth of
    `train` for validation, and for prover and verifier what is left, in equal halves if both are None.
    threshold: Jaccard overlap from which two questions count as near duplicates.
    Raises UserError where a part cannot be filled.
    """
    wanted: dict[str, int | None] = dict.fromkeys(PARTS) | dict(sizes or {})
    if set(wanted) > set(PARTS):
        raise ValueError(f"sizes must be for {', '.join(PARTS)}, got {sorted(wanted)}")
    shingles = _Shingles(threshold)
    report: dict[str, Any] = {
        "near_duplicate_threshold": threshold,
        "loaded": {"train": len(train), "test": None if test is None else len(test)},
        "exact_duplicates": {},
        "near_duplicates": {},
    }
    train_rng, test_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))

    pool = _distinct(train, "within_train", report)
    tenth = max(1, len(pool) // 10)
    if test is None:
        pool = _shuffled(pool, train_rng)
        test_part = _take("test", pool, tenth if wanted["test"] is None else wanted["test"])
        pool = shingles.clean(pool[len(test_part) :], test_part, "train_against_test", report)
    else:
        test = _distinct(_with_own_ids(test, train), "within_test", report)
        pool = _without_copies(pool, test, report)
        pool = shingles.clean(pool, test, "train_against_test", report)
        pool = _shuffled(pool, train_rng)
        test_part = _take("test", _shuffled(test, test_rng), wanted["test"])
    validation = _take("validation", pool, tenth if wanted["validation"] is None else wanted["validation"])
    pool = shingles.clean(pool[len(validation) :], validation, "train_against_validation", report)
    prover, verifier = _halves(pool, wanted["prover"], wanted["verifier"], shingles, report)

    parts = {"prover": prover, "verifier": verifier, "validation": validation, "test": test_part}
    report["used"] = {part: len(parts[part]) for part in PARTS}
    report["same_wording_different_numbers"] = {
        f"{one}_in_{other}": _same_wording(parts[one], parts[other])
        for one, other in [("prover", "test"), ("verifier", "test"), ("validation", "test"), ("prover", "verifier")]
    }
    return ProblemSplits(**parts, report=report)


def normalise(question: str) -> str:
    """The form in which two questions are compared: case and spacing ignored, numbers kept."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def near_duplicates(
    left: Sequence[frozenset[str]], right: Sequence[frozenset[str]], threshold: float
) -> dict[int, tuple[int, float]]:
    """For each index of `left` with a near duplicate in `right`: the closest one and their Jaccard overlap.

    Exact, by prefix filtering: if |x∩y| ≥ t|x∪y|, then the |x| − ⌈t|x|⌉ + 1 rarest shingles of x and
    those of y have one in common, so only these are indexed and looked up.
    """
    frequency = Counter(shingle for group in (left, right) for shingles in group for shingle in shingles)

    def rarest(shingles: frozenset[str]) -> list[str]:
        keep = len(shingles) - math.ceil(threshold * len(shingles) - 1e-9) + 1
        return sorted(shingles, key=lambda s: (frequency[s], s))[:keep] if shingles else []

    index: dict[str, list[int]] = defaultdict(list)
    for j, shingles in enumerate(right):
        for shingle in rarest(shingles):
            index[shingle].append(j)
    found: dict[int, tuple[int, float]] = {}
    for i, shingles in enumerate(left):
        best, overlap = -1, 0.0
        for j in sorted({j for shingle in rarest(shingles) for j in index.get(shingle, ())}):
            shared = len(shingles & right[j])
            jaccard = shared / (len(shingles) + len(right[j]) - shared)
            if jaccard >= threshold - 1e-9 and jaccard > overlap:
                best, overlap = j, jaccard
        if best >= 0:
            found[i] = (best, overlap)
    return found


def shingles_of(question: str) -> frozenset[str]:
    """The word 5-grams of a question (all of it, where it is shorter)."""
    words = TOKEN.findall(normalise(question))
    return frozenset(" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)) if words)


class _Shingles:
    """Near-duplicate removal that computes the shingles of each question once."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.cache: dict[str, frozenset[str]] = {}

    def of(self, problems: Iterable[Problem]) -> list[frozenset[str]]:
        out = []
        for problem in problems:
            if problem.question not in self.cache:
                self.cache[problem.question] = shingles_of(problem.question)
            out.append(self.cache[problem.question])
        return out

    def clean(
        self, problems: Sequence[Problem], kept: Sequence[Problem], name: str, report: dict[str, Any]
    ) -> list[Problem]:
        """`problems` without near duplicates of `kept`, noting in `report` what was dropped."""
        found = near_duplicates(self.of(problems), self.of(kept), self.threshold)
        pairs = [(problems[i], kept[j], jaccard) for i, (j, jaccard) in found.items()]
        report["near_duplicates"][name] = {
            "dropped": len(pairs),
            "only_numbers_differ": sum(_wording(a.question) == _wording(b.question) for a, b, _ in pairs),
            "examples": [{"dropped": a.id, "kept": b.id, "jaccard": round(j, 3)} for a, b, j in pairs[:EXAMPLES]],
        }
        return [problem for i, problem in enumerate(problems) if i not in found]


def _halves(
    pool: list[Problem], prover: int | None, verifier: int | None, shingles: _Shingles, report: dict[str, Any]
) -> tuple[list[Problem], list[Problem]]:
    """Prover and verifier problems out of `pool`, no near duplicates between them."""
    name = "prover_against_verifier"
    if verifier is None and prover is not None:  # the part with a set size is filled first
        prover_part = _take("prover", pool, prover)
        rest = shingles.clean(pool[len(prover_part) :], prover_part, name, report)
        return prover_part, _take("verifier", rest, None)
    half = len(pool) // 2
    verifier_part = _take("verifier", pool, half if verifier is None else verifier)
    rest = shingles.clean(pool[len(verifier_part) :], verifier_part, name, report)
    if prover is None and verifier is None:  # equal halves stay equal when near duplicates were dropped
        half = min(half, len(rest))
        return _take("prover", rest, half), verifier_part[:half]
    return _take("prover", rest, prover), verifier_part


def _take(part: str, pool: Sequence[Problem], count: int | None) -> list[Problem]:
    """The first `count` problems (None: all of them, at least one)."""
    if len(pool) < (1 if count is None else count):
        raise UserError(
            f"too few problems for {part}: wanted {count or 'at least 1'}, available {len(pool)} after the parts "
            "filled before it and without duplicates; ask for fewer or give a larger source"
        )
    return list(pool[:count])


def _shuffled(problems: Sequence[Problem], rng: np.random.Generator) -> list[Problem]:
    return [problems[i] for i in rng.permutation(len(problems))]


def _distinct(problems: Sequence[Problem], name: str, report: dict[str, Any]) -> list[Problem]:
    """The first problem of each question text."""
    first: dict[str, Problem] = {}
    pairs = []
    for problem in problems:
        original = first.setdefault(normalise(problem.question), problem)
        if original is not problem:
            pairs.append((problem, original))
    report["exact_duplicates"][name] = _dropped(pairs)
    return list(first.values())


def _without_copies(pool: Sequence[Problem], test: Sequence[Problem], report: dict[str, Any]) -> list[Problem]:
    originals = {normalise(problem.question): problem for problem in test}
    keys = [normalise(problem.question) for problem in pool]
    pairs = [(problem, originals[key]) for problem, key in zip(pool, keys, strict=True) if key in originals]
    report["exact_duplicates"]["train_against_test"] = _dropped(pairs)
    return [problem for problem, key in zip(pool, keys, strict=True) if key not in originals]


def _dropped(pairs: Sequence[tuple[Problem, Problem]]) -> dict[str, Any]:
    return {"dropped": len(pairs), "examples": [{"dropped": a.id, "kept": b.id} for a, b in pairs[:EXAMPLES]]}


def _with_own_ids(test: Sequence[Problem], train: Sequence[Problem]) -> list[Problem]:
    """`test`, its ids prefixed with "test/" where two sources number their problems alike."""
    if {problem.id for problem in test}.isdisjoint(problem.id for problem in train):
        return list(test)
    return [replace(problem, id=f"test/{problem.id}") for problem in test]


def _wording(question: str) -> str:
    return NUMBER.sub("#", normalise(question))


def _same_wording(one: Sequence[Problem], other: Sequence[Problem]) -> dict[str, Any]:
    """How many problems of `one` differ from some problem of `other` in their numbers only."""
    wordings = {_wording(problem.question): problem for problem in other}
    pairs = [(p, wordings[w]) for p in one if (w := _wording(p.question)) in wordings]
    return {"problems": len(pairs), "of": len(one), "examples": [[a.id, b.id] for a, b in pairs[:EXAMPLES]]}
