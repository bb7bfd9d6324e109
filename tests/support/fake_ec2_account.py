"""All that a training on EC2 meets: AWS, machines, S3 behind a network, and commands as a person starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fake_aws
import fake_ec2
import fake_s3_network
import fake_swift
import small_repo

from plantdoc.aws import run_store

REGION = "us-east-1"  # Swift's; the machines and the bucket are in one region
BEAT, MINUTE, GRACE = 0.5, 1.0, 2.0


class Command:
    """A command line under way as a person's terminal has it: its output as it comes, its processes as a group."""

    def __init__(self, folder: Path, words: tuple[str, ...], environment: dict[str, str]):
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while piece := self.process.stdout.read1():
            self._pieces.append(piece)

    @property
    def text(self) -> str:
        """What it printed so far."""
        return b"".join(self._pieces).decode(errors="replace")

    def ended(self, seconds: float = 900) -> int:
        """Wait for its end; its exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end in {seconds:.0f} s:\n{self.text}") from None
        self._reader.join(5)
        return code

    def interrupt(self) -> None:
        """Ctrl-C: to all of the group."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """The computer is gone: all of the group at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass
class World:
    """AWS, Swift, and a hypervisor; one bucket with its stack."""

    folder: Path
    bucket: str
    aws: fake_aws.AWS
    swift: fake_swift.Swift
    network: fake_s3_network.Network  # of all that have none of their own
    machines: fake_ec2.FakeEc2
    store: run_store.Store
    # Environment of machines by a value of their tags, fixed or asked for anew: runner.tags tells a test's own apart.
    by_tag: dict[str, dict[str, str] | Callable[[], dict[str, str]]] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    def environment(self, network: fake_s3_network.Network | None = None, **extra: str) -> dict[str, str]:
        """A person's environment, with S3 through `network`."""
        quick = {"PLANTDOC_BEAT": str(BEAT), "PLANTDOC_PATIENCE": "8", "AWS_MAX_ATTEMPTS": "4"}
        there = (network or self.network).environment()
        return small_repo.environment(**self.aws.environment()) | there | quick | extra

    def start(self, folder: Path, *words: str, network: fake_s3_network.Network | None = None, **extra: str) -> Command:
        """Start a command line in a clone."""
        self.commands.append(Command(folder, words, self.environment(network, **extra)))
        return self.commands[-1]

    def abandon(self) -> None:
        """End what a failed test left under way, so that it does not meddle with the next one's run."""
        for command in self.commands:
            if command.process.poll() is None:
                command.kill()
        for machine in self.machines.alive():
            self.machines.kill(machine.id)

    def run(self, folder: Path, *words: str, code: int = 0, **options) -> str:
        """Run a command line in a clone; what it printed."""
        command = self.start(folder, *words, **options)
        found = command.ended()
        assert found == code, f"{' '.join(words)} ended with {found}:\n{command.text}\n{self.consoles()}"
        return command.text

    def of(self, key: str, value: str) -> list[fake_ec2.FakeInstance]:
        """Machines by one of their tags, oldest first."""
        return [machine for machine in self.machines.instances() if machine.tags.get(key) == value]

    def wait(self, what: Callable[[], object], seconds: float = 600) -> object:
        """What `what()` returns as soon as it is true."""
        return self.machines.wait(what, seconds)

    def settled(self, seconds: float = 600) -> None:
        """Wait until no machine is left, as AWS sees it too."""
        self.wait(lambda: not self.machines.alive(), seconds)
        found = self.aws.client("ec2").describe_instances()["Reservations"]
        left = [i["InstanceId"] for r in found for i in r["Instances"] if i["State"]["Name"] != "terminated"]
        assert not left, f"AWS still has {left}"

    def runs(self) -> list[str]:
        return [name for name in self.store.folders() if name not in ("code", "weights")]

    def results(self, run: str, since: int = 0) -> int:
        """How often a result of this run was written, from the `since`th request on."""
        key = f"/{self.bucket}/runs/{run}/result.json"
        return sum(r.method == "PUT" and r.path == key and r.status < 300 for r in self.swift.requests()[since:])

    def log(self, run: str, attempt: int | str) -> str:
        """All that an attempt's training printed."""
        return b"".join(map(self.store.get, self.store.keys(f"{run}/{attempt}/log/"))).decode(errors="replace")

    def consoles(self) -> str:
        """The last words of the machines that live, for a failed test."""
        return "\n".join(f"--- {m.id} ({m.why})\n{m.console[-1500:]}" for m in self.machines.instances()[-3:])


@contextlib.contextmanager
def running(swift: fake_swift.Swift, folder: Path, bucket: str, minute: float = MINUTE) -> Iterator[World]:
    """Set everything up around a new bucket and take everything down."""
    with (
        fake_aws.running(region=REGION) as aws,
        fake_s3_network.running(swift) as network,
        fake_ec2.running(
            aws, network.environment(), folder / "machines", minute=minute, beat=BEAT, grace=GRACE
        ) as machines,
    ):
        swift.make_bucket(bucket)
        aws.make_stack(bucket)
        store = run_store.Store.__new__(run_store.Store)
        store.bucket, store.prefix, store.client = bucket, "runs/", swift.client()
        world = World(folder, bucket, aws, swift, network, machines, store)

        def extra(tags: dict[str, str]) -> dict[str, str]:
            found: dict[str, str] = {"AWS_MAX_ATTEMPTS": "4"}
            for value in tags.values():
                more = world.by_tag.get(value, {})
                found |= more() if callable(more) else more
            return found

        machines.extra = extra
        yield world


def allowed(machine: fake_ec2.FakeInstance) -> float:
    """Minutes of the hypervisor's clock that a machine may have lived by its tag, and half an hour to end in.

    Computers that test are slow and shared, and these minutes are a second long.
    """
    return (int(machine.tags["deadline"]) - machine.born) / 60 + 30


def until(what: Callable[[], object], seconds: float = 600) -> object:
    """What `what()` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"did not come about in {seconds} s"
        time.sleep(0.02)
    return found
