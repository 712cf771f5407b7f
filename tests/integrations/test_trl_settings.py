"""What of our settings TRL's trainers can honour: batches worked out by hand, and a line for what they cannot."""

from __future__ import annotations

import pytest

from legibility.config import Config, PPOSettings
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.integrations import trl_settings
from legibility.integrations.trl_settings import Batches, check_trainer, trainer_notice


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(trl_settings, "find_spec", lambda name: object())


def ppo(**changes) -> PPOSettings:
    return PPOSettings(**{"minibatch_size": 32, "micro_batch_size": 16, "samples_per_role": 4, "epochs": 2, **changes})


def test_batches_by_hand():
    # 128 completions, 32 an update: 4 updates an epoch; two forward passes of 16 make an update
    assert Batches.of(ppo(), 128, ranks=1) == Batches(per_device=16, accumulation=2, per_generation=8, updates=8)
    # two ranks read 16 each of the 32
    assert Batches.of(ppo(), 128, ranks=2) == Batches(per_device=16, accumulation=1, per_generation=4, updates=8)
    # four ranks read 8 each, less than a forward pass may hold
    assert Batches.of(ppo(), 128, ranks=4) == Batches(per_device=8, accumulation=1, per_generation=4, updates=8)
    # 24 completions of 3 ranks' 36 do not fit in passes of 10: the largest that divides 12 is 6
    settings = ppo(minibatch_size=36, micro_batch_size=12).model_copy(update={"micro_batch_size": 10})
    assert Batches.of(settings, 72, ranks=3) == Batches(per_device=6, accumulation=2, per_generation=4, updates=4)
    # a step smaller than a minibatch is one update
    assert Batches.of(ppo(epochs=1), 8, ranks=1) == Batches(per_device=8, accumulation=1, per_generation=1, updates=1)


@pytest.mark.parametrize(
    ("completions", "ranks", "line"),
    [
        (72, 1, r"ppo\.minibatch_size: 32 does not divide the 72 completions of a step"),
        (128, 3, r"ppo\.minibatch_size: 32 completions cannot be shared evenly by 3 ranks"),
    ],
)
def test_batches_that_do_not_divide(completions, ranks, line):
    with pytest.raises(UserError, match=line):
        Batches.of(ppo(), completions, ranks)


REFUSED = {
    "ppo.critic=separate": r"ppo\.critic: prover\.trainer grpo has no critic; leave it at detached, or set prover\.trainer to ppo",
    "ppo.lam=0.9": r"ppo\.lam: .*leave it at 0\.95",
    "ppo.gamma=0.99": r"ppo\.gamma: .*leave it at 1\.0",
    "ppo.value_learning_rate=0.1": r"ppo\.value_learning_rate: ",
    "ppo.value_coefficient=1": r"ppo\.value_coefficient: ",
    "ppo.max_logprob_gap=1": r"ppo\.max_logprob_gap: prover\.trainer grpo does not keep the sampler's log-probs; leave it at None",
    "ppo.old_logprobs=sampled": r"ppo\.old_logprobs: ",
    "compute.workers=2": r"compute\.workers: prover\.trainer grpo cannot use forked helpers; set it to 1",
    "prover.lora={target_modules: [lm_head]}": r"prover\.lora\.target_modules: .*adapter on lm_head",
    "ppo.problems_per_step=9": r"ppo\.minibatch_size: 64 does not divide the 72 completions",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_trl_cannot_honour_is_one_line(setting, tmp_path):
    (tmp_path / "c.yaml").write_text("prover: {trainer: grpo}\n")
    config = load_config(tmp_path / "c.yaml", [setting])
    with pytest.raises(UserError, match=REFUSED[setting]) as refused:
        check_trainer(config, problems=1000, ranks=1)
    assert "\n" not in str(refused.value)
    check_trainer(config.model_copy(update={"prover": Config().prover}), problems=1000, ranks=1)  # ours takes it


def test_one_sample_has_no_group():
    config = Config(prover={"trainer": "rloo"}, ppo={"samples_per_role": 1}, reward={"kind": "cgc"})
    with pytest.raises(
        UserError, match=r"ppo\.samples_per_role: prover\.trainer rloo compares completions of one prompt"
    ):
        check_trainer(config, problems=1000, ranks=1)


def test_the_usual_settings_are_taken():
    for trainer in ("ppo", "grpo", "rloo"):
        check_trainer(Config(prover={"trainer": trainer}), problems=1000, ranks=2)


def test_shared_weights_are_refused_where_there_are_any():
    config = Config(prover={"trainer": "grpo"})
    shared = config.compute.model_copy(update={"shard": True})
    with pytest.raises(UserError, match=r"compute\.shard: prover\.trainer grpo trains whole weights"):
        check_trainer(config.model_copy(update={"compute": shared}), problems=1000, ranks=2)


def test_who_samples_is_said_where_vllm_is_asked_for():
    both = Config(prover={"trainer": "rloo"}, compute={"engine": "vllm"})
    assert "sampled by TRL with transformers" in str(trainer_notice(both))
    assert (
        trainer_notice(Config(compute={"engine": "vllm"})) is None
        and trainer_notice(Config(prover={"trainer": "rloo"})) is None
    )


def test_without_trl_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(trl_settings, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r'prover\.trainer: grpo needs TRL and Python 3\.11; pip install "legibility\[trl\]"'
    ):
        check_trainer(Config(prover={"trainer": "grpo"}), problems=1000, ranks=1)
    check_trainer(Config(), problems=1000, ranks=1)
