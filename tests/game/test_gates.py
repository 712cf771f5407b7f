"""What keeps a phase from beginning."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.config import GateSettings
from legibility.errors import GateClosed
from legibility.game.gates import check_base, check_rewards, check_verifier, enforce


def test_base_gate():
    settings = GateSettings(min_helpful_accuracy=0.1)
    assert check_base(settings, 0.1) == []
    (reason,) = check_base(settings, 0.09)
    assert "gates.min_helpful_accuracy" in reason and "0.09" in reason


def test_verifier_gate():
    settings = GateSettings(min_auroc=0.6, accept_rate=(0.1, 0.9), min_score_std=0.01)
    correct = np.array([True, True, False, False] * 5)
    good = np.where(correct, 1.0, -1.0)
    assert check_verifier(settings, good, correct) == []
    assert [r.split(" ")[1] for r in check_verifier(settings, -good, correct)] == ["AUROC"]
    (reason,) = check_verifier(settings, good + 5, correct)
    assert "accepts 1.00" in reason and "gates.accept_rate" in reason
    (reason,) = check_verifier(settings, good - 5, correct)
    assert "accepts 0.00" in reason
    (reason,) = check_verifier(settings, good * 1e-3, correct)
    assert "spread" in reason and "gates.min_score_std" in reason
    assert len(check_verifier(settings, np.ones(20), correct)) == 3


def test_verifier_gate_without_one_class_judges_only_what_it_can():
    settings = GateSettings()
    assert check_verifier(settings, np.array([1.0, -1.0]), np.array([True, True])) == []


def test_reward_gate():
    settings = GateSettings(max_flat_groups=0.5)
    assert check_rewards(settings, 0.5) == []
    assert "gates.max_flat_groups" in check_rewards(settings, 0.51)[0]


def test_a_closed_gate_raises_and_force_only_warns():
    warned: list[str] = []
    with pytest.raises(GateClosed, match=r"gate closed at the base policy: bad .*--force") as caught:
        enforce(GateSettings(), "the base policy", ["bad", "worse"], False, warned.append)
    assert caught.value.exit_code == 3 and warned == []
    enforce(GateSettings(), "the base policy", ["bad", "worse"], True, warned.append)
    assert len(warned) == 2 and "bad" in warned[0] and "worse" in warned[1]


def test_open_and_disabled_gates_say_nothing():
    warned: list[str] = []
    enforce(GateSettings(), "x", [], False, warned.append)
    enforce(GateSettings(enabled=False), "x", ["bad"], False, warned.append)
    enforce(GateSettings(enabled=False), "x", ["bad"], True, warned.append)
    assert warned == []
