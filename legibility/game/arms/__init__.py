"""Arms beside the game: other ways of training the prover, over the same base policy, problems, PPO budget and records.

`all_arms` names them; every other module here is one arm, but for `arm` (what an arm is), `rounds` (arms
that play rounds as the game does) and `joint_text` (two models that write one text).
"""
