"""The attacks a run has finished, from folders written by hand."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from legibility.evaluation.finished_attacks import attacker_texts, finished_attacks
from legibility.evaluation.text_sets import Attackers
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import AttackSetup, AttackTraining
from legibility.game.solutions import Solution, write_solutions
from legibility.stored import write_stored

SETUP = AttackSetup(problems_per_step=4, incorrect=0.95, goodhart_accuracy=0.2, goodhart_start=0.4)


def write(run: RunFolder, verifier: int, reward: str, seed: int, cap: int, exploited_at: int | None = None) -> None:
    """An attack's folder with one completion of a test and one of a training problem."""
    with run.phase(f"evaluation/attacks/v{verifier:02d}_{reward}_s{seed}_c{cap}") as work:
        record = AttackTraining(
            arm=f"attack-{reward}-{seed}",
            round=verifier,
            steps=exploited_at or cap,
            stopped="",
            score_scale=1.0,
            steps_to_exploit=exploited_at,
            reward=reward,
            seed=seed,
            cap=cap,
            quick=False,
            start="base",
            reference_score=0.0,
            settings=SETUP,
        )
        write_stored(work / "training.json", record)
        rows = [
            Solution(record.arm, verifier, phase, split, 1, split, 0, "sneaky", f"{seed}", "incorrect", 1, 1, False)
            for phase, split in (("attack", "test"), ("ppo", "prover"))
        ]
        write_solutions(work / "solutions.parquet", rows)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path)
    write(run, 1, "src", 0, 5, exploited_at=3)
    write(run, 0, "src", 1, 5)
    write(run, 0, "src", 0, 5)
    write(run, 0, "src", 0, 10)
    return run


def test_a_run_without_attacks_has_none(tmp_path):
    assert finished_attacks(RunFolder(tmp_path)) == [] and attacker_texts(RunFolder(tmp_path)) == {}


def test_the_attack_under_the_highest_cap_stands_for_its_seed(run):
    found = [made.record for made in finished_attacks(run)]
    assert [(r.verifier, r.seed, r.cap, r.steps, r.exploited) for r in found] == [
        (0, 0, 10, 10, False),
        (0, 1, 5, 5, False),
        (1, 0, 5, 3, True),
    ]
    assert found[0].settings == SETUP and finished_attacks(run)[0].phase == "evaluation/attacks/v00_src_s0_c10"


def test_texts_of_attackers_are_their_test_completions_of_all_seeds(run):
    texts = attacker_texts(run)
    assert list(texts) == [Attackers("src", 0), Attackers("src", 1)]
    assert list(texts[Attackers("src", 0)].text) == ["0", "1"] and set(texts[Attackers("src", 0)].split) == {"test"}


def test_a_changed_attack_is_refused(run):
    (run.path / "evaluation/attacks/v01_src_s0_c5/training.json").write_text("{}")
    with pytest.raises(UserError, match="changed"):
        finished_attacks(run)
    (run.path / "evaluation/attacks/v01_src_s0_c5/DONE").unlink()
    with pytest.raises(UserError, match="v01_src_s0_c5/DONE: missing"):
        finished_attacks(run)
