"""The server in the process of the test: a real socket, the application, and a stand-in for the model."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from plantdoc.server import app
from plantdoc.server.callers import Callers
from plantdoc.server.http_server import HttpServer
from plantdoc.server.limits import ConnectionLimits, Limits
from plantdoc.server.prometheus import Metrics

PATIENCE = 60  # seconds
CONNECTIONS = ConnectionLimits(head_seconds=PATIENCE)
ANYBODY = Callers()


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class Backend:
    """Stands where the model stands: answers when it is let go, fails when it is told to."""

    source, fresh = "local", 5.0

    def __init__(self):
        self.go, self.asked, self.cancelled, self.checked = asyncio.Event(), 0, 0, 0
        self.error: Exception | None = None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def check(self) -> None:
        self.checked += 1

    def about(self) -> dict:
        return {"classes": []}

    async def predict(self, content_type: str, body: bytes, options) -> dict:
        self.asked += 1
        if self.error:
            raise self.error
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"detections": [], "width": len(body)}


class Front:
    """The application behind a real socket, in this process: `backend` stands in for the model."""

    def __init__(
        self,
        limits: Limits,
        connections: ConnectionLimits = CONNECTIONS,
        callers: Callers = ANYBODY,
        examples: Path | None = None,
        **options: Any,
    ):
        self.backend, self.metrics, self.lines = Backend(), Metrics(), []
        application = app.create(self.backend, examples, self.metrics, self.lines.append, limits, callers)
        self._server = HttpServer(application, connections, **options)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"

    async def __aenter__(self) -> Front:
        self._task = asyncio.create_task(self._server._serve([self._socket]))
        while not self._server.started:
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *_) -> None:
        self._server.should_exit = True
        await self._task

    def inside(self) -> float:
        return self.metrics.registry.get_sample_value("plantdoc_bodies")

    def waiting(self) -> float:
        return self.metrics.registry.get_sample_value("plantdoc_waiting")

    def open(self) -> int:
        """Connections that the server has."""
        return len(self._server.server_state.connections)

    async def connect(self, body: bytes, length: int | None = None) -> tuple:
        """Send a head and a body, which may be shorter than the head says."""
        reader, writer = await asyncio.open_connection(*self.address)
        length = len(body) if length is None else length
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return reader, writer


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict]:
    """Status and content of the answer, of a connection that stays open."""
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split()[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))
