"""The desk that a training on EC2 is started from: a clone with its data, a bucket in Swift, an account in moto.

No machine does any work here: a test writes into the bucket what a machine would, and sees what the desk makes of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aws_server
import miniature
import swift_server
import templates
import tiny

from plantdoc import runs

REGION = "us-east-1"
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
        time.sleep(0.02)
    return found


class Command:
    """`scripts/ec2.py` under way, its output as it comes."""

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
        self.store = runs.Store(bucket)
        self.store.client = swift.client()
        self.started: list[Command] = []

    @property
    def environment(self) -> dict[str, str]:
        quick = {"PLANTDOC_BEAT": "0.2", "AWS_MAX_ATTEMPTS": "1", "USER": "tester"}
        return miniature.environment(**self.aws.environment(), **quick) | self.swift.environment()

    @property
    def without_dvc(self) -> dict[str, str]:
        """A dvc that does nothing, where a test is not about data: the real one takes as long as all the rest."""
        stub = self.folder.parent / "stub/dvc"
        stub.mkdir(parents=True, exist_ok=True)
        for name in ("__init__", "__main__"):
            (stub / f"{name}.py").touch()
        return {"PYTHONPATH": str(stub.parent)}

    def start(self, *words: str, folder: Path | None = None, dvc: bool = False, **extra: object) -> Command:
        """Start the command, in this clone or another; with the real `dvc push` if wanted."""
        environment = self.environment | ({} if dvc else self.without_dvc) | extra
        self.started.append(Command(folder or self.folder, words, environment))
        return self.started[-1]

    def sit_down(self, *words: str, **extra: str) -> AtTerminal:
        """Start the command at a terminal."""
        self.started.append(AtTerminal(self.folder, words, self.environment | self.without_dvc | extra))
        return self.started[-1]

    def ec2(self, *words: str, code: int = 0, **extra: object) -> str:
        return self.start(*words, **extra).ends(code)

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
def ready(template: Path, folder: Path, bucket: str, swift: swift_server.Swift) -> Iterator[Desk]:
    """A copy of `template` in `folder`, with a new bucket and an account with the project's stack."""
    shutil.copytree(template, folder, symlinks=True)
    swift.make_bucket(bucket)
    (folder / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    region = {REGION}\n"
    )
    with aws_server.running(region=REGION) as aws:
        network = aws.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
        aws.make_stack(bucket, Vpc=network["VpcId"])
        desk = Desk(folder, bucket, aws, swift)
        try:
            yield desk
        finally:
            for command in desk.started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(command.process.pid, signal.SIGKILL)
                command.process.wait()
