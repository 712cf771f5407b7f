"""The analysis: hand-computed numbers, known references, recovery of simulated truth, files and the tax figure."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binom

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.judging.accuracy import condition_results, differences, length_matched
from legibility.judging.agreement import alpha, verifier_agreement
from legibility.judging.analysis import analyze, analyze_study, prepare
from legibility.judging.clustered_bootstrap import clustered_intervals, share_interval
from legibility.judging.coverage import coverage
from legibility.judging.exclusion import judge_raters
from legibility.judging.mixed import mixed_model
from legibility.judging.protocol import AnalysisRules, Exclusion
from legibility.judging.simulate import Raters, draw, parse_accuracy, simulate_study, study_conditions
from legibility.judging.study_folder import Study
from legibility.judging.table import TABLE, Judgment, to_frame, write_table
from tests.judging.world import made_up_pool, made_up_study
from tests.support import legibility

RULES = AnalysisRules(bootstrap=400)
HELPFUL, SNEAKY = Condition("game", 0, "helpful"), Condition("game", 0, "sneaky")


def judged(rows, **columns) -> pd.DataFrame:
    """rows: (rater, problem, condition, correct, right, seconds, solution_chars)."""
    names = ["rater", "problem_id", "condition", "correct", "right", "seconds", "solution_chars"]
    frame = pd.DataFrame(rows, columns=names)
    frame["verdict"] = frame.correct == frame.right
    frame["item_id"] = [
        f"{p}{c.role}{k}" for p, c, k in zip(frame.problem_id, frame.condition, frame.correct, strict=True)
    ]
    return frame.assign(timed_out=False, kind="study", **columns)


# ---------------------------------------------------------------- numbers by hand


def test_accuracy_and_errors_by_hand():
    """Right solutions: 3 of 4 accepted. Wrong ones: 1 of 2 rejected. Sneaky (wrong only): 1 of 4 rejected."""
    rows = [("a", f"p{i}", HELPFUL, True, i > 0, 10.0, 50) for i in range(4)]
    rows += [("b", "p0", HELPFUL, False, True, 20.0, 50), ("b", "p1", HELPFUL, False, False, 30.0, 50)]
    rows += [("c", f"p{i}", SNEAKY, False, i == 0, 4.0 + i, 50) for i in range(4)]
    helpful, sneaky = condition_results(judged(rows), [HELPFUL, SNEAKY], RULES)
    assert helpful["accuracy"]["value"] == pytest.approx((3 / 4 + 1 / 2) / 2)  # not 4 of 6: labels count alike
    assert helpful["false_reject"]["value"] == pytest.approx(1 / 4)
    assert helpful["false_accept"]["value"] == pytest.approx(1 / 2)
    assert helpful["mean_seconds"]["value"] == pytest.approx(90 / 6) and helpful["median_seconds"] == 10
    assert helpful["mean_seconds_when_right"] == pytest.approx((30 + 20) / 4)
    assert sneaky["accuracy"]["value"] == pytest.approx(1 / 4) and sneaky["false_accept"]["value"] == pytest.approx(
        3 / 4
    )
    assert sneaky["false_reject"]["value"] is None
    assert (helpful["raters"], helpful["problems"], helpful["judgments"]) == (2, 4, 6)
    (difference,) = differences(
        judged(
            [
                *rows,
                ("a", "p9", Condition("init", -1, "base"), True, True, 1.0, 9),
                ("a", "p8", Condition("init", -1, "base"), False, True, 1.0, 9),
            ]
        ),
        [HELPFUL, SNEAKY, Condition("init", -1, "base")],
        RULES,
    )
    assert difference["difference"]["value"] == pytest.approx(1 - 5 / 8)


def test_length_matching_by_hand():
    """A is right on long text only because it has more of it; at equal length A and B are the same."""
    a, b = Condition("init", -1, "base"), HELPFUL
    rows = []
    for condition, shorts, longs in ((a, 2, 8), (b, 8, 2)):
        for k in range(shorts):
            for label in (True, False):
                rows.append(("r", f"s{k}", condition, label, k % 2 == 0, 1.0, 10 + label))
        for k in range(longs):
            for label in (True, False):
                rows.append(("r", f"l{k}", condition, label, True, 1.0, 100 + label))
    frame = judged(rows)
    plain = condition_results(frame, [a, b], RULES)
    assert plain[0]["accuracy"]["value"] == pytest.approx(0.9) and plain[1]["accuracy"]["value"] == pytest.approx(0.6)
    matched = length_matched(frame, [a, b], AnalysisRules(bootstrap=100, length_bins=2))
    assert [c["accuracy"]["value"] for c in matched["conditions"]] == pytest.approx([0.75, 0.75])
    assert matched["coverage"] == 1
    apart = judged(
        [
            ("r", f"p{i}", c, label, True, 1.0, length + i)
            for c, length in ((a, 10), (b, 500))
            for i in range(4)
            for label in (True, False)
        ]
    )
    assert length_matched(apart, [a, b], AnalysisRules(bootstrap=100, length_bins=2))["conditions"] == []


def test_krippendorffs_published_example():
    """Krippendorff 2011, "Computing Krippendorff's alpha-reliability", binary data without gaps: alpha = 0.095; and a
    case with missing judgments against the coincidence formula."""
    meg = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    owen = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    table = pd.DataFrame(
        {"rater": ["m"] * 10 + ["o"] * 10, "item_id": list(range(10)) * 2, "verdict": [bool(x) for x in meg + owen]}
    )
    assert alpha(table) == pytest.approx(0.095, abs=0.0005)
    rows = [
        ("a", 0, 1),
        ("b", 0, 1),
        ("c", 0, 0),
        ("a", 1, 0),
        ("b", 1, 0),
        ("c", 2, 1),
    ]  # item 2 has one judgment: no pair
    found = alpha(pd.DataFrame(rows, columns=["rater", "item_id", "verdict"]).astype({"verdict": bool}))
    disagree, n, ones = 4 / 2, 5, 2  # item 0: two ordered pairs each way over m - 1 = 2
    assert found == pytest.approx(1 - (n - 1) * disagree / (2 * ones * (n - ones)))
    assert alpha(pd.DataFrame(rows[:1], columns=["rater", "item_id", "verdict"])) is None


def test_agreement_with_verifiers_by_hand():
    """Verifier x ranks as people do, y the other way round; people are right about two of four."""
    key = pd.DataFrame(
        {
            "problem_id": list("abcd"),
            "correct": [True, True, False, False],
            "scores": [{"x": s, "y": -s} for s in (3.0, 1.0, 2.0, 0.0)],
        },
        index=list("ABCD"),
    )
    rows = [("r", i, v) for i, v in zip("ABCD", (True, False, True, False), strict=True)]
    found = verifier_agreement(pd.DataFrame(rows, columns=["rater", "item_id", "verdict"]), key, RULES)
    assert found["x"]["auroc_people"]["value"] == 1 and found["y"]["auroc_people"]["value"] == 0
    assert found["x"]["auroc_truth"]["value"] == pytest.approx(3 / 4)
    assert found["people"]["auroc_truth"]["value"] == pytest.approx(0.5)
    assert found["x"]["auroc_people_incorrect"]["value"] == 1


def test_exclusion_rules_by_hand():
    def rater(name, right, count, seconds, failed=0):
        study = [(name, f"p{i}", HELPFUL, True, i < right, seconds, 9) for i in range(count)]
        checks = [(name, f"c{i}", HELPFUL, True, i >= failed, seconds, 9) for i in range(3)]
        return pd.concat([judged(study), judged(checks).assign(kind="attention")])

    frame = pd.concat(
        [
            rater("good", 25, 30, 9),
            rater("guess", 19, 30, 9),
            rater("edge", 20, 30, 9),
            rater("few", 5, 10, 9),
            rater("fast", 30, 30, 1.5),
            rater("asleep", 30, 30, 9, failed=2),
            rater("once", 30, 30, 9, failed=1),
        ]
    )
    table = judge_raters(frame, Exclusion()).set_index("rater")
    assert table.p["guess"] == pytest.approx(binom.sf(18, 30, 0.5)) and table.p["guess"] > 0.05 > table.p["edge"]
    out = table.excluded
    assert "chance" in out["guess"] and "too fast" in out["fast"] and "2 of 3 attention" in out["asleep"]
    assert [r for r in table.index if not out[r]] == ["edge", "few", "good", "once"]
    none = Exclusion(chance_alpha=None, max_failed_checks=None, min_median_seconds=None)
    assert set(judge_raters(frame, none).excluded) == {""}


# ---------------------------------------------------------------- intervals


def test_intervals_of_independent_judgments_are_the_textbook_ones():
    """One judgment per rater and per problem: no clustering, so the usual standard error (times t/z)."""
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.7).astype(float)
    sums = np.stack([y, np.ones(400)], 1)
    found = clustered_intervals(
        sums, np.arange(400), np.arange(400), lambda s: s[:, :1] / s[:, 1:], resamples=4000, confidence=0.95, rng=rng
    )
    error = np.sqrt(y.mean() * (1 - y.mean()) / 400)
    assert found.value[0] == y.mean()
    assert (found.high - found.low)[0] == pytest.approx(2 * 1.966 * error, rel=0.05)


def test_intervals_widen_with_raters_and_problems():
    """All judgments of a rater alike: the number of raters is what counts."""
    rng = np.random.default_rng(0)
    per_rater = (rng.random(20) < 0.6).astype(float)
    y, raters = np.repeat(per_rater, 30), np.repeat(np.arange(20), 30)
    problems = np.tile(np.arange(30), 20)
    sums = np.stack([y, np.ones(600)], 1)
    found = clustered_intervals(
        sums, raters, problems, lambda s: s[:, :1] / s[:, 1:], resamples=2000, confidence=0.95, rng=rng
    )
    error = per_rater.std(ddof=1) / np.sqrt(20)
    assert (found.high - found.low)[0] == pytest.approx(2 * 2.09 * error, rel=0.1)
    low, high = share_interval(1.0, 20, 0.95)
    assert high == 1 and low == pytest.approx(1 / (1 + 1.96**2 / 20), abs=1e-3)  # Wilson at 20 of 20


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A study large enough for its raters to be told from chance."""
    return made_up_study(
        tmp_path_factory.mktemp("planned") / "study", pool=made_up_pool(160), per_condition=60, raters=40, per_rater=60
    )


def model_of(study, careless=0.1):
    conditions = study_conditions(study.key())
    return Raters(dict(zip(conditions, (0.75, 0.8, 0.65, 0.85, 0.7, 0.78), strict=True)), lapse=0.03, careless=careless)


def test_simulated_raters_have_the_accuracy_asked_for(planned):
    model, key = model_of(planned, careless=0), planned.key()
    drawn = pd.concat([draw(planned, key, model, 40, np.random.default_rng(k)) for k in range(20)])
    frame = prepare(
        drawn.assign(rater=drawn.rater + drawn.groupby(["rater", "item_id"]).cumcount().astype(str)), key, RULES
    )
    for condition, rows in frame[frame.kind == "study"].groupby("condition"):
        assert rows.right.mean() == pytest.approx(model.truth(condition), abs=0.03)
    assert frame[frame.kind == "attention"].right.mean() > 0.95


def check_coverage(found):
    assert 0.90 <= found.covered <= 0.99
    assert abs(found.bias) < 0.01
    assert found.recall > 0.9 and found.false_exclusion < 0.05


def test_intervals_cover_the_truth_quick(planned):
    found = coverage(planned, model_of(planned), 40, 30, bootstrap=200)
    assert 0.85 <= found.covered <= 1.0 and abs(found.bias) < 0.02
    assert found.recall > 0.8 and found.false_exclusion < 0.1
    assert any("simulated" in line for line in found.lines()) and found.record()["simulation"] is True


@pytest.mark.slow
def test_intervals_cover_the_truth_in_200_simulations(planned):
    found = coverage(planned, model_of(planned), 40, 200)
    print(found)
    check_coverage(found)


# ---------------------------------------------------------------- the mixed model


def test_the_mixed_model_finds_strong_effects():
    rng = np.random.default_rng(0)
    rater, problem = rng.normal(0, 1.0, 30), rng.normal(0, 0.3, 40)
    rows = [
        (f"r{i}", f"p{j}", c, bool(j % 2), bool(rng.random() < expit(mu + rater[i] + problem[j])), 1.0, 50)
        for c, mu in ((Condition("init", -1, "base"), 0.0), (HELPFUL, 1.5))
        for i in range(30)
        for j in rng.permutation(40)[:20]
    ]
    found = mixed_model(judged(rows))
    effect = next(f for f in found["fixed"] if "init" in f["term"])  # against game:0:helpful
    assert effect["log_odds"] == pytest.approx(-1.5, abs=0.4)
    assert found["random_sd"]["rater"] > 0.6 > found["random_sd"]["problem"]
    assert mixed_model(judged(rows[:20])) is None


# ---------------------------------------------------------------- the commands


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "analysis: {bootstrap: 200}\n", raters=8)


def pretend_people(study) -> None:
    """A judgments table as the server would have left it, made by the simulator under another name."""
    key = study.key()
    drawn = draw(
        study, key, Raters({c: 0.8 for c in study_conditions(key)}), len(study.slots), np.random.default_rng(0)
    )
    rows = [
        Judgment(
            r.item_id,
            r.rater.replace("simulation", "server"),
            bool(r.verdict),
            float(r.seconds),
            confidence=3,
            tool="server",
            first_wrong_step=None if r.verdict else 2,
        )
        for r in drawn.itertuples()
    ]
    write_table(study.path / TABLE, to_frame(rows))


def test_simulation_is_labelled_everywhere_and_kept_apart(study):
    result = legibility(
        "simulate-raters",
        study.path,
        "--accuracy",
        "game:0:sneaky=0.6,0.9",
        "--careless",
        0.25,
        "--raters",
        8,
        "--repeats",
        3,
    )
    assert result.code == 0 and "SIMULATION, not people" in result.out and "cover" in result.out
    assert not (study.path / TABLE).exists()
    folder = study.path / "simulation"
    assert json.loads((folder / "truth.json").read_text())["simulation"] is True
    assert json.loads((folder / "coverage.json").read_text())["repeats"] == 3
    assert set(pd.read_csv(folder / TABLE).tool) == {"simulation"}
    result = legibility("analyze", study.path, "--simulated")
    assert result.code == 0 and result.out.startswith("SIMULATION")
    assert json.loads((folder / "analysis/results.json").read_text())["simulated"] is True
    page = (folder / "analysis/results.html").read_text()
    assert "No person judged anything here" in page and "people as judges" not in page
    assert not (study.path / "analysis").exists()
    assert legibility("analyze", study.path).code == 2  # no people yet
    shutil.copy(folder / TABLE, study.path / TABLE)
    assert "simulated judgments" in legibility("analyze", study.path).err
    for bad in ("2", "game:0:sneaky=x", "game:7:helpful=0.5,0.5", "game:0:sneaky=0.6"):
        assert legibility("simulate-raters", study.path, "--accuracy", bad).code == 2
    assert legibility("simulate-raters", study.path, "--raters", 99).code == 2


def test_analysis_writes_tables_figures_and_a_page(study):
    pretend_people(study)
    result = legibility("analyze", study.path)
    assert result.code == 0, result.err
    folder = study.path / "analysis"
    results = json.loads((folder / "results.json").read_text())
    assert {c["label"] for c in results["conditions"]} >= {
        "start",
        "round 0 helpful",
        "round 1 sneaky",
        "correctness-only",
    }
    assert results["krippendorff_alpha"] is not None and set(results["verifiers"]) == {
        "verifier 0",
        "held-out judge",
        "people",
    }
    assert results["first_wrong_step"]["share_right"] == 1 and results["confidence_levels"][0]["confidence"] == 3
    table = pd.read_csv(folder / "conditions.csv")
    assert {"accuracy", "accuracy_low", "accuracy_high", "false_accept", "median_seconds"} <= set(table.columns)
    assert (folder / "figures/accuracy.png").read_bytes()[:4] == b"\x89PNG"
    page = (folder / "results.html").read_text()
    assert (
        "people as judges" in page
        and "Simulation" not in page
        and "<script" not in page
        and "http" not in page.replace("http-equiv", "")
    )
    again = legibility("analyze", study.path)
    assert again.code == 0 and json.loads((folder / "results.json").read_text()) == results


def test_tables_that_do_not_fit_are_refused(tmp_path):
    study = made_up_study(tmp_path / "study", "exclusion: {min_median_seconds: 1000}\n")
    assert "no judgments yet" in legibility("analyze", study.path).err
    write_table(study.path / TABLE, to_frame([Judgment("ffffffffffff", "server:slot-1", True, tool="server")]))
    assert "not in this study" in legibility("analyze", study.path).err
    pretend_people(study)
    with pytest.raises(UserError, match="every rater is excluded"):
        analyze_study(Study.open(study.path))
    assert not (study.path / "analysis").exists()


def test_a_problem_seen_twice_counts_once_and_late_answers_follow_the_rule(study):
    key = study.key()
    items = key[key.kind == "study"]
    twice = items.index[items.problem_id == items.problem_id.value_counts().index[0]][:2]
    rows = [
        Judgment(i, "csv:anna", True, 5.0, timed_out=k == 1, tool="csv")
        for k, i in enumerate([*twice, items.index[items.problem_id != items.problem_id[twice[0]]][0]])
    ]
    table = to_frame(rows)
    assert len(prepare(table, key, RULES)) == 2
    assert len(prepare(table, key, AnalysisRules(timed_out="drop"))) == 2  # the late one was the repeat
    lenient = study.protocol.model_copy(update={"exclusion": Exclusion(chance_alpha=None)})
    study.protocol = lenient
    found = analyze(study, table)
    assert found["judgments"]["dropped_repeats"] == 1 and found["judgments"]["analysed"] == 2


def test_people_appear_on_the_runs_tax_figure(tiny_run, tmp_path):
    from legibility.game.run_folder import RunFolder
    from legibility.reporting.data import read_run
    from legibility.reporting.figures import judges, tax_figure
    from legibility.reporting.page import write_report

    run = RunFolder(shutil.copytree(tiny_run.path, tmp_path / "tiny"))
    assert "people" not in judges(read_run(run))
    quick = "analysis: {bootstrap: 200}\n"
    study = made_up_study(tmp_path / "study", quick, pool=made_up_pool(origin=run.path), raters=8)
    pretend_people(study)
    assert legibility("analyze", study.path).code == 0
    human = json.loads((run.path / "human.json").read_text())
    data = read_run(run)
    assert judges(data)[0] == "people" and human["simulated"] is False
    expected = next(c for c in human["conditions"] if (c["arm"], c["round"], c["role"]) == ("game", 1, "helpful"))
    panel = tax_figure(data).axes[0]
    assert "people" in panel.get_title(loc="left")
    assert any(list(line.get_ydata()) == [expected["accuracy"]["value"]] for line in panel.lines)
    assert any(
        list(line.get_ydata()) == [expected["accuracy"]["low"], expected["accuracy"]["high"]] for line in panel.lines
    )
    assert "panel of people" in write_report(run).read_text()
    other = made_up_study(tmp_path / "other", quick, pool=made_up_pool(origin=run.path), raters=8)
    pretend_people(other)
    assert "another study" in legibility("analyze", other.path).err
    simulate_study(other, accuracy="0.8", lapse=0, careless=0, raters=None, seed=0)
    (run.path / "human.json").unlink()
    assert legibility("analyze", other.path, "--simulated").code == 0 and not (run.path / "human.json").exists()
    assert legibility("analyze", other.path, "--simulated", "--run", run.path).code == 0
    assert judges(read_run(run))[0] == "simulated_raters"
    assert "SIMULATED" in tax_figure(read_run(run)).axes[0].get_title(loc="left")
    (run.path / "human.json").write_text("{}")
    assert legibility("report", run.path).code == 2


def test_accuracy_options():
    a, b = HELPFUL, SNEAKY
    assert parse_accuracy("0.7", [a, b]) == {a: 0.7, b: 0.7}
    assert parse_accuracy("game:0:sneaky=0.5,0.9", [a, b]) == {a: 0.9, b: 0.5}
