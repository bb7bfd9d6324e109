"""Work in threads for callers who may go away meanwhile."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


async def run(threads: ThreadPoolExecutor, function: Callable, *arguments):
    """Run in a thread. Who is cancelled meanwhile keeps its place until the thread is done with it."""
    running = asyncio.get_running_loop().run_in_executor(threads, functools.partial(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait({running})
        raise
