"""The HTTP server around the application: uvicorn, with bounds on connections and on the time that its end takes."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

import uvicorn

from plantdoc.server import connections
from plantdoc.server.limits import ConnectionLimits

log = logging.getLogger("plantdoc")
# Docker, for one, kills 10 seconds after it has asked for the end.
_GRACE = 5.0  # seconds
_LATEST = 8.0  # seconds after which the process ends with whatever is still under way


class HttpServer(uvicorn.Server):
    """A server of `application` within `limits`.

    Args:
        application: an ASGI application.
        limits: of its connections.
        started: called when it answers.
        last: called before the process is ended with work under way, which a model or an endpoint may be slow at.
        grace: seconds in which requests that came whole are answered when the server is to stop.
    """

    def __init__(
        self,
        application: Callable,
        limits: ConnectionLimits,
        started: Callable[[], None] = lambda: None,
        last: Callable[[], None] | None = None,
        grace: float = _GRACE,
    ):
        config = uvicorn.Config(
            application,
            http=connections.protocol(limits),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=limits.backlog,
            timeout_keep_alive=limits.keep_alive,
            timeout_graceful_shutdown=grace,  # type: ignore[arg-type] (it may be a fraction)
        )
        super().__init__(config)
        self._told, self._last = started, last

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._last:
            timer = threading.Timer(_LATEST, self._end)
            timer.daemon = True
            timer.start()
        await super().shutdown(sockets)

    def _end(self) -> None:
        if self._last:
            self._last()
        os._exit(0)
