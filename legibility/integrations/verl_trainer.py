"""verl's two hooks, for verl 0.9.1: a reward manager that reads, and a trainer that pays whole groups.

`VERL_USE_EXTERNAL_MODULES=legibility.integrations.verl_trainer` imports this module into every process of verl;
`trainer.v1.trainer_mode: legibility` and `reward.reward_manager` of the round's verl.yaml choose what is in it.
What is computed stands in `legibility.integrations.verl`. Needs verl; nothing else imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.fs import local_mkdir_safe

from legibility.integrations.verl import (
    SCALE,
    BatchPay,
    CompletionReader,
    ReadCompletion,
    ScaleSoFar,
    add_step,
    forget_steps_after,
    read_round,
)
from legibility.problems.records import Problem
from legibility.stored import read_stored, write_stored

_readers: dict[str, CompletionReader] = {}


class LegibilityRewardManager(RewardManagerBase):
    """Reads completions one by one, as they come from the rollout; its score is the verifier's raw one."""

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: Any = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        folder = str(config.legibility.folder)
        if folder not in _readers:
            _readers[folder] = CompletionReader(read_round(Path(folder)), config.legibility.get("device", "cpu"))
        self.reader = _readers[folder]

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Verdict and score of a row, as verl's interface wants them."""
        item = data[-1:][0]
        response = item.batch["responses"]
        ids = response[: int(item.batch["attention_mask"][-len(response) :].sum())].tolist()
        about, truth = item.non_tensor_batch["extra_info"], item.non_tensor_batch["reward_model"]["ground_truth"]
        problem = Problem(str(about["problem_id"]), str(about["question"]), str(truth))
        cut_off = not ids or ids[-1] not in self.reader.record.end_ids

        def read() -> ReadCompletion:
            text = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
            return self.reader.read(problem, str(about["role"]), text, len(ids), cut_off)

        found = await self.loop.run_in_executor(None, read)
        return {"reward_score": found.score or 0.0, "reward_extra_info": found.as_extra_info()}


@register_trainer("legibility")
class LegibilityTrainer(PPOTrainerSync):
    """verl's synchronous trainer, with rewards of whole (problem, role) groups in place of the rows' scores."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # of any other mode verl thinks that it is asynchronous
        super().__init__(config)
        self.folder = Path(config.legibility.folder)
        self.paying = BatchPay(read_round(self.folder))

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """Pay the batch, put the rewards where verl looks for scores, and go on as verl does."""
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields", "rm_scores"]
        )
        told = [getattr(fields, "data", fields)["reward_extra_info"] for fields in data["extra_fields"]]
        read = [ReadCompletion.of_extra_info(info) for info in told]
        paid = self.paying.pay(read)
        add_step(self.folder, self.paying.step, self.paying.scale.value, read, paid)
        scores = []
        for row, value in zip(data["rm_scores"].unbind(), paid.tolist(), strict=True):
            at_the_end = torch.zeros_like(row)
            at_the_end[-1] = value
            scores.append(at_the_end)
        written = TensorDict(
            {"rm_scores": torch.nested.as_nested_tensor(scores, layout=torch.jagged)}, batch_size=len(scores)
        )
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=written)
        metrics["legibility/reward"] = float(paid.mean())
        metrics["legibility/score_scale"] = self.paying.scale.value
        return super()._compute_advantage(batch, metrics)

    def _save_checkpoint(self) -> None:
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        local_mkdir_safe(str(folder))
        write_stored(folder / SCALE, self.paying.so_far())  # before verl names the checkpoint its last
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        if self.config.trainer.resume_mode == "resume_path":
            folder = Path(self.config.trainer.resume_from_path)
        if self.global_steps:
            self.paying.go_on_from(read_stored(folder / SCALE, ScaleSoFar, fix="resume from another checkpoint"))
        forget_steps_after(self.folder, self.paying.step)
