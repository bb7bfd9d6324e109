"""`scripts/ec2.py` under way: in a thread of this process, as a process, or at a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import io
import logging
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore.loaders
import botocore.session
import pytest
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.ec2 import attempts, interrupts, orchestrator, reconcile, watcher

BEAT = 0.1  # seconds between two looks of a command in this process
LOADER = botocore.loaders.create_loader()


def until(condition: Callable[[], object], seconds: float = 180, of: Callable[[], str] = str):
    """Wait for something to hold; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"did not come about in {seconds:.0f} s\n{of()}"
        time.sleep(0.1)
    return found


class Killed(BaseException):
    """What ends a thread as SIGKILL ends a process: no `except Exception` sees it."""


class Thread:
    """`scripts/ec2.py` under way in a thread of this process, its output as it comes."""

    active: dict[int, Thread] = {}  # noqa: RUF012 by the thread's number

    def __init__(self, words: tuple[str, ...]):
        self.words, self.code = words, None
        self.interrupts: interrupts.Interrupts | None = None
        self._pieces: list[str] = []
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.active[threading.get_ident()] = self
        try:
            program().main(self.words)
            self.code = 0
        except UserError as error:  # the rest is as plantdoc.core.stage.run has it
            self.hear(f"ec2: {error}\n")
            self.code = 1
        except SystemExit as end:
            self.code = end.code or 0
        except KeyboardInterrupt:
            self.code = 130
        except Killed:
            self.code = -signal.SIGKILL
        except Exception:
            self.hear(traceback.format_exc())
            self.code = 1
        finally:
            del self.active[threading.get_ident()]

    def hear(self, text: str) -> None:
        """What the command prints."""
        self._pieces.append(text)

    def beat(self) -> float:
        """The time to the command's next look; where it is to be interrupted or killed, that happens here."""
        if self._end:
            end, self._end = self._end, None
            raise end
        return BEAT

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def shows(self, text: str, seconds: float = 180) -> None:
        until(lambda: text in self.text or self.code is not None, seconds, lambda: self.text)
        assert text in self.text, self.text

    def ends(self, code: int, seconds: float = 180) -> str:
        """Wait for the end; returns all it printed."""
        self._thread.join(seconds)
        assert self.code == code, f"ended with {self.code}\n{self.text}"
        return self.text

    @property
    def under_way(self) -> bool:
        return self.code is None

    def kill(self) -> None:
        """End it between two looks: it takes leave of nobody."""
        self._end = Killed()
        self._thread.join(60)
        assert not self._thread.is_alive(), self.text

    def interrupt(self) -> None:
        """Ctrl-C between two looks."""
        self._end = KeyboardInterrupt()


class ByThread(io.TextIOBase):
    """Standard output or error: of a command's thread that command's, else what was there before."""

    def __init__(self, otherwise):
        self.otherwise = otherwise

    def write(self, text: str) -> int:
        command = Thread.active.get(threading.get_ident())
        command.hear(text) if command else self.otherwise.write(text)
        return len(text)

    @classmethod
    def install(cls) -> None:
        """Put it before standard output and error. pytest sets these anew between a fixture and its test."""
        for name in ("stdout", "stderr"):
            if not isinstance(stream := getattr(sys, name), cls):
                setattr(sys, name, cls(stream))

    @classmethod
    def remove(cls) -> None:
        for name in ("stdout", "stderr"):
            if isinstance(stream := getattr(sys, name), cls):
                setattr(sys, name, stream.otherwise)


class NoSignals(interrupts.Interrupts):
    """Signals come to a process's first thread alone: a test hands them to this one."""

    def install(self) -> None:
        Thread.active[threading.get_ident()].interrupts = self


def program():
    """scripts/ec2.py as a module."""
    if "ec2_script" not in sys.modules:
        spec = importlib.util.spec_from_file_location("ec2_script", small_repo.ROOT / "scripts/ec2.py")
        sys.modules["ec2_script"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["ec2_script"])
    return sys.modules["ec2_script"]


def _beat() -> float:
    command = Thread.active.get(threading.get_ident())
    return command.beat() if command else BEAT


class Command:
    """`scripts/ec2.py` under way as a process, its output as it comes."""

    def __init__(self, folder: Path, words: tuple[str, ...], environment: dict[str, str], **options):
        self.process = subprocess.Popen(
            [sys.executable, "scripts/ec2.py", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        self._pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while piece := self.process.stdout.read1():
            self._pieces.append(piece)

    @property
    def text(self) -> str:
        return b"".join(self._pieces).decode(errors="replace")

    def shows(self, text: str, seconds: float = 180) -> None:
        until(lambda: text in self.text or self.process.poll() is not None, seconds, lambda: self.text)
        assert text in self.text, self.text

    def ends(self, code: int, seconds: float = 180) -> str:
        """Wait for the end; returns all it printed."""
        until(lambda: self.process.poll() is not None, seconds, lambda: self.text)
        self._reader.join(10)
        assert self.process.returncode == code, f"ended with {self.process.returncode}\n{self.text}"
        return self.text

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        self.process.kill()
        self.process.wait()


class AtTerminal(Command):
    """The same for a person at a terminal, in whose foreground it is."""

    def __init__(self, folder: Path, words: tuple[str, ...], environment: dict[str, str]):
        self._hand, seat = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "scripts/ec2.py", *words],
            cwd=folder,
            env=environment | {"COLUMNS": "100"},
            **dict.fromkeys(("stdin", "stdout", "stderr"), seat),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(seat)
        self._pieces = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is gone
            while piece := os.read(self._hand, 65536):
                self._pieces.append(piece)

    def types(self, text: str) -> None:
        os.write(self._hand, text.encode())


@contextlib.contextmanager
def in_this_process(
    folder: Path, environment: dict[str, str], started: list[Command | Thread], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let commands run in this process: directory, environment, output, signals. Those `started` end before."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    # Each command makes clients of its own; the descriptions of AWS's services are read once.
    monkeypatch.setattr(botocore.session, "create_loader", lambda _=None, loader=LOADER: loader)
    monkeypatch.setattr(interrupts, "Interrupts", NoSignals)
    for module in (attempts, orchestrator, watcher, reconcile):
        monkeypatch.setattr(module, "beat", _beat)
    log, handler = logging.getLogger("plantdoc"), logging.StreamHandler(ByThread(io.StringIO()))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for command in started:
            command.kill()
        ByThread.remove()
        log.removeHandler(handler)
        log.setLevel(level)
