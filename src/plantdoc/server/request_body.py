"""Taking a request's body from the line: no more of it than allowed, no slower, and for as long as it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from fastapi.responses import JSONResponse
from starlette.types import Receive

from plantdoc.server.limits import Limits
from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused

_RETRY_AFTER = {429: "5", 503: "60"}  # seconds, by status


class HungUp(Exception):
    """The client has gone; nobody reads an answer."""


def declared(length: str | None, limits: Limits) -> int:
    """Bytes that a body may take up, by its Content-Length header; without one as many as are allowed.

    Raises:
        Refused: 413, it is too long.
    """
    if length is None:
        return limits.body
    if not length.isdecimal() or int(length[:20]) > limits.body:
        raise request.too_long(limits.body)
    return int(length)


class Body:
    """A request's body, which must come within `limits`.

    Raises, from both methods:
        Refused: 413 as soon as it is too long, 408 when it does not come, or comes too slowly.
        HungUp: the client has gone.
    """

    def __init__(self, receive: Receive, limits: Limits):
        self._receive, self._limits = receive, limits
        self._taken, self._whole = bytearray(), False

    async def begin(self) -> None:
        """Take `limits.first_bytes`, or all of a shorter body: one that comes by drops takes no place till then."""
        await self._take(self._limits.first_bytes)

    async def rest(self, wanted: Callable[[], bool] = lambda: False) -> bytes:
        """The whole body; `wanted` says whether others wait for its place in memory."""
        await self._take(None, wanted)
        return bytes(self._taken)

    async def _take(self, enough: int | None, wanted: Callable[[], bool] = lambda: False) -> None:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await self._take_at_a_rate(enough, wanted)
        except TimeoutError:
            raise _too_slow() from None

    async def _take_at_a_rate(self, enough: int | None, wanted: Callable[[], bool]) -> None:
        limits, clock = self._limits, asyncio.get_running_loop().time
        began, came = clock(), 0  # of a span in which bytes are counted
        while not self._whole and (enough is None or len(self._taken) < enough):
            hurried = wanted()
            span, rate = (limits.hurry_seconds, limits.hurry_rate) if hurried else (limits.idle_seconds, limits.rate)
            left = began + span - clock()
            try:
                # Not longer than `hurry_seconds`, to see when others begin to wait.
                async with asyncio.timeout(max(0, min(left, limits.hurry_seconds))):
                    message = await self._receive()
            except TimeoutError:
                if left <= limits.hurry_seconds:
                    if came < rate * span:
                        raise _too_slow() from None
                    began, came = clock(), 0
                continue
            if message["type"] == "http.disconnect":
                raise HungUp
            piece = message.get("body", b"")
            came += len(piece)
            self._taken += piece
            if len(self._taken) > limits.body:
                raise request.too_long(limits.body)
            self._whole = not message.get("more_body")


def _too_slow() -> Refused:
    return Refused(408, "too_slow", "the body did not come in time: send it again")


async def unless_hung_up(receive: Receive, work: Coroutine):
    """The result of `work`, which is cancelled when the client goes; the body must have been read.

    Raises:
        HungUp: the client has gone.
    """
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HungUp
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


class Refusal(JSONResponse):
    """A refusal; `unread`: to a client that may still be sending. It is answered at once, the rest is thrown away."""

    def __init__(self, refused: Refused, limits: Limits, unread: bool):
        headers = {"Cache-Control": "no-store"}
        if seconds := _RETRY_AFTER.get(refused.status):
            headers["Retry-After"] = seconds
        if unread:
            headers["Connection"] = "close"
        super().__init__(response.refusal(refused), refused.status, headers)
        self._limits, self._unread = limits, unread

    async def __call__(self, scope, receive, send) -> None:
        if not self._unread:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        left = self._limits.linger_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_seconds):
                while left > 0:
                    async with asyncio.timeout(self._limits.idle_seconds):
                        message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
