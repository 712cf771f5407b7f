"""Weak-to-strong generalisation with the game's own players (Burns et al. 2023; Sang et al. 2024).

The small verifier is a weak supervisor of a stronger model. `legibility weak-to-strong CONFIG` runs an
experiment: weak teachers (single, ensembles, with oversight), students under several objectives, ceilings;
performance gap recovered with intervals; a recursive auto-aligner; in-context supervision; and the
question of this package, whether playing the verifier game makes a better weak supervisor.
"""

from legibility.weak_to_strong.objectives import confidence_loss
from legibility.weak_to_strong.pgr import pgr

__all__ = ["confidence_loss", "pgr"]
