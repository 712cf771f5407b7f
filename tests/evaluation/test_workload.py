"""What an evaluation will do is counted before, told, and is what it does."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from legibility.evaluation.attacks.attack import Attack
from legibility.evaluation.evaluate import SECTIONS, evaluate
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.scores import FOLDER
from legibility.evaluation.workload import announce, score_ahead, seconds, workload
from legibility.models.verifier import Verifier
from legibility.progress import Progress
from tests.evaluation.helpers import SMALL
from tests.support import quiet


def spoken() -> tuple[Progress, io.StringIO]:
    """A progress display without a terminal that says every step, and what it said."""
    said = io.StringIO()
    return Progress(Console(file=said, width=400), plain_every=0.0), said


def test_what_is_counted_is_what_is_scored(copied, monkeypatch):
    run = EvaluationRun(copied.path, SMALL, quick=True)
    work = workload(run)
    # two rounds' pools of 6 problems and 4 completions; handoffs of the start, two rounds, one arm and alone;
    # two readings of the first four of these
    assert work.completions == 2 * 6 * 4 + 5 * 20 + 2 * 4 * 20
    assert sum(map(len, work.texts.values())) > 0 and work.ppo_steps == 0
    score_ahead(run, work)
    assert not any(len(frame) for frame in workload(run).texts.values())
    monkeypatch.setattr(Verifier, "score", lambda *a: pytest.fail("scored twice"))
    for name in ("matrix", "soundness", "tax", "hacking"):
        SECTIONS[name](run)


def test_the_duration_is_announced_first_and_every_section_shows_how_far_it_is(copied):
    progress, said = spoken()
    evaluate(copied.path, quick=True, overrides=SMALL, progress=progress)
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("evaluation of ") and "texts to score, 308 completions to draw; about " in lines[0]
    for name in (
        "scores of verifier 0",
        "matrix",
        "soundness",
        "best_of_n",
        "tax",
        "subtlety",
        "role probe",
        "hacking",
        "handoff",
        "sufficiency",
    ):
        assert any(line.strip().startswith(f"{name} ") and "/" in line for line in lines), name
    progress, said = spoken()
    evaluate(copied.path, quick=True, overrides=SMALL, progress=progress)
    assert "all scored and drawn before" in said.getvalue().splitlines()[0]


def test_attacks_and_the_short_arm_count_by_their_steps(copied):
    run = EvaluationRun(copied.path, SMALL, progress=quiet())
    attacks = [Attack(verifier=0, reward="src", seed=s, cap=7, steps=3) for s in range(2)]
    work = workload(run, attacks, short_arm=True)
    assert work.ppo_steps == 2 * 7 + 3 and "17 PPO steps at most" in str(work)
    assert seconds(run, work) > seconds(run, workload(run)) > 0


def test_quick_draws_and_rewrites_less_unless_that_was_done_or_asked_for(copied, monkeypatch):
    monkeypatch.setattr("legibility.evaluation.run.QUICK_POOL", (3, 2))
    monkeypatch.setattr("legibility.evaluation.sections.hacking.QUICK_PROBLEMS", 5)
    run = EvaluationRun(copied.path, quick=True)
    assert run.pool_size == (3, 2)
    assert EvaluationRun(copied.path, SMALL, quick=True).pool_size == (6, 4)
    assert EvaluationRun(copied.path).pool_size == (20, 64)
    few = evaluate(copied.path, quick=True, progress=quiet())
    assert {row.decoding.problems for row in few.best_of_n} == {3}
    junk = [row.texts for row in few.hacking if row.change == "empty"]
    assert junk == [5] * 3
    whole = EvaluationRun(copied.path)
    score_ahead(whole, workload(whole))
    assert [row.texts for row in SECTIONS["hacking"](run) if row.change == "empty"] == [20] * 3


def test_announcing_takes_a_quiet_display(copied):
    run = EvaluationRun(copied.path, SMALL, quick=True)
    announce(run, workload(run))


def test_what_is_tried_for_the_announcement_is_not_kept(copied):
    """Or a resumed evaluation would read the rest in other company, and get other last digits."""
    run = EvaluationRun(copied.path, SMALL, quick=True)
    work = workload(run)
    kept = {file.name: file.read_bytes() for file in (copied.path / FOLDER).iterdir()}
    announce(run, work)
    assert kept and {file.name: file.read_bytes() for file in (copied.path / FOLDER).iterdir()} == kept
