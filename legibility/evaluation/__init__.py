"""Measuring a run: metrics of scores, intervals, the summary, the evaluation and its data frames."""

from legibility.evaluation.dataframes import load_run
from legibility.evaluation.sections.best_of_n import balanced_best_of_n
from legibility.metrics import auroc, bootstrap, pairwise_accuracy

__all__ = ["auroc", "balanced_best_of_n", "bootstrap", "load_run", "pairwise_accuracy"]
