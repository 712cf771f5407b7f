"""`legibility analyze`: judgments and the sealed key together, for the first time.

Order of work: rules of study.yaml (who is excluded) -> numbers of those who stay -> files. Writes
`analysis/` in the study (results.json, tables, figures, results.html), and `human.json` into the run
folder, from where the run's tax figure takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from legibility.errors import UserError
from legibility.game.human_record import HUMAN, HumanAccuracy, HumanRecord, read_human_record
from legibility.judging.accuracy import condition_results, differences, length_matched
from legibility.judging.agreement import alpha, verifier_agreement
from legibility.judging.assisted_accuracy import assisted_results
from legibility.judging.exclusion import excluded_by, excluded_raters
from legibility.judging.joined_table import joined_table, repeated, study_conditions
from legibility.judging.mixed import mixed_model
from legibility.judging.results import write_results
from legibility.judging.results_schema import (
    AllRaters,
    AssistedResults,
    ConditionResult,
    ConfidenceResult,
    FirstWrongStep,
    JudgmentCounts,
    StudyResults,
)
from legibility.judging.study_folder import SIMULATION_FOLDER, StudyFolder
from legibility.judging.study_schema import ATTENTION, STUDY
from legibility.judging.table import SIMULATION, TABLE, read_table
from legibility.metrics import NO_INTERVAL, number
from legibility.pasted import own_command
from legibility.stored import Interval, write_stored


@dataclass(frozen=True)
class AnalyzedStudy:
    """What an analysis found and wrote: the page, and the run folder that got human.json (or None)."""

    results: StudyResults
    page: Path
    run: Path | None

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [("SIMULATION, not people. " if self.results.simulated else "") + headline(self.results)]
        if not self.results.conditions:
            lines += [f"{count} excluded by {rule}" for rule, count in (self.results.excluded_by or {}).items()]
            everyone = self.results.without_exclusion
            lines += [_line(c, None) + " (nobody excluded)" for c in (everyone.conditions if everyone else [])]
        lines += [_line(c, self.results.with_everyone(c.condition)) for c in self.results.conditions]
        if self.results.assisted is not None:
            lines.append(_assisted_line(self.results.assisted))
        lines += [f"excluded {r.rater}: {r.excluded}" for r in self.results.raters if r.excluded]
        if self.run is not None:
            lines.append(f"{self.run / HUMAN}: written; {own_command('report', self.run)} shows it on the tax figure")
        if not self.results.conditions:
            lines.append("no run folder gets human.json: nobody's judgments count")
        return [*lines, f"results: {self.page}"]


def analyze_study(study: StudyFolder, *, simulated: bool = False, run: Path | None = None) -> AnalyzedStudy:
    """Analyse people's judgments (or the simulated ones) and write everything.

    run: the run folder that gets human.json (None: the one exported from, if it is there). Simulated results go to a
    run folder only where one is named, and no results at all where every rater is excluded. Raises UserError for a
    key that is not the study's, a table that was tampered with, or no judgments.
    """
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
    page = write_results(home / "analysis", study.protocol, results)
    if not results.conditions:
        target = None
    if target is not None:
        write_stored(target / HUMAN, human_record(results))
    return AnalyzedStudy(results, page, target)


def analyze(study: StudyFolder, table: pd.DataFrame, *, simulated: bool = False) -> StudyResults:
    """All numbers of a table of judgments (`read_table`): those of nobody, where every rater is excluded.

    Raises UserError as `analyze_study`.
    """
    rules, key = study.protocol.analysis, study.key()
    unknown = set(table.item_id) - set(key.index)
    if unknown:
        raise UserError(
            f"judgments of item {sorted(unknown)[0]} that is not in this study; move the table away and import again"
        )
    judged = joined_table(table, key, rules)
    raters = excluded_raters(judged, study.protocol.exclusion)
    kept = judged[~judged.rater.isin([r.rater for r in raters if r.excluded])]
    study_rows = kept[kept.kind == STUDY]
    both_kinds, everyone = study_rows, judged[judged.kind == STUDY]
    all_of_both_kinds = everyone
    study_rows, everyone = study_rows[~study_rows.assisted], everyone[~everyone.assisted]
    conditions = [c for c in study_conditions(key) if (study_rows.condition == c).any()]
    judged_by_all = [c for c in study_conditions(key) if (everyone.condition == c).any()]
    return StudyResults(
        simulated=simulated,
        study_id=study.protocol.study_id,
        run=str(key.run.iloc[0]),
        confidence_level=rules.confidence_level,
        judgments=JudgmentCounts(
            table=len(table),
            dropped_late=int(table.timed_out.sum()) if rules.timed_out == "drop" else 0,
            dropped_repeats=int(repeated(table, key).sum()),
            attention=int((kept.kind == ATTENTION).sum()),
            analysed=len(study_rows),
        ),
        raters=raters,
        excluded_by=excluded_by(raters, study.protocol.exclusion),
        raters_kept=int(study_rows.rater.nunique()),
        conditions=condition_results(study_rows, conditions, rules),
        differences=differences(study_rows, conditions, rules),
        without_exclusion=AllRaters(
            raters=int(everyone.rater.nunique()),
            judgments=len(everyone),
            conditions=condition_results(everyone, judged_by_all, rules),
            differences=differences(everyone, judged_by_all, rules),
            assisted=_assisted(study, all_of_both_kinds, key),
        ),
        assisted=_assisted(study, both_kinds, key),
        length_matched=length_matched(study_rows, conditions, rules),
        krippendorff_alpha=alpha(study_rows),
        mixed_model=mixed_model(study_rows),
        verifiers=verifier_agreement(study_rows, key, rules),
        by_confidence=[
            ConfidenceResult(confidence=int(level), judgments=len(rows), accuracy=float(rows.right.mean()))
            for level, rows in study_rows.dropna(subset="confidence").groupby("confidence")
        ],
        first_wrong_step=_first_wrong_step(study_rows),
    )


def _assisted(study: StudyFolder, judgments: pd.DataFrame, key: pd.DataFrame) -> AssistedResults | None:
    """The comparison of an assisted study; None for any other."""
    facts = study.provenance() if study.doubts else None
    if facts is None or facts.adviser is None or facts.assisted is None:
        return None
    conditions, rules = study_conditions(key), study.protocol.analysis
    return assisted_results(judgments, conditions, rules, adviser=facts.adviser, design=facts.assisted)


def _first_wrong_step(judgments: pd.DataFrame) -> FirstWrongStep:
    marked = judgments[
        judgments.correct.eq(False) & judgments.first_wrong_step.notna() & judgments.first_wrong_line.notna()
    ]
    share = number((marked.first_wrong_step == marked.first_wrong_line).mean()) if len(marked) else None
    return FirstWrongStep(marked=len(marked), share_right=share)


def human_record(results: StudyResults) -> HumanRecord:
    """What the run's report shows of a study: accuracy per arm, round and role, with intervals."""
    return HumanRecord(
        simulated=results.simulated,
        study_id=results.study_id,
        confidence_level=results.confidence_level,
        conditions=[
            HumanAccuracy(**{name: getattr(c, name) for name in HumanAccuracy.model_fields}) for c in results.conditions
        ],
    )


def headline(results: StudyResults) -> str:
    """The study in one line."""
    out = sum(bool(r.excluded) for r in results.raters)
    if not results.conditions:
        judged = results.without_exclusion.judgments if results.without_exclusion else 0
        return f"no judgment counts: {out} of {len(results.raters)} raters are excluded, and with them all {judged:,} judgments"
    agreement = results.krippendorff_alpha
    shown = "undefined" if agreement is None else f"{agreement:.2f}"
    return (
        f"{results.judgments.analysed:,} judgments of {results.raters_kept} raters ({out} excluded), "
        f"Krippendorff's alpha {shown}"
    )


def _line(c: ConditionResult, everyone: ConditionResult | None) -> str:
    line = f"{c.label}: accuracy {_shown(c.accuracy)}, {c.judgments} judgments"
    if everyone is None or everyone.judgments == c.judgments:
        return line
    return f"{line} (nobody excluded: {_shown(everyone.accuracy)}, {everyone.judgments})"


def _assisted_line(found: AssistedResults) -> str:
    all_of_it = found.overall
    counts = f"{all_of_it.judgments_assisted} and {all_of_it.judgments_alone} judgments"
    change = _shown(all_of_it.accuracy_difference, "+.3f")
    return (
        f"with the doubts of {found.adviser.label} shown: accuracy {_shown(all_of_it.accuracy_assisted)}, without "
        f"{_shown(all_of_it.accuracy_alone)}; difference {change} ({counts})"
    )


def _shown(number: Interval, form: str = ".3f") -> str:
    shown = "undefined" if number.value is None else f"{number.value:{form}}"
    if number.value is None:
        return shown
    return (
        f"{shown} [{number.low:{form}}, {number.high:{form}}]" if number.low is not None else f"{shown} ({NO_INTERVAL})"
    )


def _run_folder(study: StudyFolder, run: Path | None) -> Path | None:
    """Where human.json goes. Raises UserError where it holds another study's numbers, or `run` is no run folder."""
    if run is None:
        recorded = study.provenance().run_path
        run = (study.path / recorded).resolve() if recorded else None
        if run is None or not (run / "config.yaml").is_file():
            return None
    elif not (run / "config.yaml").is_file():
        raise UserError(f"{run}: no run folder here (no config.yaml)")
    if (run / HUMAN).exists():
        try:
            old = read_human_record(run)
        except UserError:
            old = None
        owner = old.study_id if old is not None else None
        if owner != study.protocol.study_id:
            raise UserError(f"{run / HUMAN}: holds the results of another study ({owner}); move it away first")
    return run
