"""Work spread over processes: results in order, and never more in memory than the processes have in hand."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from plantdoc.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 4  # items per process that are under way or done and not yet taken


def cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def imap(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result, None, None]:
    """`map(function, items)` over `workers` processes (0: one per core); results come in the order of the items.

    `items` is drawn from only as fast as results are taken. The processes are started afresh, not forked, so that
    threads in the caller do no harm; `function` must be importable. To be called from the main thread.

    Raises:
        UserError: a process was ended from outside, as happens when memory runs out.
        Whatever `function` raises, at the place of that item.
    """
    workers = workers or cores()
    pending: deque = deque()
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        try:
            for item in items:
                with _interrupts_held():
                    pending.append(pool.submit(function, item))
                if len(pending) >= _AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was ended from outside, maybe because memory ran out: try fewer workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    # Processes start while an item is handed over and inherit this mask: Ctrl-C then reaches the caller alone, which
    # ends them in order, and not the processes, each of which would print a traceback. Libraries' threads lack the
    # mask, so an interrupt can still come in the middle of starting a process: it waits until that is done.
    came = []
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in the processes of a pool alone

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
