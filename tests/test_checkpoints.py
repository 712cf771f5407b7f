"""When a phase is saved: by steps, by the clock, by a signal; never where a step is half made."""

from __future__ import annotations

import signal

import pytest
import torch

from legibility import checkpoints
from legibility.checkpoint_files import Origin, found_checkpoints, newest_step
from legibility.checkpoints import Checkpoints
from legibility.errors import Interrupted, WorkerDied
from legibility.stored import Stored


class Nothing(Stored):
    pass


def watched(work, every, shown=None) -> Checkpoints:
    origin = Origin(phase="p", settings={}, packages={}, inputs={})
    return Checkpoints(work, origin, every, (shown if shown is not None else []).append)


def capture():
    return {"x": torch.zeros(2)}, Nothing()


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(checkpoints, "time", made)
    return made


def play(saved: Checkpoints, steps: range, each=lambda step: None) -> list[int]:
    """Steps after which there was a new checkpoint."""
    found, seen = [], newest_step(saved.work)
    with saved.during(capture):
        for step in steps:
            with saved.step(step):
                each(step)
            if newest_step(saved.work) != seen:
                found.append(step)
                seen = newest_step(saved.work)
    return found


def test_by_steps(tmp_path):
    assert play(watched(tmp_path, 3), range(1, 11)) == [3, 6, 9]
    assert [p.name for p in found_checkpoints(tmp_path)] == ["step_00006", "step_00009"]


def test_never(tmp_path):
    assert play(watched(tmp_path, None), range(1, 4)) == [] and not list(tmp_path.iterdir())
    saved = watched(tmp_path, None)
    with pytest.raises(Interrupted), saved.during(capture):
        with saved.step(1):
            pass
        raise Interrupted(signal.SIGTERM)
    assert newest_step(tmp_path) is None


def test_by_the_clock(tmp_path, clock):
    def minute(_: int) -> None:
        clock.now += 60

    assert play(watched(tmp_path, "3m"), range(1, 9), minute) == [3, 6]


def test_slow_ones_are_rarer(tmp_path, clock, monkeypatch):
    """12 seconds to write are 2 % of 10 minutes, whatever time was asked for; a number of steps is kept to."""
    write = checkpoints.write_checkpoint

    def slowly(*arguments):
        clock.now += 12
        return write(*arguments)

    def minute(_: int) -> None:
        clock.now += 60

    monkeypatch.setattr(checkpoints, "write_checkpoint", slowly)
    assert play(watched(tmp_path / "a", "3m"), range(1, 25), minute) == [3, 13, 23]
    assert play(watched(tmp_path / "b", 4), range(1, 10), minute) == [4, 8]


@pytest.mark.parametrize("error", [Interrupted(signal.SIGTERM), KeyboardInterrupt(), WorkerDied("a worker")])
def test_what_ends_a_phase_between_steps_saves_the_last(tmp_path, error):
    saved = watched(tmp_path, 50)
    with pytest.raises(type(error)), saved.during(capture):
        for step in (1, 2):
            with saved.step(step):
                pass
        raise error
    assert newest_step(tmp_path) == 2


def test_half_a_step_is_never_saved(tmp_path):
    for error in (ValueError("a fault"), Interrupted(signal.SIGTERM)):
        saved = watched(tmp_path, 50)
        with pytest.raises(type(error)), saved.during(capture):
            with saved.step(1):
                pass
            with saved.step(2):
                raise error
        assert newest_step(tmp_path) is None


def test_a_step_that_begins_a_phase_again_counts_no_seconds(tmp_path, clock):
    saved = watched(tmp_path, 1)
    with saved.during(capture), saved.step(1):
        clock.now += 7
    assert saved.work == tmp_path and watched(tmp_path, 1)._earlier == 7
    found = watched(tmp_path, 1).restore(Nothing)
    assert found is not None and found.step == 1
