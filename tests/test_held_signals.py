"""Signals that wait for the end of a piece of work."""

from __future__ import annotations

import signal
import threading

import pytest

from legibility.held_signals import held_signals


class Stop(BaseException):
    pass


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    """A signal whose handler raises Stop."""

    def handler(signum: int, _: object) -> None:
        raise Stop(signum)

    before = signal.signal(request.param, handler)
    yield request.param
    assert signal.getsignal(request.param) is handler
    signal.signal(request.param, before)


def test_a_signal_waits_for_the_end_of_the_block(number):
    done = []
    with pytest.raises(Stop), held_signals():
        signal.raise_signal(number)
        done.append(1)
    assert done == [1]


def test_a_second_one_does_not_wait(number):
    done = []
    with pytest.raises(Stop), held_signals():
        signal.raise_signal(number)
        done.append(1)
        signal.raise_signal(number)
        done.append(2)
    assert done == [1]


def test_without_a_signal_nothing_happens(number):
    with held_signals():
        pass


def test_a_signal_is_told_even_where_the_work_fails(number):
    with pytest.raises(Stop), held_signals():
        signal.raise_signal(number)
        raise ValueError("a worker that the same signal ended")


def test_blocks_in_blocks(number):
    done = []
    with pytest.raises(Stop), held_signals():
        with held_signals():
            signal.raise_signal(number)
        done.append("the outer block too")
    assert done == ["the outer block too"]


def test_other_threads_hold_nothing():
    def work() -> None:
        with held_signals():
            done.append(signal.getsignal(signal.SIGTERM))

    done: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]
