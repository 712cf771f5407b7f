"""Claims: held, not held or too few seeds, by rules fixed before looking."""

from __future__ import annotations

import pytest

from legibility.evaluation.claims import HELD, LEAST_SEEDS, NOT_HELD, TOO_FEW, UNKNOWN, Claim, claims
from legibility.evaluation.summary_schema import JudgeSummary
from tests.evaluation.summaries import summary_of

SEEDS = range(LEAST_SEEDS)


def by_statement(summaries) -> dict[str, Claim]:
    found = claims(summaries)
    assert len({c.statement for c in found}) == len(found)
    return {c.statement: c for c in found}


def verdicts(summaries) -> dict[str, str]:
    return {c.statement: c.verdict for c in claims(summaries)}


STEPS = "Within the game, the last verifier takes more steps to fool than verifier 0"
ABOVE = "The last verifier picks above chance in balanced best-of-16"
BELOW = "Round 0's verifier picks below chance in balanced best-of-16"
RISES = "Best-of-16 is better in the last round than in round 0"


def test_a_claim_holds_or_not():
    good = verdicts([summary_of(s, steps=(20 + s, 60 + s)) for s in SEEDS])
    assert good[STEPS] == good[BELOW] == good[ABOVE] == good[RISES] == HELD
    bad = verdicts([summary_of(s, steps=(60, 20 + s), best=(0.3, 0.29)) for s in SEEDS])
    assert bad[STEPS] == bad[RISES] == NOT_HELD
    mixed = verdicts([summary_of(s, steps=(20, (60, 21, 22, 18, 17)[s])) for s in SEEDS])
    assert mixed[STEPS] == NOT_HELD  # the mean is above 0, its interval is not
    assert good["Sneaky flaws get subtler over the rounds"] == UNKNOWN


def test_below_five_seeds_nothing_is_decided_and_the_estimate_is_shown():
    found = by_statement([summary_of(s, steps=(20 + s, 60 + s)) for s in range(LEAST_SEEDS - 1)])
    assert {c.verdict for c in found.values()} == {TOO_FEW, UNKNOWN}
    assert found[STEPS].mean == 40 and "40.000" in found[STEPS].evidence and "4 seeds" in found[STEPS].evidence
    one = by_statement([summary_of(0)])[RISES]
    assert one.verdict == TOO_FEW and one.mean == pytest.approx(0.3) and one.p is None


def test_chance_in_best_of_n_is_what_random_scores_get_on_the_same_pool():
    """Where texts repeat that is far from one half: 0.3 may well be above it."""
    repeating = verdicts([summary_of(s, best=(0.3, 0.4), null=0.21) for s in SEEDS])
    assert repeating[BELOW] == NOT_HELD and repeating[ABOVE] == HELD
    older = verdicts([summary_of(s, null=None) for s in SEEDS])
    assert older[ABOVE] == UNKNOWN


def test_same_style_accuracy_must_be_above_one_half():
    name = "The last verifier tells right from wrong in its own round's text, same problem, role and style"
    assert verdicts([summary_of(s, same_style=(0.5, 0.6 + s / 100)) for s in SEEDS])[name] == HELD
    assert verdicts([summary_of(s, same_style=(0.9, 0.5)) for s in SEEDS])[name] == NOT_HELD
    assert verdicts([summary_of(s, same_style=None) for s in SEEDS])[name] == UNKNOWN


def test_an_aim_is_for_the_mean_and_a_bound_for_the_interval():
    pooled = "The last verifier tells right from wrong in its own round's text"
    inside = "The same inside each role, where telling the roles apart earns nothing"
    found = by_statement([summary_of(s, auroc=(0.91 + 0.01 * s, 0.83 + 0.001 * s)) for s in SEEDS])
    assert (found[pooled].verdict, found[inside].verdict) == (HELD, NOT_HELD)
    assert found[pooled].rule == "mean ≥ 0.9, interval above 0.5"
    gain = "The game keeps the accuracy that correctness-only training gains"
    assert verdicts([summary_of(s, retained=0.9 + 0.01 * s) for s in SEEDS])[gain] == HELD
    assert verdicts([summary_of(s, retained=0.88 + 0.001 * s) for s in SEEDS])[gain] == NOT_HELD  # misses its aim
    wide = [summary_of(s, retained=r) for s, r in enumerate((0.5, 1.3, 0.6, 1.2, 1.0))]
    assert verdicts(wide)[gain] == NOT_HELD  # the mean is 0.92, the interval begins below 0.75


def test_a_judge_that_cannot_read_supports_no_claim():
    name = "The game's text is easier to check than the correctness-only arm's, as it is"
    measured = {"raw": {"value": 0.6}, "difference": {"value": -0.1}}
    arm = {"mean_length": 9.0, "support": 1.0, "accuracy": {"raw": {"value": 0.5}}}
    tax = {
        "reference": "game 1",
        "arms": {"correctness": {**arm, "checkability": {"held_out_judge": measured}}},
        "decoding": {"temperature": 1.0, "samples": 4, "problems": 9},
        "step_validity_exact": True,
        "tax": {},
        "tax_matched": {},
    }
    runs = [summary_of(s, tax=tax) for s in SEEDS]
    assert verdicts(runs)[name] == HELD  # older summaries do not say how the judge reads
    figure = {"pairs": 9, "problems": 9, "coverage": 1.0, "standard_error": 0.1, "low": None, "high": None}
    judge = JudgeSummary(
        **{"model": "m", "verifier_model": "m", "score": "likelihood", "updates": 1, "parameters": 1, "texts": 1},
        **{"own_model": False, "own_problems": 0, "base_text": {"value": 0.8}, "twins": None},
        same_style={"value": 0.6, **figure},
        believed=False,
        remarks=["It cannot read."],
    )
    poor = [s.model_copy(update={"held_out_judge": judge}) for s in runs]
    assert verdicts(poor)[name] == UNKNOWN
    assert poor[0].judge_doubt == "held-out judge: It cannot read."
    good = [s.model_copy(update={"held_out_judge": judge.model_copy(update={"believed": True})}) for s in runs]
    assert verdicts(good)[name] == HELD


def test_a_round_that_was_not_fooled_counts_its_whole_length():
    assert verdicts([summary_of(s, steps=(20 + s, None)) for s in SEEDS])[STEPS] == HELD


def test_steps_to_exploit_are_compared_seed_by_seed():
    name = "The last verifier withstands SRC attacks for longer than verifier 0"
    strong = by_statement([summary_of(s, attacks=((10, 12, 14), (100, 100, 70 + s))) for s in SEEDS])[name]
    assert strong.verdict == HELD and strong.n == LEAST_SEEDS
    assert strong.values == pytest.approx([(270 + s) / 3 - 12 for s in SEEDS])
    weak = [summary_of(s, attacks=((50, 52, 54), (20, 30, 40))) for s in SEEDS]
    assert verdicts(weak)[name] == NOT_HELD
    assert verdicts([summary_of(0, attacks=((10, 30), (20, 40)))])[name] == TOO_FEW
    assert verdicts([summary_of(0)])[name] == UNKNOWN


def test_more_attacks_in_a_game_do_not_narrow_the_interval():
    """A verifier that differs from seed to seed: attacking it a hundred times tells nothing of other seeds."""
    times = [((20, 22), (25 + 9 * s, 27 + 9 * s)) for s in SEEDS]
    rates = [{"src": ((0.5, 0.6), (0.1 + 0.1 * s, 0.2 + 0.1 * s))} for s in SEEDS]
    names = (
        "The last verifier withstands SRC attacks for longer than verifier 0",
        "Fresh SRC attackers get less past the last verifier than past verifier 0, at equal steps",
    )
    few, many = (
        [
            by_statement([summary_of(s, attacks=tuple(t * k for t in times[s])) for s in SEEDS])[names[0]],
            by_statement([summary_of(s, rates={"src": [r * k for r in rates[s]["src"]]}) for s in SEEDS])[names[1]],
        ]
        for k in (1, 100)
    )
    for a, b in zip(few, many, strict=True):
        assert (a.low, a.high, a.p, a.n) == pytest.approx((b.low, b.high, b.p, b.n)) and a.n == LEAST_SEEDS


def test_fresh_attackers_are_compared_at_the_furthest_point_all_have_reached():
    name = "Fresh {} attackers get less past the last verifier than past verifier {}, at equal {}"
    made = [
        summary_of(s, rounds=3, rates={"src": ((0.4, 0.5), (0.2,), (0.1 + s / 100,)), "cgc": ((0.1,), (0.1,), (0.2,))})
        for s in SEEDS
    ]
    found = by_statement(made)
    first = found[name.format("SRC", 0, "steps")]
    assert first.values == pytest.approx([0.35 - s / 100 for s in SEEDS]) and first.verdict == HELD
    assert "32 PPO steps" in first.measure
    second = found[name.format("SRC", 1, "steps")]
    assert second.values == pytest.approx([0.1 - s / 100 for s in SEEDS])  # measured from verifier 1, separately
    assert found[name.format("SRC", 0, "KL")].mean == pytest.approx(first.mean / 2)
    assert found[name.format("CGC", 0, "steps")].verdict == NOT_HELD
    assert found[name.format("Goodhart", 0, "steps")].verdict == UNKNOWN
    # one attack without its later rows: all are compared at the earlier point
    data = made[0].model_dump()
    data["evaluation"]["robustness"] = [
        r
        for r in data["evaluation"]["robustness"]
        if (r["verifier"], r["seed"], r["at"], r["target"]) != (0, 1, "steps", 32)
    ]
    shorter = by_statement([type(made[0]).model_validate(data), *made[1:]])[name.format("SRC", 0, "steps")]
    assert "16 PPO steps" in shorter.measure and shorter.mean == pytest.approx(2 * first.mean)


def test_what_only_unexploited_attacks_went_on_to_is_not_compared():
    """All attacks were to make 16 steps; those of these runs, none of them exploited, went on to 32."""
    name = "Fresh SRC attackers get less past the last verifier than past verifier 0, at equal steps"
    made = []
    for seed in SEEDS:
        data = summary_of(seed, rates={"src": ((0.4,), (0.2,))}).model_dump()
        for attack in data["evaluation"]["attacks"]:
            attack["equal_steps"] = 16
        made.append(type(summary_of(0)).model_validate(data))
    claim = by_statement(made)[name]
    assert "16 PPO steps" in claim.measure and claim.mean == pytest.approx(0.4)


def test_the_headline_claims_are_those_of_the_page():
    """docs/claims.md numbers them; the page stood there before the runs."""
    found = [c for c in claims([summary_of(s, rounds=3) for s in SEEDS]) if c.family == "headline"]
    assert len(found) == 13
    aims = [(c.bound, c.aim) for c in found[6:]]
    assert aims == [(0.5, 0.9), (0.5, 0.85), (0.5, None), (0, None), (0, None), (0.75, 0.9), (0, None)]


def test_with_two_rounds_nothing_is_measured_from_verifier_1():
    found = verdicts([summary_of(s, rates={"src": ((0.4,), (0.2,))}) for s in SEEDS])
    assert found["Fresh SRC attackers get less past the last verifier than past verifier 1, at equal steps"] == UNKNOWN
    assert found["Best-of-16 is better in the last round than in round 1"] == UNKNOWN


def test_p_values_are_adjusted_inside_their_family():
    found = claims([summary_of(s, steps=(20 + s, 60 + s)) for s in SEEDS])
    for family in ("headline", "paper"):
        ps = [(c.p, c.p_holm) for c in found if c.family == family and c.p is not None]
        assert ps and min(h for _, h in ps) == pytest.approx(min(1.0, len(ps) * min(p for p, _ in ps)))
        assert all(h >= p for p, h in ps)
