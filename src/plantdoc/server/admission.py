"""Admission control: bound what is under way at once, first come first served."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from plantdoc.serving.handler.refusal import Refused


class Admission:
    """Let in `slots` at once that weigh `capacity` together; `waiting` more may wait, for `seconds`."""

    def __init__(self, slots: int, capacity: int, waiting: int, seconds: float):
        self.inside, self.weight = 0, 0
        self._slots, self._capacity, self._most_waiting, self._seconds = slots, capacity, waiting, seconds
        self._waiting: deque[tuple[int, asyncio.Future]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def slot(self, weight: int) -> AsyncIterator[None]:
        """Hold a slot for something that weighs so much; what weighs more than the capacity goes in alone.

        Raises:
            Refused: 429, too many wait already, or this one has waited too long.
        """
        weight = min(weight, self._capacity)
        await self._enter(weight)
        try:
            yield
        finally:
            self._leave(weight)

    async def _enter(self, weight: int) -> None:
        if not self._waiting and self._has_room(weight):
            self._take(weight)
            return
        if len(self._waiting) >= self._most_waiting:
            raise busy()
        granted = asyncio.get_running_loop().create_future()
        entry = (weight, granted)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._seconds):
                await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled():  # let in at the moment in which it gave up
                self._leave(weight)
            else:
                self._waiting.remove(entry)
                self._let_in()
            if isinstance(error, TimeoutError):
                raise busy() from None
            raise

    def _leave(self, weight: int) -> None:
        self.inside -= 1
        self.weight -= weight
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            weight, granted = self._waiting[0]
            if granted.cancelled():  # it will take itself out
                break
            self._waiting.popleft()
            self._take(weight)
            granted.set_result(None)

    def _has_room(self, weight: int) -> bool:
        return self.inside < self._slots and self.weight + weight <= self._capacity

    def _take(self, weight: int) -> None:
        self.inside += 1
        self.weight += weight


def busy() -> Refused:
    """Refusal when there is no slot."""
    return Refused(429, "busy", "more requests are waiting than can be answered soon: try again in some seconds")
