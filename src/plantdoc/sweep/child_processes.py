"""Run commands that end when this process does, however it does, with all that they have started.

Between this process and each command stands `python child_processes.py GRACE COMMAND…`. It reads from a pipe that
nobody writes to, and that ends when this process closes it or is gone, killed for instance. Then the command and its
children get SIGINT, as from Ctrl-C, and what is left of them after GRACE seconds is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

GRACE = 10.0  # seconds
Start = Callable[..., subprocess.Popen]


@contextlib.contextmanager
def hold(keep: int, grace: float = GRACE) -> Iterator[Start]:
    """Yield a `Popen` for commands that do not outlive this context; on the way out, they have ended.

    `keep` is a file descriptor, of a lock for instance, that is not closed before they have ended, whatever happens.
    `grace` is how many seconds a command gets to end by itself.
    """
    read, write = os.pipe()
    processes: list[subprocess.Popen] = []

    def start(command: Sequence[str], **options) -> subprocess.Popen:
        launcher = [sys.executable, "-P", __file__, str(grace), *command]  # -P: nothing is imported from its folder
        processes.append(subprocess.Popen(launcher, stdin=read, pass_fds=[keep], start_new_session=True, **options))
        return processes[-1]

    try:
        yield start
    finally:
        os.close(write)  # `read` stays open: another thread may just be about to start a command with it
        for process in processes:
            process.wait()


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for a shell's `&` makes its commands deaf to it
    grace, *command = sys.argv[1:]
    # A group of its own, so that a signal reaches the command and its children, and not this process.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)

    def watch() -> None:
        os.read(0, 1)
        _signal(child, signal.SIGINT)
        try:
            child.wait(float(grace))
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    _signal(child, signal.SIGKILL)  # what the command has left behind
    sys.exit(code if code >= 0 else 1)


def _signal(child: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    main()
