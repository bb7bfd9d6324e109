"""Answers from a model elsewhere: what a SageMaker endpoint and the public API have in common. No TensorFlow here."""

from __future__ import annotations

import abc
import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor

from plantdoc.decoder import file_kind
from plantdoc.server import threads
from plantdoc.server.probe_image import blank
from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options

log = logging.getLogger("plantdoc")
_AT_ONCE = 16
MAX_BYTES = 4_000_000  # of a picture: what a serverless endpoint takes, and the public API
MAX_PIXELS = 64_000_000  # of a picture: the default of deploy.max_pixels, since no answer tells the model's own
MAX_ANSWER = 10_000_000  # bytes


class RemoteBackend(abc.ABC):
    """Passes questions on. `one` and `several` ask and block; they raise Refused.

    Args:
        name: for the log.
    """

    source = ""
    fresh = 60.0  # asking costs money, and keeps a serverless endpoint awake

    def __init__(self, name: str):
        self.name = name
        self._model: str | None = None  # what its answers told of it
        self._threshold: float | None = None
        self._threads, self._free = ThreadPoolExecutor(_AT_ONCE, "upstream"), asyncio.Semaphore(_AT_ONCE)
        self._first: asyncio.Task | None = None

    @abc.abstractmethod
    def one(self, picture: bytes, options: Options) -> dict:
        """The answer to a picture."""

    @abc.abstractmethod
    def several(self, pictures: list[bytes], options: Options) -> dict:
        """The answer to pictures, with `predictions`."""

    async def start(self) -> None:
        # An endpoint that sleeps wakes up meanwhile, and its answer tells the version.
        self._first = asyncio.get_running_loop().create_task(self._wake())

    async def stop(self) -> None:
        if self._first:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def about(self) -> dict:
        """Facts about the model from its answers; nothing before the first."""
        return {
            "model": self._model,
            "threshold": self._threshold,
            "max_bytes": MAX_BYTES,
            "max_pixels": MAX_PIXELS,
            "classes": [],
            "scores": dict.fromkeys(("map50", "map50_low", "map50_high", "pictures")),
            "note": "",
            "attribution": "",
            "trace": "",
        }

    async def check(self) -> None:
        """Ask for real; raises Refused with what was answered instead."""
        await self.predict("image/jpeg", blank().data, Options())

    async def predict(self, content_type: str, body: bytes, options: Options) -> dict:
        """The answer to a body, as in plantdoc.serving.handler.response.body.

        Raises:
            Refused: with the status that the model's side gave, 413 for what it does not take, 429 when it is busy, 503
                when it is starting, 502 when it does not answer.
        """
        async with self._free:  # a body that waits for a thread in the pool would outlive who sent it
            content = await threads.run(self._threads, self._predict, content_type, body, options)
        if self._threshold is None and self._first and self._first.done():
            # It sleeps no longer. No answer to a question with a threshold tells the model's own.
            self._first = asyncio.get_running_loop().create_task(self._wake())
        return content

    def _predict(self, content_type: str, body: bytes, options: Options) -> dict:
        sent = request.read(content_type, body, options)
        options = sent.options
        pictures = [_within_limit(each) for each in sent.pictures]
        good = [each for each in pictures if isinstance(each, bytes)]
        content: dict
        if not sent.many:
            if isinstance(pictures[0], Refused):
                raise pictures[0]
            content = self.one(pictures[0], options)
        elif good:
            content = self.several(good, options)
            rows = iter(content["predictions"])
            ordered = [response.refusal(each) if isinstance(each, Refused) else next(rows) for each in pictures]
            content = content | {"predictions": ordered}
        else:
            threshold = self._threshold if options.threshold is None else options.threshold
            refused = [each for each in pictures if isinstance(each, Refused)]
            return response.body(refused, True, self._model or "", threshold or 0.0, 0.0)
        self._model = content["model"] or self._model
        if options.threshold is None:
            self._threshold = content["threshold"]
        return content

    async def _wake(self) -> None:
        try:
            await self.check()
        except Refused as refused:
            log.warning("%s does not answer yet: %s", self.name, refused.message)


def read(text: bytes) -> dict:
    """The content of an answer.

    Raises:
        Refused: what the answer says instead, or 502 when it is none.
    """
    try:
        content = json.loads(text)
        if error := content.get("error"):
            status = int(error["status"])
            if not 400 <= status < 600:
                raise ValueError
            raise Refused(status, str(error["code"]), str(error["message"]))
        if not {"model", "threshold", "milliseconds"} <= content.keys():
            raise ValueError
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise Refused(502, "no_answer", "what answers there is no plant disease detector") from None
    return content


def kind(picture: bytes) -> str:
    """The content type of a picture by its first bytes; what was said of it may be wrong."""
    return file_kind.MIME.get(file_kind.of(picture) or "", "image/jpeg")


def chosen(options: Options) -> dict[str, float | int]:
    """The options that were given, by their names in a query."""
    values = {"threshold": options.threshold, "max": options.most}
    return {name: value for name, value in values.items() if value is not None}


def busy() -> Refused:
    """Refusal when the model's side takes no more requests now."""
    return Refused(429, "busy", "the model has too many requests now: try again in some seconds")


def starting() -> Refused:
    """Refusal when the model's side is not ready yet, as a serverless endpoint that has slept."""
    return Refused(503, "endpoint_starting", "the endpoint is starting: try again in a minute")


def too_long() -> Refused:
    """Refusal of more than MAX_BYTES."""
    return Refused(
        413, "too_long", f"the model takes {MAX_BYTES / 1e6:g} MB at once: send fewer pictures, or smaller ones"
    )


def _within_limit(picture: bytes | Refused) -> bytes | Refused:
    return too_long() if isinstance(picture, bytes) and len(picture) > MAX_BYTES else picture
