"""The table of completions: what it counts, how it sorts, and how it follows a run that is played."""

from __future__ import annotations

import shutil

import pytest

from legibility.game.phases import STEPS, step_file
from legibility.game.solutions import write_solutions
from legibility.viewing.completion_filter import CompletionFilter
from legibility.viewing.completion_index import CompletionIndex
from tests.viewing.world import finish, new_run, small_run, solution


def index_of(run, **options):
    made = CompletionIndex({"run": run}, **options)
    made.refresh(now=True)
    return made


def every(index, **asked):
    return index.page(CompletionFilter(**asked), 0, 1000)


def test_filters_count_and_agree_with_their_facets(tmp_path):
    index = index_of(small_run(tmp_path / "run"))
    total, facets = index.counts(CompletionFilter())
    assert total == 34 and facets["phase"] == {"base": 6, "collection": 12, "ppo": 16}
    asked = CompletionFilter(role=("sneaky",), phase=("ppo",), step_from=2, step_to=2)
    total, facets = index.counts(asked)
    assert total == len(index.page(asked, 0, 99)) == 4
    assert facets["role"] == {"helpful": 4, "sneaky": 4}  # under the other filters, its own left out
    assert {r.step for r in index.page(asked, 0, 99)} == {2}
    assert len(every(index, problem="p3")) == 3
    assert every(index, arm=("init",), role=("sneaky",)) == []


def test_fooled_is_the_share_of_correct_texts_that_score_lower(tmp_path):
    """Sneaky p scores p + 0.5 among correct scores 0 … 5: p + 1 of 6 are lower."""
    index = index_of(small_run(tmp_path / "run"))
    rows = every(index, phase=("collection",), sort="fooled")
    assert [r.fooled for r in rows[:6]] == pytest.approx([(p + 1) / 6 for p in (5, 4, 3, 2, 1, 0)])
    assert all(r.fooled is None for r in rows[6:]) and {r.verdict for r in rows[6:]} == {"correct"}


def test_orders(tmp_path):
    index = index_of(small_run(tmp_path / "run"))
    scores = [r.score for r in every(index, sort="score_high")]
    scored = [s for s in scores if s is not None]
    assert scored == sorted(scored, reverse=True) and scores[len(scored) :] == [None] * 6  # base text has no score
    newest, oldest = every(index), every(index, sort="oldest")
    assert newest[0].phase == "collection" and [r.step for r in newest[12:28]] == [2] * 8 + [1] * 8
    assert oldest[0].phase == "base" and newest[-1].phase == "base"
    assert index.page(CompletionFilter(sort="oldest"), 30, 10) == oldest[30:]


def test_a_repeated_text_stands_once_in_an_order_by_what_it_got(tmp_path):
    """Seven of one text by one writer of one problem; the same text of another problem and of another role is another."""
    run = new_run(tmp_path / "run")
    rows = [solution(1, "incorrect", text="the same", sample=s, score=3.0) for s in range(7)]
    rows += [solution(2, "incorrect", text="the same", score=2.0), solution(1, "correct", text="right", score=1.0)]
    rows += [solution(1, "incorrect", text="the same", role="sneaky", score=0.0)]
    finish(run, "base", rows)
    index = index_of(run)
    for sort in ("score_high", "fooled", "reward_high", "longest"):
        found = every(index, sort=sort)
        assert sorted(row.copies for row in found) == [1, 1, 1, 7], sort
        assert index.distinct(CompletionFilter(sort=sort)) == 4
    assert [row.copies for row in every(index, sort="score_high")] == [7, 1, 1, 1]
    assert [row.copies for row in every(index, sort="score_low")] == [1, 1, 1, 7]
    asked = CompletionFilter(sort="score_high", text="same")
    assert [row.score for row in index.page(asked, 1, 1)] == [2.0] and index.distinct(asked) == 3
    assert len(every(index)) == 10 and {row.copies for row in every(index)} == {1}  # in the order of the game all stand


def test_search_finds_texts_and_questions_whatever_their_case(tmp_path):
    run = new_run(tmp_path / "run")
    finish(run, "base", [solution(1, text="Straße 100% 'quoted'"), solution(2), solution(3, text="a\\b_c%")])
    index = index_of(run, questions=lambda text: [("run", "p2")] if text == "pens" else [])
    found = {text: [r.problem_id for r in every(index, text=text)] for text in ("STRASSE", "straße", "100%", "'quoted'", "b_c%", "%", "pens", "2 + 4")}  # fmt: skip
    assert found == {"STRASSE": [], "straße": ["p1"], "100%": ["p1"], "'quoted'": ["p1"], "b_c%": ["p3"], "%": ["p1", "p3"], "pens": ["p2"], "2 + 4": ["p2"]}  # fmt: skip
    assert index.counts(CompletionFilter(text="PENS"))[0] == index.counts(CompletionFilter(text="pens"))[0] == 1


def test_a_completion_keeps_its_name_from_step_to_phase_to_round(tmp_path):
    run = new_run(tmp_path / "run")
    work = run / "rounds/00/.prover.tmp"
    work.mkdir(parents=True)
    rows = [solution(p, phase="ppo", split="prover", step=s, text=f"step {s} problem {p}") for s in (1, 2) for p in (0, 1)]  # fmt: skip
    write_solutions(step_file(work, 1), rows[:2])
    index = index_of(run)
    (row,) = every(index, problem="p1")
    assert row.live and index.texts([row]) == {(row.file, row.row): "step 1 problem 1"}
    write_solutions(step_file(work, 2), rows[2:])
    before = index.version
    assert index.refresh(now=True) > before and len(every(index)) == 4

    for path in work.rglob("*.parquet"):  # the phase ends
        path.unlink()
    finish(run, "rounds/00/prover", rows)
    work.joinpath(STEPS).rmdir()
    work.rmdir()
    assert index.texts([row]) == {}  # asked for before the page has looked: nothing, not another's text
    index.refresh(now=True)
    found = index.find(row.key)
    assert found is not None and not found.live and index.texts([found]).popitem()[1] == "step 1 problem 1"

    finish(run, "base", [solution(5)])  # stands before it, though it came later
    write_solutions(run / "rounds/00/solutions.parquet", [*rows, solution(4)])
    (run / "rounds/00/prover/solutions.parquet").unlink()
    index.refresh(now=True)
    again = index.find(row.key)
    assert again is not None and index.texts([again]).popitem()[1] == "step 1 problem 1"
    assert [r.problem_id for r in every(index, sort="oldest")] == ["p5", "p0", "p1", "p0", "p1", "p4"]
    assert index.refresh(now=True) == index.version


def test_neighbours(tmp_path):
    index = index_of(small_run(tmp_path / "run"))
    row = every(index, phase=("ppo",), step_from=1, step_to=1, role=("helpful",), problem="p1")[0]
    assert [(r.sample, r.role, r.step) for r in index.siblings(row, 9)] == [(1, "helpful", 1)]
    found = [(rows[0].phase, rows[0].role, [r.step for r in rows], total, right) for rows, total, right in index.elsewhere(row, 3)]  # fmt: skip
    assert sorted(found) == [
        ("base", "base", [0], 1, 1),
        ("collection", "helpful", [0], 1, 1),
        ("collection", "sneaky", [0], 1, 0),
        ("ppo", "helpful", [2, 2], 2, 2),
        ("ppo", "sneaky", [1, 1, 2], 4, 0),  # three of four are shown
    ]


def test_the_share_below_a_score_is_among_its_phase(tmp_path):
    """Training scores: 1, 1.1, 2 and 2.1, four texts each, two of the texts at 1 being the row and its equal."""
    index = index_of(small_run(tmp_path / "run"))
    row = every(index, phase=("ppo",), step_from=2, sort="score_low")[0]
    assert row.score == 2.0 and index.share_below(row) == pytest.approx((8 + 4 / 2) / 16)
    assert index.share_below(every(index, phase=("base",))[0]) is None


def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path):
    run = small_run(tmp_path / "run[1]*")  # characters that a pattern of file names would take for more
    (run / "base/solutions.parquet").write_bytes(b"PAR1 nothing PAR1")
    index = index_of(run)
    assert list(index.notes) == [run / "base/solutions.parquet"] and len(every(index)) == 28
    assert len(every(index, text="#### 5")) > 0 and len(index.texts(every(index))) == 28
    version = index.version
    assert [index.refresh(now=True) for _ in range(3)] == [version] * 3  # nothing is new: nothing is announced
    shutil.copyfile(run / "rounds/00/solutions.parquet", run / "base/solutions.parquet")  # restored
    assert index.refresh(now=True) > version and index.notes == {} and len(every(index)) == 28 + 28
    (run / "base/solutions.parquet").write_bytes(b"PAR1 nothing PAR1")
    index.refresh(now=True)
    shutil.rmtree(run / "base")
    index.refresh(now=True)
    assert index.notes == {}  # of a file that has gone nothing is said
