"""Oversight: who may see what; in-context demonstrations; halves, balance and overlap."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from legibility.config import ProverSettings
from legibility.errors import UserError
from legibility.models.loading import encode_prompt
from legibility.models.prover import Prover
from legibility.problems.generator import flawed_solution, generate_problems, worked_solution
from legibility.problems.records import Problem
from legibility.weak_to_strong.analyses.in_context import ANSWERS, answer, choose, demonstration, lessons
from legibility.weak_to_strong.classification import classification_rows
from legibility.weak_to_strong.experiment_settings import ClassificationTask, OversightSettings, PartSizes
from legibility.weak_to_strong.items import Item, Parts, balanced, check_parts, labels
from legibility.weak_to_strong.oversight import NOTHING, SAME, SIDES, RoleSpeaker, debate, overseen, step_note, written
from legibility.weak_to_strong.tasks import _halves


def judged(count: int = 6) -> list[Item]:
    rng = np.random.default_rng(0)
    items = []
    for p in generate_problems(count, 3):
        style = {"steps": 1.0}
        items.append(Item(f"{p.id}/r", p.id, p, (worked_solution(p, rng, style),), True, "base"))
        items.append(Item(f"{p.id}/w", p.id, p, (flawed_solution(p, rng, style)[0],), False, "base"))
    return items


class Recorder:
    """A speaker that says something unique and keeps what it was handed."""

    def __init__(self):
        self.requests = []

    def speak(self, requests):
        start = len(self.requests)
        self.requests += requests
        return [f"statement {start + i}" for i in range(len(requests))]


def test_debaters_see_only_what_they_may():
    items, speaker = judged(), Recorder()
    transcripts = debate(items, speaker, 2, [SIDES] * len(items))
    assert all(
        [(t.side, t.kind) for t in x] == [(s, k) for k in ("opening", "rebuttal", "rebuttal") for s in SIDES]
        for x in transcripts
    )
    for k, request in enumerate(speaker.requests):
        round_index, item = divmod(k // 2, len(items))
        assert request.heard == transcripts[item][: 2 * round_index]  # all earlier rounds, nothing of this one
        assert request.solution == items[item].texts[0] and request.side == SIDES[k % 2]
        assert set(vars(request)) == {"problem_id", "question", "solution", "side", "heard"}
    # swapping every truth and gold answer changes nothing that anyone is told
    turned = [Item(x.id, x.group, Problem(x.problem.id, x.problem.question, "0"), x.texts, not x.label) for x in items]
    again = Recorder()
    debate(turned, again, 2, [SIDES] * len(items))
    assert again.requests == speaker.requests


def test_the_judge_reads_problem_transcript_and_solution_only():
    items, speaker = judged(), Recorder()
    read, transcripts = overseen(OversightSettings(kind="debate"), items, speaker, np.random.default_rng(0))
    for x, before, transcript in zip(read, items, transcripts, strict=True):
        assert x.problem.question == f"{written(transcript)}\n{before.problem.question}"
        assert (x.texts, x.label, x.group) == (before.texts, before.label, before.group)


def test_a_consultant_is_on_a_side_drawn_without_knowing_the_truth():
    items, speaker = judged(200), Recorder()
    _, transcripts = overseen(
        OversightSettings(kind="consultancy", rebuttals=1), items, speaker, np.random.default_rng(0)
    )
    assert all(len({t.side for t in x}) == 1 and len(x) == 2 for x in transcripts)
    honest = np.mean([(x[0].side == "correct") == item.label for x, item in zip(transcripts, items, strict=True)])
    assert 0.42 < honest < 0.58


def test_roles_argue_for_their_side_with_their_own_solutions():
    problem = Problem("p", "2 and 3?", "5")
    item = Item("p/1", "p", problem, ("2 + 3 = 6\n#### 6",), False)
    speaker = RoleSpeaker(
        {
            "helpful": {"p": ["2 + 3 = 5\n#### 5", "3 + 3 = 6\n#### 6"]},
            "sneaky": {"p": ["1 + 5 = 6\n#### 6", "2 * 3 = 7\n#### 7", "2 + 2 = 4\n#### 4"]},
        }
    )
    transcript = debate([item], speaker, 1, [SIDES])[0]
    assert [t.text.split("#### ")[-1] for t in transcript] == ["6", "7", NOTHING, "4"]
    # the judged text is never read out again; who wrote the same says so, once
    again = RoleSpeaker({"helpful": {"p": [item.texts[0]]}, "sneaky": {"p": [item.texts[0]]}})
    assert [t.text for t in debate([item], again, 1, [SIDES])[0]] == [SAME, NOTHING, NOTHING, NOTHING]


def test_interaction_help():
    items = judged()
    read, transcripts = overseen(
        OversightSettings(kind="interaction", help="step_check"), items, Recorder(), np.random.default_rng(0)
    )
    assert transcripts == [()] * len(items) and "steps" in read[0].problem.question
    assert step_note("2 + 2 = 5\n#### 5") == "1 steps, wrong: 2 + 2 = 5" and step_note("#### 5") == "no steps written"
    spoken = Recorder()
    overseen(OversightSettings(kind="interaction", help="solution"), items, spoken, np.random.default_rng(0))
    assert all(r.solution == "" and r.heard == () for r in spoken.requests)  # the assistant solves, it does not judge


# ---------------------------------------------------------------- in context


def test_demonstrations():
    items = judged(20)
    weak = np.where(labels(items), 1.0, -1.0) * np.linspace(0.1, 3, len(items))
    rng = np.random.default_rng(0)
    near = choose("similar", items, weak, items[:3], 4, rng)
    assert all(k in picked for k, picked in enumerate(near))  # an item is most similar to itself
    top = choose("confident", items, weak, items[:2], 4, rng)[0]
    assert sorted(top) == sorted([38, 36, 39, 37])
    assert len(set(choose("random", items, weak, items[:1], 4, rng)[0])) == 4
    assert demonstration(items[0], 2.0, True).endswith("Is the solution right? yes (Confidence: 0.88)\n\n")
    assert demonstration(items[0], -2.0, False).endswith("Is the solution right? no\n\n")
    assert demonstration(items[0], None, True).endswith("Is the solution right?")  # nothing of the query's label
    assert choose("none", items, weak, items[:2], 4, rng) == [[], []]


def test_lessons_are_trusted_items_with_true_answers():
    items = judged(8)
    truth = labels(items)
    pairs = lessons(items, np.where(truth, 1.0, -1.0), 3, 60, np.random.default_rng(0))
    label = {
        f"Question: {x.problem.question}\nSolution: {x.texts[0]}\nIs the solution right?": ANSWERS[int(x.label)]
        for x in items
    }
    for prompt, said in pairs:
        *before, asked = prompt.split("\n\n")
        assert said == label[asked] and len(before) <= 3
        for shown in before:
            verdict = shown.removesuffix(" (Confidence: 0.73)")
            assert any(verdict == q + a for q, a in label.items())
    assert {p.count("\n\n") for p, _ in pairs} == {0, 1, 2, 3} and {"Confidence" in p for p, _ in pairs} == {
        True,
        False,
    }


def test_answers_are_calibrated_by_the_content_free_query(tiny_prover_dir):
    """Against one forward pass per prompt, written out."""
    prover = Prover.load(ProverSettings(), "cpu", source=str(tiny_prover_dir))
    items = [
        Item(f"{k}", f"{k}", Problem(f"{k}", f"{k} + 1?", ""), (f"#### {k + 1}",), True) for k in range(4)
    ]  # short: nothing is dropped
    weak = np.array([1.0, -1, 2, -2])
    chosen = [[0, 1], [0, 1], [2, 3]]

    def log_odds(item, picked):
        tokenizer = prover.tokenizer
        ids = encode_prompt(tokenizer, "")
        for text in [*(demonstration(items[i], weak[i], False) for i in picked), demonstration(item, None, False)]:
            ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        no, yes = (tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in ANSWERS)
        with torch.no_grad():
            logits = prover.causal(torch.tensor([ids])).logits[0, -1]
        return float(logits[yes] - logits[no])

    free = Item("", "", Problem("", "N/A", ""), ("N/A",), False)
    calibrated, raw = answer(prover, items, weak, items[:3], chosen, False)
    assert raw == pytest.approx([log_odds(x, c) for x, c in zip(items, chosen, strict=False)], abs=1e-4)
    assert calibrated == pytest.approx(raw - [log_odds(free, c) for c in chosen], abs=1e-4)


# ---------------------------------------------------------------- parts


def test_balance_and_halves():
    items = judged(60)
    items += [
        Item(f"s{k}", x.group, x.problem, (x.texts[0] + " ",), x.label, "sneaky 0") for k, x in enumerate(items[:10])
    ]
    chosen = balanced(items, 40, np.random.default_rng(0), within_source=True)
    for source in ("base", "sneaky 0"):
        mine = [x for x in chosen if x.source == source]
        assert sum(x.label for x in mine) * 2 == len(mine)
    assert len([x for x in chosen if x.source == "sneaky 0"]) == 10 and len(chosen) == 40
    halves = _halves(items, ("weak", "student", "trusted"), PartSizes(weak=100, student=100, trusted=50), 0)
    groups = {name: {x.group for x in part} for name, part in halves.items()}
    assert not (
        groups["weak"] & groups["student"]
        or groups["weak"] & groups["trusted"]
        or groups["student"] & groups["trusted"]
    )
    assert sum(map(len, groups.values())) == 60 and 20 <= len(groups["weak"]) <= 28
    assert {x.group for x in _halves(items, ("weak", "student", "trusted"), PartSizes(), 1)["weak"]} != groups["weak"]


def parts(**changes) -> Parts:
    items = judged(5)
    found = {n: items[2 * k : 2 * k + 2] for k, n in enumerate(("weak", "student", "trusted", "validation", "test"))}
    return Parts(**{**found, **changes})


def test_parts_that_leak_or_have_one_class_are_refused():
    check_parts(parts(), "here")
    good = parts()
    with pytest.raises(UserError, match="must not overlap"):
        check_parts(parts(student=good.weak), "here")
    renamed = [Item("x", "other group", good.weak[0].problem, ("#### 1",), True), *good.student]
    with pytest.raises(UserError, match="weak part and in the student part"):
        check_parts(parts(student=renamed), "here")
    with pytest.raises(UserError, match="one class"):
        check_parts(parts(test=good.test[:1]), "here")


# ---------------------------------------------------------------- classification data sets


def rows_file(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_multiple_choice_becomes_balanced_binary(tmp_path):
    rows = [{"question": f"Q{k}?", "a": f"right{k}", "b": f"w{k}", "c": f"v{k}", "answer": "a"} for k in range(40)]
    rows_file(tmp_path / "mc.jsonl", rows)
    task = ClassificationTask(path="mc.jsonl", label="answer", choices=["a", "b", "c"])
    pools = classification_rows(task, tmp_path)
    items = [x for part in pools.values() for x in part]
    assert len(items) == 80 and sum(x.label for x in items) == 40
    assert all(x.texts[0].startswith("right") == x.label for x in items)
    assert not {x.group for x in pools["train"]} & {x.group for x in pools["test"]}
    listed = [
        {"question": r["question"], "options": [r["b"], r["a"]], "answer": label}
        for r, label in zip(rows, ["B", "1", "right2", "b"], strict=False)
    ]
    rows_file(tmp_path / "list.jsonl", listed[:3])
    found = classification_rows(ClassificationTask(path="list.jsonl", label="answer", choices=["options"]), tmp_path)
    assert all(x.texts[0].startswith("right") == x.label for part in found.values() for x in part)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"question": "a?"}, {"question": "b?"}], {}, "no column 'label'; columns there: question"),
        ([{"question": f"{k}?", "label": 1} for k in range(9)], {}, "one class only"),
        ([{"question": "a?", "label": "maybe"}], {}, "holds 'maybe'"),
        ([{"question": "a?", "label": None}], {}, "is empty"),
        ([{"question": "a?", "o": ["x", "y"], "label": "z"}], {"choices": ["o"]}, "is no choice"),
        ([{"question": "a?", "o": "x", "label": "x"}], {"choices": ["o"]}, "column with a list"),
    ],
)
def test_bad_classification_data(tmp_path, rows, options, message):
    rows_file(tmp_path / "bad.jsonl", rows)
    with pytest.raises(UserError, match=message) as error:
        classification_rows(ClassificationTask(path="bad.jsonl", **options), tmp_path)
    assert "\n" not in str(error.value) and "bad.jsonl" in str(error.value)
