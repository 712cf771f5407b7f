"""What ranks that share weights hold and send, by hand. (That they hold it is in tests/sharded_checks.py.)"""

from __future__ import annotations

import pytest

from legibility.config import Config
from legibility.planning.amounts import Lengths
from legibility.planning.devices import gpu
from legibility.planning.footprint import Models, prover_memory, verifier_memory
from legibility.planning.shapes import ModelShape
from legibility.planning.shared import pass_bytes, passing, shared_state, whole_copy

SHAPE = ModelShape(
    parameters=1000, linear=600, last_linear=200, adapters=0, layers=3, hidden=10, query=10, key=10, intermediate=20,
    heads=1, vocabulary=40,
)  # fmt: skip
LORA = ModelShape(**{**vars(SHAPE), "adapters": 60})


def test_the_state_of_a_rank():
    assert shared_state(SHAPE, "float32", 2) == (2000, 2000, 4000)
    assert shared_state(SHAPE, "bfloat16", 2) == (2000, 2000, 4000), "kept in float32"
    assert shared_state(LORA, "bfloat16", 2) == ((2 * 1000 + 4 * 60) / 2, 4 * 60 / 2, 8 * 60 / 2)


def test_what_is_whole_for_a_moment():
    assert whole_copy(SHAPE, "bfloat16") == 2000 and whole_copy(LORA, "bfloat16") == 2000 + 240
    # 400 outside of three layers of 200 each; gradients of 400 + 200 in float32
    assert passing(SHAPE, "bfloat16") == (400 + 2 * 200) * 2 + 600 * 4
    assert passing(LORA, "bfloat16") == (400 + 2 * 200) * 2 + 2 * 20 * 4 + 20 * 4


def test_what_a_pass_sends():
    assert pass_bytes(SHAPE, "bfloat16", train=False) == 1000
    assert (
        pass_bytes(SHAPE, "bfloat16", train=True) == 2000 + 2000
    )  # twice the weights, and 4 bytes of each gradient, over 2


@pytest.mark.parametrize("ranks", [1, 4])
def test_the_plan_of_a_rank(ranks):
    config = Config.model_validate({"ppo": {"critic": "separate"}, "compute": {"shard": True}})
    lengths = Lengths(prompt=40, answer=20, longest=40, prompt_for_verifier=30)
    models = Models(SHAPE, SHAPE, None)
    found = {i.name: i.bytes for i in prover_memory(config, models, lengths, gpu("h100"), ranks).items}
    plain = config.model_copy(update={"compute": config.compute.model_copy(update={"shard": False})})
    whole = {i.name: i.bytes for i in prover_memory(plain, models, lengths, gpu("h100"), ranks).items}
    for name in ("prover's weights", "reference", "gradients", "AdamW's moments", "critic of its own"):
        assert found[name] == whole[name] / ranks, name  # float32: nothing else changes
    assert found["verifier"] == whole["verifier"], "it is small"
    sampling, update = "sampling: cache and logits", "update: activations and logits"
    extra = (whole_copy(SHAPE, "float32"), 2 * passing(SHAPE, "float32")) if ranks > 1 else (0, 0)
    assert (found[sampling] - whole[sampling], found[update] - whole[update]) == pytest.approx(extra)
    large = Models(SHAPE, ModelShape(**{**vars(SHAPE), "parameters": 60_000_000}), None)
    item = next(i for i in prover_memory(config, large, lengths, gpu("h100"), ranks).items if i.name == "verifier")
    assert item.bytes == 4 * 60_000_000 / ranks


def test_a_large_verifier_in_training():
    lengths = Lengths(prompt=40, answer=20, longest=40, prompt_for_verifier=30)
    for parameters, shared in ((1000, False), (60_000_000, True)):
        shape = ModelShape(**{**vars(SHAPE), "parameters": parameters})
        whole, parts = (
            verifier_memory("v", Config().verifier, shape, lengths, gpu("h100"), 4, s) for s in (False, True)
        )
        one, other = ({i.name: i.bytes for i in memory.items} for memory in (whole, parts))
        for name in ("weights", "gradients", "AdamW's moments"):
            assert other[name] == one[name] / (4 if shared else 1)
        last = "activations and logits"
        assert other[last] - one[last] == pytest.approx(passing(shape, "float32") if shared else 0)
