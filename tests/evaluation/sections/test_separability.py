"""The role probe on roles that differ and on roles that do not, and how much text it reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.evaluation import auroc
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections import separability
from legibility.evaluation.sections.separability import balanced, equal_count, probe, role_scores, spans
from tests.evaluation.helpers import section


def text_of(helpful: int, sneaky: int, seed: int = 0, mark: float = 0.0) -> pd.DataFrame:
    """Text of both roles about problems of six texts each; a share of the sneaky ones is marked by a word."""
    rng = np.random.default_rng(seed)
    role = np.array(["helpful"] * helpful + ["sneaky"] * sneaky)[rng.permutation(helpful + sneaky)]
    numbers = rng.integers(1, 60, (len(role), 2))
    text = [f"{a} + {b} = {a + b}\n#### {a + b}" for a, b in numbers]
    text = [
        t.replace("+", "plus") if r == "sneaky" and rng.random() < mark else t for t, r in zip(text, role, strict=True)
    ]
    return pd.DataFrame({"problem_id": [f"p{i // 6}" for i in range(len(role))], "role": role, "text": text})


def test_the_role_probe_finds_roles_that_differ_and_none_that_do_not():
    for mark, check in ((0.9, lambda area: area > 0.9), (0.0, lambda area: abs(area - 0.5) < 0.1)):
        frame = text_of(300, 300, mark=mark)
        sneaky = (frame.role == "sneaky").to_numpy()
        assert check(auroc(role_scores(list(frame.text), sneaky, list(frame.problem_id)), sneaky))


def test_windows_are_whole_and_a_rest_joins_the_last():
    assert spans(30, 10) == [(1, 11), (11, 21), (21, 31)]
    assert spans(34, 10) == [(1, 11), (11, 21), (21, 35)]
    assert spans(9, 10) == [(1, 10)] and spans(10, 10) == [(1, 11)] and spans(1, 1) == [(1, 2)]
    for steps in range(1, 60):
        covered = [step for first, end in spans(steps, 7) for step in range(first, end)]
        assert covered == list(range(1, steps + 1))
        assert steps < 7 or all(end - first >= 7 for first, end in spans(steps, 7))


def test_every_fit_reads_what_the_poorest_window_has():
    frames = [text_of(300, 100), text_of(80, 200), text_of(19, 400)]
    assert equal_count(frames, 500) == 80  # the third has too little and does not count
    assert equal_count(frames, 50) == 50 and equal_count(frames[2:], 500) == 0
    rng = np.random.default_rng(0)
    for frame in frames[:2]:
        chosen = balanced(frame, 80, rng)
        assert chosen.role.value_counts().to_dict() == {"helpful": 80, "sneaky": 80}
        assert chosen.index.is_monotonic_increasing and chosen.index.is_unique
    assert balanced(frames[2], 80, rng) is None and balanced(frames[2], 0, rng) is None


def test_more_text_of_the_same_kind_does_not_make_roles_easier_to_tell_apart(evaluated):
    """Roles that differ in a vocabulary that takes many texts to learn: AUC 0.5 on 60 of each, 0.7 on 600.

    Read whole, as the probe did, a window with more text looks easier to tell apart; equal counts look alike.
    """
    run = EvaluationRun(evaluated.path)
    letters = [chr(0x4E00 + i) for i in range(400)]  # even ones are helpful, odd ones sneaky

    def text(count: int, seed: int) -> pd.DataFrame:
        frame, rng = text_of(count, count, seed), np.random.default_rng(seed)
        telling = [letters[2 * int(rng.integers(200)) + (role == "sneaky")] for role in frame.role]
        return frame.assign(text=[t + "".join(rng.choice(letters, 2)) for t in telling])

    def found(frames: list[pd.DataFrame], per_role: int) -> float:
        return float(np.mean([probe(f, per_role, run, np.random.default_rng(0)).value for f in frames]))

    small, large = [text(60, s) for s in range(4)], [text(600, s) for s in range(4)]
    assert found(large, 600) - found(small, 60) > 0.12
    assert equal_count([*small, *large], 500) == 60
    assert abs(found(large, 60) - found(small, 60)) < 0.06


def test_the_rows_of_a_run_say_how_much_was_read(evaluated):
    rows = section(evaluated, "separability")
    assert {r["texts"] for r in rows if r["all"]} <= {max(r["texts"] for r in rows)}
    assert all(r["texts"] % 2 == 0 and (r["all"] is None) == (r["texts"] == 0) for r in rows)
    assert all((r["incorrect"] is None) == (r["texts_incorrect"] == 0) for r in rows)


def test_at_most_the_setting_s_texts_are_read(evaluated, monkeypatch):
    monkeypatch.setattr(separability, "LEAST", 4)
    run = EvaluationRun(evaluated.path, ["evaluation.probe_every=2", "evaluation.probe_texts=20"])
    read = []
    monkeypatch.setattr(
        separability,
        "role_scores",
        lambda texts, sneaky, problems: read.append((len(texts), int(sneaky.sum()))) or np.zeros(len(texts)),
    )
    rows = separability.compute(run)
    counts = {r.texts for r in rows if r.all} | {r.texts_incorrect for r in rows if r.incorrect}
    assert read and all(n == 2 * s <= 40 for n, s in read) and {n for n, _ in read} == counts
    assert all(r.all.value == pytest.approx(0.5) for r in rows if r.all)
