"""Taking a request's body from the line: no more of it than allowed, no slower, and for as long as it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

from fastapi.responses import JSONResponse
from starlette.types import Receive

from plantdoc.server.limits import Limits
from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused


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


async def read(receive: Receive, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        Refused: 413 as soon as it is too long, 408 when it does not come.
        HungUp: the client has gone.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                async with asyncio.timeout(limits.idle_seconds):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                body += message.get("body", b"")
                if len(body) > limits.body:
                    raise request.too_long(limits.body)
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Refused(408, "too_slow", "the body did not come in time: send it again") from None


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
        if refused.status == 429:
            headers["Retry-After"] = "5"
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
