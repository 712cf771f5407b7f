"""Time of phases: what a rank has to do, by hand on the smallest of devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legibility.config import Config
from legibility.planning.amounts import GamePartSizes, Lengths
from legibility.planning.devices import gpu
from legibility.planning.footprint import Models
from legibility.planning.phase_times import Clock, Rank, phase_times, total_seconds
from legibility.planning.shapes import shape_of
from legibility.planning.work import Packed, Work, backward, forward, logprobs
from tests.planning.models import small

LENGTHS = Lengths(prompt=40, answer=20, longest=40, prompt_for_verifier=30)
SIZES = GamePartSizes(verifier=100, validation=10, test=20, judge=30)
SLOW = replace(gpu("l4"), bfloat16=1e9, float32=1e9, bandwidth=1e9, bandwidth_share=1.0, call_seconds=1e-6, link=1e9)


def rank(ranks: int = 1, **changes) -> Rank:
    shape = shape_of(small(), "prover")
    return Rank(Config.model_validate(changes), Models(shape, shape, shape), LENGTHS, SIZES, SLOW, ranks)


def test_a_record_is_its_three_parts():
    record = Clock(SLOW, 0.5, 1).record("p", 3, Work(1e9, 0, 1e9, 1e6), "float32")
    assert record.seconds == pytest.approx(3 * (2 + 1 + 1)) and record.products == pytest.approx(0.5)
    assert record.products + record.traffic + record.starting == pytest.approx(1)


def test_ranks_send_their_gradients_around_a_ring():
    alone, four = (Clock(SLOW, 0.5, n).record("p", 1, Work(), "float32", sent=1e9).seconds for n in (1, 4))
    assert alone == 0 and four == pytest.approx(2 * 3 / 4)


def test_an_update_by_hand():
    """64 prompts x 4, minibatches of 64 completions: 4 a pass, 2 epochs; micro-batches of 32: two a minibatch."""
    one = rank(ppo={"micro_batch_size": 32})
    shape, packed = one.models.prover, Packed.of(8, 40, 4, 20)
    micro = forward(shape, packed, "float32") + backward(shape, packed, "float32")
    micro += logprobs(shape, packed.chosen, "float32", "cuda", train=True)
    assert one.update().flops == pytest.approx(2 * 4 * 2 * micro.flops)
    assert one.gradient_bytes == 8 * shape.parameters * 4
    separate = rank(ppo={"micro_batch_size": 32, "critic": "separate"}).update().flops
    assert separate == pytest.approx(
        one.update().flops + 16 * (forward(shape, packed, "float32") + backward(shape, packed, "float32")).flops
    )


def test_drawing_is_by_chunks_and_shared_by_ranks():
    one, two = rank(), rank(2)
    assert one.draw(64, 4).flops == pytest.approx(2 * one.draw(32, 4).flops)
    assert two.draw(64, 4).flops == pytest.approx(one.draw(64, 4).flops / 2)
    assert one.draw(64, 4).calls == pytest.approx(2 * one.draw(32, 4).calls), "chunks of 128 completions"


def test_bfloat16_scores_the_policy_once_more():
    assert rank(prover={"dtype": "bfloat16"}).score().flops == pytest.approx(2 * rank().score().flops)


def test_phases_of_a_game():
    one = rank(game={"rounds": 3}, prover={"warm_start": {"steps": 5}})
    times = phase_times(one, Clock(SLOW, 0.5, 1))
    names = [t.phase for t in times if not t.phase.startswith(" ")]
    assert names == [
        "warm start", "base policy text", "verifier training", "prover phase", "collection", "correctness-only arm",
        "held-out judge",
    ]  # fmt: skip
    by_name = {t.phase: t for t in times}
    assert by_name["prover phase"].count == 3 and by_name["  update"].count == 150
    parts = sum(by_name[name].seconds for name in ("  scoring", "  update"))
    assert parts < by_name["prover phase"].seconds < total_seconds(times)
    assert total_seconds(times) == pytest.approx(sum(t.seconds for t in times if t.phase in names))
    none = rank(game={"rounds": 3, "correctness_arm": False, "held_out_judge": False})
    fewer = phase_times(replace(none, models=replace(none.models, judge=None)), Clock(SLOW, 0.5, 1))
    assert [t.phase for t in fewer if not t.phase.startswith(" ")] == names[1:5]


def test_arms_cost_what_their_phases_do():
    arms = ["game", "correctness", "length_penalised", "rft", "consultancy", "sneaky_step"]
    one = rank(game={"rounds": 3, "arms": arms, "readers": True})
    times = phase_times(one, Clock(SLOW, 0.5, 1))
    by_name = {t.phase: t for t in times}
    known = {t.phase: t.seconds for t in times if not t.phase.startswith(" ")}
    assert known["correctness-only arm"] == known["correctness-only, length-penalised arm"]
    assert known["rejection sampling arm"] < known["correctness-only arm"] < known["consultancy arm"]
    # as the game's rounds, but that round 0 has the game's verifier
    rounds = known["prover phase"] + known["collection"] + known["verifier training"] * 2 / 3
    assert known["one wrong step arm"] == pytest.approx(rounds)
    assert by_name["readers"].count == len(arms)
    assert total_seconds(times) == pytest.approx(sum(known.values()))


def test_micro_batches_of_whole_problems_cost_no_products_and_smaller_ones_a_reading():
    def flops(**changes):
        one = rank(verifier={"batch_problems": 6, "solutions_per_problem": 4, **changes})
        work = one.teach(one.models.verifier, one.config.verifier)
        return work.flops / one.config.verifier.updates

    whole = flops()
    assert flops(micro_batch_size=8) == flops(micro_batch_size=4) == pytest.approx(whole)
    # one problem's prompt (30) with 2 of its 4 answers (20 + 1, the last of which is not read on) twice, four passes for three
    one = rank(verifier={"solutions_per_problem": 4})
    pieces = 2 * 6 * Packed.of(1, 30, 2, 21, 1).tokens / (6 * Packed.of(1, 30, 4, 21, 1).tokens)
    assert flops(micro_batch_size=2) / whole == pytest.approx(pieces * 4 / 3, rel=0.05)
    assert one.lengths.prompt_for_verifier == 30 and one.lengths.answer == 20


def test_ranks_that_share_weights_gather_them_in_every_pass():
    """As above, by two ranks: one pass of 8 groups a minibatch on each, 8 minibatches; 8 buckets of 8 groups are scored."""
    from legibility.planning.shared import pass_bytes

    settings = {"ppo": {"micro_batch_size": 32, "critic": "separate"}, "compute": {"shard": True}}
    two, shape = rank(2, **settings), shape_of(small(), "prover")
    assert two.update_bytes == 8 * 2 * pass_bytes(shape, "float32", train=True), "policy and critic"
    once = pass_bytes(shape, "float32", train=False)
    assert (two.sampling_bytes, two.scoring_bytes) == (once, 8 * 2 * once), "64 prompts by 8; reference and critic"
    alone, apart = rank(1, **settings), rank(2, ppo=settings["ppo"])
    for other in (alone, apart):
        assert (other.sampling_bytes, other.scoring_bytes) == (0, 0) and other.update_bytes == other.gradient_bytes


def test_a_large_verifier_that_ranks_share():
    from legibility.planning.shared import pass_bytes

    shape = replace(shape_of(small(), "verifier"), parameters=60_000_000)
    two = rank(2, compute={"shard": True}, verifier={"updates": 3, "batch_problems": 4, "micro_batch_size": 4, "solutions_per_problem": 8})  # fmt: skip
    once = [pass_bytes(shape, "float32", train=train) for train in (True, False)]
    # a rank's two problems, each in two pieces that are read twice
    assert two.teaching_bytes(shape, two.config.verifier) == 3 * 2 * 2 * sum(once)
    small_one = shape_of(small(), "verifier")
    assert two.teaching_bytes(small_one, two.config.verifier) == 3 * small_one.parameters * 4
