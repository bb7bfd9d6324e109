"""Limits of the work under way. Whatever is sent, the server's memory stays within these."""

from __future__ import annotations

from dataclasses import dataclass

from plantdoc.serving.handler import request


@dataclass(frozen=True)
class Limits:
    """Bytes, counts and seconds.

    `body` is the largest body; `bodies` and `bytes` how many bodies, and how much of them, are in memory at once. The
    others wait, `waiting` of them for `wait_seconds`, before they are read. A body must come within `body_seconds`,
    without a pause longer than `idle_seconds`. What is refused unread is still taken from the line and thrown away, as
    much as `linger_bytes` for `linger_seconds`: a client that is sending would otherwise not see the answer.
    """

    body: int = request.MAX_BYTES
    bodies: int = 256
    bytes: int = 8 * request.MAX_BYTES
    waiting: int = 1024
    wait_seconds: float = 60
    body_seconds: float = 60
    idle_seconds: float = 10
    linger_bytes: int = 250_000_000
    linger_seconds: float = 30
