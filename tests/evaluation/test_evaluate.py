"""`legibility evaluate`: what is written, how often it is computed, and what is refused."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.evaluation.evaluate import SECTIONS, attack, evaluate
from legibility.evaluation.text_sets import Attackers
from legibility.game.condition import CORRECTNESS_ONLY, LENGTH_PENALISED, verifier
from legibility.models.verifier import Verifier
from legibility.reporting import write_report
from tests.evaluation.helpers import FAST, SMALL, section
from tests.support import ROOT, legibility, quiet


def test_every_section_is_written_and_in_the_summary(evaluated, tiny_run):
    summary = json.loads((evaluated.path / "summary.json").read_text())
    assert set(summary["evaluation"]) == {*SECTIONS, "attacks", "survival", "robustness"}
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


def test_sections_have_the_keys_that_others_read(evaluated):
    evaluation = json.loads((evaluated.path / "summary.json").read_text())["evaluation"]
    matrix = evaluation["matrix"]
    assert matrix["verifiers"] == ["verifier 0", "verifier 1", "held_out_judge"]
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


def test_a_run_that_is_going_can_be_evaluated(copied):
    """One finished round, no arms, no judge, no summary: what there is is measured, and no summary appears."""
    for gone in ("summary.json", "arms", "judge", "rounds/01"):
        target = copied.path / gone
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    found = evaluate(copied.path, quick=True, overrides=SMALL, progress=quiet())
    assert found.matrix.verifiers == [verifier(0)] and CORRECTNESS_ONLY not in found.tax.arms
    assert not (copied.path / "summary.json").exists()
    assert "This run is not finished" in write_report(copied).read_text()


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


def test_a_whole_evaluation_trains_attackers_and_the_length_penalised_arm(copied):
    """Without --quick; their text is in the matrix, the tax and the subtlety table."""
    options = (
        *FAST,
        "attack.seeds=1",
        "attack.rewards=[cgc, goodhart]",
        "attack.goodhart_start=0.1",
        "evaluation.best_of_n_problems=4",
        "evaluation.best_of_n_samples=2",
    )
    found = evaluate(copied.path, overrides=options, progress=quiet())
    assert {(r.reward, r.verifier) for r in found.attacks} == {("cgc", 0), ("cgc", 1), ("goodhart", 0), ("goodhart", 1)}
    assert {LENGTH_PENALISED, Attackers("cgc", 0), Attackers("goodhart", 1)} <= set(found.matrix.solutions)
    assert LENGTH_PENALISED in found.tax.arms
    assert set(found.tax.tax) == {CORRECTNESS_ONLY, LENGTH_PENALISED}
    goodhart = pd.read_parquet(next((copied.path / "evaluation/attacks").glob("v00_goodhart*")) / "solutions.parquet")
    assert set(goodhart.role) == {"helpful"}
    short = pd.read_parquet(copied.path / "evaluation/arms/correctness_short/solutions.parquet")
    paid = short[short.phase == "ppo"]
    expected = (paid.verdict == "correct") * 2 - 1 - paid.completion_tokens / 16
    assert paid.reward.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
    result = legibility("evaluate", copied.path, *options, "evaluation.length_penalty=0.5")
    assert result.code == 2 and "length_penalty" in result.err


def test_every_file_of_a_run_is_on_the_map(evaluated):
    text = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    table = text.partition("<!-- map")[2].partition("<!-- end of map -->")[0]
    places = [
        p for row in table.splitlines() for p in re.findall(r"`([^`]+)`", row.split("|")[1] if "|" in row else "")
    ]
    patterns = [re.compile(re.escape(p).replace("NN", r"\d+").replace(r"\*", "[^/]*") + (".*" if p.endswith("/") else "")) for p in places]  # fmt: skip
    files = [str(p.relative_to(evaluated.path)) for p in evaluated.path.rglob("*") if p.is_file()]
    assert len(files) > 40
    assert [f for f in files if not any(p.fullmatch(f) for p in patterns)] == []


@pytest.mark.parametrize(
    ("command", "file"), [(evaluate, "resources.json"), (attack, "resources.json"), (attack, "evaluation/matrix.json")]
)
def test_what_the_summary_could_not_read_is_told_before_the_work(command, file, copied, monkeypatch):
    (copied.path / "evaluation").mkdir(exist_ok=True)
    (copied.path / file).write_text('{"half')
    for work in ("make_attacks", "score_ahead"):
        monkeypatch.setattr(f"legibility.evaluation.evaluate.{work}", lambda *a, **k: pytest.fail("too late"))
    with pytest.raises(UserError, match=rf"{re.escape(str(copied.path / file))}: cannot be read"):
        command(copied.path, overrides=SMALL, progress=quiet())
