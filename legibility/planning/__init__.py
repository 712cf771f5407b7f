"""What a game needs before it is begun: memory of every rank and time of every phase, counted from its settings.

Formulas, their sources and how far they were off: docs/plan.md.
"""
