"""Process control of a long stage: one at a time, not longer than its parent, and a clean end on a signal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from plantdoc.core.errors import UserError

_SHELLS = ("sh", "dash", "bash", "zsh", "fish", "ksh", "busybox")


def die_with_dvc(poll: float = 0.5) -> None:
    """End this process at once when the dvc that runs it, directly or through a shell, is gone.

    A killed dvc leaves its stage running, and the next `dvc repro` does not notice. Outputs are moved into place at the
    end and epochs are saved as they finish, so nothing is lost by an end without ceremony. A stage that a person
    started by hand watches nobody.
    """
    watched = []
    for parent in psutil.Process().parents():
        watched.append(parent)
        if _is_dvc(parent):
            break
    else:
        if "DVC_STAGE" not in os.environ:
            return
        if _is_orphan(watched):  # the dvc was killed before this process came so far
            _stop()
        del watched[1:]

    def watch() -> None:
        while all(_is_alive(parent) for parent in watched):
            time.sleep(poll)
        _stop()

    threading.Thread(target=watch, daemon=True).start()


def _stop() -> None:
    print("the dvc process that started this stage has ended: stopping", file=sys.stderr, flush=True)
    os._exit(1)


def _is_orphan(parents: list[psutil.Process]) -> bool:
    """Whether nobody but a shell stands between this process and the system's own first process."""
    with contextlib.suppress(psutil.Error):
        above = next((parent for parent in parents if parent.name() not in _SHELLS), None)
        return above is None or above.pid == 1 or above.name() == "systemd"
    return False


def _is_dvc(process: psutil.Process) -> bool:
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline())
    except psutil.Error:  # gone, or another user's
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_on_terminate() -> None:
    """Turn SIGTERM into a KeyboardInterrupt, so that both take the same way out."""

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextlib.contextmanager
def only_one(path: Path | str, what: str, patience: float = 5.0) -> Iterator[int]:
    """Hold the lock file `path` and yield its descriptor, or stop with a message that names `what` is under way where.

    `patience` in seconds covers the moment in which an orphan of a killed run is still going down.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                    raise UserError(
                        f"{what} is already running in process {holder}: wait for it, or end it with `kill {holder}`"
                    ) from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()
