"""Many attacks: which are planned, side by side, and what is refused."""

from __future__ import annotations

import shutil

import pytest

from legibility.errors import UserError
from legibility.evaluation.evaluate import attack
from legibility.evaluation.schema import read_evaluation
from legibility.game.condition import reader
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions
from tests.evaluation.helpers import FAST, section
from tests.support import legibility


def test_attacks_that_cannot_be_made_are_one_line_and_leave_nothing(copied):
    for arguments, parts in (
        (("--verifier", 7, "--reward", "src"), ("--verifier 7", "0, 1")),
        (("--verifier", 0, "--reward", "goodhart", "attack.goodhart_start=0.999"), ("start accuracy", "0.999")),
        (("attack.rewards=[src, src]",), ("attack.rewards",)),
        (("reward.kind=src",), ("reward.kind=src",)),
    ):
        result = legibility("attack", copied.path, *arguments)
        assert result.code == 2 and result.err.count("\n") == 1, result
        assert all(part in result.err for part in parts), result.err
    assert not list(copied.path.glob("evaluation/attacks/*"))


def test_attacks_side_by_side_are_the_same_attacks(copied, tmp_path):
    alone = shutil.copytree(copied.path, tmp_path / "alone")
    options = ("--verifier", 0, *FAST, "compute.threads=1", "attack.goodhart_start=0.999")
    assert legibility("attack", alone, *options).code == 0
    result = legibility("attack", copied.path, *options, "attack.parallel=2")
    assert result.code == 0 and result.out.count("goodhart attacks are left out") == 1
    assert (
        section(copied, "attacks") == section(RunFolder(alone), "attacks")
        and len(section(RunFolder(alone), "attacks")) == 4
    )
    for file in (alone / "evaluation/attacks").rglob("*.parquet"):
        assert (copied.path / file.relative_to(alone)).read_bytes() == file.read_bytes()


def test_quick_attacks_are_few_and_marked(copied):
    assert legibility("attack", copied.path, "--verifier", 1, "--quick", "attack.problems_per_step=2").code == 0
    found = section(copied, "attacks")
    assert [(r["reward"], r["seed"], r["quick"], r["cap"]) for r in found] == [("cgc", 0, True, 3), ("src", 0, True, 3)]


def test_attacks_that_end_unexploited_go_on_to_a_stated_step(copied):
    one = ("--verifier", 0, "--reward", "cgc", "attack.seeds=1", "attack.problems_per_step=3", "attack.max_steps=1")
    assert legibility("attack", copied.path, *one, "attack.extend_to=3").code == 0  # too early to be exploited
    (record,) = section(copied, "attacks")
    assert (record["exploited"], record["cap"], record["trained"]) == (False, 3, 3)
    made = sorted(p.name for p in (copied.path / "evaluation/attacks").iterdir())
    assert made == [f"v00_cgc_s0_n1_c{cap}" for cap in (1, 2, 3)]
    result = legibility("attack", copied.path, *one)
    assert "more than a third are not exploited by step 3" in " ".join(result.out.split())


def test_readers_of_arms_are_attacked_like_verifiers(evaluated_arms, tmp_path):
    folder = tmp_path / "arms"
    shutil.copytree(evaluated_arms, folder)
    settings = ["attack.seeds=1", "attack.steps=3", "attack.max_steps=3", "attack.window=2"]
    (record,) = attack(folder, reader="consultancy", reward="cgc", overrides=settings)
    assert (record.reader, record.verifier, record.reward) == ("consultancy", 0, "cgc")
    found = read_evaluation(RunFolder.existing(folder))
    assert found.attacks == []  # those of the game's verifiers
    assert {(row.reader, row.reward) for row in found.reader_robustness} == {("consultancy", "cgc")}
    rows = read_solutions(folder / "evaluation/attacks/reader_consultancy_cgc_s0_n3_c3/solutions.parquet")
    one = rows[rows.phase == "ppo"].head(4)
    game = reopen(RunFolder.existing(folder))
    scores = game.saved_judge(reader("consultancy")).score([game.problems[p] for p in one.problem_id], list(one.text))
    assert abs(scores - one.score).max() < 1e-4  # it was the reader that was asked
    assert attack(folder, reader="consultancy", reward="cgc", overrides=settings) == [record]  # made once


def test_a_reader_that_is_not_there_is_named(evaluated_arms, tiny_run):
    with pytest.raises(UserError, match=r"--reader nobody: .* has readers of consultancy, "):
        attack(evaluated_arms, reader="nobody", reward="src")
    with pytest.raises(UserError, match=r"has no readers; game\.readers=true"):
        attack(tiny_run.path, reader="all")
