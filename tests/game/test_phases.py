"""The paths of a run folder, as finished runs have them: old runs stay readable only while these stay."""

from __future__ import annotations

from legibility.game import phases
from legibility.game.condition import CORRECTNESS, HELD_OUT_JUDGE, verifier
from legibility.game.prover_plan import phase_name


def test_paths_are_those_of_stored_runs():
    assert phases.round_folder(3) == "rounds/03"
    assert phases.round_verifier(0) == verifier(0).phase == "rounds/00/verifier"
    assert phases.round_prover(12) == phase_name("game", 12) == "rounds/12/prover"
    assert phases.round_collection(1) == "rounds/01/collection"
    assert phases.arm_prover(CORRECTNESS) == phase_name(CORRECTNESS, 0) == "arms/correctness/prover"
    assert phases.arm_collection(CORRECTNESS) == "arms/correctness/collection"
    assert HELD_OUT_JUDGE.phase == "judge"


def test_a_finished_game_stands_at_these_paths(tiny_run):
    rounds = [
        phase(i) for i in (0, 1) for phase in (phases.round_verifier, phases.round_prover, phases.round_collection)
    ]
    arm = [phases.arm_prover(CORRECTNESS), phases.arm_collection(CORRECTNESS)]
    assert tiny_run.finished_phases() == [phases.BASE, *rounds, *arm, phases.JUDGE]


def test_checkpoints_are_found_by_step_in_order(tmp_path):
    for step in (20, 5, 12345):
        (tmp_path / phases.saved_prover_name(step)).mkdir()
    (tmp_path / "critic").mkdir()
    assert phases.saved_prover_name(5) == "step_00005"
    assert phases.saved_provers(tmp_path) == [(s, tmp_path / f"step_{s:05d}") for s in (5, 20, 12345)]
