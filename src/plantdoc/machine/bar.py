"""How far a training is, read from what it prints: tqdm's bar and the line after each epoch (src/train.py)."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_BAR = re.compile(r"epoch (\d+)/(\d+): *\d+%\|.*\| *(\d+)/(\d+) \[")
_EPOCH = re.compile(r"epoch (\d+): ")
_MAP50 = re.compile(r"mAP@50 ([\d.]+)")
_ANY_BAR = re.compile(r"\d+%\|")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]")
_LONGEST = 4096  # characters of a line that are looked at


@dataclass
class Position:
    """The epoch under way, counted from 1, the steps done of all epochs together, and the last epoch's val mAP@50."""

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    val_map50: float | None = None


class Reader:
    """Takes the output in pieces; `position` is what it said last, `message` its last line that is no bar."""

    def __init__(self) -> None:
        self.position, self.message = Position(), ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""
        self._step = self._epoch = 0  # the furthest there was

    def feed(self, output: bytes) -> bool:
        """Whether the training has got on by what it says here."""
        *lines, last = re.split(r"[\r\n]", self._open + self._decoder.decode(output))
        self._open = last[-_LONGEST:]
        return any([self._read(line[-_LONGEST:]) for line in lines])

    def close(self) -> None:
        """The output has ended."""
        self.feed(b"\n")

    def _read(self, line: str) -> bool:
        position = self.position
        if found := _BAR.search(line):
            position.epoch, position.epochs, position.step, position.steps = map(int, found.groups())
            before, self._step = self._step, max(self._step, position.step)
            return position.step > before
        text = _CONTROL.sub("", line).strip()
        if text and not _ANY_BAR.search(text):
            self.message = text
        if not (found := _EPOCH.match(text)) or int(found[1]) <= self._epoch:
            return False
        self._epoch = position.epoch = int(found[1])
        if score := _MAP50.search(text):
            position.val_map50 = float(score[1])
        return True
