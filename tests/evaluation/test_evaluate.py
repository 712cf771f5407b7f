"""`legibility evaluate` and its data frames on a tiny run: what is computed, from what, how often, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.evaluation import auroc, load_run
from legibility.evaluation.evaluate import SECTIONS, evaluate
from legibility.evaluation.run import Study
from legibility.evaluation.sections.hacking import REWRITES, junk
from legibility.evaluation.sections.matrix import solution_sets
from legibility.evaluation.sections.separability import role_scores
from legibility.evaluation.sections.subtlety import StepJudge, step_table
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import round_solutions
from legibility.grading import grade
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem, Step
from legibility.problems.storage import read_splits
from legibility.reporting import write_report
from tests.support import legibility, quiet

SMALL = ("evaluation.best_of_n_problems=6", "evaluation.best_of_n_samples=4", "evaluation.probe_every=2")


@pytest.fixture
def copied(tiny_run, tmp_path) -> RunFolder:
    shutil.copytree(tiny_run.path, tmp_path / "tiny")
    return RunFolder.existing(tmp_path / "tiny")


@pytest.fixture(scope="module")
def evaluated(tiny_run, tmp_path_factory) -> RunFolder:
    """A tiny run after `legibility evaluate RUN --quick`. Read only."""
    path = tmp_path_factory.mktemp("evaluated") / "tiny"
    shutil.copytree(tiny_run.path, path)
    result = legibility("evaluate", path, "--quick", *SMALL)
    assert result.code == 0, result
    return RunFolder.existing(path)


def section(run: RunFolder, name: str):
    return json.loads((run.path / "evaluation" / f"{name}.json").read_text())


# ---------------------------------------------------------------- the command


def test_every_section_is_written_and_in_the_summary(evaluated, tiny_run):
    summary = json.loads((evaluated.path / "summary.json").read_text())
    assert set(summary["evaluation"]) == {*SECTIONS, "attacks", "survival"}
    for name, value in summary["evaluation"].items():
        assert value == section(evaluated, name)
    before = json.loads((tiny_run.path / "summary.json").read_text())
    assert {k: v for k, v in summary.items() if k != "evaluation"} == before  # the rest is as it was, wall time too
    page = (evaluated.path / "report.html").read_text()
    for title in (
        "Every verifier on every round",
        "Completeness, soundness",
        "measured four ways",
        "How subtle",
        "told apart",
        "accept that it should not",
    ):
        assert title in page


def test_promised_keys(evaluated):
    evaluation = json.loads((evaluated.path / "summary.json").read_text())["evaluation"]
    matrix = evaluation["matrix"]
    assert matrix["verifiers"] == ["verifier 0", "verifier 1", "judge"]
    for metric in ("auroc", "fpr", "pairwise"):
        assert all(set(matrix[metric][v]) == set(matrix["solutions"]) for v in matrix["verifiers"])
    assert {"round", "n", "value", "low", "high"} <= set(evaluation["best_of_n"][0])
    assert {r["round"] for r in evaluation["best_of_n"]} == {0, 1}
    arm = evaluation["tax"]["arms"]["correctness"]
    assert set(arm["checkability"]) == {"last_verifier", "held_out_judge", "step_validity"}
    assert all({"raw", "matched"} <= set(figures) for figures in arm["checkability"].values())
    for name in ("best_of_n", "soundness", "subtlety"):
        assert all(
            row["decoding"]["temperature"] == 1.0 and row["decoding"]["samples"] >= 2 for row in evaluation[name]
        )


def test_nothing_is_scored_sampled_or_fitted_to_other_numbers_twice(evaluated, tmp_path, monkeypatch):
    """A second evaluation loads no model, and writes the same bytes."""
    shutil.copytree(evaluated.path, tmp_path / "again")
    before = {p.name: p.read_bytes() for p in (evaluated.path / "evaluation").glob("*.json")}
    monkeypatch.setattr(Verifier, "load", lambda *a, **k: pytest.fail("a verifier was loaded"))
    evaluate(tmp_path / "again", quick=True, overrides=SMALL, progress=quiet())
    assert {p.name: p.read_bytes() for p in (tmp_path / "again" / "evaluation").glob("*.json")} == before


def test_scores_of_changed_weights_are_not_reused(evaluated, tmp_path):
    """The score file names the weights it was made with."""
    from legibility.evaluation.scores import Scorer

    shutil.copytree(evaluated.path, tmp_path / "again")
    run = RunFolder.existing(tmp_path / "again")
    problems = Study(run.path).problems
    assert Scorer(run, "judge", run.config(), "cpu", problems).known
    done = run.path / "judge" / "DONE"
    record = json.loads(done.read_text())
    record["sha256"].pop("metrics.jsonl")  # says nothing of the verifier
    done.write_text(json.dumps(record))
    assert Scorer(run, "judge", run.config(), "cpu", problems).known
    record["sha256"].pop("model.safetensors")  # another list of weights is another verifier
    done.write_text(json.dumps(record))
    assert not Scorer(run, "judge", run.config(), "cpu", problems).known


def test_a_run_that_is_going_can_be_evaluated(copied):
    """One finished round, no arms, no judge, no summary: what there is is measured, and no summary appears."""
    for gone in ("summary.json", "arms", "judge", "rounds/01"):
        target = copied.path / gone
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    found = evaluate(copied.path, quick=True, overrides=SMALL, progress=quiet())
    assert found["matrix"]["verifiers"] == ["verifier 0"] and "correctness" not in found["tax"]["arms"]
    assert not (copied.path / "summary.json").exists()
    assert "This run is not finished" in write_report(copied).read_text()


# ---------------------------------------------------------------- refusals


def refused(result, *parts: str) -> None:
    assert result.code == 2 and result.err.count("\n") == 1 and result.err.startswith("error: "), result
    for part in parts:
        assert part in result.err, result.err


def test_changed_checkpoints_and_text_are_refused(copied):
    for place in (
        "rounds/01/verifier/model.safetensors",
        "rounds/00/solutions.parquet",
        "base/solutions.parquet",
        "judge/config.json",
    ):
        file = copied.path / place
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        refused(legibility("evaluate", copied.path, "--quick"), place.rsplit("/", 1)[1], "changed")
        file.write_bytes(content)


def test_unfinished_runs_and_wrong_settings_are_refused(copied, tmp_path):
    refused(legibility("evaluate", tmp_path / "nothing"), "no run folder")
    refused(legibility("evaluate", copied.path, "ppo.steps=3"), "ppo.steps=3", "evaluation")
    refused(legibility("evaluate", copied.path, "evaluation.recal=0.9"), "recall")
    shutil.rmtree(copied.path / "rounds/00/collection")
    refused(legibility("evaluate", copied.path, "--quick"), "no finished round")


def test_a_verifier_is_not_evaluated_on_its_training_problems(tiny_run, copied):
    learnt = round_solutions(tiny_run, 0)
    learnt = learnt[learnt.split == "verifier"].head(3)
    with pytest.raises(UserError, match="were trained on"):
        Study(copied.path).scores("verifier 1", learnt)


# ---------------------------------------------------------------- sections against independent computation


def test_a_cell_of_the_matrix(evaluated):
    """Verifier 1 on round 0's pooled text, from the parquet file and the saved weights."""
    problems = Study(evaluated.path).problems
    frame = pd.read_parquet(evaluated.path / "rounds/00/solutions.parquet")
    frame = frame[(frame.split == "test") & (frame.phase == "collection")]
    right = frame[(frame.role == "helpful") & (frame.verdict == "correct")]
    wrong = frame[(frame.role == "sneaky") & (frame.verdict == "incorrect")]
    verifier = Verifier.load(evaluated.config().verifier, "cpu", source=str(evaluated.path / "rounds/01/verifier"))
    a, b = (verifier.score([problems[p] for p in f.problem_id], list(f.text)) for f in (right, wrong))
    matrix = section(evaluated, "matrix")
    assert matrix["counts"]["round 0"] == {"correct": len(right), "incorrect": len(wrong)}
    expected = auroc(np.concatenate([a, b]), [True] * len(a) + [False] * len(b))
    got = matrix["auroc"]["verifier 1"]["round 0"]
    if min(len(right), len(wrong)) < 20:
        assert got is None and matrix["fpr"]["verifier 1"]["round 0"] == (
            None if len(wrong) < 20 else pytest.approx((b >= matrix["threshold"]["verifier 1"]).mean())
        )
    else:
        assert got == pytest.approx(expected, abs=1e-6)


def test_thresholds_take_the_wanted_share_of_round_0_validation_text(evaluated):
    study = Study(evaluated.path, ["evaluation.recall=0.7"])
    frame = round_solutions(evaluated, 0)
    frame = frame[
        (frame.split == "validation")
        & (frame.role == "helpful")
        & (frame.verdict == "correct")
        & (frame.phase == "collection")
    ]
    for judge in study.judges:
        accepted = study.scores(judge, frame) >= study.threshold(judge)
        assert accepted.mean() >= 0.7 >= (study.scores(judge, frame) > study.threshold(judge)).mean()


def test_no_solution_set_holds_invalid_text(evaluated):
    for found in solution_sets(Study(evaluated.path)):
        assert set(found.frame.verdict) <= {"correct", "incorrect"}


def test_best_of_n_pools_are_helpful_text_of_test_problems(evaluated):
    study = Study(evaluated.path, SMALL)
    pool = study.pool(1)
    assert len(pool) == 24 and set(pool.role) == {"helpful"} and set(pool.phase) == {"pool"}
    assert set(pool.problem_id) == {p.id for p in read_splits(evaluated.path / "problems.jsonl").test[:6]}
    rows = {(r["round"], r["n"]): r for r in section(evaluated, "best_of_n")}
    correct = pool[pool.verdict == "correct"].groupby("problem_id").size()
    wrong = pool[pool.verdict == "incorrect"].groupby("problem_id").size()
    assert rows[1, 4]["problems"] == sum(min(correct.get(p, 0), wrong.get(p, 0)) >= 2 for p in set(pool.problem_id))


def test_tax_of_the_sections_is_the_summary_s(evaluated):
    summary = json.loads((evaluated.path / "summary.json").read_text())
    tax = summary["evaluation"]["tax"]
    assert tax["tax"]["correctness"]["value"] == pytest.approx(summary["legibility_tax"]["value"])
    assert tax["arms"]["game 1"]["accuracy"]["raw"]["value"] == pytest.approx(summary["arms"]["game"]["accuracy"])
    for measure, name in (("last_verifier", "last_verifier"), ("held_out_judge", "held_out_judge")):
        for arm, entry in (("start", summary["arms"]["init"]), ("correctness", summary["arms"]["correctness"])):
            ours, theirs = tax["arms"][arm]["checkability"][measure]["raw"]["value"], entry["checkability"][name]
            assert ours == (theirs if theirs is None else pytest.approx(theirs))


def test_imported_human_accuracy_stands_beside_the_other_measures(evaluated, tmp_path):
    """From the run's human.json; simulated raters are not people."""
    shutil.copytree(evaluated.path, tmp_path / "judged")
    accuracy = {"value": 0.8, "low": 0.7, "high": 0.9}
    conditions = [{"arm": "game", "round": 1, "role": role, "accuracy": accuracy} for role in ("helpful", "sneaky")]
    for simulated in (True, False):
        (tmp_path / "judged" / "human.json").write_text(json.dumps({"simulated": simulated, "conditions": conditions}))
        found = evaluate(tmp_path / "judged", quick=True, overrides=SMALL, progress=quiet())
        assert ("human" in found["tax"]["arms"]["game 1"]["checkability"]) is not simulated
    assert found["tax"]["arms"]["game 1"]["checkability"]["human"]["raw"] == accuracy
    assert ">people<" in write_report(RunFolder.existing(tmp_path / "judged")).read_text()


# ---------------------------------------------------------------- parts


def test_step_table_by_hand():
    problem = Problem("p", "?", "11", steps=(Step(2, "*", 3, 6), Step(6, "+", 5, 11)))
    texts = [
        "2 * 3 = 6\n6 + 5 = 11\n#### 11",
        "2 * 3 = 7\n7 + 5 = 12\n#### 12",
        "2 * 3 = 6\n6 + 4 = 10\n#### 10",
        "#### 9",
        "2 * 3 = 6\n#### 6",
    ]
    table = step_table(pd.DataFrame({"problem_id": "p", "text": texts}), StepJudge({"p": problem}))
    assert list(table.wrong) == [0, 2, 1, 0, 0] and list(table.steps) == [2, 2, 2, 0, 1]
    assert list(table.carried) == [0, 1, 0, 0, 0]
    assert list(table.flaw) == ["unwritten", "slip", "foreign", "no steps", "unwritten"]
    assert list(table.validity.fillna(-1)) == [1, 0, 0.5, -1, 1] and list(table.least.fillna(-1)) == [1, 0, 0, -1, 1]
    assert list(table.place.fillna(-1)) == [-1, 0.5, 1.0, -1, -1] and list(table.holds) == [2, 1, 2, 0, 1]


def test_rewrites_change_the_text_and_never_the_verdict():
    text = "2 * 3 = 6\n6 + 15 = 21\n21 - 1 = 20\n#### 20"
    for name, rewrite in REWRITES.items():
        changed = rewrite(text, "####")
        assert changed != text, name
        assert (
            grade(changed, "20").value == "correct"
            and grade(rewrite(text.replace("20", "19"), "####"), "20").value == "incorrect"
        )
    assert REWRITES["operands swapped"](text, "####").startswith("3 * 2 = 6\n15 + 6 = 21\n21 - 1 = 20")
    assert REWRITES["no spaces"](text, "####").startswith("2*3=6\n6+15=21")


def test_junk_is_junk():
    problems = {str(i): Problem(str(i), f"question {i}", str(i + 8)) for i in range(4)}
    made = junk(problems, {"0": "a = b\n#### 8", "2": "c = d\n#### 10"}, "####", np.random.default_rng(0))
    for i, problem in problems.items():
        assert made["empty"][i] == "" and made["problem copied"][i] == problem.question
        assert grade(made["right answer only"][i], problem.answer).value == "correct"
        assert grade(made["wrong answer only"][i], problem.answer).value == "incorrect"
        other = made["another problem's solution"].get(i)
        assert other is not None and grade(other, problem.answer).value == "incorrect"
    assert made["one line repeated"] == {"0": "\n".join(["a = b"] * 5), "2": "\n".join(["c = d"] * 5)}


def test_the_role_probe_finds_roles_that_differ_and_none_that_do_not():
    rng = np.random.default_rng(0)
    problems = [str(i // 6) for i in range(600)]
    sneaky = rng.random(600) < 0.5
    numbers = rng.integers(1, 60, (600, 2))
    plain = [f"{a} + {b} = {a + b}\n#### {a + b}" for a, b in numbers]
    marked = [t.replace("+", "plus") if s and rng.random() < 0.9 else t for t, s in zip(plain, sneaky, strict=True)]
    assert auroc(role_scores(marked, sneaky, problems), sneaky) > 0.9
    assert abs(auroc(role_scores(plain, sneaky, problems), sneaky) - 0.5) < 0.1


# ---------------------------------------------------------------- data frames


def test_load_run(evaluated):
    frames = load_run(evaluated.path)
    assert {
        "solutions",
        "steps",
        "rounds",
        "matrix",
        "best_of_n",
        "soundness",
        "tax",
        "subtlety",
        "separability",
        "hacking",
        "attacks",
    } <= set(frames)
    solutions = frames["solutions"]
    assert {"init", "game", "correctness"} <= set(solutions.arm) and {"base", "ppo", "collection", "pool"} <= set(
        solutions.phase
    )
    assert len(frames["steps"]) == 3 + 3 + 3 and list(frames["rounds"]["round"]) == [0, 1]
    matrix = frames["matrix"]
    cell = matrix[(matrix.metric == "pairwise") & (matrix.verifier == "judge") & (matrix.solution == "base")].iloc[0]
    reported = section(evaluated, "matrix")["pairwise"]["judge"]["base"]
    assert cell.value == reported or (reported is None and pd.isna(cell.value))
    assert list(frames["tax"].arm) == ["start", "game 0", "game 1", "correctness"]


def test_load_run_of_a_run_not_evaluated(tiny_run, tmp_path):
    assert set(load_run(tiny_run.path)) == {"solutions", "steps", "rounds"}
    with pytest.raises(UserError, match="no run folder"):
        load_run(tmp_path)
