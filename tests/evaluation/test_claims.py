"""The paper's claims: held, failed or not clear, by rules fixed before looking."""

from __future__ import annotations

from legibility.evaluation.claims import FAILED, HELD, UNCLEAR, UNKNOWN, claims
from legibility.evaluation.summary_schema import JudgeSummary
from tests.evaluation.summaries import summary_of


def verdicts(summaries) -> dict[str, str]:
    return {c.text: c.verdict for c in claims(summaries)}


def test_a_claim_holds_fails_or_is_not_clear():
    good = verdicts([summary_of(s, steps=(20 + s, 60 + s)) for s in range(3)])
    assert good["Within the game, the last verifier takes more steps to fool than verifier 0"] == HELD
    assert good["Round 0's verifier picks below chance in balanced best-of-16"] == HELD
    assert good["The last verifier picks above chance in balanced best-of-16"] == HELD
    bad = verdicts([summary_of(s, steps=(60, 20 + s), best=(0.3, 0.29)) for s in range(3)])
    assert bad["Within the game, the last verifier takes more steps to fool than verifier 0"] == FAILED
    assert bad["Best-of-16 improves over the rounds"] == FAILED
    mixed = verdicts([summary_of(s, steps=(20, (60, 21, 22)[s])) for s in range(3)])
    assert mixed["Within the game, the last verifier takes more steps to fool than verifier 0"] == UNCLEAR
    assert verdicts([summary_of(0)])["Best-of-16 improves over the rounds"] == UNCLEAR  # one seed proves nothing
    assert good["Sneaky flaws get subtler over the rounds"] == UNKNOWN


def test_chance_in_best_of_n_is_what_random_scores_get_on_the_same_pool():
    """Where texts repeat that is far from one half: 0.3 may well be above it."""
    repeating = verdicts([summary_of(s, best=(0.3, 0.4), null=0.21) for s in range(3)])
    assert repeating["Round 0's verifier picks below chance in balanced best-of-16"] == FAILED
    assert repeating["The last verifier picks above chance in balanced best-of-16"] == HELD
    older = verdicts([summary_of(s, null=None) for s in range(3)])
    assert older["The last verifier picks above chance in balanced best-of-16"] == UNKNOWN


def test_the_headline_claim_is_read_inside_problem_role_and_style():
    name = "The last verifier tells right from wrong in its own round's text, same problem, role and style"
    assert verdicts([summary_of(s, same_style=(0.5, 0.6 + s / 100)) for s in range(3)])[name] == HELD
    assert verdicts([summary_of(s, same_style=(0.9, 0.5)) for s in range(3)])[name] == FAILED
    assert verdicts([summary_of(s, same_style=None) for s in range(3)])[name] == UNKNOWN


def test_a_judge_that_cannot_read_supports_no_claim():
    name = "The game's text is easier to check than the correctness-only arm's, raw"
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
    runs = [summary_of(s, tax=tax) for s in range(3)]
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
    assert (
        verdicts([summary_of(s, steps=(20 + s, None)) for s in range(3)])[
            "Within the game, the last verifier takes more steps to fool than verifier 0"
        ]
        == HELD
    )


def test_survival_claims_are_about_attacks_of_all_runs():
    name = "The last verifier withstands SRC attacks for longer than verifier 0"
    strong = [summary_of(s, attacks=((10, 12, 14), (100, 100, 90))) for s in range(3)]
    assert verdicts(strong)[name] == HELD
    assert verdicts([summary_of(s, attacks=((50, 52, 54), (20, 30, 40))) for s in range(3)])[name] == FAILED
    assert verdicts([summary_of(0, attacks=((10, 30), (20, 40)))])[name] == UNCLEAR
    assert verdicts([summary_of(0)])[name] == UNKNOWN
