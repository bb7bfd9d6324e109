"""What memcached is to Swift's proxy, in the proxy's own process: without it each request asks two servers more.

The proxy names this module in its settings (fake_swift.py). There is one proxy, so it has seen every change.
"""

from __future__ import annotations

import json
import time as clock


class Cache:
    """The part of `swift.common.memcached.MemcacheRing` that the proxy uses; values go through JSON as there."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, str]] = {}  # value as JSON, and when it is no longer good

    def set(self, key: str, value: object, time: float = 0, **_: object) -> None:
        self._values[key] = (clock.monotonic() + time if time else float("inf"), json.dumps(value))

    def get(self, key: str, **_: object) -> object:
        until, value = self._values.get(key, (0.0, "null"))
        return json.loads(value) if clock.monotonic() < until else None

    def delete(self, key: str, **_: object) -> None:
        self._values.pop(key, None)


def filter_factory(_global: dict, **_local: str):
    """The filter, as PasteDeploy wants it: it puts the cache before each request."""
    cache = Cache()

    def around(app):
        def cached(environ, start_response):
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return cached

    return around
