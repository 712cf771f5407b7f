"""verl's hooks on an imitation of the parts of verl 0.9.1 that they touch: its data queue, trainer and reward manager."""

from __future__ import annotations

import asyncio
import importlib
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from legibility.config import RewardSettings
from legibility.integrations.verl import PaidStep, VerlRound, paid_steps
from legibility.stored import write_stored

QUEUE: dict[str, dict[str, object]] = {}


class Settings(SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


def kv_batch_get(keys, partition_id, select_fields):
    assert partition_id == "train"
    rows = [QUEUE[key] for key in keys]
    out = {"extra_fields": [row["extra_fields"] for row in rows]}
    if "rm_scores" in select_fields:
        out["rm_scores"] = torch.nested.as_nested_tensor([r["rm_scores"] for r in rows], layout=torch.jagged)
    return {name: out[name] for name in select_fields}


def kv_batch_put(keys, partition_id, fields):
    for key, row in zip(keys, fields["rm_scores"].unbind(), strict=True):
        QUEUE[key]["rm_scores"] = row


class Sync:
    """verl's own trainer: it takes scores from the queue and knows nothing of groups."""

    def __init__(self, config) -> None:
        assert config.trainer.v1.trainer_mode == "sync"  # else it would build an asynchronous buffer
        self.config, self.global_steps, self.saved = config, 0, []

    def _compute_advantage(self, batch, metrics):
        return [float(QUEUE[key]["rm_scores"].sum()) for key in batch.keys]

    def _save_checkpoint(self):
        self.saved.append(sorted(p.name for p in (self.folder / "ck" / f"global_step_{self.global_steps}").iterdir()))

    def _load_checkpoint(self):
        self.global_steps = self.config.trainer.resume_at


class Manager:
    def __init__(self, config, tokenizer, compute_score) -> None:
        self.config, self.tokenizer, self.loop = config, tokenizer, asyncio.get_event_loop()


@pytest.fixture
def hooks(monkeypatch):
    registry = {}

    def register_trainer(name):
        def decorator(cls):
            registry[name] = cls
            return cls

        return decorator

    @contextmanager
    def open_dict(config):
        yield config

    def local_mkdir_safe(path):
        import os

        os.makedirs(path, exist_ok=True)

    for name, content in {
        "transfer_queue": {"kv_batch_get": kv_batch_get, "kv_batch_put": kv_batch_put},
        "omegaconf": {"open_dict": open_dict},
        "tensordict": {"TensorDict": lambda fields, batch_size: fields},
        "verl.experimental.reward_loop.reward_manager.base": {"RewardManagerBase": Manager},
        "verl.trainer.ppo.v1.trainer_base": {"register_trainer": register_trainer},
        "verl.trainer.ppo.v1.trainer_sync": {"PPOTrainerSync": Sync},
        "verl.utils.fs": {"local_mkdir_safe": local_mkdir_safe},
    }.items():
        parts = name.split(".")
        for i in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:i]), ModuleType(".".join(parts[:i])))
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "legibility.integrations.verl_trainer", raising=False)
    module = importlib.import_module("legibility.integrations.verl_trainer")
    assert registry == {"legibility": module.LegibilityTrainer}
    QUEUE.clear()
    yield module
    sys.modules.pop("legibility.integrations.verl_trainer", None)


def settings(folder, **trainer) -> Settings:
    return Settings(
        legibility=Settings(folder=str(folder)),
        trainer=Settings(
            v1=Settings(trainer_mode="legibility"), default_local_dir=str(folder / "ck"), resume_mode="auto", **trainer
        ),
    )


def hand_over(folder, reward=None, **changes):
    facts = dict(
        arm="game", round=0, steps=2, reward=reward, verifier=None, verifier_folder=None, marker="####", unparsed="invalid",
        end_ids=[1],
    )  # fmt: skip
    write_stored(folder / "round.json", VerlRound(**{**facts, **changes}))


def put(scores, verdicts, roles):
    """Completions of one problem as the rollout leaves them, in an order in which groups do not stand together."""
    for i, (score, verdict, role) in enumerate(zip(scores, verdicts, roles, strict=True)):
        info = dict(
            problem_id="p", role=role, text="x", verdict=verdict, score=score, tokens=3, truncated=False, acc=0.0
        )
        tokens = torch.zeros(2 + i)
        tokens[-1] = score
        QUEUE[f"k{i}"] = {"extra_fields": {"reward_extra_info": info}, "rm_scores": tokens}
    return SimpleNamespace(keys=list(QUEUE), partition_id="train")


def test_whole_groups_are_paid_and_verl_goes_on_with_that(hooks, tmp_path):
    hand_over(tmp_path, RewardSettings(kind="src"))
    trainer, metrics = hooks.LegibilityTrainer(settings(tmp_path)), {}
    batch = put([3.0, 0.0, 1.0, 4.0], ["correct", "incorrect", "incorrect", "correct"], ["helpful", "sneaky"] * 2)
    # helpful 3, 1 and sneaky 0, 4: spreads 1 and 2, scale 1.5
    np.testing.assert_allclose(trainer._compute_advantage(batch, metrics), [1 / 1.5, -1, -1, -2 / 1.5], rtol=1e-6)
    assert all((QUEUE[key]["rm_scores"][:-1] == 0).all() for key in batch.keys)
    assert metrics["legibility/score_scale"] == 1.5
    (step,) = paid_steps(tmp_path)
    assert isinstance(step, PaidStep) and [paid for _, paid in step.completions] == pytest.approx(
        [1 / 1.5, -1, -1, -2 / 1.5]
    )


def test_the_scale_goes_through_checkpoints(hooks, tmp_path):
    hand_over(tmp_path, RewardSettings(kind="src", scale="running"))
    trainer = hooks.LegibilityTrainer(settings(tmp_path))
    put([3.0, 1.0], ["correct", "incorrect"], ["helpful"] * 2)
    batch = SimpleNamespace(keys=list(QUEUE), partition_id="train")
    trainer._compute_advantage(batch, {})
    trainer.global_steps = 1
    trainer._save_checkpoint()
    assert trainer.saved == [["score_scale.json"]]  # there before verl names the checkpoint its last
    put([6.0, 0.0], ["correct", "incorrect"], ["helpful"] * 2)
    first = trainer._compute_advantage(batch, {})
    again = hooks.LegibilityTrainer(settings(tmp_path, resume_at=1))
    again._load_checkpoint()
    assert [s.step for s in paid_steps(tmp_path)] == [1]  # step 2 is made again
    put([6.0, 0.0], ["correct", "incorrect"], ["helpful"] * 2)
    assert again._compute_advantage(batch, {}) == first and again.paying.scale.value == pytest.approx(1.4)
    fresh = hooks.LegibilityTrainer(settings(tmp_path, resume_at=0))
    fresh._load_checkpoint()
    assert list(paid_steps(tmp_path)) == []


@pytest.mark.parametrize(("ids", "cut_off"), [([5, 6, 1], False), ([5, 6, 7], True), ([], True)])
def test_a_row_is_read_for_what_was_written(hooks, tmp_path, ids, cut_off):
    """Padding is no text, and a completion without an end token was cut off."""
    hand_over(tmp_path, None, arm="correctness")
    words = {5: "1 + 2 = 3\n", 6: "#### 3", 7: "", 1: ""}
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "".join(words[i] for i in ids))
    row = SimpleNamespace(
        batch={
            "responses": torch.tensor(ids + [9] * (4 - len(ids))),
            "attention_mask": torch.tensor([1, 1] + [1] * len(ids) + [0] * (4 - len(ids))),
        },
        non_tensor_batch={
            "extra_info": {"problem_id": "q", "role": "helpful", "question": "1 + 2?"},
            "reward_model": {"ground_truth": "3"},
        },
    )

    async def run():
        hooks._readers.clear()
        return await hooks.LegibilityRewardManager(settings(tmp_path), tokenizer).run_single([row])

    found = asyncio.run(run())
    info = found["reward_extra_info"]
    assert info["truncated"] is cut_off and info["tokens"] == len(ids) and info["problem_id"] == "q"
    assert info["verdict"] == ("invalid" if cut_off else "correct") and info["acc"] == float(not cut_off)
    assert found["reward_score"] == 0.0
