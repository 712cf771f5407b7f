"""Supervised warm start: teach a pretrained LM to answer in the game's form before the game begins.

Kirchner et al. start from a model that already writes graded solutions; a small LM that has never seen the marker
line solves nothing at first, and a policy without a single success gives PPO nothing to learn from. This module
fine-tunes with trl's `SFTTrainer` on (prompt, completion) texts and writes an ordinary model folder, adapter merged,
that serves as the game's base policy.

Two things are done here rather than left to trl. The texts are tokenised before they reach it, so that training sees
exactly the prompt ids that sampling will see, one EOS, and no pair cut short. And everything a Trainer changes outside
itself is put back: global random states, accelerate's process-wide state, environment, log levels.
"""

from __future__ import annotations

import copy
import math
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from legibility.errors import UserError
from legibility.models.loading import encode_prompt

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def warm_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    out: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    max_length: int,
    seed: int,
    lora: LoraConfig | None = None,
    device: str | torch.device = "cpu",
    bf16: bool = False,
) -> dict[str, float | int]:
    """Fine-tune `model` on `pairs` for `steps` updates and save it, merged, with its tokenizer in `out`.

    A pair is (prompt, completion): rendered text, any chat template already applied. Only the completion and the one
    EOS put after it carry loss. Pairs longer than `max_length` tokens are left out, not cut, since a cut one would
    teach the model not to stop. AdamW, linear warm-up over a tenth of the steps, then linear decay.

    `lora` trains an adapter and merges it at the end; None trains all weights. `bf16` is mixed precision: the weights
    keep the dtype they came in (load them in fp32). `device` is "cpu" or "cuda".

    `model` is trained in place and consumed; load `out` for what comes next. Same inputs and seed give the same
    weights on the same machine. Returns `steps`, `seconds`, `tokens` seen (prompts included, padding not),
    `first_loss` and `last_loss` (nats per supervised token, means over the first and last tenth of the steps),
    `pairs` used and `dropped`.

    Raises UserError where `out` is not empty, no pair fits, the tokenizer has no EOS, or the loss diverges.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"warm start: {out} exists and is not empty; choose another folder or move it away")
    if steps < 1 or batch_size < 1:
        raise UserError(f"warm start: steps ({steps}) and batch size ({batch_size}) must be at least 1")
    rows = encode_pairs(tokenizer, pairs, max_length)
    if not rows:
        raise UserError(f"warm start: none of the {len(pairs)} pairs fits in max_length {max_length}; raise it")

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="warm-start-") as scratch, _globals_put_back():
        losses, tokens = _train(
            model, tokenizer, rows, scratch, steps, batch_size, learning_rate, seed, lora, torch.device(device), bf16
        )
        if not all(map(math.isfinite, losses)):
            raise UserError("warm start: the loss is no longer a number; lower the learning rate. Nothing was saved")
        _save(model, tokenizer, out)
    tenth = max(1, len(losses) // 10)
    return {
        "steps": len(losses),
        "seconds": time.perf_counter() - started,
        "tokens": tokens,
        "first_loss": float(np.mean(losses[:tenth])),
        "last_loss": float(np.mean(losses[-tenth:])),
        "pairs": len(rows),
        "dropped": len(pairs) - len(rows),
    }


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], max_length: int
) -> list[dict[str, list[int]]]:
    """Pairs as trl's tokenised prompt-completion rows: `input_ids` and a `completion_mask` of equal length.

    The prompt's ids are those of the prompt alone, as in sampling. The completion's are its ids in context; where a
    token would merge across the border (a prompt that ends in a space, say), its ids on its own.
    """
    eos, eos_text = tokenizer.eos_token_id, tokenizer.eos_token
    if eos is None:
        raise UserError(
            "warm start: the tokenizer has no EOS token, so the model could not learn to stop; use another model"
        )
    rows = []
    for prompt, completion in pairs:
        completion = completion.removesuffix(eos_text)
        head = encode_prompt(tokenizer, prompt)
        whole = encode_prompt(tokenizer, prompt + completion)
        if whole[: len(head)] == head:
            tail = whole[len(head) :]
        else:
            tail = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
        ids = [*head, *tail, eos]
        if len(ids) <= max_length:
            rows.append({"input_ids": ids, "completion_mask": [0] * len(head) + [1] * (len(tail) + 1)})
    return rows


def _train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, list[int]]],
    scratch: str,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    lora: LoraConfig | None,
    device: torch.device,
    bf16: bool,
) -> tuple[list[float], int]:
    """Run the trainer; leave `model` with the merged weights and without the trainer's patches."""
    # slow to import; only a warm start needs them
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    class Record(TrainerCallback):
        """Keeps the loss of every step and the running token count."""

        def __init__(self) -> None:
            self.losses: list[float] = []
            self.tokens = 0

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
        ) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))
                self.tokens = int(logs.get("num_tokens", self.tokens))

    class Bar(ProgressCallback):
        """The progress bar without a printed line per logged step."""

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
        ) -> None:
            pass

    config = SFTConfig(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=steps // 10,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        completion_only_loss=True,
        max_length=None,  # encode_pairs has already left the long ones out
        gradient_checkpointing=False,
        bf16=bf16,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type != "cpu",
        seed=seed,
        logging_steps=1,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # it would show a diverged run as a falling loss
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    if device.type != "cpu":
        config._n_gpu = 1  # several visible GPUs would mean nn.DataParallel, which trl refuses
    record = Record()
    patched = ("forward", "_original_forward")  # what trl and accelerate hang on the instance
    before = {name: model.__dict__[name] for name in patched if name in model.__dict__}
    set_seed(seed)  # the adapter's weights are drawn when the trainer is built; early trl 1.x does not seed them
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=copy.deepcopy(tokenizer),  # trl gives it a pad token
        peft_config=copy.deepcopy(lora),  # peft fills in target modules
        callbacks=[record],
    )
    trainer.remove_callback(PrinterCallback)
    if sys.stderr.isatty():
        trainer.add_callback(Bar)
    trainer.train()
    if lora is not None:
        adapted: Any = trainer.model
        adapted.merge_and_unload()  # merges into `model` itself
    for name in patched:
        model.__dict__.pop(name, None)
    model.__dict__.update(before)
    model.eval()
    return record.losses, record.tokens


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write the folder beside its place and move it there, so that it is whole or absent."""
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        scratch.chmod(0o755)
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        if out.exists():
            out.rmdir()  # empty, checked at the start
        os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _globals_put_back() -> Iterator[None]:
    """Undo what building and running a Trainer changes for the rest of the process."""
    import datasets
    import transformers
    from accelerate.state import AcceleratorState, GradientState, PartialState

    shared = [cls._shared_state for cls in (PartialState, AcceleratorState, GradientState)]
    states = [dict(state) for state in shared]
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    gpus, current = (torch.cuda.get_rng_state_all(), torch.cuda.current_device()) if on_gpu else ([], 0)
    environ, verbosity = dict(os.environ), transformers.logging.get_verbosity()
    data_bars, model_bars = not datasets.are_progress_bars_disabled(), transformers.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if data_bars:
            datasets.enable_progress_bars()
        if model_bars:
            transformers.logging.enable_progress_bar()
        transformers.logging.set_verbosity(verbosity)
        for name in os.environ.keys() - environ.keys():
            del os.environ[name]
        os.environ.update(environ)
        if on_gpu:
            torch.cuda.set_rng_state_all(gpus)
            torch.cuda.set_device(current)
        torch.set_rng_state(cpu)
        np.random.set_state(numpy)
        random.setstate(python)
        for state, kept in zip(shared, states, strict=True):
            state.clear()
            state.update(kept)
