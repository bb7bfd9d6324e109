"""One model for many requests: what waits at the same time is asked together, in one thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from plantdoc.serving.handler.uploaded_image import UploadedImage


@dataclass(eq=False)
class _Waiting:
    """The pictures of one request, which stay together."""

    images: list[UploadedImage]
    rows: asyncio.Future
    arrived: float

    @property
    def pixels(self) -> int:
        return sum(image.pixels for image in self.images)


class Batcher:
    """Asks `model` about groups of pictures, several groups in a call.

    Args:
        model: answers a list of images, with a list as long; called in one thread.
        most: pictures in a call, at most; a larger group is a call of its own.
        wait: seconds that the first group in the queue waits for others, at most; not at all for a lone caller.
        pixels: of all pictures in a call, at most; a larger group is a call of its own.
        merge: False asks about each group alone.
        seen: told the number of pictures of each call.
    """

    def __init__(
        self,
        model: Callable[[list[UploadedImage]], list],
        most: int,
        wait: float,
        pixels: int,
        merge: bool = True,
        seen: Callable[[int], None] = lambda size: None,
    ):
        self._model, self._most, self._wait, self._pixels = model, most, wait, pixels
        self._merge, self._seen = merge, seen
        self._queue: deque[_Waiting] = deque()
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

    async def ask(self, images: list[UploadedImage]) -> list:
        """The model's rows for the images; a caller that is cancelled leaves the queue."""
        if not images:
            return []
        group = _Waiting(images, asyncio.get_running_loop().create_future(), time.monotonic())
        self._queue.append(group)
        self._news.set()
        return await group.rows

    async def _run(self) -> None:
        while True:
            groups = await self._next()
            images = [image for group in groups for image in group.images]
            self._seen(len(images))
            try:
                rows = iter(await asyncio.get_running_loop().run_in_executor(self._thread, self._model, images))
            except Exception as error:
                for group in groups:
                    if not group.rows.done():
                        group.rows.set_exception(error)
                continue
            finally:
                self._alone = len(groups) + len(self._queue) == 1
            for group in groups:
                own = [next(rows) for _ in group.images]
                if not group.rows.done():
                    group.rows.set_result(own)

    async def _next(self) -> list[_Waiting]:
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

    def _head(self) -> tuple[list[_Waiting], bool]:
        """The first groups of the queue that make one call, and whether no more fit in."""
        chosen: list[_Waiting] = []
        images = pixels = 0
        for group in self._queue:
            if group.rows.done():
                continue
            images, pixels = images + len(group.images), pixels + group.pixels
            if chosen and (not self._merge or images > self._most or pixels > self._pixels):
                return chosen, True
            chosen.append(group)
        return chosen, not self._merge or images >= self._most or pixels >= self._pixels
