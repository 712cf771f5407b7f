"""Oversight: who may see what."""

from __future__ import annotations

import numpy as np

from legibility.problems.records import Problem
from legibility.weak_to_strong.experiment_settings import OversightSettings
from legibility.weak_to_strong.items import Item
from legibility.weak_to_strong.oversight import NOTHING, SAME, SIDES, RoleSpeaker, debate, overseen, step_note, written
from tests.weak_to_strong.world import labelled_items


class Recorder:
    """A speaker that says something unique and keeps what it was handed."""

    def __init__(self):
        self.requests = []

    def speak(self, requests):
        start = len(self.requests)
        self.requests += requests
        return [f"statement {start + i}" for i in range(len(requests))]


def test_debaters_see_only_what_they_may():
    items, speaker = labelled_items(), Recorder()
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


def test_the_weak_model_reads_problem_transcript_and_solution_only():
    items, speaker = labelled_items(), Recorder()
    read, transcripts = overseen(OversightSettings(kind="debate"), items, speaker, np.random.default_rng(0))
    for x, before, transcript in zip(read, items, transcripts, strict=True):
        assert x.problem.question == f"{written(transcript)}\n{before.problem.question}"
        assert (x.texts, x.label, x.group) == (before.texts, before.label, before.group)


def test_a_consultant_is_on_a_side_drawn_without_knowing_the_truth():
    items, speaker = labelled_items(200), Recorder()
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
    # the text at issue is never read out again; who wrote the same says so, once
    again = RoleSpeaker({"helpful": {"p": [item.texts[0]]}, "sneaky": {"p": [item.texts[0]]}})
    assert [t.text for t in debate([item], again, 1, [SIDES])[0]] == [SAME, NOTHING, NOTHING, NOTHING]


def test_interaction_helps_with_a_check_or_a_solution_and_labels_nothing():
    items = labelled_items()
    read, transcripts = overseen(
        OversightSettings(kind="interaction", help="step_check"), items, Recorder(), np.random.default_rng(0)
    )
    assert transcripts == [()] * len(items) and "steps" in read[0].problem.question
    assert step_note("2 + 2 = 5\n#### 5") == "1 steps, wrong: 2 + 2 = 5" and step_note("#### 5") == "no steps written"
    spoken = Recorder()
    overseen(OversightSettings(kind="interaction", help="solution"), items, spoken, np.random.default_rng(0))
    assert all(r.solution == "" and r.heard == () for r in spoken.requests)  # the assistant solves, it labels nothing
