"""Work in threads for callers who may go away meanwhile."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


async def run(threads: ThreadPoolExecutor, function: Callable, *arguments):
    """Run in a thread. A cancelled caller still waits for its thread."""
    running = asyncio.get_running_loop().run_in_executor(threads, functools.partial(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait({running})
        raise
