"""A program on a pseudo-terminal, so that it holds no line back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Sequence

_ROWS, _COLUMNS = 40, 120
_GRACE = 20.0  # seconds in which a program that was asked to end may end; a spot machine has two minutes
_REST = 5.0  # seconds for what a program has left unread, also where a child of its own keeps the terminal open


class Terminal:
    """Starts `command` and hands what it prints to `hear`, in a thread."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], hear: Callable[[bytes], None]):
        self._ours, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST  # a line ends with a line feed alone
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
            )
        finally:
            os.close(theirs)
        self._hear = hear
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when it is still at work after `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def end(self) -> None:
        """Return when the program has ended, by SIGTERM or at last by force, and all that it said was heard."""
        if self.process.poll() is None:
            self.process.terminate()
            if self.wait(_GRACE) is None:
                self.process.kill()
                self.process.wait()
        self._thread.join(_REST)

    def _read(self) -> None:
        while output := self._next():
            self._hear(output)
        os.close(self._ours)

    def _next(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has it open any more
            return b""
