"""One model for many requests: what waits at the same time is asked together, in one thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from plantdoc.serving.handler.uploaded_image import Photo


@dataclass(eq=False)
class _Group:
    """The pictures of one request, which stay together."""

    photos: list[Photo]
    rows: asyncio.Future
    arrived: float

    @property
    def pixels(self) -> int:
        return sum(photo.pixels for photo in self.photos)


class Batcher:
    """Asks `model` about groups of pictures, several groups in a call.

    Args:
        model: answers a list of photos, with a list as long; called in one thread.
        most: pictures in a call, at most; a larger group is a call of its own.
        wait: seconds that the first group in the queue waits for others, at most; not at all for a lone caller.
        pixels: of all pictures in a call, at most; a larger group is a call of its own.
        merge: False asks about each group alone.
        seen: told the number of pictures of each call.
    """

    def __init__(
        self,
        model: Callable[[list[Photo]], list],
        most: int,
        wait: float,
        pixels: int,
        merge: bool = True,
        seen: Callable[[int], None] = lambda size: None,
    ):
        self._model, self._most, self._wait, self._pixels, self._merge, self._seen = (
            *(model, most, wait, pixels),
            *(merge, seen),
        )
        self._queue: deque[_Group] = deque()
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task | None = None
        # When the last call ended there was nobody but its one caller: no use in waiting for others.
        self._alone = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End after the call that is under way; what waits is cancelled."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._queue:
            self._queue.popleft().rows.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def ask(self, photos: list[Photo]) -> list:
        """The model's rows for the photos; a caller that is cancelled leaves the queue."""
        if not photos:
            return []
        group = _Group(photos, asyncio.get_running_loop().create_future(), time.monotonic())
        self._queue.append(group)
        self._news.set()
        return await group.rows

    async def _run(self) -> None:
        while True:
            groups = await self._next()
            photos = [photo for group in groups for photo in group.photos]
            self._seen(len(photos))
            try:
                rows = iter(await asyncio.get_running_loop().run_in_executor(self._thread, self._model, photos))
            except Exception as error:
                for group in groups:
                    if not group.rows.done():
                        group.rows.set_exception(error)
                continue
            finally:
                self._alone = len(groups) + len(self._queue) == 1
            for group in groups:
                own = [next(rows) for _ in group.photos]
                if not group.rows.done():
                    group.rows.set_result(own)

    async def _next(self) -> list[_Group]:
        """The groups of the next call. While the model is busy the queue grows, so that waiting costs nothing then."""
        while True:
            self._news.clear()
            while self._queue and self._queue[0].rows.done():
                self._queue.popleft()
            if not self._queue:
                await self._news.wait()
                continue
            groups, full = self._head()
            left = self._queue[0].arrived + self._wait - time.monotonic()
            if full or self._alone or left <= 0:
                for group in groups:
                    self._queue.remove(group)
                return groups
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                continue

    def _head(self) -> tuple[list[_Group], bool]:
        """The first groups of the queue that make one call, and whether no more fit in."""
        chosen: list[_Group] = []
        photos = pixels = 0
        for group in self._queue:
            if group.rows.done():
                continue
            photos, pixels = photos + len(group.photos), pixels + group.pixels
            if chosen and (not self._merge or photos > self._most or pixels > self._pixels):
                return chosen, True
            chosen.append(group)
        return chosen, not self._merge or photos >= self._most or pixels >= self._pixels
