"""legibility analyze: what it refuses, and people on the run's tax figure."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.judging.analysis import AnalyzedStudy, analyze
from legibility.judging.results import write_results
from legibility.judging.simulate import simulate_study
from legibility.judging.table import TABLE, Judgment, read_table, to_frame, write_table
from tests.judging.world import made_up_candidates, made_up_study, pretend_people
from tests.support import legibility


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "analysis: {bootstrap: 200}\n", raters=8)


def test_tables_that_do_not_fit_are_refused(tmp_path):
    study = made_up_study(tmp_path / "study", "exclusion: {min_median_seconds: 1000}\n")
    assert "no judgments yet" in legibility("analyze", study.path).err
    write_table(study.path / TABLE, to_frame([Judgment("ffffffffffff", "server:slot-1", True, tool="server")]))
    assert "not in this study" in legibility("analyze", study.path).err


def test_with_everybody_excluded_the_reasons_and_counts_are_told(tmp_path, tiny_run):
    rules = "exclusion: {min_median_seconds: 1000}\nanalysis: {bootstrap: 100}\n"
    study = made_up_study(tmp_path / "study", rules, candidates=made_up_candidates(origin=tiny_run.path))
    pretend_people(study)
    said = legibility("analyze", study.path)
    lines = said.out.splitlines()
    assert said.code == 0 and lines[0] == (
        "no judgment counts: 6 of 6 raters are excluded, and with them all 84 judgments"
    )
    assert lines[1] == "6 excluded by min_median_seconds" and "too fast (median" in said.out and "nan" not in said.out
    assert sum(line.endswith("(nobody excluded)") for line in lines) == 6
    assert not (tiny_run.path / "human.json").exists() and "nobody's judgments count" in said.out
    found = analyze(study, read_table(study.path / TABLE))
    assert (found.conditions, found.differences, found.verifiers, found.raters_kept) == ([], [], {}, 0)
    assert (found.krippendorff_alpha, found.mixed_model, found.judgments.analysed) == (None, None, 0)
    assert found.excluded_by == {"min_median_seconds": 6} and len(found.without_exclusion.conditions) == 6
    page = (study.path / "analysis/results.html").read_text()
    assert "6 by min_median_seconds" in page and "nobody excluded" in page and ">nan" not in page


def test_results_stand_with_and_without_exclusion(tmp_path):
    """A rater who is always wrong and too fast: out of the main figures, in those of all raters."""
    study = made_up_study(
        tmp_path / "study", "analysis: {bootstrap: 200}\nexclusion: {max_failed_checks: null}\n", raters=8
    )
    pretend_people(study)
    table, truth = read_table(study.path / TABLE), study.key().correct
    bad = table.rater == table.rater.iloc[0]
    table.loc[bad, "verdict"] = ~table.item_id[bad].map(truth).astype(bool)
    table.loc[bad, "seconds"] = 1.0
    found = analyze(study, table)
    everyone = found.without_exclusion
    assert (found.raters_kept, everyone.raters) == (7, 8)
    counted = table.item_id.map(study.key().kind) == "study"  # attention checks are not
    assert everyone.judgments == found.judgments.analysed + int((bad & counted).sum()) == int(counted.sum())
    for kept, all_raters in zip(found.conditions, everyone.conditions, strict=True):
        assert kept.condition == all_raters.condition and found.with_everyone(kept.condition) == all_raters
        assert all_raters.accuracy.value < kept.accuracy.value
    assert sum(c.judgments for c in everyone.conditions) == everyone.judgments
    assert [d.first for d in everyone.differences] == [d.first for d in found.differences]
    analyzed = AnalyzedStudy(found, tmp_path / "results.html", None)
    assert any("(nobody excluded: " in line for line in analyzed.lines())
    page = write_results(tmp_path / "analysis", study.protocol, found).read_text()
    assert "nobody excluded" in page and "1 of 8 raters are excluded" in page
    honest = analyze(study, table[~bad])
    assert honest.without_exclusion.conditions == honest.conditions
    assert "No rater is excluded" in write_results(tmp_path / "honest", study.protocol, honest).read_text()


def test_people_appear_on_the_runs_tax_figure(tiny_run, tmp_path):
    from legibility.game.run_folder import RunFolder
    from legibility.reporting.data import read_run
    from legibility.reporting.figures import checkers, tax_figure
    from legibility.reporting.page import write_report

    run = RunFolder(shutil.copytree(tiny_run.path, tmp_path / "tiny"))
    assert "people" not in checkers(read_run(run))
    quick = "analysis: {bootstrap: 200}\n"
    study = made_up_study(tmp_path / "study", quick, candidates=made_up_candidates(origin=run.path), raters=8)
    pretend_people(study)
    assert legibility("analyze", study.path).code == 0
    human = json.loads((run.path / "human.json").read_text())
    data = read_run(run)
    assert checkers(data)[0] == "people" and human["simulated"] is False
    expected = next(c for c in human["conditions"] if (c["arm"], c["round"], c["role"]) == ("game", 1, "helpful"))
    panel = tax_figure(data).axes[0]
    assert "people" in panel.get_title(loc="left")
    assert any(list(line.get_ydata()) == [expected["accuracy"]["value"]] for line in panel.lines)
    assert any(
        list(line.get_ydata()) == [expected["accuracy"]["low"], expected["accuracy"]["high"]] for line in panel.lines
    )
    assert "panel of people" in write_report(run).read_text()
    other = made_up_study(tmp_path / "other", quick, candidates=made_up_candidates(origin=run.path), raters=8)
    pretend_people(other)
    assert "another study" in legibility("analyze", other.path).err
    simulate_study(other, accuracy="0.8", lapse=0, careless=0, raters=None, seed=0)
    (run.path / "human.json").unlink()
    assert legibility("analyze", other.path, "--simulated").code == 0 and not (run.path / "human.json").exists()
    assert legibility("analyze", other.path, "--simulated", "--run", run.path).code == 0
    assert checkers(read_run(run))[0] == "simulated_raters"
    assert "SIMULATED" in tax_figure(read_run(run)).axes[0].get_title(loc="left")
    (run.path / "human.json").write_text("{}")
    assert legibility("report", run.path).code == 2
