"""What a trial's machine on EC2 is doing and costs, as the trial's own output tells it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

# What plantdoc.ec2.flow and the training say, read here because a trial is a process of DVC's.
_STARTED = re.compile(r"ec2: machine (\S+): (\S+) in (\S+), (spot|on demand), \$([\d.]+) an hour")
_GONE = re.compile(
    r"ec2: (the machine was taken away|the machine of attempt \d+ has gone|ended the machine|outputs in)"
)
_EPOCH = re.compile(r"epoch (\d+): (?!.*mAP@50)|epoch (\d+): .*mAP@50 ([\d.]+)")


class Machine:
    """The machines of one trial, one after another: which one works now, how far it is, what all of them have cost.

    `total` is how many epochs the trial has at most. Dollars are those of machines that this process has heard of.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic):
        self.total, self.clock = total, clock
        self.id = self.where = ""
        self.epoch, self.val = 0, None
        self.since: float | None = None  # when the machine started that works now
        self.price = self._seconds = self._dollars = 0.0

    def hear(self, line: str) -> bool:
        """Take in a line of the trial's output; returns whether `told` has something new to tell."""
        if found := _STARTED.match(line):
            if found[1] != self.id:
                self._stop()
                self.id, self.where, self.price = found[1], f"{found[2]} in {found[3]}, {found[4]}", float(found[5])
                self.since = self.clock()
        elif _GONE.match(line):
            self._stop()
        elif self.id and (found := _EPOCH.match(line)):
            self.epoch = int(found[1] or found[2])
            self.val = float(found[3]) if found[3] else self.val
        else:
            return False
        return bool(self.id)

    def told(self) -> str:
        """Type, zone, market, epoch, mAP, minutes and dollars in one line."""
        score = "" if self.val is None else f", val mAP@50 {self.val:.4f}"
        state = "" if self.since is not None else ", ended"
        return (
            f"{self.where}{state}, epoch {self.epoch}/{self.total}{score}, {self.minutes:.1f} min, ${self.dollars:.2f}"
        )

    @property
    def minutes(self) -> float:
        return (self._seconds + self._running()) / 60

    @property
    def dollars(self) -> float:
        return self._dollars + self._running() / 3600 * self.price

    def end(self) -> None:
        """The trial has ended, and with it its machine."""
        self._stop()

    def _running(self) -> float:
        return 0.0 if self.since is None else self.clock() - self.since

    def _stop(self) -> None:
        running, self.since = self._running(), None
        self._seconds += running
        self._dollars += running / 3600 * self.price
