"""Work spread over processes: in order, no faster than it is taken, and clear when a process dies."""

from __future__ import annotations

import signal
import threading

import pytest
from parallel_jobs import end_yourself, interrupts_are_held, square

from plantdoc.core import parallel
from plantdoc.core.errors import UserError


def test_results_come_in_order():
    assert list(parallel.imap(square, range(10), 3)) == [n * n for n in range(10)]


def test_nothing_to_do_is_no_work():
    assert list(parallel.imap(square, [], 2)) == []


def test_items_are_drawn_no_faster_than_results_are_taken():
    drawn = []

    def items():
        for n in range(100, 1000):
            drawn.append(n)
            yield n

    results = parallel.imap(square, items(), 2)
    for _ in range(5):
        next(results)
    assert len(drawn) <= 5 + 8
    results.close()
    assert len(drawn) <= 5 + 8


def test_an_error_in_a_process_is_raised_here():
    results = parallel.imap(square, range(12, 20), 2)
    assert next(results) == 144
    with pytest.raises(UserError, match="unlucky"):
        next(results)


def test_a_process_that_was_killed_is_the_users_to_know():
    with pytest.raises(UserError, match="fewer workers"):
        list(parallel.imap(end_yourself, range(3), 1))


def test_ctrl_c_reaches_the_caller_alone():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)
    assert all(parallel.imap(interrupts_are_held, range(20), 2))
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)) == before


def test_ctrl_c_waits_until_a_process_is_started():
    """Also when the system hands it to another thread, which has no mask."""
    now = threading.Event()
    other = threading.Thread(target=lambda: now.wait() and signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    other.start()
    done = False
    with pytest.raises(KeyboardInterrupt), parallel._interrupts_held():
        now.set()
        other.join()
        done = True
    assert done
