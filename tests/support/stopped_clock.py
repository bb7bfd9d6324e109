"""A clock that goes on only while somebody waits by it."""

from __future__ import annotations

from plantdoc.aws.clock import Clock


class StoppedClock:
    """`clock` for code that waits; `waits` are the seconds that it has waited, one by one."""

    def __init__(self):
        self.waits: list[float] = []

    @property
    def clock(self) -> Clock:
        return Clock(lambda: sum(self.waits), self.waits.append)
