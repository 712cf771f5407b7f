"""Loading models and tokenizers from the built-in set, a folder or the hub, with readable errors."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as hf_logging

from legibility.errors import UserError
from legibility.models.nano import NANO_DIR

FLEX = "flex_attention"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NANO_VERIFIERS = {
    "nano": "verifier-m",
    "nano-xs": "verifier-xs",
    "nano-s": "verifier-s",
    "nano-m": "verifier-m",
    "nano-equal": "prover",
    **{f"nano-{size}-marked": f"verifier-{size}-marked" for size in ("xs", "s", "m", "equal")},
}


def resolve(name: str, role: str, base_dir: Path | None = None) -> str:
    """The hub id or folder behind a model setting; `role` is "prover" or "verifier".

    A name that exists as a folder (absolute, or relative to `base_dir` or the working folder) is that
    folder; "nano…" names are the shipped models; anything else is taken for a hub id.
    Raises UserError where something looks like a path and is not there.
    """
    if role == "prover" and name == "nano":
        return str(NANO_DIR / "prover")
    if role == "verifier" and name in NANO_VERIFIERS:
        return str(NANO_DIR / NANO_VERIFIERS[name])
    for root in (base_dir, Path()):
        candidate = Path(name).expanduser() if root is None else root / Path(name).expanduser()
        if candidate.is_dir():
            return str(candidate)
    if Path(name).is_absolute() or name.startswith((".", "~")) or (name.count("/") != 1 and "/" in name):
        raise UserError(f"{role}.model: no folder {name}; give a folder with a saved model or a hub id")
    return name


def load_tokenizer(source: str, role: str) -> Any:
    """The tokenizer of a model, with a pad token (its end token where it has none). Raises UserError without one."""
    with _readable_errors(source, role):
        tokenizer = AutoTokenizer.from_pretrained(source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def usable_pad(model: Any, tokenizer: Any) -> int:
    """An id to fill batches up with, which masks hide: the pad token's where the model has it, else any."""
    pad = tokenizer.pad_token_id
    return pad if pad is not None and pad < model.get_input_embeddings().weight.shape[0] else 0


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt, with BOS in front once if this tokenizer uses one, and nothing after it.

    A chat template may have written BOS already; and some tokenizers append EOS, which a prompt must not have.
    """
    ids = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer("")["input_ids"][:1] == [bos] and ids[:1] != [bos]:
        ids.insert(0, bos)
    return ids


def load_causal(source: str, dtype: str, device: str, attention: str | None = None, role: str = "prover") -> Any:
    """A causal language model in evaluation mode, with transformers' choice of attention or a named one.

    `role` names the setting in errors. Raises UserError where there is no such model.
    """
    with _readable_errors(source, role):
        model: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=DTYPES[dtype], **_attention(role, attention, device)
        )
    return model.to(device).eval()


def disable_dropout(model: torch.nn.Module) -> None:
    """Switch every dropout off for good, in place, in training mode too."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout", "dropout"):  # some attention layers keep a bare rate
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def load_classifier(source: str, dtype: str, device: str, seed: int, attention: str | None = None) -> Any:
    """A sequence classifier with one logit; a missing head is initialised from `seed`.

    Raises UserError where it cannot be loaded.
    """
    with _readable_errors(source, "verifier"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=1, dtype=DTYPES[dtype], **_attention("verifier", attention, device)
        )
    return model.to(device).eval()


def _attention(role: str, name: str | None, device: str) -> dict[str, str]:
    """The loading option of an attention implementation. Raises UserError where the device cannot train with it."""
    if name == FLEX and not str(device).startswith("cuda"):
        raise UserError(
            f"{role}.attention: {FLEX} trains on a GPU only and the device is {device}; leave the setting out"
        )
    return {} if name is None else {"attn_implementation": name}


def pick_device(setting: str) -> str:
    """The torch device of `compute.device`. Raises UserError where it is not there."""
    if setting == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=setting)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"compute.device: {setting!r} cannot be used ({str(error).splitlines()[0]}); use auto or cpu"
        ) from None
    return setting


@contextmanager
def _readable_errors(source: str, role: str) -> Iterator[None]:
    """Quiet the libraries' loading reports and turn their failures into one line."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.captureWarnings(False)
            yield
    except UserError:
        raise
    except Exception as error:  # transformers raises many types here: OSError, ValueError, SafetensorError, …
        reason = " ".join(str(error).split())[:200]
        offline = " (the hub is switched off by HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
        raise UserError(
            f"{role}.model: cannot load {source!r}{offline}: {reason}; give a hub id or a folder with a saved model"
        ) from None
    finally:
        hf_logging.set_verbosity(level)
