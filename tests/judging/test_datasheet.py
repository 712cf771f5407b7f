"""DATASHEET.md: counts by hand."""

from __future__ import annotations

from legibility.game.condition import verifier
from legibility.judging.datasheet import datasheet
from legibility.judging.power import Power
from legibility.judging.protocol import Consent, Protocol
from legibility.judging.study_schema import KeyEntry, Provenance, Slot


def entry(name: str, role: str, correct: bool, chars: int, kind: str = "study") -> KeyEntry:
    return KeyEntry(
        item_id=name,
        problem_id=f"problem of {name}",
        arm="attention" if kind == "attention" else "game",
        round=0,
        role=role,
        correct=correct,
        score=None,
        scores={},
        problem_chars=10,
        solution_chars=chars,
        solution_tokens=None,
        first_wrong_line=None,
        kind=kind,
        run="tiny",
        content_sha256="",
    )


def test_counts_lengths_and_notes():
    entries = [
        entry("a", "helpful", True, 30),
        entry("b", "helpful", True, 50),
        entry("c", "helpful", False, 80),
        entry("d", "sneaky", False, 70),
        entry("e", "attention", True, 9, "attention"),
    ]
    facts = Provenance(
        run="tiny",
        run_path=None,
        seed=7,
        secret="0",
        conditions=["game:0:helpful", "game:0:sneaky"],
        per_condition=4,
        raters=2,
        per_rater=None,
        attention=1,
        length_match=False,
        notes=["sneaky: 1 of 4 wanted"],
    )
    slots = [Slot(slot=1, items=["a", "c", "e"]), Slot(slot=2, items=["e", "b", "a", "d"], assisted=["b", "e"])]
    power = Power(needed=600, planned=5, achieved=0.1, design_effect=1.5)
    text = datasheet(Protocol(study_id="abc"), entries, slots, facts, power)
    assert "# Study abc" in text and "`tiny` (seed 7)" in text
    assert "4 items and 1 attention checks; 2 rater slots of 2 to 3 items each" in text
    assert "| game:0:helpful | 2 | 1 | 40 | 80 | 4 |" in text  # judged: a twice, b, c
    assert "| game:0:sneaky | 0 | 1 | – | 70 | 1 |" in text
    assert "- sneaky: 1 of 4 wanted" in text and "one length distribution" not in text
    assert "asked for no consent" in text and "Assisted" not in text
    shown = facts.model_copy(update={"assisted": "item", "adviser": verifier(1)})
    agreed = Protocol(study_id="abc", consent=Consent(text=["x"], version="v9"))
    text = datasheet(agreed, entries, slots, shown, power)
    assert "What verifier 1 doubts is shown shaded to half of every rater's items" in text
    assert "1 of the 5 planned judgments" in text and "version v9 of the text" in text
    assert "a condition needs 600 judgments" in text
