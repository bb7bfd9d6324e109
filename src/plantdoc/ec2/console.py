"""Show a training that runs elsewhere: its lines as they were printed, a bar at the foot of the terminal."""

from __future__ import annotations

import codecs
import re
import shutil
import sys

from plantdoc.train.progress import TrainingProgress

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Log:
    """Bytes that a program wrote to a terminal, as finished lines.

    A line feed ends a line. What stands before a carriage return alone was there to be written over, and is left out.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def feed(self, piece: bytes) -> list[str]:
        """The lines that end in this piece and are not blank."""
        *lines, self._open = (self._open + self._decoder.decode(piece)).split("\n")
        return [shown for line in lines if (shown := _last(line))]


class Console:
    """Lines on stderr; on a terminal, also a bar below them that is drawn again and again."""

    def __init__(self, terminal: bool | None = None, stream=None):
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty() if terminal is None else terminal
        self._drawn = False

    def line(self, text: str) -> None:
        """A line for good."""
        self.clear()
        print(text, file=self.stream, flush=True)

    def progress_bar(self, text: str, suffix: str) -> None:
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


def progress_bar(now: TrainingProgress) -> str:
    """One line on how far a training is; '' before its first epoch."""
    if not now.steps or not now.epoch:
        return ""
    parts = [f"epoch {now.epoch}/{now.epochs}: {now.step / now.steps:.0%}, step {now.step}/{now.steps}"]
    if now.seconds_left is not None:
        parts.append(f"{now.seconds_left / 60:.1f} min left")
    parts += [f"{name} {value:.3f}" for name, value in now.losses.items()]
    if now.val_map50 is not None:
        parts.append(f"val mAP@50 {now.val_map50:.4f}")
    return ", ".join(parts)


def _last(text: str) -> str:
    """Visible text of a line that was written over: its last part that is not blank."""
    parts = (_CONTROL.sub("", part).rstrip() for part in reversed(text.split("\r")))
    return next(filter(None, parts), "")
