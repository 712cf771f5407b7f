"""Measuring a finished run: metrics of scores, intervals, the summary."""

from legibility.metrics import auroc, bootstrap, pairwise_accuracy

__all__ = ["auroc", "bootstrap", "pairwise_accuracy"]
