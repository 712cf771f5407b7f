"""`legibility analyze`: judgments and the sealed key together, for the first time.

Order of work: rules of study.yaml (who is excluded) -> numbers of those who stay -> files. Writes
`analysis/` in the study (results.json, tables, figures, results.html), and `human.json` into the run
folder, from where the run's tax figure takes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from legibility.errors import UserError
from legibility.files import write_json
from legibility.game.condition import Condition
from legibility.judging.accuracy import condition_results, differences, length_matched
from legibility.judging.agreement import alpha, verifier_agreement
from legibility.judging.exclusion import judge_raters
from legibility.judging.mixed import mixed_model
from legibility.judging.protocol import AnalysisRules
from legibility.judging.simulate import FOLDER as SIMULATION_FOLDER
from legibility.judging.simulate import study_conditions
from legibility.judging.study_folder import ATTENTION, STUDY, Study
from legibility.judging.table import SIMULATION, TABLE, read_table
from legibility.metrics import number

SCHEMA = 1
HUMAN = "human.json"


def analyze_study(study: Study, *, simulated: bool = False, run: Path | None = None) -> list[str]:
    """Analyse people's judgments (or the simulated ones) and write everything; returns lines for the terminal.

    Simulated results go to a run folder only where one is named. Raises UserError for a key that is not
    the study's, a table that was tampered with, no judgments, or nobody left after the exclusions.
    """
    from legibility.judging.results import write_results

    home = study.path / SIMULATION_FOLDER if simulated else study.path
    table = read_table(home / TABLE)
    if table.empty:
        raise UserError(
            f"{home / TABLE}: no judgments yet; {'run legibility simulate-raters' if simulated else 'run legibility import'} first"
        )
    if not simulated and (table.tool == SIMULATION).any():
        raise UserError(
            f"{home / TABLE}: holds simulated judgments; remove them, or use --simulated on {SIMULATION_FOLDER}/"
        )
    target = None if simulated and run is None else _run_folder(study, run)
    results = analyze(study, table, simulated=simulated)
    page = write_results(home / "analysis", study, results)
    lines = [("SIMULATION, not people. " if simulated else "") + headline(results)]
    lines += [_line(c) for c in results["conditions"]]
    lines += [f"excluded {r['rater']}: {r['excluded']}" for r in results["raters"] if r["excluded"]]
    if target is not None:
        write_json(target / HUMAN, human_record(results))
        lines.append(f"{target / HUMAN}: written; legibility report {target} shows it on the tax figure")
    return [*lines, f"results: {page}"]


def analyze(study: Study, table: pd.DataFrame, *, simulated: bool = False) -> dict[str, Any]:
    """All numbers, as results.json holds them."""
    rules, key = study.protocol.analysis, study.key()
    unknown = set(table.item_id) - set(key.index)
    if unknown:
        raise UserError(
            f"judgments of item {sorted(unknown)[0]} that is not in this study; move the table away and import again"
        )
    judged = prepare(table, key, rules)
    raters = judge_raters(judged, study.protocol.exclusion)
    kept = judged[~judged.rater.isin(raters.rater[raters.excluded != ""])]
    study_rows = kept[kept.kind == STUDY]
    if study_rows.empty:
        raise UserError(
            "no judgments are left: every rater is excluded by the rules of study.yaml (legibility import lists them in judgments.csv)"
        )
    conditions = [c for c in study_conditions(key) if (study_rows.condition == c).any()]
    wrong = study_rows[
        study_rows.correct.eq(False) & study_rows.first_wrong_step.notna() & study_rows.first_wrong_line.notna()
    ]
    return {
        "schema": SCHEMA,
        "simulated": simulated,
        "study_id": study.protocol.study_id,
        "run": str(key.run.iloc[0]),
        "confidence": rules.confidence,
        "judgments": {
            "table": len(table),
            "dropped_late": int(table.timed_out.sum()) if rules.timed_out == "drop" else 0,
            "dropped_repeats": int(_repeats(table, key).sum()),
            "attention": int((kept.kind == ATTENTION).sum()),
            "analysed": len(study_rows),
        },
        "raters": raters.astype(object).where(raters.notna(), None).to_dict("records"),
        "raters_kept": int(study_rows.rater.nunique()),
        "conditions": condition_results(study_rows, conditions, rules),
        "differences": differences(study_rows, conditions, rules),
        "length_matched": length_matched(study_rows, conditions, rules),
        "krippendorff_alpha": alpha(study_rows),
        "mixed_model": mixed_model(study_rows),
        "verifiers": verifier_agreement(study_rows, key, rules),
        "confidence_levels": [
            {"confidence": int(level), "judgments": len(rows), "accuracy": float(rows.right.mean())}
            for level, rows in study_rows.dropna(subset="confidence").groupby("confidence")
        ],
        "first_wrong_step": {
            "marked": len(wrong),
            "share_right": number((wrong.first_wrong_step == wrong.first_wrong_line).mean()) if len(wrong) else None,
        },
    }


def prepare(table: pd.DataFrame, key: pd.DataFrame, rules: AnalysisRules) -> pd.DataFrame:
    """Judgments joined with the key, plus `condition` and `right`; late ones dropped if the rules say so, and of a
    rater's judgments of one problem only the first kept (tools without our assignment may repeat problems)."""
    if rules.timed_out == "drop" and "timed_out" in table:
        table = table[~table.timed_out.astype(bool)]
    if "timed_out" not in table:
        table = table.assign(timed_out=False)
    table = table[~_repeats(table, key)]
    columns = ["problem_id", "arm", "round", "role", "correct", "kind", "solution_chars", "first_wrong_line"]
    judged = table.join(key[columns], on="item_id")
    judged["verdict"] = judged.verdict.astype(bool)
    judged["correct"] = judged.correct.astype(bool)
    judged["right"] = judged.verdict == judged.correct
    judged["condition"] = [Condition(*c) for c in judged[["arm", "round", "role"]].itertuples(index=False)]
    return judged


def _repeats(table: pd.DataFrame, key: pd.DataFrame) -> pd.Series:
    return pd.DataFrame({"rater": table.rater, "problem": table.item_id.map(key.problem_id)}).duplicated()


def human_record(results: dict[str, Any]) -> dict[str, Any]:
    """What the run's report shows of a study: accuracy per arm, round and role, with intervals."""
    wanted = ("arm", "round", "role", "judgments", "raters", "accuracy", "false_accept", "false_reject")
    return {
        **{k: results[k] for k in ("schema", "simulated", "study_id", "confidence")},
        "conditions": [{k: c[k] for k in wanted} for c in results["conditions"]],
    }


def headline(results: dict[str, Any]) -> str:
    out = sum(bool(r["excluded"]) for r in results["raters"])
    agreement = results["krippendorff_alpha"]
    shown = "undefined" if agreement is None else f"{agreement:.2f}"
    return f"{results['judgments']['analysed']:,} judgments of {results['raters_kept']} raters ({out} excluded), Krippendorff's alpha {shown}"


def _line(c: dict[str, Any]) -> str:
    a = c["accuracy"]
    shown = (
        "undefined"
        if a["value"] is None
        else f"{a['value']:.3f}" + ("" if a["low"] is None else f" [{a['low']:.3f}, {a['high']:.3f}]")
    )
    return f"{c['label']}: accuracy {shown}, {c['judgments']} judgments"


def _run_folder(study: Study, run: Path | None) -> Path | None:
    """Where human.json goes. Raises UserError where it holds another study's numbers, or `run` is no run folder."""
    if run is None:
        recorded = study.provenance().get("run_path")
        run = Path(recorded) if recorded else None
        if run is None or not (run / "config.yaml").is_file():
            return None
    elif not (run / "config.yaml").is_file():
        raise UserError(f"{run}: no run folder here (no config.yaml)")
    old = run / HUMAN
    if old.exists():
        try:
            owner = json.loads(old.read_text(encoding="utf-8"))["study_id"]
        except (OSError, ValueError, KeyError, TypeError):
            owner = None
        if owner != study.protocol.study_id:
            raise UserError(f"{old}: holds the results of another study ({owner}); move it away first")
    return run
