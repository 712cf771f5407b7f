"""Training that has diverged ends in one line that names the step and the setting."""

from __future__ import annotations

import math

import pytest
import torch

from legibility.divergence import all_finite, refuse_divergence
from legibility.errors import GateClosed, UserError
from tests.support import play_with


def test_the_first_number_that_is_none_is_named():
    refuse_divergence("step 3", {"the loss": 1e30}, "lower x", [torch.ones(2)])
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(UserError, match=f"^step 3: the loss is {value}, so training has diverged; lower x$"):
            refuse_divergence("step 3", {"other": 0.0, "the loss": value}, "lower x")


def test_weights_are_looked_at_one_and_all():
    weights = [torch.ones(3), torch.ones(2, 2, dtype=torch.bfloat16)]
    assert all_finite(weights) and all_finite([])
    weights[1][1, 0] = math.inf
    assert not all_finite(weights)
    with pytest.raises(UserError, match=r"^last step: weights are no finite numbers any more"):
        refuse_divergence("last step", {"the loss": 0.0}, "lower x", weights)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["ppo.learning_rate=1e6"], r"^round 0 prover, step \d: .*so training has diverged; lower ppo\.learning_rate"),
        (["reward.floor=-1e200"], r"^round 0 prover, step \d: .*reward\.floor"),
        (["verifier.learning_rate=1e30"], r"^verifier training, step \d+: .*lower verifier\.learning_rate"),
        (
            ["prover.warm_start.steps=6", "prover.warm_start.batch_size=4", "prover.warm_start.learning_rate=1e30"],
            r"^warm start, .*prover\.warm_start\.learning_rate",
        ),
    ],
)
def test_a_diverged_game_seals_nothing(overrides, says, tiny_config_file, tiny_overrides, tmp_path):
    """On the old code the first two ended with exit code 0 and a summary, or with a traceback."""
    with pytest.raises(UserError, match=says):
        play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *overrides)
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not list((tmp_path / "run").glob("rounds/*/prover"))


def test_a_prover_that_training_ruined_is_stopped_after_its_phase(tiny_config_file, tiny_overrides, tmp_path):
    """One step of one minibatch: no loss is ever computed of the weights that it leaves."""
    ruin = ["ppo.steps=1", "ppo.epochs=1", "ppo.minibatch_size=512", "ppo.micro_batch_size=512", "ppo.learning_rate=3"]
    gates = ["gates.enabled=true", "gates.min_auroc=0", "gates.accept_rate=[0, 1]", "gates.min_score_std=0"]
    with pytest.raises(GateClosed, match=r"round 0 prover: helpful accuracy 0\.\d+ after training is below gates"):
        play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *ruin, *gates, "gates.max_flat_groups=1")
