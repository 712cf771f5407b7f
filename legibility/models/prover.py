"""The prover: a causal language model, its tokenizer and its role prompts, in one object.

One set of weights plays both roles (Kirchner et al. 2024, Sec. 3.1); the prompt says which. With
LoRA the reference policy of the KL penalty is the same model with its adapter off; with full weights
it is a frozen copy.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from legibility.chat import ChatTemplate
from legibility.config import ProverSettings
from legibility.errors import UserError
from legibility.hub import only_what_answers
from legibility.models.control_tokens import ControlTokens
from legibility.models.flat import packed_hidden
from legibility.models.language import causal_logits, causal_logprobs
from legibility.models.loading import (
    check_ids,
    check_vocabulary,
    disable_dropout,
    encode_prompt,
    load_causal,
    load_tokenizer,
    resolve,
)
from legibility.models.pretrained import commit_of
from legibility.models.routes import Route
from legibility.models.saving import save_model
from legibility.models.self_check import causal_route
from legibility.models.value_head import ValueHead
from legibility.packing import PackedBatch
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, ROLES, SNEAKY, PromptSet, load_prompts
from legibility.sharding import Holder, through


class Prover:
    """`model` (perhaps wrapped by peft), `tokenizer`, `prompts`; everything stays on `device`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: PromptSet,
        *,
        device: str,
        chat_template: bool | str = False,
        route: Route | None = None,
    ) -> None:
        self.model, self.tokenizer, self.prompts = model, tokenizer, prompts
        self.device, self.chat_template = device, chat_template
        self.commit: str | None = None  # of a model from the hub
        self.chat = ChatTemplate.of(tokenizer, chat_template)
        self.control = ControlTokens.of(tokenizer)
        self.is_lora = hasattr(model, "peft_config")
        self._encoded: dict[tuple[str, str], list[int]] = {}
        disable_dropout(model)  # PPO compares log-probs of one function
        self.dtype: torch.dtype = self.causal.get_input_embeddings().weight.dtype  # that it computes in
        self._vocabulary = check_vocabulary(self.causal, tokenizer, "prover")
        self.route = route or causal_route(self.causal, "prover")
        self.engines: dict[str, str] = {}  # what samples where an engine is asked for (legibility.rollouts.choice)

    @classmethod
    def load(
        cls,
        settings: ProverSettings,
        device: str,
        *,
        seed: int = 0,
        source: str | None = None,
        base_dir: Path | None = None,
    ) -> Prover:
        """Load from settings; `source` overrides the model (a checkpoint folder, or a warm-started base).

        A folder with an `adapter_config.json` is an adapter on top of the settings' model.
        Raises UserError where anything cannot be loaded.
        """
        base, revision = resolve(settings.model, "prover", base_dir), settings.revision
        adapter = source if source and (Path(source) / "adapter_config.json").is_file() else None
        if source and not adapter:
            base, revision = source, None
        commit = commit_of(base, revision, "prover")
        tokenizer = load_tokenizer(base, "prover", commit)
        model = load_causal(base, settings.dtype, device, settings.attention, revision=commit)
        if adapter:
            from peft import PeftModel  # slow to import, here and below: only LoRA needs it

            model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
        elif settings.lora is not None:
            model = add_lora(model, settings, seed)
        if settings.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise UserError(f"prover.gradient_checkpointing: {settings.model} does not support it; set it to false")
            recompute_activations(model)
        prover = cls(
            model,
            tokenizer,
            load_prompts(settings.prompts, base_dir),
            device=device,
            chat_template=settings.chat_template,
        )
        prover.commit = commit
        return prover

    @property
    def causal(self) -> Any:
        """The causal language model itself, adapters still in place."""
        return self.model.get_base_model() if self.is_lora else self.model

    @property
    def recomputes(self) -> bool:
        """Whether gradient checkpointing is on; transformers obeys it in training mode only."""
        return any(getattr(m, "gradient_checkpointing", False) for m in self.causal.modules())

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states that the output layer reads."""
        return self.causal.get_output_embeddings().weight.shape[1]

    @property
    def end_ids(self) -> set[int]:
        """Tokens that end a completion."""
        generation = getattr(self.causal, "generation_config", None)
        ids = getattr(generation, "eos_token_id", None)
        ids = ids if isinstance(ids, list) else [] if ids is None else [ids]
        return {i for i in [*ids, self.tokenizer.eos_token_id] if i is not None}

    def prompt_text(self, problem: Problem, role: str) -> str:
        """The role's prompt for this problem; control tokens are the template's alone, never the problem's."""
        return self.prompts.render(self.control.plain(problem.question), role, self.chat)

    def prompt_ids(self, problem: Problem, role: str, begun: str = "") -> list[int]:
        """Token ids of the role's prompt for this problem, tokenised once.

        begun: text that the completion goes on with, control tokens in it taken for letters. A space parts it from
        plain prompts; from a chat turn, a special token or white space, which completions follow at once, nothing does.
        """
        if begun:
            prompt = self.prompt_text(problem, role)
            ids = encode_prompt(self.tokenizer, prompt + self.space_after(prompt) + self.control.plain(begun))
            check_ids(ids, self._vocabulary, self.tokenizer, "prover")
            return ids
        key = problem.question, role
        if key not in self._encoded:
            ids = encode_prompt(self.tokenizer, self.prompt_text(problem, role))
            check_ids(ids, self._vocabulary, self.tokenizer, "prover")
            self._encoded[key] = ids
        return list(self._encoded[key])

    def translation_text(self, problem: Problem, solution: str, role: str, answer: str | None = None) -> str:
        """The role's prompt to rewrite a solution of this problem; answer: the right one, where the role is told it.

        Raises ValueError where the prompt set has none (`PromptSet.translates`).
        """
        question, written = self.control.plain(problem.question), self.control.plain(solution)
        return self.prompts.translation(question, written, role, answer, self.chat)

    def translation_ids(self, problem: Problem, solution: str, role: str, answer: str | None = None) -> list[int]:
        """Token ids of `translation_text`. Raises UserError for a token that the model does not have."""
        ids = encode_prompt(self.tokenizer, self.translation_text(problem, solution, role, answer))
        check_ids(ids, self._vocabulary, self.tokenizer, "prover")
        return ids

    @property
    def positions(self) -> int | None:
        """The tokens that the model has places for, None where it names no such number."""
        room = getattr(self.causal.config.get_text_config(), "max_position_embeddings", None)
        return room if isinstance(room, int) and room > 0 else None

    def space_after(self, prompt: str) -> str:
        """What parts a completion from its prompt: nothing behind a chat turn, a special token or white space, else a space."""
        if self.chat or prompt[-1:].isspace():
            return ""
        return "" if encode_prompt(self.tokenizer, prompt)[-1] in self.tokenizer.all_special_ids else " "

    def check_roles(self) -> None:
        """Raises UserError where both roles read the same tokens, a prompt does not hold its problem, or is another each time."""
        problem = Problem("check", "Tom has 3 pens & Ann's box has 4 (so 3 < 4). How many have they?", "7")
        texts = [self.prompt_text(problem, role) for role in ROLES]
        if any([self.prompt_text(problem, role) for role in ROLES] != texts for _ in range(8)):
            raise UserError(
                "prover.chat_template: the template writes another prompt each time (by the clock, or at random), so no run "
                "could be repeated; mend it in the model's folder, or set chat_template to false"
            )
        if any(problem.question not in text for text in texts):
            raise UserError(
                "prover.chat_template: the template leaves the problem out of the prompt or changes it; set it to false, or mend the template"
            )
        if self.prompt_ids(problem, HELPFUL) == self.prompt_ids(problem, SNEAKY):
            how = "with the chat template" if self.chat else "to this model's tokenizer"
            raise UserError(
                f"prover.prompts: helpful and sneaky prompts are the same {how}, so no role would be played; "
                "write the difference into the helpful and sneaky templates, in words the tokenizer knows"
            )

    def decode(self, ids: list[int]) -> str:
        """Completion text without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def hidden_and_logits(self, batch: PackedBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (M, hidden) that predict the M completion tokens, and their logits (M, vocabulary).

        Logits are made only where they are needed and are divided by the sampling temperature.
        """
        return through(self.causal, self._hidden_and_logits, batch, temperature)

    def _hidden_and_logits(self, batch: PackedBatch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = packed_hidden(self.causal, batch, route=self.route)
        return hidden, self.logits(hidden) / temperature

    def hidden_and_logprobs(self, batch: PackedBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (M, hidden) that predict the M completion tokens, and the tokens' log-probs (M,)."""
        return through(self.causal, self._hidden_and_logprobs, batch, temperature)

    def _hidden_and_logprobs(self, batch: PackedBatch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = packed_hidden(self.causal, batch, route=self.route)
        return hidden, causal_logprobs(self.causal, hidden, batch.target, temperature)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Next-token logits in float32, with the model's own scaling and soft cap where it has them."""
        return causal_logits(self.causal, hidden)

    def frozen_copy(self) -> Prover:
        """The reference policy, this prover as it is now: a frozen copy, or a view without the adapter while that adds nothing."""
        if self.is_lora and not self._adapted:
            return _AdapterOff(self)
        model = copy.deepcopy(self.model).eval().requires_grad_(False)
        return Prover(
            model, self.tokenizer, self.prompts, device=self.device, chat_template=self.chat_template, route=self.route
        )

    def holders(self) -> list[Holder]:
        """The network, to be spread over ranks."""
        return [Holder(self, "model")]

    def let_go(self) -> None:
        """Nothing refers to the weights."""

    def take_up(self, device: str) -> None:
        """The weights are on another device now."""
        self.device = device

    @property
    def _adapted(self) -> bool:
        """Whether the adapter has been trained: of a fresh one, one of each pair of matrices is zero."""
        zero_when_fresh = ("lora_B", "lora_embedding_A")
        return any(
            bool(p.any()) for name, p in self.model.named_parameters() if any(z in name for z in zero_when_fresh)
        )

    def save(self, folder: Path, value_head: ValueHead | None = None) -> None:
        """Write model (adapter only with LoRA), tokenizer and value head as safetensors."""
        with only_what_answers(needed=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft looks whether the base's vocabulary was changed, on the hub too
            save_model(self.model, folder)
        self.tokenizer.save_pretrained(folder)
        if value_head is not None:
            value_head.save(folder)


class _AdapterOff(Prover):
    """A view of a LoRA prover as it was before training: every forward pass runs with the adapter off."""

    def __init__(self, prover: Prover) -> None:
        self.__dict__.update(prover.__dict__)
        del self.__dict__["model"]  # always the one that the prover has now
        self._prover = prover

    @property
    def model(self) -> Any:
        """The prover's."""
        return self._prover.model

    def holders(self) -> list[Holder]:
        """No network of its own."""
        return []

    def hidden_and_logits(self, batch: PackedBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        with self._off():
            return super().hidden_and_logits(batch, temperature)

    def hidden_and_logprobs(self, batch: PackedBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        with self._off():
            return super().hidden_and_logprobs(batch, temperature)

    @contextmanager
    def _off(self) -> Iterator[None]:
        with self.model.disable_adapter():
            yield


def recompute_activations(model: Any) -> None:
    """Switch gradient checkpointing on, in place.

    It is the kind that is not re-entrant and needs no gradients of its inputs. transformers' hooks that give them some
    are taken off again: they are local functions, and a model with such cannot be sent to other ranks.
    """
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    base.disable_input_require_grads()


def lora_config(settings: ProverSettings) -> Any:
    """The peft configuration of the settings, or None for full weights."""
    if settings.lora is None:
        return None
    from peft import LoraConfig

    lora = settings.lora
    return LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, target_modules=lora.target_modules, lora_dropout=0.0, task_type="CAUSAL_LM"
    )


def add_lora(model: Any, settings: ProverSettings, seed: int) -> Any:
    """Wrap a model with fresh adapters, initialised from `seed`. Raises UserError for unknown modules or too high a rank."""
    width = model.get_input_embeddings().weight.shape[1]
    if settings.lora is not None and settings.lora.r > width:
        raise UserError(
            f"prover.lora.r: {settings.lora.r} is beyond the {width} that the model is wide, where an adapter is larger than "
            "what it adapts; give less, or train full weights (prover.lora=null)"
        )
    try:
        return adapted(model, lora_config(settings), seed)
    except ValueError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"prover.lora.target_modules: {reason}; name modules of this model, or all-linear") from None


def adapted(model: Any, config: Any, seed: int) -> Any:
    """The model with fresh adapters of a peft configuration, initialised from `seed`. Raises ValueError as peft does."""
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        warnings.simplefilter("ignore", FutureWarning)  # of names that peft asks transformers for
        return get_peft_model(model, config, autocast_adapter_dtype=True)
