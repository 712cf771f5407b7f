"""Worker: TRL's PPOTrainer (its last version, 1.12) with a separate value model, on one task.

    python -m harness.trl_ppo TASK.json OUT.json

Changed from its defaults: one rollout batch for all completions (64), no gradient checkpointing, no
bf16, prompts in the order given. A minibatch is one micro-batch: with gradient accumulation this
trainer's counter runs across minibatches and it makes fewer optimizer steps than it says.
"""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any

import torch
import trl.experimental.ppo.ppo_trainer as trl_ppo
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer

from harness import report
from harness.clock import Clock, resident_mb
from harness.reward import Reward
from harness.task import Task
from legibility.models.loading import encode_prompt


class VerifierInPlaceOfAModel(torch.nn.Module):
    """What the trainer is given as its reward model; `get_reward` below sees it and calls the verifier instead."""

    base_model_prefix = "none"


def run(task: Task) -> dict[str, Any]:
    """All steps of the task; the worker's record."""
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    tokenizer = AutoTokenizer.from_pretrained(task.model, padding_side="left")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):  # this trainer would mask every end token
        tokenizer.pad_token = next(t for t in tokenizer.all_special_tokens if t != tokenizer.eos_token)
    policy = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    value = AutoModelForSequenceClassification.from_pretrained(task.model, num_labels=1, dtype=torch.float32)
    reward, verifier = Reward(task, tokenizer, [tokenizer.eos_token_id]), VerifierInPlaceOfAModel()
    prompts = [encode_prompt(tokenizer, text) for text in task.prompt_texts() for _ in range(task.samples)]
    steps = iter(task.items())

    def get_reward(model: Any, texts: torch.Tensor, pad: int, start: int) -> Any:
        if model is not verifier:
            return original_reward(model, texts, pad, start)
        items = [item for item in next(steps) for _ in range(task.samples)]
        ended = [_until(row, tokenizer.eos_token_id) for row in texts[:, start:].tolist()]
        return None, torch.tensor(reward(items, ended), dtype=torch.float32), None

    clock = Clock()
    original_reward, generation, whiten = trl_ppo.get_reward, trl_ppo.batch_generation, trl_ppo.masked_whiten

    def batch_generation(*args: Any) -> Any:
        clock.begin()
        with clock.phase("rollout"):
            out = generation(*args)
        clock.enter("scoring")
        return out

    def masked_whiten(*args: Any) -> Any:  # of the advantages: the last act before the update
        out = whiten(*args)
        clock.leave()
        return out

    trl_ppo.get_reward, trl_ppo.batch_generation, trl_ppo.masked_whiten = get_reward, batch_generation, masked_whiten
    trl_ppo.DataLoader = functools.partial(_in_order, trl_ppo.DataLoader)
    data = Dataset.from_dict({"input_ids": prompts})
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir="out", per_device_train_batch_size=task.completions, gradient_accumulation_steps=1,
            num_mini_batches=task.completions // task.minibatch, num_ppo_epochs=task.epochs,
            total_episodes=len(prompts), local_rollout_forward_batch_size=task.completions,
            response_length=task.max_new_tokens, stop_token="eos", temperature=1.0, learning_rate=task.learning_rate,
            lr_scheduler_type="constant", kl_coef=task.kl, num_sample_generations=0, seed=task.seed, report_to="none",
            bf16=False, use_cpu=True, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True,
        ),
        processing_class=tokenizer, model=policy, ref_model=copy.deepcopy(policy), reward_model=verifier,
        value_model=value, train_dataset=data, eval_dataset=data.select(range(1)),
    )  # fmt: skip
    made = [0]
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: made.__setitem__(0, made[0] + 1))
    loaded = resident_mb(peak=False)
    trainer.train()
    clock.end()
    return report.build("trl-ppo", task, clock, reward, report.sizes(policy, reward.verifier.model), loaded, made[0])


def _in_order(loader: Any, *args: Any, shuffle: bool = False, **kwargs: Any) -> Any:
    return loader(*args, shuffle=False, **kwargs)


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids


if __name__ == "__main__":
    report.write(sys.argv[2], run(Task.load(sys.argv[1])))
