"""The built-in problem generator: word problems whose every step is known.

Not in the paper, which uses GSM8K plus 100k synthetic problems; this world exists so that the whole
game runs offline on a laptop, and so that step validity is exact instead of judged by a large model.
`generate_problems` makes problems; `worked_solution` and `flawed_solution` write the texts the nano
models are pre-trained on. Everything is a function of the given seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from legibility.problems.records import Problem, Step
from legibility.problems.stories import NAMES, STORIES, Story

FAMILIES: tuple[str, ...] = tuple(story.name for story in STORIES)
HELD_OUT_FAMILIES: tuple[str, ...] = FAMILIES[-4:]  # never seen by the shipped nano models
PRETRAIN_FAMILIES: tuple[str, ...] = FAMILIES[:-4]
DEFAULT_STEPS: dict[int, float] = {2: 0.35, 3: 0.30, 4: 0.20, 5: 0.10, 6: 0.05}
STYLES: dict[str, float] = {"steps": 0.5, "results": 0.3, "answer": 0.2}
FLAWS: tuple[str, ...] = ("slip", "wrong_operation", "misread", "skipped_step", "miscopied_result")
NEAR: tuple[int, ...] = (-20, -10, -9, -5, -3, -2, -1, 1, 2, 3, 5, 9, 10, 20)  # usual offsets of a changed number
LARGEST = 120  # running quantities stay small enough to check in the head


TRIES = 1000  # draws in a row without success before giving up


def compute(left: int, op: str, right: int) -> int | None:
    """`left op right` as a non-negative integer, or None where that is not one."""
    if op == "/":
        return left // right if right and left % right == 0 else None
    value = {"+": left + right, "-": left - right, "*": left * right}[op]
    return value if value >= 0 else None


def generate_problems(
    n: int,
    seed: int,
    *,
    steps: Mapping[int, float] | None = None,
    distractor: float = 0.15,
    families: Sequence[str] | None = None,
    prefix: str = "gen",
    leave_out: Callable[[str], bool] = lambda question: False,
) -> list[Problem]:
    """`n` distinct problems, a pure function of the arguments.

    steps: step count (1-6) -> weight. distractor: chance of one irrelevant sentence.
    families: stories to draw from (default all). leave_out: questions to pass over; the next one drawn takes the
    place, and ids count what was passed over too, so that an id means one question.
    Raises ValueError for an unknown family or step count, and where fewer distinct problems exist than are asked for.
    """
    weights = dict(DEFAULT_STEPS if steps is None else steps)
    if not weights or not set(weights) <= {1, 2, 3, 4, 5, 6} or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"steps must map 1..6 to weights, got {weights}")
    unknown = set(families or ()) - set(FAMILIES)
    if unknown:
        raise ValueError(f"unknown stories {sorted(unknown)}; known: {', '.join(FAMILIES)}")
    stories = [f for f in STORIES if families is None or f.name in families]
    counts = np.array(sorted(weights))
    chances = np.array([weights[c] for c in counts], dtype=float)
    rng = np.random.default_rng([seed, 0x6C65])
    problems: list[Problem] = []
    seen: set[str] = set()
    repeats = passed_over = 0
    while len(problems) < n:
        story = stories[rng.integers(len(stories))]
        count = int(rng.choice(counts, p=chances / chances.sum()))
        question, true_steps = _tell(story, count, rng, distractor)
        if question in seen or leave_out(question):
            passed_over += question not in seen
            seen.add(question)
            repeats += 1
            if repeats > TRIES:
                raise ValueError(
                    f"only {len(problems)} distinct problems found; ask for fewer, or for more stories and steps"
                )
            continue
        repeats = 0
        seen.add(question)
        answer = str(true_steps[-1].result)
        problems.append(
            Problem(
                id=f"{prefix}-{seed}-{len(problems) + passed_over:06d}",
                question=question,
                answer=answer,
                solution=render(true_steps, answer, "steps"),
                source="generated",
                family=story.name,
                steps=true_steps,
            )
        )
    return problems


def _tell(story: Story, count: int, rng: np.random.Generator, distractor: float) -> tuple[str, tuple[Step, ...]]:
    who, other = rng.choice(NAMES, size=2, replace=False)
    value = int(rng.integers(5, 41))
    sentences = [story.start.format(who=who, other=other, n=value)]
    steps: list[Step] = []
    scaled = False
    while len(steps) < count:
        event = rng.choice(["gain", "loss", "gain_groups", "loss_groups", "scale", "share"])
        made = _event(story, str(event), value, count - len(steps), rng)
        if made is None or (event == "scale" and scaled):
            continue
        scaled |= event == "scale"
        text, new = made
        sentences.append(text.format(who=who, other=other))
        steps += new
        value = steps[-1].result
    if rng.random() < distractor:
        place = int(rng.integers(1, len(sentences) + 1))
        sentences.insert(place, story.aside.format(who=who, other=other, d=int(rng.integers(2, 30))))
    sentences.append(story.ask.format(who=who, other=other))
    return " ".join(sentences), tuple(steps)


def _event(story: Story, event: str, value: int, room: int, rng: np.random.Generator) -> tuple[str, list[Step]] | None:
    """One sentence (names still open) and its steps, or None where it does not fit."""
    names = {"who": "{who}", "other": "{other}"}
    if event in ("gain", "loss"):
        n = int(rng.integers(2, 31))
        result = value + n if event == "gain" else value - n
        wording = (story.gain if event == "gain" else story.loss)[int(rng.integers(2))]
        steps = [Step(value, "+" if event == "gain" else "-", n, result)]
        text = wording.format(n=n, **names)
    elif event in ("gain_groups", "loss_groups"):
        if room < 2:
            return None
        a, b = int(rng.integers(2, 7)), int(rng.integers(2, 10))
        result = value + a * b if event == "gain_groups" else value - a * b
        wording = story.gain_groups if event == "gain_groups" else story.loss_groups
        steps = [Step(a, "*", b, a * b), Step(value, "+" if event == "gain_groups" else "-", a * b, result)]
        text = wording.format(a=a, b=b, **names)
    elif event == "scale":
        k = int(rng.integers(2, 4))
        result = value * k
        steps = [Step(value, "*", k, result)]
        text = story.scale.format(times="doubles" if k == 2 else "triples", **names)
    else:
        k = int(rng.integers(2, 6))
        if value % k or value // k < 2:
            return None
        result = value // k
        steps = [Step(value, "/", k, result)]
        text = story.share.format(k=k, **names)
    return (text, steps) if 1 < result <= LARGEST else None


def render(steps: Sequence[Step], answer: str | int, style: str) -> str:
    """A solution text: one equation a line ("steps"), bare results ("results"), or only the answer ("answer").

    Raises ValueError for another style.
    """
    if style == "steps":
        lines = [str(step) for step in steps]
    elif style == "results":
        lines = [" ".join(str(step.result) for step in steps)]
    elif style == "answer":
        lines = []
    else:
        raise ValueError(f"unknown style {style!r}; known: {', '.join(STYLES)}")
    return "\n".join([*lines, f"#### {answer}"])


def pick_style(rng: np.random.Generator, styles: Mapping[str, float] = STYLES) -> str:
    """A solution style drawn by weight."""
    weights = np.array(list(styles.values()), dtype=float)
    return str(rng.choice(list(styles), p=weights / weights.sum()))


def worked_solution(problem: Problem, rng: np.random.Generator, styles: Mapping[str, float] = STYLES) -> str:
    """A correct solution of a generated problem, in a style drawn by weight."""
    return render(problem.steps, problem.answer, pick_style(rng, styles))


def flawed_solution(
    problem: Problem, rng: np.random.Generator, styles: Mapping[str, float] = STYLES, flaws: Sequence[str] = FLAWS
) -> tuple[str, str]:
    """A wrong solution with one flaw whose consequences are carried forward consistently.

    Returns (text, flaw type). Flaw types: `slip` (an arithmetic mistake), `wrong_operation`,
    `misread` (a number of the problem copied wrong), `skipped_step`, `miscopied_result` (the result
    of a step is wrong where the next one uses it). The final answer always differs from the gold.
    Raises ValueError where none of the `flaws` fits the problem.
    """
    for _ in range(TRIES):
        flaw = str(rng.choice(list(flaws)))
        steps = apply_flaw(problem.steps, flaw, int(rng.integers(len(problem.steps))), rng)
        if steps and str(steps[-1].result) != problem.answer:
            return render(steps, steps[-1].result, pick_style(rng, styles)), flaw
    raise ValueError(f"{problem.id}: none of {', '.join(flaws)} fits this problem")


def change_a_number(text: str, rng: np.random.Generator) -> str:
    """`text` with one of its numbers, drawn at random, replaced by another: a near one, or any up to LARGEST.

    Raises ValueError where it has none.
    """
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        raise ValueError("no number to change")
    chosen = numbers[int(rng.integers(len(numbers)))]
    old = new = int(chosen[0])
    while new == old or new < 0:
        new = old + int(rng.choice(NEAR)) if rng.random() < 0.7 else int(rng.integers(1, LARGEST + 1))
    return text[: chosen.start()] + str(new) + text[chosen.end() :]


def apply_flaw(steps: Sequence[Step], flaw: str, at: int, rng: np.random.Generator) -> list[Step] | None:
    """The step list with one flaw at index `at`, later steps recomputed; None where it does not fit."""
    wrong: dict[int, int] = {}  # index of a step -> the result later steps use
    out: list[Step] = []
    sources = operand_sources(steps)
    for i, step in enumerate(steps):
        left, right, op = step.left, step.right, step.op
        uses_left, uses_right = sources[i]
        left = wrong.get(uses_left, left) if uses_left is not None else left
        right = wrong.get(uses_right, right) if uses_right is not None else right
        if i == at and flaw == "wrong_operation":
            op = {"+": "-", "-": "+", "*": "+", "/": "-"}[op]
        if i == at and flaw == "misread":
            if uses_right is not None:
                return None  # an earlier result, not a number of the problem
            right = right + int(rng.choice([-2, -1, 1, 2, 10]))
        if i == at and flaw == "miscopied_result":
            if uses_left is None and uses_right is None:
                return None
            change = int(rng.choice([-10, -2, -1, 1, 2, 10]))
            left, right = (left + change, right) if uses_left is not None else (left, right + change)
        if i == at and flaw == "skipped_step":
            if len(steps) == 1 or (i + 1 < len(steps) and sources[i + 1][1] == i):
                return None  # half of a "groups of" pair cannot simply be left out
            wrong[i] = left
            continue
        result = compute(left, op, right)
        if result is None or left < 1 or right < 1:
            return None
        if i == at and flaw == "slip":
            result += int(rng.choice([-10, -2, -1, 1, 2, 10]))
            if result < 0:
                return None
        wrong[i] = result
        out.append(Step(left, op, right, result))
    return out or None


def operand_sources(steps: Sequence[Step]) -> list[tuple[int | None, int | None]]:
    """For each step, the earlier step whose result its (left, right) operand is, or None.

    The left operand of a step on the running quantity is the previous running result; the product
    of a "groups of" event is the right operand of the step that follows it.
    """
    sources: list[tuple[int | None, int | None]] = []
    running: int | None = None  # index of the step that made the running quantity
    for i in range(len(steps)):
        if _is_group_product(steps, i, running):
            sources.append((None, None))
        elif i > 0 and sources[i - 1] == (None, None) and i - 1 != running and steps[i - 1].op == "*":
            sources.append((running, i - 1))
            running = i
        else:
            sources.append((running, None))
            running = i
    return sources


def _is_group_product(steps: Sequence[Step], i: int, running: int | None) -> bool:
    step, after = steps[i], steps[i + 1] if i + 1 < len(steps) else None
    if step.op != "*" or after is None or after.op not in "+-" or after.right != step.result:
        return False
    if running is None:
        return after.left != step.result or step.left <= 6  # a quantity that is scaled starts above the group counts
    return after.left == steps[running].result
