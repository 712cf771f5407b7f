"""Judgments beside the sealed key: the one table that every number of the analysis is made from."""

from __future__ import annotations

import pandas as pd

from legibility.game.condition import Condition, conditions_of
from legibility.judging.protocol import AnalysisRules
from legibility.judging.study_schema import ATTENTION

_OF_THE_KEY = ["problem_id", "condition", "correct", "kind", "solution_chars", "first_wrong_line"]


def joined_table(table: pd.DataFrame, key: pd.DataFrame, rules: AnalysisRules) -> pd.DataFrame:
    """Judgments with what the key knows of their items, plus `right` (the verdict is true).

    table: item_id, rater, verdict, perhaps timed_out, assisted and more columns. Late judgments go if the rules say so. Of a
    rater's judgments of one problem only the first stays (tools without our assignment may repeat problems).
    """
    if rules.timed_out == "drop" and "timed_out" in table:
        table = table[~table.timed_out.astype(bool)]
    table = table.assign(**{name: False for name in ("timed_out", "assisted") if name not in table})
    table = table[~repeated(table, key)]
    judged = table.join(key[_OF_THE_KEY], on="item_id")
    judged["verdict"] = judged.verdict.astype(bool)
    judged["correct"] = judged.correct.astype(bool)
    judged["assisted"] = judged.assisted.astype(bool)
    judged["right"] = judged.verdict == judged.correct
    return judged


def repeated(table: pd.DataFrame, key: pd.DataFrame) -> pd.Series:
    """True for judgments of a problem that the rater had judged before. table: item_id, rater."""
    return pd.DataFrame({"rater": table.rater, "problem": table.item_id.map(key.problem_id)}).duplicated()


def study_conditions(key: pd.DataFrame) -> list[Condition]:
    """The study's conditions, in order; attention checks are none."""
    return conditions_of(key[key.kind != ATTENTION])
