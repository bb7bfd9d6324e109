"""Scripts in this process, as if typed on a command line: a process of their own costs a second of imports.

Signals, terminals, standard input, and what a process loads are tested with `small_repo.run` and real processes.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import botocore.loaders
import botocore.session
import small_repo

LOADER = functools.cache(botocore.loaders.create_loader)  # it reads the descriptions of AWS's services, once
SERVER = logging.getLogger("werkzeug")  # of moto, in another thread of this process
SERVER.addHandler(logging.NullHandler())  # else it makes one that writes to the script's output


def run(folder: Path, *command: str | Path, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    """Run `python scripts/NAME.py …` in `folder`; the same arguments and answer as `small_repo.run`.

    DVC gets a process of its own: it keeps outputs and repositories open in the one that it runs in. The script is the
    one in `folder`. `plantdoc` is that of this process: of no use where a test changes src/plantdoc.
    """
    program, *arguments = map(str, command)
    if program == "dvc":
        return small_repo.run(folder, *map(str, command), check=check, **extra)
    if program == "python" and arguments[0].endswith(".py"):
        main, words = _script(folder / arguments[0]), arguments
    else:
        raise ValueError(f"{program} is not to be run in this process: use miniature.run")
    with tempfile.TemporaryFile("w+", buffering=1, encoding="utf-8", errors="replace") as output:
        with _as_a_process_of_its_own(folder, words, output, small_repo.environment(**extra)):
            code = _ended(main)
        output.seek(0)
        said = output.read()
    assert not check or code == 0, f"{' '.join(words)} ended with {code}:\n{said[-4000:]}"
    return subprocess.CompletedProcess(words, code, said)


def _script(path: Path) -> Callable[[], object]:
    return lambda: runpy.run_path(str(path), run_name="__main__")


def _ended(main: Callable[[], object]) -> int:
    """The exit code of a Python process that does this, its last words printed as by the interpreter."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def _as_a_process_of_its_own(folder: Path, words: list[str], output, environment: dict[str, str]) -> Iterator[None]:
    """Set what a process has for itself, and put all of it back: folder, arguments, environment, outputs, signals."""
    root = logging.getLogger()
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers, level = root.handlers[:], root.level
    descriptors = {number: os.dup(number) for number in (1, 2)}
    try:
        root.handlers[:] = []  # pytest's own would keep scripts from setting up theirs
        for number in descriptors:
            os.dup2(output.fileno(), number)  # for the processes that are started
        with (
            contextlib.chdir(folder),
            mock.patch.object(sys, "argv", words),
            mock.patch.object(sys, "path", sys.path[:]),
            mock.patch.object(sys, "stdout", output),
            mock.patch.object(sys, "stderr", output),
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(SERVER, "disabled", True),
            mock.patch.object(botocore.session, "create_loader", LOADER),
            warnings.catch_warnings(),
            _without_memory(),
        ):
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's default
            yield
    finally:
        output.flush()
        for number, copy in descriptors.items():
            os.dup2(copy, number)
            os.close(copy)
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _without_memory() -> Iterator[None]:
    """Forget before and after what depends on folder and environment: boto3's session, and our cached functions."""
    _forget()
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    if boto3 := sys.modules.get("boto3"):
        boto3.DEFAULT_SESSION = None
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "plantdoc"]:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
