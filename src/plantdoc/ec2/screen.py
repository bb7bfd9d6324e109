"""What a training elsewhere looks like here: its lines as they were printed, its bar at the foot of the terminal."""

from __future__ import annotations

import codecs
import re
import shutil
import sys
from collections.abc import Iterator

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BAR = re.compile(r"\d+%\|")


class Log:
    """Bytes that a program wrote to a terminal, taken apart into finished lines and the bar that it redraws.

    A line feed ends a line. What a carriage return alone ends, or nothing yet, was there to be written over: a bar.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def feed(self, piece: bytes) -> Iterator[tuple[str, str]]:
        """Yield ("line", text) for each finished line, and ("bar", text) for the last state of the bar, if it moved."""
        text = self._open + self._decoder.decode(piece)
        *lines, self._open = text.split("\n")
        for line in lines:
            if shown := _last(line):
                yield "line", shown
        # A carriage return at the very end may yet turn out to be half of a line's end.
        if bar := _last(self._open):
            yield "bar", bar
            if not self._open.endswith("\r"):
                self._open = "\r" + self._open.rpartition("\r")[2]


class Screen:
    """Lines on stderr; on a terminal, also a bar below them that is drawn again and again."""

    def __init__(self, terminal: bool | None = None, stream=None):
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty() if terminal is None else terminal
        self._drawn = False

    def line(self, text: str) -> None:
        """A line for good. Elsewhere than on a terminal, the last state of a bar is none."""
        if self.terminal or not _BAR.search(text):
            self.clear()
            print(text, file=self.stream, flush=True)

    def bar(self, text: str, suffix: str) -> None:
        """Draw the bar, cut to the terminal's width so that `suffix` behind it is whole."""
        if not self.terminal:
            return
        room = shutil.get_terminal_size().columns - len(suffix) - 2
        self.stream.write(f"\r{text[: max(room, 0)]} {suffix}\x1b[K")
        self.stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._drawn = False


def _last(text: str) -> str:
    """What is to be read of a line that was written over: its last part that is not blank."""
    parts = (_CONTROL.sub("", part).rstrip() for part in reversed(text.split("\r")))
    return next(filter(None, parts), "")
