"""Numbers drawn from the records of several trainers, by hand."""

from __future__ import annotations

import pytest
from harness import results, tables

from tests.benchmarks.measured import PARAMETERS, record, result_file, step


def test_operations_by_hand():
    # 100 unique tokens; 40 of them predicted: 2 * (1000 * 100 + 100 * 40) forwards
    assert results.operations(step(1, 0.2, 0.2), PARAMETERS, 2, critic=False) == {
        "rollout": 208_000, "scoring": 208_000 + 2 * 10 * 80, "update": 6 * 208_000,
    }  # fmt: skip
    with_critic = results.operations(step(1, 0.2, 0.2), PARAMETERS, 2, critic=True)
    assert with_critic["scoring"] == 208_000 + 200_000 + 1600
    assert with_critic["update"] == 6 * (208_000 + 200_000)


def test_summary_pools_the_steps_of_all_turns():
    s = results.summary(result_file())["nano"]
    own = s["ours-detached"]
    assert (own["seconds"], own["fastest"], own["slowest"], own["steps"], own["turns"]) == (1.5, 1, 2, 3, 2)
    assert own["by_turn"] == [1.5, 1.5]
    assert own["mean_length"] == 10 and own["mean_prompt"] == 30
    # in the middle step scoring and update take 1.2 of 1.5 s: (209,600 + 1,248,000) operations at a peak of 1e6 a second
    assert own["matmul_fraction_update_and_scoring"] == pytest.approx((209_600 + 1_248_000) / 1.2 / 1e6)
    assert s["trl-ppo"]["peak_mb"] == 1400
    assert results.speedup(s, "ours-detached", "trl-ppo") == {"value": 5.0, "low": 4.0, "high": 6.0}
    s["trl-ppo"]["by_turn"] = [9.0]  # stopped before its second turn
    s["ours-detached"]["by_turn"] = [1.5, 3.0]
    assert results.speedup(s, "ours-detached", "trl-ppo") == {"value": 5.0, "low": 3.0, "high": 6.0}


def test_headline_says_null_for_what_did_not_run():
    found = results.headline(result_file())
    assert found["speedup_vs_trl_ppo"] == 5.0
    assert found["speedup_vs_trl_grpo"] is None and found["speedup_vs_trl_ppo_separate_critic"] is None
    assert set(found) >= {"speedup_vs_trl_rloo", "matmul_fraction"}
    assert set(results.headline(result_file(workloads={})).values()) == {None}


def test_learned_compares_ends_with_their_error():
    steps = [step(1, 0, 0, accuracy_helpful=a, completions=200) for a in (0.2,) * 5 + (0.4,) * 5 + (0.5,) * 5]
    got = results.learned(steps)
    assert (got["first"], got["last"], got["gain"]) == pytest.approx((0.2, 0.5, 0.3))
    assert got["error"] == pytest.approx((0.2 * 0.8 / 500 + 0.5 * 0.5 / 500) ** 0.5)


def test_apart_averages_over_steps_by_seed():
    one, other = (
        [step(1, 0, 0, accuracy_helpful=a, completions=200) for a in series] for series in ((0.5, 0.6), (0.5, 0.4))
    )
    (got,) = results.apart([record("ours-detached", *one)], [record("ours-plain", *other)])
    assert got["difference"] == pytest.approx(0.1)
    assert got["error"] == pytest.approx((2 * 0.25 / 100 + 2 * 0.24 / 100) ** 0.5 / 2)
    runs = {"ours-detached": [record("ours-detached", *one * 5)], "ours-plain": [record("ours-plain", *other * 5)]}
    assert "by seed (± standard error): +0.1000 ± 0.0221." in tables.versus(result_file(learning=runs))
    assert results.apart([], []) == []
