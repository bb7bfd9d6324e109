"""Answers from a model in this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from plantdoc.decoder.file_kind import PHONES
from plantdoc.registry.bundles import Bundle
from plantdoc.server import threads
from plantdoc.server.admission import Admission
from plantdoc.server.batcher import Batcher
from plantdoc.server.limits import Limits
from plantdoc.server.loaded_model import Model
from plantdoc.server.probe_image import blank
from plantdoc.serving.handler import request, response, uploaded_image
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options
from plantdoc.serving.handler.uploaded_image import Inspected, UploadedImage

_CONVERTED = 3  # bytes a pixel, of a photo that is converted before the model takes it


class Local:
    """Checks photos in threads, asks the model through a Batcher.

    Args:
        bundle: what is served.
        model: its model.
        limits: how long a request waits for a place.
        most, wait, merge: see Batcher.
        seen: told the number of pictures of each call of the model.
    """

    source = "local"
    fresh = 5.0

    def __init__(
        self,
        bundle: Bundle,
        model: Model,
        limits: Limits,
        most: int = 8,
        wait: float = 0.005,
        merge: bool = True,
        seen: Callable[[int], None] = lambda size: None,
    ):
        self._bundle, self._most, self._max_pixels = bundle, most, bundle.about["max_pixels"]
        self._batcher = Batcher(model.ask, most, wait, self._max_pixels, merge, seen)
        self._threads, self._converter = ThreadPoolExecutor(2, "photos"), ThreadPoolExecutor(1, "converter")
        # One converted photo of the largest size at a time: those of all requests at once would not fit in memory.
        self._converting = Admission(limits.bodies, _CONVERTED * self._max_pixels, limits.bodies, limits.wait_seconds)

    async def start(self) -> None:
        self._batcher.start()

    async def stop(self) -> None:
        await self._batcher.stop()
        for pool in (self._threads, self._converter):
            await asyncio.to_thread(pool.shutdown)

    def about(self) -> dict:
        about = self._bundle.about
        return {
            "model": self._bundle.version,
            "threshold": about["threshold"],
            "max_pixels": self._max_pixels,
            "classes": self._bundle.classes,
            "scores": {key: about.get(key) for key in ("map50", "map50_low", "map50_high", "pictures")},
            "note": about.get("note", ""),
            "attribution": about.get("attribution", ""),
            "trace": f"python scripts/trace.py {self._bundle.source}",
        }

    async def check(self) -> None:
        """Ask the model for real; raises what it raises."""
        (row,) = await self._batcher.ask([blank()])
        if isinstance(row, Refused):
            raise row

    async def predict(self, content_type: str, body: bytes, options: Options) -> dict:
        """The answer to a body, as in plantdoc.serving.handler.response.body.

        Raises:
            Refused: it cannot be answered.
        """
        started = time.perf_counter()
        sent = await threads.run(self._threads, request.read, content_type, body, options)
        options = sent.options
        threshold = self._bundle.about["threshold"] if options.threshold is None else options.threshold
        predictions: list[dict | Refused] = []
        for part, weight in await threads.run(self._threads, self._parts, sent.pictures):
            # What needs no converting does not wait behind what does.
            async with self._converting.slot(weight) if weight else contextlib.nullcontext():
                photos = await threads.run(self._converter if weight else self._threads, _prepared, part)
                rows = iter(await self._batcher.ask([each for each in photos if isinstance(each, UploadedImage)]))
            for each in photos:
                if isinstance(each, Refused):
                    predictions.append(each)
                    continue
                row = next(rows)
                done = row if isinstance(row, Refused) else response.of_one(each, row, threshold, options.most)
                predictions.append(done)
        milliseconds = 1000 * (time.perf_counter() - started)
        return response.body(predictions, sent.many, self._bundle.version, threshold, milliseconds)

    def _parts(self, sent: list[bytes | Refused]) -> list[tuple[list[Inspected | Refused], int]]:
        """Pictures of one call, and the bytes that they will be converted to.

        That is as many pictures as allowed, and no more pixels than one picture may have.
        """
        parts: list[tuple[list[Inspected | Refused], int]] = []
        pixels = 0
        for each in map(self._inspected, sent):
            more = 0 if isinstance(each, Refused) else each.pixels
            converted = isinstance(each, Inspected) and each.converted
            if not parts or len(parts[-1][0]) == self._most or pixels + more > self._max_pixels:
                parts.append(([], 0))
                pixels = 0
            part, weight = parts[-1]
            parts[-1] = ([*part, each], weight + _CONVERTED * more * converted)
            pixels += more
        return parts

    def _inspected(self, sent: bytes | Refused) -> Inspected | Refused:
        try:
            return sent if isinstance(sent, Refused) else uploaded_image.inspect(sent, self._max_pixels, PHONES)
        except Refused as refused:
            return refused


def _prepared(part: list[Inspected | Refused]) -> list[UploadedImage | Refused]:
    prepared = []
    for each in part:
        try:
            prepared.append(each if isinstance(each, Refused) else uploaded_image.prepare(each))
        except Refused as refused:
            prepared.append(refused)
    return prepared
