"""Worker: TRL's GRPOTrainer or RLOOTrainer with transformers' `generate`, on one task.

    python -m harness.trl_group TASK.json OUT.json grpo|rloo

Changed from their defaults: no gradient checkpointing, no bf16, prompts in the order given, as many
samples, epochs and minibatches as the task says. Under torchrun every minibatch is shared by the ranks (accelerate's
DistributedDataParallel over gloo), and the first writes the record of all.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoTokenizer

from harness import report
from harness.clock import Clock, resident_mb
from harness.reward import Reward
from harness.task import Task
from legibility.errors import UserError


def run(task: Task, kind: str) -> dict[str, Any]:
    """All steps of the task; the worker's record."""
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    base = {"grpo": trl.GRPOTrainer, "rloo": trl.RLOOTrainer}[kind]
    config = {"grpo": trl.GRPOConfig, "rloo": trl.RLOOConfig}[kind]
    clock = Clock()

    class Timed(base):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            clock.begin()
            with clock.phase("scoring"):
                return super()._generate_and_score_completions(inputs)

        def _generate(self, *args: Any) -> Any:
            with clock.phase("rollout"):
                return super()._generate(*args)

    tokenizer = AutoTokenizer.from_pretrained(task.model, padding_side="left")
    reward = Reward(task, tokenizer, [tokenizer.eos_token_id])
    items = [item for step in task.items() for item in step]

    def pay(completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        return reward([items[i] for i in index], completion_ids).tolist()

    minibatches, ranks = task.completions // task.minibatch, int(os.environ.get("WORLD_SIZE", "1"))
    if task.minibatch % ranks:
        raise UserError(
            f"minibatches of {task.minibatch} are not shared by {ranks} ranks; take a number that divides them"
        )
    trainer = Timed(
        model=task.model,
        reward_funcs=pay,
        args=config(
            output_dir="out", per_device_train_batch_size=task.minibatch // ranks, gradient_accumulation_steps=1,
            steps_per_generation=minibatches, num_generations=task.samples, num_iterations=task.epochs,
            max_completion_length=task.max_new_tokens, temperature=1.0, top_k=0, top_p=1.0, beta=task.kl,
            learning_rate=task.learning_rate, lr_scheduler_type="constant", shuffle_dataset=False,
            max_steps=minibatches * task.epochs * (task.warm + task.steps), seed=task.seed, report_to="none",
            bf16=False, use_cpu=True, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True,
            logging_steps=minibatches * task.epochs, model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=Dataset.from_dict({"prompt": task.prompt_texts(), "index": list(range(len(items)))}),
        processing_class=tokenizer,
    )  # fmt: skip
    loaded = resident_mb(peak=False)
    trainer.train()
    clock.end()
    others = 0.0
    if ranks > 1:
        found: list[Any] = [None] * ranks
        torch.distributed.all_gather_object(found, (reward.seen, resident_mb(peak=True)))
        reward.merge([seen for rank, (seen, _) in enumerate(found) if rank != trainer.accelerator.process_index])
        others = sum(memory for rank, (_, memory) in enumerate(found) if rank != trainer.accelerator.process_index)
    parameters = report.sizes(trainer.accelerator.unwrap_model(trainer.model), reward.verifier.model)
    return report.build(f"trl-{kind}", task, clock, reward, parameters, loaded, trainer.state.global_step, others)


if __name__ == "__main__":
    task_file, out_file, kind = sys.argv[1:]
    record = run(Task.load(task_file), kind)
    if os.environ.get("RANK", "0") == "0":
        report.write(out_file, record)
