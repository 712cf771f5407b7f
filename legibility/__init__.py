"""Prover-verifier legibility games (Kirchner, Chen et al. 2024).

Reading order: config, problems, prompts, rollouts, grading, verifier_training, rewards, ppo, game,
evaluation, report. Each module depends on earlier ones only.
"""

__version__ = "0.1.0"
