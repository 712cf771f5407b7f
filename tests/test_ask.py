"""`legibility ask` on a tiny finished run."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from legibility.ask import ask
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.evaluation.doubts import read_doubts
from legibility.game.condition import HELD_OUT_JUDGE, verifier
from legibility.judging.assistance import marks_of
from legibility.judging.study_folder import StudyFolder
from legibility.models.verifier_ensemble import load_verifier
from legibility.play import train
from legibility.problems.records import Problem
from legibility.reporting import write_report
from legibility.reporting.marked_solution import doubt_line
from tests.support import legibility, quiet


def asked(run, question: str, **options):
    """The replies and what was printed, without colours."""
    out = io.StringIO()
    options = {"round_index": None, "samples": 2, "answer": None, "seed": 0, **options}
    replies = ask(run.path, question, console=Console(file=out, width=140, highlight=False), **options)
    return replies, out.getvalue()


def test_every_verifier_scores_both_roles(tiny_run) -> None:
    replies, out = asked(tiny_run, "Tom has 3 pens. Ann has 4.", answer="7")
    assert [r.role for r in replies] == ["helpful", "helpful", "sneaky", "sneaky"]
    for reply in replies:
        assert list(reply.scores) == [verifier(0), verifier(1), HELD_OUT_JUDGE]
        assert reply.verdict in ("correct", "incorrect", "invalid")
        for score in reply.scores.values():
            assert f"{score:.3f}" in out
    assert (
        "verifier 0" in out
        and "verifier 1" in out
        and "held-out judge" in out
        and "gold answer 7" in out
        and "round 1" in out
    )
    assert "✓" in out or "✗" in out


def test_scores_are_those_of_the_rounds_verifiers(tiny_run) -> None:
    from legibility.models.verifier import Verifier
    from legibility.problems.records import Problem

    replies, _ = asked(tiny_run, "Tom has 3 pens. Ann has 4.", samples=1)
    model = Verifier.load(tiny_run.config().verifier, "cpu", source=str(tiny_run.path / "rounds/00/verifier"))
    expected = model.score([Problem("x", "Tom has 3 pens. Ann has 4.", "")] * 2, [r.text for r in replies])
    assert [r.scores[verifier(0)] for r in replies] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_problem_of_the_run_by_id_and_by_text(tiny_run) -> None:
    record = json.loads((tiny_run.path / "problems.jsonl").read_text().splitlines()[-1])
    replies, out = asked(tiny_run, record["id"], samples=1)
    assert record["question"] in out and f"gold answer {record['answer']}" in out
    assert all(r.verdict is not None for r in replies)
    assert asked(tiny_run, record["question"], samples=1, answer=record["answer"])[0] == replies


def test_an_unknown_answer_has_no_verdict(tiny_run) -> None:
    replies, out = asked(tiny_run, "Zoe has 0 pens. Ann has 0.")  # whatever stands in for the gold answer must not show
    assert [r.verdict for r in replies] == [None] * 4
    assert "correct" not in out and "gold answer not known" in out


def test_round_samples_and_seed(tiny_run) -> None:
    question = "Tom has 3 pens. Ann has 4."
    first = asked(tiny_run, question, samples=4)[0]
    assert asked(tiny_run, question, samples=4)[0] == first
    assert [r.text for r in asked(tiny_run, question, samples=4, seed=1)[0]] != [r.text for r in first]
    replies, out = asked(tiny_run, question, samples=1, round_index=0)
    assert len(replies) == 2 and "round 0" in out


def test_question_and_completions_are_plain_text(tiny_run, monkeypatch) -> None:
    from legibility.models.prover import Prover

    monkeypatch.setattr(Prover, "decode", lambda self, ids: "[red]x[/red] \x1b[2J [/]\n2 + 2 = 5\n#### 5")
    _, out = asked(tiny_run, "What is [bold]2[/bold] + 2 \x1b]0;title\x07?", samples=1)
    assert "[bold]2[/bold]" in out and "[red]x[/red]" in out and "[/]" in out
    assert "\x1b" not in out and "\x07" not in out
    assert "arithmetic does not hold" in out


@pytest.mark.parametrize(
    ("question", "options", "said"),
    [
        ("  ", {}, "question is empty"),
        ("gen-0-999999", {}, "no problem id"),
        ("Tom has 3 pens. Ann has 4.", {"round_index": 7}, "finished rounds 0, 1"),
        ("Tom has 3 pens. Ann has 4.", {"answer": "seven"}, "not a number"),
        ("Tom has 3 pens. Ann has 4.", {"samples": 0}, "at least one"),
    ],
)
def test_bad_questions_are_one_clear_error(tiny_run, question, options, said) -> None:
    with pytest.raises(UserError, match=said):
        asked(tiny_run, question, **options)


def test_an_answer_that_contradicts_the_problem(tiny_run) -> None:
    record = json.loads((tiny_run.path / "problems.jsonl").read_text().splitlines()[0])
    with pytest.raises(UserError, match="leave --answer out"):
        asked(tiny_run, record["id"], answer="99")


def test_unfinished_and_changed_runs(tiny_run, tmp_path) -> None:
    copy = Path(shutil.copytree(tiny_run.path, tmp_path / "copy"))
    with open(copy / "rounds/00/verifier/model.safetensors", "ab") as handle:
        handle.write(b"x")
    with pytest.raises(UserError, match="missing or changed"):
        ask(copy, "Tom has 3 pens. Ann has 4.")
    for index in (0, 1):
        shutil.rmtree(copy / f"rounds/0{index}/collection")
    with pytest.raises(UserError, match="no finished round"):
        ask(copy, "Tom has 3 pens. Ann has 4.")
    with pytest.raises(UserError, match="no run folder"):
        ask(tmp_path, "Tom has 3 pens. Ann has 4.")


def test_command_line(tiny_run) -> None:
    result = legibility("ask", tiny_run.path, "Tom has 3 pens. Ann has 4.", "--samples", 1, "--round", 0, "--answer", 7)
    assert result.code == 0 and "verifier 1" in result.out
    bad = legibility("ask", tiny_run.path, "")
    assert bad.code == 2 and bad.err.startswith("error: ") and bad.err.count("\n") == 1


def test_a_verifier_that_reads_its_likelihood_says_where_it_doubts(tiny_config_file, tiny_overrides, tmp_path) -> None:
    """A whole game with such verifiers; `ask` shows the token that lowers the last one's score most."""
    changes = ["verifier.score=likelihood", "verifier.lm_weight=0.1", "game.rounds=1", "game.correctness_arm=false"]
    config = load_config(tiny_config_file, [*tiny_overrides, *changes])
    run = train(config, tmp_path / "run", progress=quiet())
    replies, out = asked(run, "Tom has 3 pens. Ann has 4.", answer="7", samples=1)
    for reply in replies:
        assert reply.doubts is not None and reply.doubts.score == pytest.approx(reply.scores[verifier(0)], abs=1e-4)
        assert doubt_line(reply.doubts, "verifier 0") in out.replace("\n    ", " ")
    shown = read_doubts(run)[0]
    assert shown and all(abs(d.rest + sum(t.share for t in d.tokens) - d.score) < 1e-4 for d in shown.values())
    page = write_report(run).read_text()
    assert '<mark class="doubt3">' in page and "the verifier doubts" in page
    options = ("--conditions", "init:-1:base,game:0:helpful", "--per-condition", 4, "--raters", 2, "--attention", 2)
    made = legibility("export", run.path, "--out", tmp_path / "study", "--assisted", "item", *options)
    assert made.code == 0, made  # raters may see what `ask` tells
    study, reader = (
        StudyFolder.open(tmp_path / "study"),
        load_verifier(config.verifier, "cpu", source=str(run.verified(verifier(0).phase))),
    )
    assert study.provenance().adviser == verifier(0) and any(study.doubts.values())
    for item in study.items.values():
        explained = reader.explain(Problem("x", item.problem, "0"), item.solution)
        assert study.doubts[item.item_id] == marks_of(explained)
    again = train(config, tmp_path / "run", resume=True, progress=quiet())
    assert again.rounds() == [0]


def test_a_last_token_score_leaves_the_line_out(tiny_run) -> None:
    replies, out = asked(tiny_run, "Tom has 3 pens. Ann has 4.", samples=1)
    assert "doubts" not in out and all(reply.doubts is None for reply in replies)
