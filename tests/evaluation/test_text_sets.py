"""Sets of text: the keys they have in files, made and read in one place."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from legibility.evaluation.text_sets import (
    REWARDS,
    ArmKey,
    Attackers,
    BothRoles,
    TextKey,
    VerdictKey,
    VerdictText,
    arm_key,
    parse_arm,
    parse_text,
    parse_verdict_text,
    reward_label,
    text_key,
    verdict_key,
)
from legibility.game.condition import (
    CORRECTNESS_ONLY,
    DECOUPLED,
    HALFWAY,
    HELD_OUT_JUDGE,
    LENGTH_PENALISED,
    START,
    START_SNEAKY,
    TANDEM,
    Condition,
    JudgeKey,
    helpful,
    sneaky,
    verifier,
)
from legibility.stored import Number, Stored

TEXTS = {
    START: "base",
    START_SNEAKY: "init sneaky",
    BothRoles(3): "round 3",
    helpful(0): "round 0 helpful",
    sneaky(12): "round 12 sneaky",
    CORRECTNESS_ONLY: "correctness",
    LENGTH_PENALISED: "correctness short",
    Attackers("cgc", 1): "attack cgc 1",
}
ARMS = {
    START: "start",
    helpful(2): "game 2",
    CORRECTNESS_ONLY: "correctness",
    LENGTH_PENALISED: "correctness short",
    Condition(TANDEM, 0, "helpful"): "tandem",
    Condition(DECOUPLED, 1, "helpful"): "decoupled 1",
}


@pytest.mark.parametrize("texts", TEXTS)
def test_a_set_of_text_is_read_back_from_its_key(texts):
    assert text_key(texts) == TEXTS[texts] and parse_text(TEXTS[texts]) == texts


@pytest.mark.parametrize("condition", ARMS)
def test_an_arm_is_read_back_from_its_key(condition):
    assert arm_key(condition) == ARMS[condition] and parse_arm(ARMS[condition]) == condition


def test_a_text_of_one_verdict_is_read_back_from_its_key():
    for text, key in (
        (VerdictText(sneaky(2), "incorrect"), "round 2 sneaky incorrect"),
        (VerdictText(START_SNEAKY, "incorrect"), "init sneaky incorrect"),
        (VerdictText(Attackers("src", 0), "incorrect"), "attack src 0 incorrect"),
    ):
        assert verdict_key(text) == key and parse_verdict_text(key) == text


@pytest.mark.parametrize("key", ["", "round", "round x", "round 1 base", "attack cgc", "game 1"])
def test_what_is_no_key_of_a_text_is_refused(key):
    with pytest.raises(ValueError, match="no text"):
        parse_text(key)


def test_what_is_no_key_of_an_arm_is_refused():
    with pytest.raises(ValueError, match="no arm"):
        parse_arm("round 1")


@pytest.mark.parametrize("key", ["game", "tandem 0", "decoupled", "correctness 0", "init", "nobody", ""])
def test_a_key_has_a_round_where_the_arm_has_rounds(key):
    with pytest.raises(ValueError, match="no arm"):
        parse_arm(key)


def test_text_without_a_key_has_none():
    with pytest.raises(KeyError):
        text_key(HALFWAY)
    for condition in (HALFWAY, Condition(TANDEM, 0, "sneaky"), Condition("nobody", 0, "helpful")):
        with pytest.raises(KeyError):
            arm_key(condition)


def test_rewards_have_a_name_for_people():
    assert [reward_label(reward) for reward in REWARDS] == ["SRC", "CGC", "Goodhart"]


class Cells(Stored):
    """Records as keys and values of a stored model."""

    auroc: dict[JudgeKey, dict[TextKey, Number]]
    rows: list[VerdictKey]
    reference: ArmKey


def test_stored_models_hold_records_and_write_keys():
    text = VerdictText(helpful(1), "correct")
    made = Cells(auroc={HELD_OUT_JUDGE: {BothRoles(1): 0.5}}, rows=[text], reference=helpful(1))
    written = {
        "auroc": {"held_out_judge": {"round 1": 0.5}},
        "rows": ["round 1 helpful correct"],
        "reference": "game 1",
    }
    assert made.model_dump(mode="json") == written and Cells.model_validate(written) == made


def test_stored_models_understand_older_names_of_the_held_out_judge():
    found = Cells.model_validate({"auroc": {"judge": {}, "verifier 0": {}}, "rows": [], "reference": "start"})
    assert list(found.auroc) == [HELD_OUT_JUDGE, verifier(0)]


@pytest.mark.parametrize(
    "changes", [{"auroc": {"prover 1": {}}}, {"auroc": {"verifier 0": {"text": 1.0}}}, {"reference": "round 1"}]
)
def test_stored_models_refuse_what_is_no_key(changes):
    with pytest.raises(ValidationError):
        Cells.model_validate({"auroc": {}, "rows": [], "reference": "start", **changes})
