"""Limits of the work under way. Whatever is sent, the server's memory and connections stay within these."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from plantdoc.serving.handler import request

_FILES = 8192  # open at once, where the system allows so many: a connection is one
_OWN_FILES = 128  # of these, for all that is no connection of a client
_LEAST = 8  # connections, however few files the system allows


@dataclass(frozen=True)
class Limits:
    """Bytes, counts and seconds of bodies.

    `body` is the largest body; `bodies` and `bytes` how many bodies, and how much of them, are in memory at once. The
    others wait, `waiting` of them for `wait_seconds`. Only `first_bytes` of a body are read before it has a place, so
    that a client that sends slowly waits for itself.

    A body must come within `body_seconds`, and in each `idle_seconds` at `rate` bytes per second or more; while others
    wait for its place, in each `hurry_seconds` at `hurry_rate`. What is refused unread is still taken from the line and
    thrown away, as much as `linger_bytes` for `linger_seconds`: a client that is sending would otherwise not see the
    answer.
    """

    body: int = request.MAX_BYTES
    bodies: int = 256
    bytes: int = 8 * request.MAX_BYTES
    waiting: int = 1024
    wait_seconds: float = 60
    first_bytes: int = 16_384
    body_seconds: float = 60
    idle_seconds: float = 10
    rate: int = 500
    hurry_seconds: float = 2
    hurry_rate: int = 16_000
    linger_bytes: int = 250_000_000
    linger_seconds: float = 30


@dataclass(frozen=True)
class ConnectionLimits:
    """Counts and seconds of connections.

    `most` connections are open at once, `of_one` of them from one address, and `backlog` are accepted at a time. A head
    must come within `head_seconds` of its first byte, or of the connection's begin; a connection without a request is
    kept for `keep_alive` seconds after an answer, and one that does not read its answer for `write_seconds`.
    """

    most: int = 4096
    of_one: int = 2048
    backlog: int = 1024
    head_seconds: float = 15
    keep_alive: int = 75  # longer than the 60 s after which load balancers and proxies let go of theirs
    write_seconds: float = 30


def of_system(keep_alive: int = ConnectionLimits.keep_alive) -> ConnectionLimits:
    """Limits within the number of files that the system lets this process open, which is raised where it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        soft = min(_FILES, hard) if hard != resource.RLIM_INFINITY else _FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    files = max(2 * _LEAST, soft - _OWN_FILES)
    backlog = min(ConnectionLimits.backlog, files // 4)
    most = max(_LEAST, min(ConnectionLimits.most, files - backlog))
    return ConnectionLimits(most, max(_LEAST, most // 2), backlog, keep_alive=keep_alive)
