"""What is found in a run folder: finished phases, merged rounds, steps of a phase under way, nothing half-made."""

from __future__ import annotations

from legibility.game.phases import step_file
from legibility.game.solutions import write_solutions
from legibility.viewing.run_files import completion_files, under_way
from tests.viewing.world import finish, new_run, small_run, solution


def places(run):
    return [(f.place, f.live) for f in completion_files(run)]


def test_finished_phases_in_the_order_of_the_game(tmp_path):
    run = small_run(tmp_path / "run")
    finish(run, "evaluation/pools/00_4x4_t1", [solution()])
    finish(run, "arms/correctness/prover", [solution()])
    assert places(run) == [("base", False), ("rounds/00", False), ("arms/correctness/prover", False), ("evaluation/pools/00_4x4_t1", False)]  # fmt: skip
    assert under_way(run) == []


def test_a_rounds_parts_have_one_place_before_and_after_they_are_merged(tmp_path):
    run = new_run(tmp_path / "run")
    finish(run, "rounds/00/prover", [solution()])
    finish(run, "rounds/00/collection", [solution()])
    assert places(run) == [("rounds/00", False), ("rounds/00", False)]
    write_solutions(run / "rounds/00/solutions.parquet", [solution(), solution()])  # the parts are not gone yet
    assert places(run) == [("rounds/00", False)]


def test_a_phase_under_way_shows_its_steps_and_nothing_else(tmp_path):
    run = new_run(tmp_path / "run")
    work = run / "rounds/00/.prover.tmp"
    work.mkdir(parents=True)
    write_solutions(step_file(work, 1), [solution()])
    write_solutions(work / "solutions.parquet", [solution()])  # being written: the phase is not whole
    (run / "rounds/01/verifier").mkdir(parents=True)  # no DONE
    write_solutions(run / "rounds/01/verifier/solutions.parquet", [solution()])
    assert places(run) == [("rounds/00", True)]
    (found,) = under_way(run)
    assert found.phase == "rounds/00/prover" and found.seconds < 60
