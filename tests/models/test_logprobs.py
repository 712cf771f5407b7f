"""Fused token log-probs against log_softmax, kept whole or made again in pieces."""

from __future__ import annotations

import pytest
import torch

from legibility.models import logprobs
from legibility.models.logprobs import token_logprobs


@pytest.mark.parametrize("keep", [10**6, 50, 7])  # all at once; pieces of 5 rows; of one row
@pytest.mark.parametrize("scale", [1.0, 1 / 0.7])
@pytest.mark.parametrize("frozen", ["", "hidden", "weight"])
def test_values_and_gradients_are_those_of_log_softmax(monkeypatch, keep, scale, frozen):
    monkeypatch.setattr(logprobs, "KEEP_ELEMENTS", {"cpu": keep})
    monkeypatch.setattr(logprobs, "PIECE_ELEMENTS", {"cpu": keep})
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(23, 4, generator=generator), torch.randn(10, 4, generator=generator) * 3
    target, coefficient = torch.randint(10, (23,), generator=generator), torch.randn(23, generator=generator)
    results = []
    for function in (
        lambda h, w: token_logprobs(h, w, target, scale),
        lambda h, w: torch.log_softmax(scale * h @ w.t(), -1)[torch.arange(23), target],
    ):
        h, w = hidden.clone().requires_grad_(frozen != "hidden"), weight.clone().requires_grad_(frozen != "weight")
        out = function(h, w)
        (out * coefficient).sum().backward()
        results.append((out.detach(), h.grad, w.grad))
    for mine, plain in zip(*results, strict=True):
        assert (mine is None) == (plain is None)
        if mine is not None:
            torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-5)


def test_extreme_logits_stay_finite():
    hidden, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0], [0.999]])
    torch.testing.assert_close(token_logprobs(hidden, weight, torch.tensor([0])), torch.tensor([-0.3132616]))
    assert token_logprobs(hidden, weight, torch.tensor([1])).item() == pytest.approx(-2000.3132, abs=1e-2)


def test_bfloat16_head_gives_float32_log_probs():
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(6, 8, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(5, 8, generator=generator).bfloat16().requires_grad_()
    out = token_logprobs(hidden, weight, torch.tensor([0, 1, 2, 3, 4, 0]))
    assert out.dtype == torch.float32
    out.sum().backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16
    torch.testing.assert_close(
        out.detach(), torch.log_softmax((hidden @ weight.t()).float(), -1)[range(6), [0, 1, 2, 3, 4, 0]].detach()
    )


@pytest.mark.parametrize(("keep", "learns", "products"), [(230, True, 1), (229, True, 10), (230, False, 5)])
def test_logits_are_made_once_where_they_are_kept(monkeypatch, keep, learns, products):
    """23 x 10 logits in pieces of 5 rows: kept if there is room; else made for the loss and again for its gradient."""
    monkeypatch.setattr(logprobs, "KEEP_ELEMENTS", {"cpu": keep})
    monkeypatch.setattr(logprobs, "PIECE_ELEMENTS", {"cpu": 50})
    made, own = [], logprobs._logprobs
    monkeypatch.setattr(logprobs, "_logprobs", lambda *a: (made.append(len(a[0])), own(*a))[1])
    hidden, weight = torch.randn(23, 4), torch.randn(10, 4, requires_grad=True)
    with torch.set_grad_enabled(learns):
        out = token_logprobs(hidden, weight, torch.zeros(23, dtype=torch.long)).sum()
    if learns:
        out.backward()
    assert len(made) == products and sum(made) == 23 * (2 if products == 10 else 1)
