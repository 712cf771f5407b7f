"""Grading of written solutions: the final answer (`answer`) and the arithmetic of every step (`arithmetic`).

Nothing a model wrote is ever evaluated as code.
"""

from legibility.grading.answer import Verdict, extract_answer, grade, parse_number
from legibility.grading.arithmetic import StepCheck, check_steps

__all__ = ["StepCheck", "Verdict", "check_steps", "extract_answer", "grade", "parse_number"]
