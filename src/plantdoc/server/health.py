"""Whether the model answers: found out by asking it, though not at every question."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from plantdoc.serving.handler.refusal import Refused

log = logging.getLogger("plantdoc")


class Health:
    """Knows whether `check` went well of late.

    Args:
        check: asks the model for real; raises when it does not answer.
        fresh: seconds for which an answer counts, that of a request too.
        patience: seconds within which the check must be done.
    """

    def __init__(self, check: Callable[[], Awaitable[None]], fresh: float = 5.0, patience: float = 20.0):
        self._check, self._fresh, self._patience = check, fresh, patience
        self._known: bool | None = None
        self._at = 0.0
        self._one = asyncio.Lock()

    def answered(self) -> None:
        """A request was answered."""
        self._known, self._at = True, time.monotonic()

    def doubt(self) -> None:
        """A request failed: the next question asks the model."""
        self._known = None

    async def good(self) -> bool:
        async with self._one:
            if self._known is None or time.monotonic() - self._at > self._fresh:
                try:
                    await asyncio.wait_for(self._check(), self._patience)
                    self._known = True
                except Exception as error:
                    refused = isinstance(error, Refused)  # in words, as of an endpoint that is starting
                    log.error("the model does not answer: %s", error, exc_info=None if refused else error)
                    self._known = False
                self._at = time.monotonic()
            return bool(self._known)
