"""Loading models and tokenizers from the built-in set, a folder or the hub, with readable errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from legibility.errors import UserError
from legibility.models.adapters import adapter_at, merged
from legibility.models.nano import NANO_DIR
from legibility.models.pretrained import has_file, pretrained, pretrained_model, readable_errors

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


def load_tokenizer(source: str, role: str, revision: str | None = None) -> Any:
    """The tokenizer of a model, with a pad token (its end token where it has none). Raises UserError without one.

    An adapter that was saved without a tokenizer has its base's.
    """
    while (adapter := adapter_at(source, role, revision)) and not has_file(
        source, "tokenizer_config.json", role, revision
    ):
        source, revision = adapter.base, adapter.base_revision
    tokenizer = pretrained(AutoTokenizer, source, role, revision)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def usable_pad(model: Any, tokenizer: Any) -> int:
    """An id to fill batches up with, which masks hide: the pad token's where the model has it, else any."""
    pad = tokenizer.pad_token_id
    return pad if pad is not None and pad < model.get_input_embeddings().weight.shape[0] else 0


def check_vocabulary(model: Any, tokenizer: Any, role: str) -> int | None:
    """The size of the model's vocabulary where its tokenizer has tokens beyond it, None where it has none.

    Raises UserError where not only added tokens (a pad token, say) lie beyond, so that ordinary text would.
    """
    size: int = model.get_input_embeddings().weight.shape[0]
    if getattr(tokenizer, "vocab_size", 0) > size:
        raise UserError(
            f"{role}.model: the tokenizer has {tokenizer.vocab_size} tokens and the model {size}; "
            "give a folder in which the two belong together"
        )
    return size if len(tokenizer) > size else None


def check_ids(ids: Sequence[int], size: int | None, tokenizer: Any, role: str) -> None:
    """Raises UserError for a text with a token that the model does not have (see `check_vocabulary`)."""
    if size is not None and max(ids, default=0) >= size:
        token = tokenizer.convert_ids_to_tokens(max(ids))
        raise UserError(
            f"{role}.model: the text has the token {token!r}, which the tokenizer knows and the model does not "
            f"({size} tokens); leave it out of problems and templates, or use another model"
        )


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt, with BOS in front once if this tokenizer uses one, and nothing after it.

    A chat template may have written BOS already; and some tokenizers append EOS, which a prompt must not have.
    """
    ids = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer("")["input_ids"][:1] == [bos] and ids[:1] != [bos]:
        ids.insert(0, bos)
    return ids


def surplus_start(tokenizer: Any, template: str) -> int:
    """How many tokens to take off an encoded template's start: 1 where it writes BOS and the tokenizer adds it again."""
    for name, start in ((tokenizer.bos_token, tokenizer.bos_token_id), (tokenizer.cls_token, tokenizer.cls_token_id)):
        if name and template.startswith(name) and tokenizer(name)["input_ids"][:2] == [start, start]:
            return 1
    return 0


def load_causal(
    source: str,
    dtype: str,
    device: str,
    attention: str | None = None,
    role: str = "prover",
    revision: str | None = None,
) -> Any:
    """A causal language model in evaluation mode, with transformers' choice of attention or a named one.

    A folder (or hub id) of an adapter gives its base with the adapter merged. `role` names the setting in errors.
    Raises UserError where there is no such model.
    """
    adapter = adapter_at(source, role, revision)
    if adapter is not None:  # perhaps of another adapter
        model = load_causal(adapter.base, dtype, device, attention, role, adapter.base_revision)
        return merged(model, adapter, role).eval()
    options: dict[str, Any] = {"dtype": DTYPES[dtype], **_attention(role, attention, device)}
    model = pretrained_model(AutoModelForCausalLM, source, role, revision, **options).to(device).eval()
    _check_embeddings(model, role)
    return model


def _check_embeddings(model: Any, role: str) -> None:
    """Raises UserError for a model that reads something else than tokens of a table (characters by hash, say)."""
    try:
        size = model.get_input_embeddings().weight.shape[0]
    except (AttributeError, NotImplementedError):
        size = 0
    if not size:
        raise UserError(f"{role}.model: {type(model).__name__} has no table of its tokens; use another model")


def disable_dropout(model: torch.nn.Module) -> None:
    """Switch every dropout off for good, in place, in training mode too."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout", "dropout"):  # some attention layers keep a bare rate
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def load_classifier(
    source: str, dtype: str, device: str, seed: int, attention: str | None = None, revision: str | None = None
) -> Any:
    """A sequence classifier with one logit; a missing head is initialised from `seed`.

    A head of two labels becomes one of one logit, the second label's less the first's (the first's less the second's,
    where the names of the labels say that the first is the good one). An adapter is merged. Raises UserError where it
    cannot be loaded, or has a head of more labels.
    """
    model = _classifier(source, dtype, device, seed, attention, revision)
    if model.config.num_labels == 2:
        one_logit(model)
    return model.to(device).eval()


def _classifier(source: str, dtype: str, device: str, seed: int, attention: str | None, revision: str | None) -> Any:
    """A sequence classifier with the one or two labels that it was saved with, adapters merged."""
    adapter = adapter_at(source, "verifier", revision)
    if adapter is not None:
        model: Any = _classifier(adapter.base, dtype, device, seed, attention, adapter.base_revision)
        if adapter.task == "SEQ_CLS":
            return merged(model, adapter, "verifier")
        tuned = load_causal(source, dtype, "cpu", None, "verifier", revision)
        with readable_errors(source, "verifier"):
            model.base_model.load_state_dict(tuned.base_model.state_dict())
        return model
    config = pretrained(AutoConfig, source, "verifier", revision)
    labels = config.num_labels if _has_head(config) else 1
    if labels > 2:
        raise UserError(
            f"verifier.model: {source} has a head of {labels} labels, and a score is one number; "
            "use a reward model, a classifier of two labels, or a model without a head"
        )
    options = {"dtype": DTYPES[dtype], **_attention("verifier", attention, device), "num_labels": labels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = AutoModelForSequenceClassification
        model = pretrained_model(kind, source, "verifier", revision, may_lack=_is_head, **options)
    _check_embeddings(model, "verifier")
    return model


def _is_head(model: Any, name: str) -> bool:
    """Whether a weight is of a classifier's head, which may be a new one; a pooler below it counts as one."""
    return "pooler" in name or not name.startswith(f"{model.base_model_prefix}.")


def _has_head(config: Any) -> bool:
    """Whether a saved model is a classifier, by the name of its class. (Every configuration has a number of labels.)"""
    return any("ForSequenceClassification" in name for name in config.architectures or [])


@torch.no_grad()
def one_logit(model: Any) -> None:
    """Turn a head of two labels into one logit, in place: log p(second) - log p(first), or its negative (`_first_is_good`).

    Raises UserError where the head is not one linear layer.
    """
    below = {id(module) for module in model.base_model.modules()}
    heads = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == 2 and id(module) not in below
    ]
    if len(heads) != 1:
        raise UserError(
            "verifier.model: its head of two labels is no single linear layer; use a model with one logit or without a head"
        )
    (name, old) = heads[0]
    new = torch.nn.Linear(old.in_features, 1, bias=old.bias is not None, dtype=old.weight.dtype)
    sign = -1 if _first_is_good(model.config) else 1
    new.weight.copy_(sign * (old.weight[1:] - old.weight[:1]))
    if old.bias is not None:
        new.bias.copy_(sign * (old.bias[1:] - old.bias[:1]))
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner) if owner else model, leaf, new)
    model.config.num_labels = model.num_labels = 1


BAD_NAMES = frozenset(
    [
        "incorrect",
        "wrong",
        "false",
        "bad",
        "negative",
        "neg",
        "no",
        "not_correct",
        "invalid",
        "rejected",
        "reject",
        "fail",
        "failed",
        "unacceptable",
    ]
)


def _first_is_good(config: Any) -> bool:
    """Whether the names of two labels say that the second is the bad one."""
    first, second = (str(config.id2label.get(i, "")).strip().lower() for i in range(2))
    return second in BAD_NAMES and first not in BAD_NAMES


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old kinds
            torch.zeros(1, device=setting).item()  # "meta" makes tensors, without numbers in them
    except Exception as error:  # of many types: each kind of device has a module of its own that may be missing
        raise UserError(
            f"compute.device: {setting!r} cannot be used ({' '.join(str(error).split())[:120]}); use auto or cpu"
        ) from None
    return setting


def keep_layers(model: Any, count: int) -> None:
    """Keep the first `count` transformer layers of a model, in place. Raises UserError where it cannot."""
    base = model.base_model
    for owner, name in ((base, "layers"), (getattr(base, "encoder", None), "layer"), (base, "h")):
        layers = getattr(owner, name, None)
        if isinstance(layers, torch.nn.ModuleList):
            if count > len(layers):
                raise UserError(
                    f"verifier.layers: the model has {len(layers)} layers, {count} asked for; ask for fewer, or null for all"
                )
            setattr(owner, name, layers[:count])
            model.config.num_hidden_layers = count
            if getattr(model.config, "layer_types", None):
                model.config.layer_types = model.config.layer_types[:count]
            return
    raise UserError("verifier.layers: this architecture cannot be truncated; set it to null")
