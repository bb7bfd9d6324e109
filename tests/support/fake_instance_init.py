"""What stands for a machine's operating system: runs user-data and ends all processes when the machine shuts down.

    python fake_instance_init.py FOLDER SECONDS_PER_MINUTE GRACE

Reads orders from the pipe FOLDER/shutdown, one a line: the arguments of a `shutdown` command, or `kill` for power cut.
Every process that descends from user-data is its child in the end, also those that left their session: none escapes.
It goes on when user-data has ended, as a machine does, and dies with the hypervisor. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

SET_DEATH_SIGNAL, SET_SUBREAPER = 1, 36
MINUTES = re.compile(r"\+(\d+)$")


def main() -> None:
    folder, minute, grace = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SET_DEATH_SIGNAL, signal.SIGTERM)
    assert libc.prctl(SET_SUBREAPER, 1, 0, 0, 0) == 0
    signal.signal(signal.SIGTERM, lambda *_: (end_all(0), os._exit(1)))
    orders = os.open(folder / "shutdown", os.O_RDWR)
    with open(folder / "console.log", "ab") as console:
        # As cloud-init starts it: no terminal, no HOME, in /.
        subprocess.Popen(
            [folder / "user-data"], stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/", close_fds=True
        )
    deadline = None
    while True:
        left = 3600 if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([orders], [], [], min(left, 0.5))[0]:
            reap()
            if deadline is not None and time.monotonic() >= deadline:
                return end_all(grace)
            continue
        for order in os.read(orders, 65536).decode().splitlines():
            words = order.split()
            if order == "kill":
                return end_all(0)
            if "-c" in words:
                deadline = None
            elif "now" in words or "+0" in words:
                return end_all(grace)
            elif found := MINUTES.search(order):
                deadline = time.monotonic() + int(found[1]) * minute
            else:  # a time of day, or none: a minute, as systemd does it
                deadline = time.monotonic() + minute


def end_all(grace: float) -> None:
    """End every process of the machine: asked first and given `grace` seconds, as systemd does, or at once."""
    if grace:
        for process in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        until = time.monotonic() + grace
        while descendants() and time.monotonic() < until:
            reap()
            time.sleep(0.01)
    # Stopped before they are killed, so that none starts another meanwhile.
    while alive := descendants():
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for process in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, how)
        reap()
        time.sleep(0.005)
    reap()


def descendants() -> list[int]:
    """Ids of all processes below this one that are no zombies."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(os.getpid(), ()))
    for process in found:
        found += children.get(process, ())
    return found


def reap() -> None:
    """Take leave of the children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    main()
