"""Ends from outside: a signal becomes `Interrupted`, and handlers are put back."""

from __future__ import annotations

import signal
import threading

import pytest

from legibility.errors import Interrupted
from legibility.process_end import interruptible, ranks_go_home


@pytest.mark.parametrize(("number", "by_system"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_signal_ends_the_block(number, by_system):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as ended, interruptible():
        signal.raise_signal(number)
    assert (ended.value.exit_code, ended.value.by_system) == (128 + number, by_system)
    assert signal.getsignal(number) is before


def test_another_thread_sets_no_handlers():
    done: list[object] = []

    def work() -> None:
        with interruptible():
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]


def test_without_a_launcher_there_is_nobody_to_send_home():
    with pytest.raises(ValueError), ranks_go_home():
        raise ValueError
