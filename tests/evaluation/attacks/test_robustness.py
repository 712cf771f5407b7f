"""False-positive rates under attack: planted rates, random scores, where an attack is read."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from legibility.evaluation.attacks.robustness import accepted_share, points
from legibility.evaluation.evaluate import write_attacks
from legibility.evaluation.run import EvaluationRun
from legibility.game.condition import verifier
from legibility.game.solutions import SCHEMA, read_solutions
from tests.evaluation.helpers import section
from tests.support import legibility


def share(problems, scores, threshold, resamples=400, seed=0):
    text = pd.DataFrame({"problem_id": problems, "score": np.asarray(scores, dtype=np.float32)})
    rng = np.random.default_rng(seed)
    return accepted_share(text, threshold, resamples=resamples, confidence_level=0.95, rng=rng)


def test_a_rate_by_hand():
    """A score at the threshold is accepted; below 20 texts nothing is said."""
    problems = [f"p{i // 2}" for i in range(40)]
    found = share(problems, [1.0, 0.5, 0.4, 0.0] * 10, 0.5)
    assert found.value == 0.5 and found.low < 0.5 < found.high
    assert share(problems[:19], [1.0] * 19, 0.5).value is None


def test_random_scores_are_accepted_as_often_as_the_reference():
    """The null: a verifier that knows nothing accepts incorrect text at its recall."""
    rng = np.random.default_rng(1)
    reference, attacked = rng.normal(size=4000), rng.normal(size=4000)
    threshold = float(np.quantile(reference, 0.2, method="lower"))
    assert share([f"p{i}" for i in range(4000)], attacked, threshold).value == pytest.approx(0.8, abs=0.02)


def test_the_interval_is_over_problems():
    """Eight copies of every text tell no more than one: the interval does not narrow; independent texts narrow it."""
    rng = np.random.default_rng(2)
    problems, scores = [f"p{i}" for i in range(100)], rng.uniform(size=100)
    once, copied = (share(problems * k, list(scores) * k, 0.5, resamples=4000) for k in (1, 8))
    assert copied.value == once.value and copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)
    fresh = share([f"p{i}" for i in range(800)], rng.uniform(size=800), 0.5)
    assert fresh.high - fresh.low < 0.6 * (once.high - once.low)


def test_the_interval_covers_a_planted_rate():
    """Problems differ in how often their text is accepted, 0.3 on average; clustered, 95 % of intervals hold it."""
    rng, hits = np.random.default_rng(3), 0
    for trial in range(200):
        chance = np.repeat(rng.beta(0.6, 1.4, 60), 6)
        accepted = rng.uniform(size=360) < chance
        found = share([f"p{i // 6}" for i in range(360)], accepted, 0.5, resamples=300, seed=trial)
        hits += found.low <= 0.3 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_none_accepted_has_an_upper_bound():
    """0 of 30 independent problems: 1 - 0.025^(1/30); all accepted is its mirror."""
    problems = [f"p{i // 4}" for i in range(120)]
    none, every = share(problems, [0.0] * 120, 0.5), share(problems, [1.0] * 120, 0.5)
    edge = 1 - 0.025 ** (1 / 30)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, edge))
    assert (every.value, every.low, every.high) == pytest.approx((1, 1 - edge, 1))
    assert none.high == pytest.approx(stats.binomtest(0, 30).proportion_ci(0.95).high)


def test_where_an_attack_is_read():
    """Steps double from the window on; nats from 0.25 on, at the first window whose mean KL is there."""
    kl = np.arange(10) / 4  # means of the windows of 2 that end at 2, 3, ...: 0.125, 0.375, 0.625, ..., 2.125
    found = [(p.at, p.target, p.step) for p in points(kl, 2)]
    assert found[:3] == [("steps", 2, 2), ("steps", 4, 4), ("steps", 8, 8)]
    assert found[3:] == [("kl", 0.25, 3), ("kl", 0.5, 4), ("kl", 1.0, 6), ("kl", 2.0, 10)]
    assert points(kl[:1], 2) == []
    assert [p.target for p in points(kl, 2, equal_steps=6) if p.at == "steps"] == [2, 4, 6, 8]
    assert [p.target for p in points(kl, 2, equal_steps=11) if p.at == "steps"] == [2, 4, 8]
    # already past it in the first window: when it got there is not known
    assert [(p.at, p.target) for p in points(np.array([3.0, 3.0, 5.0, 5.0]), 2)] == [
        ("steps", 2),
        ("steps", 4),
        ("kl", 4.0),
    ]


PLANTED = ("--verifier", 1, "--reward", "cgc", "attack.seeds=1", "attack.steps=4", "attack.max_steps=4")


def test_a_planted_attack_has_its_rate(copied):
    """Of each step's incorrect text a quarter is given a score above the threshold, in the last two steps all of it."""
    assert legibility("attack", copied.path, *PLANTED, "attack.problems_per_step=12").code == 0
    (folder,) = (copied.path / "evaluation/attacks").glob("v01_cgc_s0_*")
    run = EvaluationRun(copied.path, ["attack.window=2"])
    fixed, own = run.threshold(verifier(1)), run.threshold(verifier(1), 1)
    frame = read_solutions(folder / "solutions.parquet")
    wrong = (frame.phase == "ppo") & (frame.verdict == "incorrect")
    high = wrong & ((frame.step > 2) | (wrong.groupby(frame.step).cumsum() % 4 == 1))
    frame.loc[frame.phase == "ppo", "score"] = np.float32(min(fixed, own) - 1)
    frame.loc[high, "score"] = np.float32(max(fixed, own) + 1)
    frame.to_parquet(folder / "solutions.parquet", schema=SCHEMA, index=False)
    done = json.loads((folder / "DONE").read_text())
    done["sha256"]["solutions.parquet"] = hashlib.sha256((folder / "solutions.parquet").read_bytes()).hexdigest()
    (folder / "DONE").write_text(json.dumps(done))

    write_attacks(EvaluationRun(copied.path, ["attack.window=2"]))
    rows = {row["target"]: row for row in section(copied, "robustness") if row["at"] == "steps"}
    assert set(rows) == {2, 4}
    texts = {step: int((wrong & (frame.step > step - 2) & (frame.step <= step)).sum()) for step in rows}
    assert min(texts.values()) >= 20
    for step, row in rows.items():
        expected = (high & (frame.step > step - 2) & (frame.step <= step)).sum() / texts[step]
        assert row["fpr"] == pytest.approx(expected) == pytest.approx(row["own_round"]["value"])
        assert (row["texts"], row["window"], row["steps"], row["recall"]) == (texts[step], 2, step, 0.8)
        assert (row["verifier"], row["reward"], row["seed"]) == (1, "cgc", 0)
    assert rows[2]["fpr"] == pytest.approx(0.25, abs=0.05) and rows[4]["fpr"] == 1.0
    lines = [json.loads(line)["kl"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[4]["kl"] == pytest.approx(np.mean(lines[2:]))


def test_the_rates_stand_in_the_summary_and_in_a_data_frame(copied):
    import legibility as package

    assert legibility("attack", copied.path, *PLANTED, "attack.window=2").code == 0
    summary = json.loads((copied.path / "summary.json").read_text())
    assert summary["evaluation"]["robustness"] == section(copied, "robustness") != []
    assert "own_round.value" in package.load_run(copied.path)["robustness"].columns
