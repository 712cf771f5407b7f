"""A model checked when it is loaded: is what the package reads off it what the model itself says?

One packed group is compared with plain rows, one text at a time through the model's own forward; a classifier's
scores in company with its scores alone. What does not agree falls back to a slower route; a model that agrees
on none, or that is no causal language model, is refused. Architectures of `legibility.models.routes.LISTED`
skip the check: tests hold them to the same. Outcomes depend on the architecture, not on the weights, and are
remembered for the process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch

from legibility.errors import UserError
from legibility.models.flat import packed_hidden
from legibility.models.language import causal_logprobs
from legibility.models.own_pooling import Padding, ScoreReading, own_scores
from legibility.models.routes import Route, decoder_of, is_listed, last_hidden, may_share
from legibility.packing import pack

T = TypeVar("T")

# What two ways of computing one thing may differ by: relative to its size, or in nats where that is less.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.bfloat16: 0.1, torch.float16: 0.03}
SHAPES = ((7, (5, 9, 1)), (3, (4,)), (5, (2, 6)))  # tokens of a prompt, and of its completions
_outcomes: dict[str, Any] = {}


def causal_route(model: Any, role: str) -> Route:
    """How a causal language model is to be read. Raises UserError where no way gives its own log-probs."""
    if is_listed(model.config):
        return Route.SHARED
    return remembered(model, "causal", lambda: _causal_route(model, role))


def classifier_reading(
    model: Any, texts: Sequence[Sequence[int]], in_company: Callable[[ScoreReading], torch.Tensor], *, last_token: bool
) -> ScoreReading:
    """How the scores of a classifier are to be read, so that a text gets the same in company as alone.

    texts: some encoded texts; in_company(how): their scores (n,) by a way of reading. last_token: the score is a
    linear head on the last token; what is not right so, and other heads, take the model's own forward.
    Raises UserError where the model fails even on one text at a time.
    """
    if last_token and is_listed(model.config):
        return ScoreReading(Route.SHARED)
    return remembered(model, "classifier", lambda: _classifier_reading(model, texts, in_company, last_token))


def check_longest(model: Any, length: int, text: Sequence[int]) -> None:
    """Raises UserError where a verifier's own forward fails on a text of `length` tokens, `text` over and over.

    Not every model says in its configuration for how many positions it has a place, and a game meets its longest text late.
    """
    if is_listed(model.config):
        return
    ids = torch.tensor([(list(text) * (length // len(text) + 1))[:length]], device=device_of(model))

    def fits() -> bool:
        try:
            with at_rest(model):
                model(input_ids=ids)
        except Exception as error:  # whatever a foreign forward raises
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"verifier.max_length: {kind_of(model)} fails on a text of {length} tokens ({reason}); lower it"
            ) from None
        return True

    remembered(model, f"longest {length}", fits)


def _classifier_reading(
    model: Any, texts: Sequence[Sequence[int]], in_company: Callable[[ScoreReading], torch.Tensor], last_token: bool
) -> ScoreReading:
    with at_rest(model):
        with _own_forward(model, "verifier"):
            expected = torch.cat([own_scores(model, [text], Padding.NONE, 0) for text in texts])
        ways: list[ScoreReading] = [ScoreReading(route) for route in _candidates(model)] if last_token else []
        for how in [*ways, *(ScoreReading(None, padding) for padding in Padding)]:
            try:
                found = in_company(how)
            except Exception:  # as above
                continue
            if agree(found, expected, dtype_of(model)) and _tells_apart(found, expected, dtype_of(model)):
                _check_gradient(model, "verifier", partial(in_company, how))
                return how
    raise UserError(f"verifier.model: {kind_of(model)} does not score a text twice alike; use another model")


def _tells_apart(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether scores (n,) differ by little beside their own spread.

    A fresh head gives all texts nearly one score, which a wrong padding leaves as it is. Rounding is allowed for: a
    millionth of the scores in float32, and in types that are coarser than the spread nothing can be said.
    """
    rounding = 1e-6 if dtype in (torch.float32, torch.float64) else TOLERANCE.get(dtype, 0.1)
    bound = torch.maximum(0.05 * expected.std(), rounding * expected.abs().max())
    return bool((found - expected).abs().max() <= bound)


def notice(model: Any, role: str, how: Route | ScoreReading) -> str | None:
    """One line about a way of reading that is not the fast one of its kind, or None."""
    if isinstance(how, ScoreReading):
        if how.route is None:
            slow = how.padding is Padding.NONE
            return f"{role}.model: {kind_of(model)} is scored one text at a time, which is slow" if slow else None
        how = how.route
    if how is Route.SHARED:
        return None
    return (
        f"{role}.model: {kind_of(model)} is read as {how.value}: shared prompts would be wrong for it, this is slower"
    )


def _causal_route(model: Any, role: str) -> Route:
    prompts, completions = check_texts(model.config.get_text_config().vocab_size)
    batch = pack(prompts, completions).to(device_of(model))
    with at_rest(model):
        with _own_forward(model, role):
            causal, expected = _left_to_right(model), plain_logprobs(model, prompts, completions)
        if not causal:
            raise UserError(
                f"{role}.model: {kind_of(model)} reads both ways, so it is no causal language model; use another model"
            )
        worst = float("inf")

        def read(route: Route) -> torch.Tensor:
            return causal_logprobs(model, packed_hidden(model, batch, role, route), batch.target)

        for route in _candidates(model):
            try:
                found = read(route)
            except Exception:  # whatever a foreign forward makes of arguments it was not written for
                continue
            if agree(found, expected, dtype_of(model)):
                _check_gradient(model, role, partial(read, route))
                return route
            worst = min(worst, float((found - expected).abs().max()))
    raise UserError(
        f"{role}.model: the log-probs computed for {kind_of(model)} are not the model's own "
        f"(they differ by {worst:.2g} nats at best); use a model of another architecture"
    )


def _candidates(model: Any) -> list[Route]:
    return [route for route in Route if route is not Route.SHARED or may_share(model.config)]


@contextmanager
def _own_forward(model: Any, role: str) -> Iterator[None]:
    """A model whose own forward fails on plain text is refused in one line."""
    try:
        yield
    except Exception as error:  # whatever a foreign forward raises
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{role}.model: {kind_of(model)} fails on plain text ({type(error).__name__}: {reason}); use another model"
        ) from None


def _check_gradient(model: Any, role: str, forward: Callable[[], torch.Tensor]) -> None:
    """Raises UserError where a forward pass has no gradient (some models overwrite what it would need)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        return
    try:
        with torch.enable_grad():
            torch.autograd.grad(forward().sum(), trained, allow_unused=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{role}.model: {kind_of(model)} cannot be trained ({reason}); use another model") from None
    forward()  # what a recurrent layer remembers of a pass must not hold its gradients: such a model cannot be copied


def check_texts(vocabulary: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Prompts and completions of random tokens, always the same ones."""
    generator = torch.Generator().manual_seed(0)

    def text(length: int) -> list[int]:
        return torch.randint(min(3, vocabulary - 1), vocabulary, (length,), generator=generator).tolist()

    return [text(n) for n, _ in SHAPES], [[text(m) for m in lengths] for _, lengths in SHAPES]


def plain_logprobs(model: Any, prompts: list[list[int]], completions: list[list[list[int]]]) -> torch.Tensor:
    """Log-probs (M,) at temperature 1 by the plainest route: one unpadded text at a time, the model's own logits."""
    found = []
    for prompt, group in zip(prompts, completions, strict=True):
        for completion in group:
            ids = torch.tensor([prompt + completion], device=device_of(model))
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
            target = torch.tensor(completion, device=logits.device)
            found.append(torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0])
    return torch.cat(found)


def reads_left_to_right(model: Any, role: str) -> bool:
    """Whether a token's hidden state is the same whatever follows. (An encoder loads as a causal model too.)

    Raises UserError where the model fails on plain text.
    """
    with _own_forward(model, role):
        return _left_to_right(model)


@torch.no_grad()
def _left_to_right(model: Any) -> bool:
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=device_of(model))
    first, second = last_hidden(decoder_of(model)(input_ids=ids))[:, :2].float()
    return agree(first, second, dtype_of(model))


def agree(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors (n,) or (n, d) are one, to what numbers of a type can hold. Nothing that is no number is."""
    found, expected = found.float(), expected.float()
    gap, size = ((found - expected).abs(), expected.abs()) if found.dim() == 1 else (
        (found - expected).norm(dim=-1), expected.norm(dim=-1)
    )  # fmt: skip
    return bool((gap <= TOLERANCE.get(dtype, 0.1) * size.clamp_min(1.0)).all())


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """Evaluation mode, without gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def remembered(model: Any, question: str, find: Callable[[], T]) -> T:
    """The answer of `find()` for this architecture, looked for once a process. What it raises is not kept."""
    shape = {k: v for k, v in model.config.to_dict().items() if not k.startswith("_")}
    facts = [question, type(model).__name__, str(dtype_of(model)), device_of(model).type,
             model.config._attn_implementation, shape]  # fmt: skip
    key = json.dumps(facts, sort_keys=True, default=str)
    if key not in _outcomes:
        _outcomes[key] = find()
    found: T = _outcomes[key]
    return found


def kind_of(model: Any) -> str:
    """The architecture's name, for messages."""
    return type(model).__name__


def dtype_of(model: Any) -> torch.dtype:
    """The type of a model's weights."""
    found: torch.dtype = model.get_input_embeddings().weight.dtype
    return found


def device_of(model: Any) -> torch.device:
    """Where a model's weights are."""
    found: torch.device = model.get_input_embeddings().weight.device
    return found
