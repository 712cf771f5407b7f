"""The clock of phases."""

from __future__ import annotations

from harness import clock


def test_clock_charges_the_innermost_phase(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0, 8.0, 10.0])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    c = clock.Clock()
    c.begin()  # 0
    with c.phase("scoring"), c.phase("rollout"):  # 1 … 3, 7
        pass
    c.end()  # 10
    assert c.steps == [{"total": 10.0, "rollout": 4.0, "scoring": 3.0, "update": 3.0}]
