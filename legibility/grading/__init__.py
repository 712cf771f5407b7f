"""Grading of written solutions: the final answer (`answer`) and the arithmetic of every step (`arithmetic`).

Nothing a model wrote is ever evaluated as code.
"""

from legibility.grading.answer import Verdict, agrees, extract_answer, grade, parse_number
from legibility.grading.arithmetic import StepCheck, check_steps
from legibility.grading.gold import read_gold

__all__ = ["StepCheck", "Verdict", "agrees", "check_steps", "extract_answer", "grade", "parse_number", "read_gold"]
