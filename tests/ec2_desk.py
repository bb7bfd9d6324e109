"""The desk that a training on EC2 is started from: a clone with its data, a bucket in Swift, an account in moto.

No machine does any work here: a test writes into the bucket what a machine would, and sees what the desk makes of it.
Commands run as threads of this process; where the process is the point (signals, a terminal, DVC), as processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
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

import aws_server
import botocore.loaders
import botocore.session
import miniature
import pytest
import swift_server
import templates
import tiny

from plantdoc import runs
from plantdoc.ec2 import attempts, flow, follow, interrupts, ledger
from plantdoc.errors import UserError

REGION = "us-east-1"
BEAT = 0.1  # seconds between two looks of a command in this process
LOADER = botocore.loaders.create_loader()
OUTPUTS = {
    "models/detector/config.json": b'{"made_from": {}}',
    "models/detector/detector.weights.h5": bytes(range(256)) * 40,
    "results/train/live/plots/metrics/val/map.tsv": b"step\tmap\n0\t0.1\n",
    "results/train/metrics.json": b'{"val_map50": 0.5}\n',
}


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
        except UserError as error:  # the rest is as plantdoc.stage.run has it
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
        spec = importlib.util.spec_from_file_location("ec2_script", miniature.ROOT / "scripts/ec2.py")
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


class Desk:
    """A clone, its bucket, its account."""

    def __init__(self, folder: Path, bucket: str, aws: aws_server.AWS, swift: swift_server.Swift):
        self.folder, self.bucket, self.aws, self.swift = folder, bucket, aws, swift
        self.store = runs.Store.__new__(runs.Store)
        self.store.bucket, self.store.prefix, self.store.client = bucket, "runs/", swift.client()
        self.started: list[Command | Thread] = []

    @property
    def environment(self) -> dict[str, str]:
        quick = {"PLANTDOC_BEAT": "0.2", "AWS_MAX_ATTEMPTS": "1", "USER": "tester"}
        given = miniature.environment(**self.aws.environment(), **quick) | self.swift.environment()
        given.pop("PYTHONPATH", None)
        return given

    @property
    def without_dvc(self) -> dict[str, str]:
        """A dvc that does nothing, where a test is not about data: the real one takes as long as all the rest."""
        stub = self.folder.parent / "stub/dvc"
        stub.mkdir(parents=True, exist_ok=True)
        for name in ("__init__", "__main__"):
            (stub / f"{name}.py").touch()
        return {"PYTHONPATH": str(stub.parent)}

    def start(self, *words: str) -> Thread:
        """Start the command in this process."""
        ByThread.install()
        self.started.append(Thread(words))
        return self.started[-1]

    def spawn(self, *words: str, folder: Path | None = None, dvc: bool = False, **extra: object) -> Command:
        """Start the command as a process, in this clone or another; with the real `dvc push` if wanted."""
        environment = self.environment | ({} if dvc else self.without_dvc) | extra
        self.started.append(Command(folder or self.folder, words, environment))
        return self.started[-1]

    def sit_down(self, *words: str, **extra: str) -> AtTerminal:
        """Start the command at a terminal."""
        self.started.append(AtTerminal(self.folder, words, self.environment | self.without_dvc | extra))
        return self.started[-1]

    def ec2(self, *words: str, code: int = 0) -> str:
        """What the command prints, run in this process."""
        return self.start(*words).ends(code)

    def set(self, **runner: object) -> None:
        miniature.set_params(self.folder, **{f"runner__{key}": value for key, value in runner.items()})

    def instances(self, *states: str) -> list[dict]:
        """Instances as EC2 tells, in these states; by default those that may cost something."""
        found = self.aws.client("ec2").describe_instances()["Reservations"]
        states = states or ("pending", "running", "stopping", "stopped")
        return [each for r in found for each in r["Instances"] if each["State"]["Name"] in states]

    def machine(self, n: int = 1, seconds: float = 180) -> Puppet:
        """The machine of attempt n, once it is started and written down."""

        def claim():
            if not any(self.aws.backend.all_instances()):  # cheaper than a question to S3
                return None
            for run in (name for name in self.store.folders() if name not in ("code", "weights")):
                found = self.store.read(f"{run}/attempts/{n}.json")
                if found and found["instance"]:
                    return Puppet(self, run, n, found)
            return None

        return until(claim, seconds, lambda: "\n".join(each.text for each in self.started))


class Puppet:
    """A machine of which the test says what it does."""

    def __init__(self, desk: Desk, run: str, n: int, claim: dict):
        self.desk, self.store, self.run, self.n, self.claim = desk, desk.store, run, n, claim
        self.pieces = 0

    def says(self, text: str, phase: str = "training", **status: object) -> None:
        self.store.put(f"{self.run}/{self.n}/log/{self.pieces:06d}", text.encode())
        self.pieces += 1
        about = {"time": time.time(), "phase": phase, "epoch": 1, "epochs": 3, "step": 0, "steps": 9, "val_map50": None}
        self.store.put(f"{self.run}/{self.n}/status.json", about | {"log": self.pieces} | status)

    def ends(self, state: str, reason: str = "") -> None:
        self.store.put(f"{self.run}/{self.n}/end.json", {"time": time.time(), "state": state, "reason": reason})

    def finishes(self, outputs: dict[str, bytes] = OUTPUTS) -> None:
        """Send outputs, result and end, as a machine does."""
        about = {}
        for name, content in outputs.items():
            sha256 = hashlib.sha256(content).hexdigest()
            self.store.put(f"{self.run}/outputs/{sha256}", content)
            about[name] = {"sha256": sha256, "size": len(content)}
        cost = {"minutes": 0.1, "pictures_per_second": 12.5, "machine": "AMD, 4 cores, NVIDIA A10G", "output": "0" * 64}
        result = {"attempt": self.n, "time": time.time(), "made_from": {}, "outputs": about, "cost": cost}
        self.store.put_new(f"{self.run}/result.json", result)
        self.ends("done")

    def dies(self) -> None:
        """Taken away without a word."""
        self.desk.aws.client("ec2").terminate_instances(InstanceIds=[self.claim["instance"]])


def clone(folder: Path) -> Path:
    """A repository whose train stage is next: its data is made, its lock is committed."""

    def build(new: Path) -> None:
        tiny.make(new, runner__kind="ec2", runner__region=REGION, runner__zones=[f"{REGION}a", f"{REGION}b"])
        miniature.run(new, "dvc", "repro", "augment")
        miniature.git(new, "add", "-A")
        miniature.git(new, "commit", "-q", "-m", "data")

    return templates.copy("ec2-desk", build, folder)


@contextlib.contextmanager
def ready(folder: Path, bucket: str, aws: aws_server.AWS, swift: swift_server.Swift) -> Iterator[Desk]:
    """A clone in `folder`, with a new bucket and the project's stack in an account that has nothing else."""
    clone(folder)
    swift.make_bucket(bucket)
    (folder / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    region = {REGION}\n"
    )
    aws.reset()
    aws.make_stack(bucket)
    aws.calls.clear()
    yield Desk(folder, bucket, aws, swift)


@contextlib.contextmanager
def in_this_process(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process be one that runs the command in the desk's clone: directory, environment, output, signals."""
    for name, value in (desk.environment | desk.without_dvc).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(desk.folder)
    # Each command makes clients of its own; the descriptions of AWS's services are read once.
    monkeypatch.setattr(botocore.session, "create_loader", lambda _=None, loader=LOADER: loader)
    monkeypatch.setattr(interrupts, "Interrupts", NoSignals)
    for module in (attempts, flow, follow, ledger):
        monkeypatch.setattr(module, "beat", _beat)
    log, handler = logging.getLogger("plantdoc"), logging.StreamHandler(ByThread(io.StringIO()))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for command in desk.started:
            command.kill()
        ByThread.remove()
        log.removeHandler(handler)
        log.setLevel(level)
