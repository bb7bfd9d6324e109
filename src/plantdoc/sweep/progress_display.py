"""Live display of a sweep: lasting lines, and below them, on a terminal, one that changes for each instance."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable


class ProgressDisplay:
    """Several threads may say something. `redraw` seconds lie between two drawings; none is drawn but on a terminal."""

    def __init__(self, stream=None, redraw: float = 2.0):
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self._lock, self._shown = threading.RLock(), {}
        self._drawn, self._redraw, self._end = 0, redraw, threading.Event()

    def __enter__(self) -> ProgressDisplay:
        if self.terminal:
            threading.Thread(target=self._keep_drawing, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        with self._lock:
            self._shown.clear()
            self._draw()

    def say(self, name: str, line: str) -> None:
        """A line for good."""
        with self._lock:
            self._clear()
            # In one piece: print's own line end can come after another's line.
            self.stream.write(f"{name}: {line}\n")
            self._draw()

    def show(self, name: str, summary: Callable[[], str]) -> None:
        """Show the state of an instance: in its own row of a terminal, else as a new line."""
        with self._lock:
            self._shown[name] = summary
        if not self.terminal:
            self.say(name, summary())

    def drop(self, name: str) -> None:
        """Its machine is no more."""
        with self._lock:
            self._shown.pop(name, None)
            self._draw()

    def _keep_drawing(self) -> None:
        while not self._end.wait(self._redraw):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self.terminal:
            self._clear()
            width = shutil.get_terminal_size().columns - 1
            for name, summary in self._shown.items():
                self.stream.write(f"{name}: {summary()}"[:width] + "\n")
            self._drawn = len(self._shown)
        self.stream.flush()

    def _clear(self) -> None:
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}A\x1b[J")  # up so many lines, and clear what is below
            self._drawn = 0
