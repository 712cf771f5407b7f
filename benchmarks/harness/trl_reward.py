"""Worker: TRL's RewardTrainer on pairs of a right and a wrong solution.

    python -m harness.trl_reward TASK.json OUT.json

Changed from its defaults: no gradient checkpointing, no bf16, the batch size of the task. The clock runs from the
first step's begin to the last step's end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer


class _Clock(TrainerCallback):
    started = ended = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.process_time()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.ended = time.process_time()


def run(task: dict[str, Any]) -> dict[str, float]:
    """Seconds of training."""
    torch.set_num_threads(task["threads"])
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    model = AutoModelForSequenceClassification.from_pretrained(task["model"], num_labels=1, dtype="float32")
    model.config.pad_token_id = tokenizer.pad_token_id
    clock = _Clock()
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir="out", per_device_train_batch_size=task["batch"], max_steps=task["updates"], bf16=False,
            use_cpu=True, gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True,
            max_length=512, logging_steps=task["updates"],
        ),
        train_dataset=Dataset.from_list(task["rows"]),
        processing_class=tokenizer,
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    return {"training": clock.ended - clock.started}


if __name__ == "__main__":
    task_file, out_file = sys.argv[1:]
    record = run(json.loads(Path(task_file).read_text(encoding="utf-8")))
    Path(out_file).write_text(json.dumps(record), encoding="utf-8")
