"""One line of JSON for each request, without what was in it; and what no request may do without."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders

from plantdoc.server.prometheus import Metrics
from plantdoc.server.request_body import HungUp
from plantdoc.serving.handler import response
from plantdoc.serving.handler.refusal import Refused

log = logging.getLogger("plantdoc")
GONE = 499  # what web servers write for a client that did not wait for its answer
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'; object-src 'none'",  # these do not all follow default-src
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass
class Record:
    """Content of a request's line in the log; the routes add what they know to `more`."""

    id: str
    more: dict = field(default_factory=dict)


class Access:
    """Wraps the application: every request is counted, written down, and answered, whatever happens inside.

    Args:
        app: an ASGI application; finds the Record at `scope["record"]`.
        metrics: what counts.
        write: takes a line.
    """

    def __init__(self, app: Callable, metrics: Metrics, write: Callable[[str], None]):
        self._app, self._metrics, self._write = app, metrics, write

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        record = scope["record"] = Record(secrets.token_hex(6))
        inner = _routed(scope)
        status, received, sent, whole = 0, 0, 0, False

        async def counted_receive():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message) -> None:
            nonlocal status, sent, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = record.id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            else:
                sent += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(inner, counted_receive, counted_send)
        except HungUp:
            status = GONE
        except asyncio.CancelledError:  # the server ends, and waits no longer
            await _stopping(status)(scope, counted_receive, counted_send)
        except Exception as error:
            log.error("request %s failed", record.id, exc_info=error)
            if not whole:  # the answer is cut short, which the client must notice
                raise
        finally:
            route = getattr(inner.get("route"), "path", None) or "other"
            seconds = time.perf_counter() - started
            self._metrics.request(route, status, seconds)
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "id": record.id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "received": received,
                "sent": sent,
            }
            self._write(json.dumps(line | record.more))


def _routed(scope: dict) -> dict:
    """The scope for the routes: HEAD is GET to them. uvicorn leaves the body out, by the method in its own scope."""
    return scope | {"method": "GET"} if scope["method"] == "HEAD" else scope


def _stopping(status: int) -> Callable:
    """What is answered when the server stops, where no answer with a status has begun."""

    async def nothing(*_) -> None: ...

    if status:
        return nothing
    refused = Refused(503, "stopping", "the server is stopping: try again in a minute")
    return JSONResponse(response.refusal(refused), 503, {"Connection": "close"})


class Lines:
    """Writes lines to a stream from a thread of its own: a reader that is slow must not hold up the server.

    When too many lines wait, new ones are dropped, and counted in `dropped`.
    """

    def __init__(self, stream: TextIO, most: int = 10_000):
        self.dropped = 0
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience: float = 2.0) -> None:
        """Write what waits; give up after `patience` seconds on a reader that does not read."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=patience)
            self._thread.join(patience)

    def write(self, line: str) -> None:
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads, or the disk is full
                self.dropped += 1
