"""The recursion on planted generations: calibration, alarms, stop."""

from __future__ import annotations

import numpy as np

from legibility.weak_to_strong.analyses.auto_aligner import align, calibrate, supervisor, trusted_agreement
from legibility.weak_to_strong.experiment_settings import AutoAlignerSettings


def signal(truth, noise, rng):
    return (2.0 * truth - 1) + noise * rng.standard_normal(len(truth))


def aligned(noises, **settings):
    """Generations whose noise is planted; returns them and the truth of the trusted set."""
    rng = np.random.default_rng(0)
    trusted, student = rng.random(200) < 0.5, rng.random(400) < 0.5
    names = [f"g{k}" for k in range(len(noises))]

    def logits(noise):
        return {"trusted": 5 * signal(trusted, noise, rng) + 3, "student": 5 * signal(student, noise, rng) + 3}

    given = []

    def teach(g, model, probabilities):
        given.append(probabilities)
        return logits(noises[g])

    return align(AutoAlignerSettings(generations=names, **settings), logits(noises[0]), teach, trusted), student, given


def test_generations_are_calibrated_before_they_teach():
    generations, student, given = aligned([1.0, 0.5, 0.3])
    assert len(generations) == 3 and supervisor(generations) == 2 and not any(g.alarm for g in generations)
    # the raw log-odds are shifted by 3: uncalibrated, they would call almost everything right
    assert abs((given[0] > 0.5).mean() - student.mean()) < 0.1


def test_an_alarm_stops_the_recursion_at_the_last_sound_generation():
    generations, *_ = aligned([0.5, 3.0, 0.5])
    assert len(generations) == 2 and "fell from" in generations[1].alarm and supervisor(generations) == 0
    on, *_ = aligned([0.5, 3.0, 0.5], stop=False)
    assert len(on) == 3 and supervisor(on) == 0  # goes on, but does not trust what came after
    low, *_ = aligned([9.0, 9.0], floor=0.9)
    assert "below the floor" in low[0].alarm and len(low) == 1


def test_calibration_never_turns_an_order_around():
    truth = np.array([0, 0, 0, 1, 1, 1] * 5, dtype=bool)
    upside_down = {"trusted": -3.0 * truth + np.linspace(0, 0.1, 30), "student": np.array([-1.0, 1.0])}
    found = calibrate(upside_down, truth)
    assert found["student"][0] < found["student"][1] and np.abs(found["student"]).max() < 0.01
    assert 0 <= trusted_agreement(np.array([1.0, -1.0]), np.array([True, False])) <= 1
