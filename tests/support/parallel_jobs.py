"""Functions that worker processes run in tests/core/test_parallel.py."""

from __future__ import annotations

import os
import signal

from plantdoc.core.errors import UserError


def square(number: int) -> int:
    if number == 13:
        raise UserError("13 is unlucky")
    return number * number


def end_yourself(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupts_are_held(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
