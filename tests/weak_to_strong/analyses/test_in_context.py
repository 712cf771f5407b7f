"""In-context weak-to-strong: demonstrations, lessons, and answers against one forward pass per prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legibility.config import ProverSettings
from legibility.models.loading import encode_prompt
from legibility.models.prover import Prover
from legibility.problems.records import Problem
from legibility.weak_to_strong.analyses.in_context import (
    ANSWERS,
    Showing,
    answer,
    choose,
    demonstration,
    lessons,
    showings,
)
from legibility.weak_to_strong.experiment_settings import InContextSettings
from legibility.weak_to_strong.items import Item, labels
from tests.weak_to_strong.world import labelled_items


def test_demonstrations_are_chosen_as_asked_and_show_no_label_of_the_query():
    items = labelled_items(20)
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
    items = labelled_items(8)
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


def test_every_way_of_showing_is_asked_once_and_no_confidence_is_shown_without_demonstrations():
    settings = InContextSettings(model="nano", weak="xs", select=["none", "similar"], confidence=[False, True])
    assert showings(settings) == [Showing("none", False), Showing("similar", False), Showing("similar", True)]
    assert [way.array("raw") for way in showings(settings)][::2] == ["none plain raw", "similar confidence raw"]
