"""Bounds on connections: how many there are, of one address too, and how long one may take for a head or an answer.

uvicorn starts its only timer after an answer. A connection that sends nothing, half a head, or a body after its answer
would stay for ever.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from plantdoc.server.limits import ConnectionLimits
from plantdoc.serving.handler.refusal import Refused


class Connections:
    """The open connections of a server.

    Where there are too many, the one is closed for a new one that has waited longest for a head, else the one that has
    been longest at sending a body: of the new one's address if that has too many, else of the address with the most.
    """

    def __init__(self, limits: ConnectionLimits):
        self.limits = limits
        self.count = 0
        self._of: dict[str, dict[BoundedProtocol, None]] = {}  # by address, the one longest in its state first

    def add(self, connection: BoundedProtocol) -> bool:
        """Count a new connection; returns whether there is room for it."""
        if crowd := self._crowd(connection.address):
            victim = next((each for each in crowd if each.idle), None)
            victim = victim or next((each for each in crowd if each.sending), None)
            if victim is None:
                return False
            self.remove(victim)
            victim.drop()
        self._of.setdefault(connection.address, {})[connection] = None
        self.count += 1
        return True

    def remove(self, connection: BoundedProtocol) -> None:
        """Count no longer; also one that was not counted."""
        own = self._of.get(connection.address, {})
        if connection not in own:
            return
        del own[connection]
        self.count -= 1
        if not own:
            del self._of[connection.address]

    def changed(self, connection: BoundedProtocol) -> None:
        """Note that a connection has begun or ended a request."""
        own = self._of.get(connection.address, {})
        if connection in own:
            del own[connection]
            own[connection] = None

    def _crowd(self, address: str) -> dict[BoundedProtocol, None] | None:
        """The connections of which one has to go before there is room for another of this address."""
        own = self._of.get(address, {})
        if len(own) >= self.limits.of_one:
            return own
        return max(self._of.values(), key=len) if self.count >= self.limits.most else None


class BoundedProtocol(H11Protocol):
    """A connection within its `bounds`, an attribute of the class that `protocol` makes."""

    bounds: Connections

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.address = ""
        self._head: asyncio.TimerHandle | None = None  # ends a connection without a whole head
        self._write: asyncio.TimerHandle | None = None  # ends one that does not read

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def sending(self) -> bool:
        """Whether a request is under way whose body has not come to its end."""
        return not self.idle and self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = network(self.client[0] if self.client else "")
        if not self.bounds.add(self):
            self._close_with(Refused(503, "full", "there are too many connections: try again in some seconds"))
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.bounds.remove(self)
        self._head = _cancelled(self._head)
        self._write = _cancelled(self._write)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_idle = self.idle
        super().data_received(data)
        if was_idle and not self.idle:
            self.bounds.changed(self)
        self._watch()

    def on_response_complete(self) -> None:
        self._head = _cancelled(self._head)  # from here on uvicorn's timer runs, until the next byte
        super().on_response_complete()
        self.bounds.changed(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write = _cancelled(self._write)
        self._write = self.loop.call_later(self.bounds.limits.write_seconds, self.drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write = _cancelled(self._write)

    def shutdown(self) -> None:
        """Let a request that came whole be answered, and end all else: the server stops."""
        if self.idle:
            self.transport.close()
            return
        self.cycle.keep_alive = False
        if self.sending:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.close()

    def drop(self) -> None:
        """End the connection at once, with what was still to be sent."""
        self.transport.abort()

    def _watch(self) -> None:
        """Let the time for a head run while no request is under way. Further bytes of the head do not prolong it."""
        if not self.idle:
            self._head = _cancelled(self._head)
        elif self._head is None:
            self._head = self.loop.call_later(self.bounds.limits.head_seconds, self._head_missing)

    def _head_missing(self) -> None:
        self._head = None
        if self.cycle is None and self.conn.trailing_data[0]:
            self._close_with(Refused(408, "too_slow", "the head of the request did not come in time: send it again"))
        else:
            self.drop()

    def _close_with(self, refused: Refused) -> None:
        body = json.dumps({"error": refused.as_json()}).encode()
        reason = {408: "Request Timeout", 503: "Service Unavailable"}[refused.status]
        retry = "Retry-After: 5\r\n" if refused.status == 503 else ""
        head = f"HTTP/1.1 {refused.status} {reason}\r\nContent-Type: application/json\r\n{retry}"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self.transport.close()


def protocol(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """A protocol class for uvicorn, whose connections share these limits."""
    return type("LimitedProtocol", (BoundedProtocol,), {"bounds": Connections(limits)})


def network(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 address, all of one computer."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
