"""Measuring a finished run: metrics of scores, intervals, the summary."""

from legibility.evaluation.metrics import auroc, bootstrap, pairwise_accuracy

__all__ = ["auroc", "bootstrap", "pairwise_accuracy"]
