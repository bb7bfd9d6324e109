"""Ctrl-C and SIGTERM while a machine costs money: not in the middle of starting or ending it, and then a decision."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


class Interrupts:
    """Turns SIGINT and SIGTERM into a KeyboardInterrupt, later where one comes at a bad moment."""

    def __init__(self) -> None:
        self.terminated = False  # by SIGTERM: nobody is there to be asked
        self._held = self._pending = 0

    def install(self) -> None:
        """Set the handlers, also where a parent ignores these signals for itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no signal in; one that came is raised at the end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._pending and not self._held:
            self._pending = 0
            raise KeyboardInterrupt

    def leave_it(self) -> bool:
        """Ask whether the machine may go on without us. No terminal, a second signal, and any other answer mean no."""
        if self.terminated or not at_terminal():
            return False
        print("\nend the machine, or leave it and attach later? [END/leave] ", end="", file=sys.stderr, flush=True)
        try:
            return sys.stdin.readline().strip().lower().startswith("l")
        except KeyboardInterrupt:
            return False

    def _handle(self, number: int, frame: object) -> None:
        self.terminated |= number == signal.SIGTERM
        if self._held:
            self._pending = 1
        else:
            raise KeyboardInterrupt


def at_terminal() -> bool:
    """Whether a person sits there: a terminal to read from and to write to, and this process in its foreground."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False
