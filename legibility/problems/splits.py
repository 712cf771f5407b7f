"""Five disjoint parts of the problems, and the contamination check between them.

The paper halves its training problems between prover and verifier and reports on a test set; we add
a validation part for gates and stop rules and one for the held-out judge, whose mistakes should not be
the verifiers', and go by the text of a question, not by its id. Exact
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
from typing import Literal, get_args

import numpy as np

from legibility.errors import UserError
from legibility.problems.contamination import (
    Contamination,
    DuplicatePair,
    ExactChecks,
    ExactDuplicates,
    LoadedCounts,
    NearChecks,
    NearDuplicates,
    NearPair,
    PartCounts,
    SameWording,
    WordingChecks,
)
from legibility.problems.records import Problem

Part = Literal["prover", "verifier", "validation", "test", "judge"]
PARTS: tuple[Part, ...] = get_args(Part)
SHINGLE = 5  # words
EXAMPLES = 5  # id pairs per finding in the report
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
TOKEN = re.compile(rf"{NUMBER.pattern}|\w+|[-+*/×÷=<>^%−]")  # signs are words: 3 + 4 is not 3 - 4


@dataclass(frozen=True)
class ProblemSplits:
    """The parts; no question is in two of them. `report`: what was dropped for that; None if it is not known.

    `judge`: problems of the held-out judge alone; empty where it learns from the verifiers'.
    """

    prover: list[Problem]
    verifier: list[Problem]
    validation: list[Problem]
    test: list[Problem]
    report: Contamination | None = field(default=None, repr=False)
    judge: list[Problem] = field(default_factory=list)

    def part(self, name: Part) -> list[Problem]:
        """The problems of one part."""
        parts: dict[Part, list[Problem]] = {
            "prover": self.prover,
            "verifier": self.verifier,
            "validation": self.validation,
            "test": self.test,
            "judge": self.judge,
        }
        return parts[name]

    @property
    def counts(self) -> PartCounts:
        """Problems of each part."""
        return PartCounts(**{name: len(self.part(name)) for name in PARTS if name != "judge" or self.judge})


def split_problems(
    train: Sequence[Problem],
    test: Sequence[Problem] | None,
    *,
    sizes: Mapping[Part, int | None] | None = None,
    seed: int,
    threshold: float = 0.8,
) -> ProblemSplits:
    """Split problems at random into prover, verifier, validation, test and judge.

    test: the only place test problems come from; None sets some of `train` aside. Training problems
    are checked against all of it, drawn or not.
    sizes: part -> count. None or missing means: all of `test` (or a share of `train`), a share of
    `train` for validation (`share_of`), and for prover and verifier what is left, in equal halves if both are None. For the
    judge None means as many as the verifier has of what the others leave over, and none if that is not half as many.
    threshold: Jaccard overlap from which two questions count as near duplicates.
    Raises UserError where a part cannot be filled, ValueError for a size of anything but a part.
    """
    wanted: dict[Part, int | None] = {**dict.fromkeys(PARTS), **(sizes or {})}
    if set(wanted) > set(PARTS):
        raise ValueError(f"sizes must be for {', '.join(PARTS)}, got {sorted(wanted)}")
    shingles = _Shingles(threshold)
    train_rng, test_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))

    loaded = LoadedCounts(train=len(train), test=None if test is None else len(test))
    pool, within_train = _distinct(train)
    if test is None:
        _check_room(pool, None, wanted)
        part_share = share_of(len(pool))
        pool = _shuffled(pool, train_rng)
        test_part = _take("test", pool, part_share if wanted["test"] is None else wanted["test"])
        pool, near_test = shingles.clean(pool[len(test_part) :], test_part)
        exact = ExactChecks(within_train=within_train)
    else:
        test, within_test = _distinct(_with_own_ids(test, train))
        pool, copies = _without_copies(pool, test)
        pool, near_test = shingles.clean(pool, test)
        _check_room(pool, test, wanted)
        part_share = share_of(len(pool))
        exact = ExactChecks(within_train=within_train, within_test=within_test, train_against_test=copies)
        pool = _shuffled(pool, train_rng)
        test_part = _take("test", _shuffled(test, test_rng), wanted["test"])
    validation = _take("validation", pool, part_share if wanted["validation"] is None else wanted["validation"])
    pool, near_validation = shingles.clean(pool[len(validation) :], validation)
    judge: list[Problem] = []
    near_judge = None
    if wanted["judge"] and None in (wanted["prover"], wanted["verifier"]):  # they take all that is left
        judge = _take("judge", pool[::-1], wanted["judge"])
        pool, near_judge = shingles.clean(pool[: len(pool) - len(judge)], judge)
    prover, verifier, near_halves = _halves(pool, wanted["prover"], wanted["verifier"], shingles)
    if not judge and wanted["judge"] != 0:
        judge, near_judge = _left_over(pool, prover, verifier, wanted["judge"], shingles)

    splits = ProblemSplits(prover, verifier, validation, test_part, judge=judge)
    report = Contamination(
        near_duplicate_threshold=threshold,
        loaded=loaded,
        exact_duplicates=exact,
        near_duplicates=NearChecks(
            train_against_test=near_test,
            train_against_validation=near_validation,
            prover_against_verifier=near_halves,
            **{"judge_against_others": near_judge} if judge and near_judge else {},
        ),
        used=splits.counts,
        same_wording_different_numbers=WordingChecks(
            prover_in_test=_samewording(prover, test_part),
            verifier_in_test=_samewording(verifier, test_part),
            validation_in_test=_samewording(validation, test_part),
            prover_in_verifier=_samewording(prover, verifier),
            **{"judge_in_test": _samewording(judge, test_part)} if judge else {},
        ),
    )
    return replace(splits, report=report)


def normalise(question: str) -> str:
    """The form in which two questions are compared: case and spacing ignored, numbers kept."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def near_duplicates(
    left: Sequence[frozenset[str]], right: Sequence[frozenset[str]], threshold: float
) -> dict[int, tuple[int, float]]:
    """For each index of `left` with a near duplicate in `right`: the closest one and their Jaccard overlap.

    Exact. By prefix filtering: if |x∩y| ≥ t|x∪y|, then the |x| − ⌈t|x|⌉ + 1 rarest shingles of x and those of y have
    one in common, so only these are indexed and looked up. By positions (Xiao et al. 2008, PPJoin): where the first
    common shingle has a few behind it in x or in y, no more than these can be shared. So questions that share a long
    preamble and nothing else, all of which meet in its shingles, need not be compared pair by pair; and where all
    are near duplicates, those that cannot be closer than the closest so far are not.
    """
    frequency = Counter(shingle for group in (left, right) for shingles in group for shingle in shingles)
    least = threshold - 1e-9

    def rarest(shingles: frozenset[str]) -> list[str]:
        keep = len(shingles) - math.ceil(threshold * len(shingles) - 1e-9) + 1
        return sorted(shingles, key=lambda s: (frequency[s], s))[:keep] if shingles else []

    # shingle -> size of a set -> place of the shingle in it -> the sets of `right` like that, in order
    index: dict[str, dict[int, dict[int, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for j, shingles in enumerate(right):
        for place, shingle in enumerate(rarest(shingles)):
            index[shingle][len(shingles)][place].append(j)
    found: dict[int, tuple[int, float]] = {}
    for i, shingles in enumerate(left):
        size = len(shingles)
        groups: list[tuple[float, list[int]]] = []  # the largest overlap that the sets of a group can have, and these
        for place, shingle in enumerate(rarest(shingles)):
            for other, places in index.get(shingle, {}).items():
                if _jaccard(min(size - place, other), size, other) < least:
                    continue
                for there, members in places.items():
                    bound = _jaccard(min(size - place, other - there), size, other)
                    if bound >= least:
                        groups.append((bound, members))
        best, overlap = -1, 0.0
        compared: set[int] = set()
        for bound, members in sorted(groups, key=lambda group: -group[0]):
            if bound < overlap:
                break
            for j in members:
                if bound == overlap and j > best:
                    break
                if j not in compared:
                    compared.add(j)
                    jaccard = _jaccard(len(shingles & right[j]), size, len(right[j]))
                    if jaccard >= least and (jaccard > overlap or (jaccard == overlap and j < best)):
                        best, overlap = j, jaccard
        if best >= 0:
            found[i] = (best, overlap)
    return found


def _jaccard(shared: int, one: int, other: int) -> float:
    """Of two sets by their sizes and the size of what they share."""
    return shared / (one + other - shared)


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

    def clean(self, problems: Sequence[Problem], kept: Sequence[Problem]) -> tuple[list[Problem], NearDuplicates]:
        """`problems` without near duplicates of `kept`, and what was dropped."""
        found = near_duplicates(self.of(problems), self.of(kept), self.threshold)
        pairs = [(problems[i], kept[j], jaccard) for i, (j, jaccard) in found.items()]
        dropped = NearDuplicates(
            dropped=len(pairs),
            only_numbers_differ=sum(wording(a.question) == wording(b.question) for a, b, _ in pairs),
            examples=[NearPair(dropped=a.id, kept=b.id, jaccard=round(j, 3)) for a, b, j in pairs[:EXAMPLES]],
        )
        return [problem for i, problem in enumerate(problems) if i not in found], dropped


def _halves(
    pool: list[Problem], prover: int | None, verifier: int | None, shingles: _Shingles
) -> tuple[list[Problem], list[Problem], NearDuplicates]:
    """Prover and verifier problems out of `pool` without near duplicates between them, and what was dropped for that."""
    if verifier is None and prover is not None:  # the part with a set size is filled first
        prover_part = _take("prover", pool, prover)
        rest, dropped = shingles.clean(pool[len(prover_part) :], prover_part)
        return prover_part, _take("verifier", rest, None), dropped
    half = len(pool) // 2
    verifier_part = _take("verifier", pool, half if verifier is None else verifier)
    rest, dropped = shingles.clean(pool[len(verifier_part) :], verifier_part)
    if prover is None and verifier is None:  # equal halves stay equal when near duplicates were dropped
        half = min(half, len(rest))
        return _take("prover", rest, half), verifier_part[:half], dropped
    return _take("prover", rest, prover), verifier_part, dropped


def _left_over(
    pool: list[Problem], prover: list[Problem], verifier: list[Problem], wanted: int | None, shingles: _Shingles
) -> tuple[list[Problem], NearDuplicates]:
    """The judge's problems of what prover and verifier left of the pool, and what was dropped for being near theirs.

    wanted: None takes as many as the verifier has, or none where not even half of that are left.
    """
    used = {p.id for p in (*prover, *verifier)}
    rest, dropped = shingles.clean([p for p in pool if p.id not in used], [*prover, *verifier])
    if wanted is not None:
        return _take("judge", rest, wanted), dropped
    return (rest[: len(verifier)] if 2 * len(rest) >= len(verifier) else []), dropped


def share_of(count: int) -> int:
    """Problems of a part that nobody gave a number: a tenth of the source, of a small one up to a fifth, at most 10.

    Ten is what an interval takes (`legibility.metrics.LEAST_UNITS`).
    """
    return max(1, count // 10, min(10, count // 5))


def _check_room(pool: Sequence[Problem], test: Sequence[Problem] | None, wanted: Mapping[Part, int | None]) -> None:
    """Raises UserError that names every part at once, where the sources hold fewer problems than are asked for.

    pool: the train source without duplicates; test: the test source, None where the pool stands in for it.
    """
    found = []
    if test is not None and len(test) < (wanted["test"] or 1):
        found.append(
            f"the test source has {len(test)} distinct problems, and problems.test_size is {wanted['test'] or 'null'}"
        )
    share = share_of(len(pool))
    least: dict[Part, int] = {"prover": 1, "verifier": 1, "validation": share, "judge": 0}
    if test is None:
        least["test"] = share
    asked = {part: (number if (number := wanted[part]) is not None else few, number) for part, few in least.items()}
    total = sum(count for count, _ in asked.values())
    if total > len(pool):
        listed = ", ".join(
            f"{_setting(part)} {count if number is not None else f'null (at least {count})'}"
            for part, (count, number) in asked.items()
            if count
        )
        found.append(f"the train source has {len(pool)} distinct problems, and {total} are asked for: {listed}")
    if found:
        given = (test is not None and wanted["test"] is not None) or any(
            number is not None for _, number in asked.values()
        )
        fix = "lower these, set them to null for shares, or give more problems" if given else "give more problems"
        raise UserError(f"too few problems: {'; '.join(found)}; {fix}")


def _setting(part: Part) -> str:
    return "problems.test_size" if part == "test" else f"problems.{part}"


def _take(part: Part, pool: Sequence[Problem], count: int | None) -> list[Problem]:
    """The first `count` problems (None: all of them, at least one)."""
    if len(pool) < (1 if count is None else count):
        raise UserError(
            f"too few problems for {part}: wanted {count or 'at least 1'}, available {len(pool)} after the parts "
            f"filled before it and without duplicates; ask for fewer ({_setting(part)}) or give a larger source"
        )
    return list(pool[:count])


def _shuffled(problems: Sequence[Problem], rng: np.random.Generator) -> list[Problem]:
    return [problems[i] for i in rng.permutation(len(problems))]


def _distinct(problems: Sequence[Problem]) -> tuple[list[Problem], ExactDuplicates]:
    """The first problem of each question text, and what was dropped."""
    first: dict[str, Problem] = {}
    pairs = []
    for problem in problems:
        original = first.setdefault(normalise(problem.question), problem)
        if original is not problem:
            pairs.append((problem, original))
    return list(first.values()), _dropped(pairs)


def _without_copies(pool: Sequence[Problem], test: Sequence[Problem]) -> tuple[list[Problem], ExactDuplicates]:
    """`pool` without the questions of `test`, and what was dropped."""
    originals = {normalise(problem.question): problem for problem in test}
    keys = [normalise(problem.question) for problem in pool]
    pairs = [(problem, originals[key]) for problem, key in zip(pool, keys, strict=True) if key in originals]
    return [problem for problem, key in zip(pool, keys, strict=True) if key not in originals], _dropped(pairs)


def _dropped(pairs: Sequence[tuple[Problem, Problem]]) -> ExactDuplicates:
    examples = [DuplicatePair(dropped=a.id, kept=b.id) for a, b in pairs[:EXAMPLES]]
    return ExactDuplicates(dropped=len(pairs), examples=examples)


def _with_own_ids(test: Sequence[Problem], train: Sequence[Problem]) -> list[Problem]:
    """`test`, its ids prefixed with "test/" where two sources number their problems alike."""
    if {problem.id for problem in test}.isdisjoint(problem.id for problem in train):
        return list(test)
    return [replace(problem, id=f"test/{problem.id}") for problem in test]


def wording(question: str) -> str:
    """The question with its numbers struck out."""
    return NUMBER.sub("#", normalise(question))


def _samewording(one: Sequence[Problem], other: Sequence[Problem]) -> SameWording:
    """How many problems of `one` differ from some problem of `other` in their numbers only."""
    wordings = {wording(problem.question): problem for problem in other}
    pairs = [(p, wordings[w]) for p in one if (w := wording(p.question)) in wordings]
    return SameWording(problems=len(pairs), of=len(one), examples=[(a.id, b.id) for a, b in pairs[:EXAMPLES]])
