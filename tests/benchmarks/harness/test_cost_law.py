"""When ranks pay: the law against numbers worked by hand, and a link found again from its own times."""

from __future__ import annotations

import math

import pytest
from harness.cost_law import Link, Step, fitted, sending
from harness.sums import run

from legibility.config import Config
from legibility.planning.amounts import text_lengths
from legibility.planning.devices import gpu
from legibility.planning.game_plan import shapes
from legibility.team import Team
from tests.planning.models import qwen_folder


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    folder = str(qwen_folder("0.5B", tmp_path_factory.mktemp("models")))
    config = Config()
    config = config.model_copy(
        update={
            "prover": config.prover.model_copy(update={"model": folder, "dtype": "bfloat16"}),
            "verifier": config.verifier.model_copy(update={"model": folder, "dtype": "bfloat16"}),
        }
    )
    return Step(config, shapes(config), text_lengths(config), gpu("h100"))


def test_sending_by_hand():
    # 4 ranks, 3 sums of 5 GB together: 3 x 6 messages of 10 ms, and 1.5 times the bytes at 10 GB/s
    assert sending(4, 3, 5e9, Link(0.01, 1e10)) == pytest.approx(0.18 + 0.75)
    assert sending(1, 3, 5e9, Link(0.01, 1e10)) == 0


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_a_link_is_found_again_from_its_own_times(ranks):
    link = Link(2e-4, 3e9)
    found = fitted(ranks, [(size, sending(ranks, 1, size, link)) for size in (1e3, 1e6, 1e8)])
    assert (found.latency, found.bandwidth) == pytest.approx((link.latency, link.bandwidth))


def test_times_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        fitted(2, [(1e3, 1.0)])
    with pytest.raises(ValueError, match="no longer"):
        fitted(2, [(1e3, 1.0), (1e6, 1.0)])


def test_what_is_sent(step):
    ppo = step.config.ppo
    per_epoch = math.ceil(2 * ppo.problems_per_step * ppo.samples_per_role / ppo.minibatch_size)
    assert step.sums == ppo.epochs * per_epoch
    assert step.sent == step.sums * 2 * step.models.prover.parameters  # bfloat16


def test_ranks_share_work_but_not_the_reading_of_weights(step):
    one, two, many = step.work(1), step.work(2), step.work(16)
    assert one > two > many > one / 16
    assert step.speedup(1, Link(1.0, 1.0)) == 1


def test_the_slowest_link_is_where_the_speedup_is_just_reached(step):
    for wanted in (1.0, 1.5):
        bandwidth = step.slowest_link(2, 1e-5, wanted)
        assert step.speedup(2, Link(1e-5, bandwidth)) == pytest.approx(wanted)
    assert step.slowest_link(2, 1e-5, 2.5) == math.inf, "two ranks are never more than twice as fast"
    assert step.slowest_link(2, 1e9) == math.inf, "messages alone take longer than the work"


def test_sums_are_timed_by_their_bytes():
    found = run(Team(), repeats=2, sizes=(8, 64))
    assert [point["bytes"] for point in found["sums"]] == [32, 256] and found["ranks"] == 1
    assert all(point["seconds"] > 0 for point in found["sums"])
