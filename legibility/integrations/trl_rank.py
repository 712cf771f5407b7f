"""One rank's part of a prover phase trained by TRL: the trainer, what it calls to be paid, and when it listens.

TRL hands a reward callable the rows of its own rank only, and splits the completions of one prompt over ranks. So every
rank grades and scores its own, all are gathered, the game on rank 0 pays the whole step at once, and each rank takes its
rows' rewards back. Nothing of a phase is left behind in the process: accelerate's state, the launcher's variables, the
model's forward pass and configuration are afterwards what they were.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import trl
from accelerate.state import AcceleratorState, GradientState, PartialState
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.utils import logging as hf_logging

from legibility.grading import grade
from legibility.integrations.trl_settings import TRAINERS, Batches
from legibility.integrations.trl_work import Answer, Desk, PhaseWork, Players
from legibility.models.saving import save_tensors
from legibility.randomness import derive_seed
from legibility.team import Team


def train(players: Players, work: PhaseWork, team: Team, *, desk: Desk | None = None) -> None:
    """Train the prover through the phase's steps, or until the game on rank 0 says that they are enough.

    desk: where rank 0's game answers; None on the others.
    """
    talk = _Talk(team, desk)
    with ExitStack() as stack:
        stack.enter_context(team.lent())
        stack.enter_context(_accelerate_anew())
        stack.enter_context(_model_as_it_was(players.prover))
        stack.enter_context(_quietly())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        batches = Batches.of(work.ppo, work.completions, team.size)
        trainer = _trainer(players, work, batches, _Reward(players, work, talk), folder)
        trainer.add_callback(_Turns(work, batches, talk, players, team.rank))
        trainer.train()


class _Talk:
    """Questions to the game, asked by all ranks at once and answered to all of them."""

    def __init__(self, team: Team, desk: Desk | None) -> None:
        self.team, self.desk = team, desk

    def ask(self, question: Any) -> Any:
        """The game's answer, the same on all ranks."""
        return self.team.gather(self.desk.ask(question) if self.desk is not None else None)[0]


class _Reward:
    """What TRL calls with a rank's completions: they are graded, scored, gathered, and paid by the game."""

    __name__ = "game"  # under which TRL logs it

    def __init__(self, players: Players, work: PhaseWork, talk: _Talk) -> None:
        self.players, self.work, self.talk = players, work, talk
        self.tasks = [task for step in work.steps for task in step]
        self.ends = players.prover.end_ids

    def __call__(self, completion_ids: list[list[int]], task: list[int], **_: Any) -> list[float]:
        """Rewards of this rank's completions, of which `task` says what each answers."""
        mine = self._answers(completion_ids, task)
        parts = self.talk.team.gather((task, mine))
        places = [place for part, _ in parts for place in part]
        samples = self.work.ppo.samples_per_role
        if places != [place for place in places[::samples] for _ in range(samples)]:
            raise RuntimeError(
                "TRL's groups are not whole, or in another order than expected; is its version supported?"
            )
        paid = self.talk.ask([answer for _, part in parts for answer in part])
        begin = sum(len(part) for part, _ in parts[: self.talk.team.rank])
        return [float(x) for x in paid[begin : begin + len(task)]]

    def _answers(self, completion_ids: list[list[int]], task: list[int]) -> list[Answer]:
        prover, verifier, grading = self.players.prover, self.players.verifier, self.work.grading
        tasks = [self.tasks[i] for i in task]
        texts = [prover.decode(ids) for ids in completion_ids]
        scores: list[float | None] = [None] * len(texts)
        if verifier is not None:
            scores = list(map(float, verifier.score([t.problem for t in tasks], texts)))
        answers = []
        for one, text, ids, score in zip(tasks, texts, completion_ids, scores, strict=True):
            truncated = not ids or ids[-1] not in self.ends
            verdict = grade(text, one.problem.answer, grading.marker, truncated=truncated, unparsed=grading.unparsed)
            length = len(prover.prompt_ids(one.problem, one.role))
            answers.append(Answer(text, verdict, length, len(ids), truncated, score))
        return answers


class _Turns(TrainerCallback):
    """Seeds every step's sampling, and lets the game have its turn after every step's last update."""

    def __init__(self, work: PhaseWork, batches: Batches, talk: _Talk, players: Players, rank: int) -> None:
        self.work, self.updates, self.talk, self.players, self.rank = work, batches.updates, talk, players, rank

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before an update; the first of a step samples."""
        if state.global_step % self.updates == 0:
            step = self.work.first + state.global_step // self.updates
            torch.manual_seed(derive_seed(*self.work.key, "trl", step, self.rank))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """After a step's last update, and once more at the end."""
        if logs is None or "loss" not in logs or state.global_step % self.updates:
            return
        model = self.players.prover.model
        training = model.training
        model.eval()  # the game may sample from it
        goes_on = self.talk.ask(dict(logs))
        model.train(training)
        if not goes_on:
            control.should_training_stop = True


def _trainer(players: Players, work: PhaseWork, batches: Batches, reward: _Reward, folder: Path) -> Any:
    """The trainer, set up as the settings say. `folder` is a temporary one of this rank."""
    prover, ppo = players.prover, work.ppo
    name = TRAINERS[work.trainer]
    base, config = getattr(trl, name), getattr(trl, name.replace("Trainer", "Config"))
    if not callable(getattr(base, "_tokenize_prompts", None)):
        raise RuntimeError(f"this version of TRL tokenises prompts elsewhere ({trl.__version__})")
    texts, tokens = [], {}
    for step in work.steps:
        for task in step:
            texts.append(prover.prompt_text(task.problem, task.role))
            tokens[texts[-1]] = prover.prompt_ids(task.problem, task.role)

    class Ours(base):  # type: ignore[misc, valid-type]
        """Reads prompts as the game does: one BOS, which a chat template may have written already."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [list(tokens[prompt]) for prompt in prompts], None, {}

    particular: dict[str, dict[str, Any]] = {"grpo": {"scale_rewards": "none"}, "rloo": {"normalize_advantages": False}}
    args = config(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=batches.per_device,
        gradient_accumulation_steps=batches.accumulation,
        steps_per_generation=batches.per_generation,
        num_generations=ppo.samples_per_role,
        num_iterations=ppo.epochs,
        max_steps=batches.updates * len(work.steps),
        max_completion_length=work.max_new_tokens,
        shuffle_dataset=False,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        beta=ppo.kl_coefficient,
        epsilon=ppo.clip,
        learning_rate=ppo.learning_rate,
        max_grad_norm=ppo.max_grad_norm,
        disable_dropout=True,
        gradient_checkpointing=prover.recomputes,
        bf16=False,  # weights have the type of prover.dtype, and so has what is computed of them
        use_cpu=work.device == "cpu",
        dataloader_pin_memory=work.device != "cpu",
        seed=derive_seed(*work.key, "trl") % 2**31,
        logging_steps=batches.updates,
        logging_nan_inf_filter=False,  # the game refuses what is no number
        save_strategy="no",
        report_to="none",
        # experts that no token chose get no gradient; looking for them costs time that other models need not spend
        ddp_find_unused_parameters=hasattr(prover.causal.config.get_text_config(), "output_router_logits"),
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        **particular[work.trainer],
    )
    if players.reference is not None:  # TRL reads it from where the policy says that it is from
        _write(players.reference, folder / "reference")
        players.reference = None
        prover.causal.config._name_or_path = str(folder / "reference")
    trainer = Ours(
        model=prover.model,
        reward_funcs=reward,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": texts, "task": list(range(len(texts)))}),
        processing_class=copy.deepcopy(prover.tokenizer),
        optimizers=(players.optimizer, torch.optim.lr_scheduler.LambdaLR(players.optimizer, lambda _: 1.0)),
    )
    if "ref" in getattr(prover.model, "peft_config", {}):
        prover.model.delete_adapter("ref")  # of the weights a resume goes on from; without it TRL turns the adapter off
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


def _write(model: Any, folder: Path) -> None:
    """Write a model for this rank alone; transformers' own way writes nothing on any rank but the first."""
    folder.mkdir()
    model.config.save_pretrained(folder)
    tensors = {name: x.detach().cpu().clone() for name, x in model.state_dict().items()}  # tied ones once each
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


@contextmanager
def _quietly() -> Iterator[None]:
    """A block without the libraries' remarks on settings and their bars; errors are still told."""
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


@contextmanager
def _accelerate_anew() -> Iterator[None]:
    """A block with accelerate's shared state as in a new process; what it was (of a tracker, say) comes back."""
    kept = [(state, dict(state._shared_state)) for state in (PartialState, AcceleratorState, GradientState)]
    for state, _ in kept:
        state._shared_state.clear()
    try:
        yield
    finally:
        for state, was in kept:
            state._shared_state.clear()
            state._shared_state.update(was)


@contextmanager
def _model_as_it_was(prover: Any) -> Iterator[None]:
    """A block after which the prover's model has its own forward pass, configuration and mode again; its weights stay."""
    causal, training = prover.causal, prover.model.training
    settings = [c for c in (causal.config, getattr(causal, "generation_config", None)) if c is not None]
    kept = [copy.deepcopy(vars(c)) for c in settings]
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        vars(causal).pop("forward", None)
        for one, was in zip(settings, kept, strict=True):
            vars(one).clear()
            vars(one).update(was)
        prover.model.zero_grad(set_to_none=True)
        prover.model.train(training)
        torch.set_num_threads(threads)
