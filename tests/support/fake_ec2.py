"""Machines for the EC2 of fake_aws.py: each instance's user-data runs as a process here, and dies with the instance.

What a real machine has and this one has too: a metadata service that wants a token, its role's credentials from there
and from nowhere else, `shutdown` at a later time, an end of all its processes when it ends. An instance whose
user-data has ended goes on running and costing, as on EC2. Its clock may run faster than ours: `minute` says how many
seconds one of its minutes takes, for `shutdown +N` and for what is billed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fake_apt
import small_repo
from fake_aws import AWS
from fake_metadata_service import Metadata

from plantdoc.core import locks
from plantdoc.ec2 import instance_types

# Seconds for which the metadata service has no credentials.
LATE_CREDENTIALS = "FAKE_LATE_CREDENTIALS"
INIT = Path(__file__).with_name("fake_instance_init.py")
# What would reach beyond the machine's processes, or need the network: said, and refused.
FORBIDDEN = ("apt", "sudo", "systemctl", "poweroff", "reboot", "halt", "init", "telinit", "growpart")


@dataclass
class FakeInstance:
    """An instance and its processes. Times are minutes of the hypervisor's clock; `born` is an epoch second of ours."""

    id: str
    folder: Path
    type: str
    zone: str
    spot: bool
    tags: dict[str, str]
    started: float
    born: float
    behaviour: str
    metadata: Metadata
    process: subprocess.Popen
    ended: float | None = None
    why: str = ""  # "shutdown", "terminated", "killed"

    @property
    def console(self) -> str:
        """All that user-data printed."""
        return (self.folder / "console.log").read_text(errors="replace")

    def order(self, line: str) -> None:
        """As if the machine ran `shutdown LINE`; "kill" cuts its power."""
        while self.process.poll() is None:
            try:
                pipe = os.open(self.folder / "shutdown", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody listens, yet or any more
                time.sleep(0.01)
                continue
            os.write(pipe, f"{line}\n".encode())
            return os.close(pipe)


@dataclass
class FakeEc2:
    """Starts and ends the machines of one AWS."""

    aws: AWS
    s3: dict[str, str]
    folder: Path
    minute: float = 60.0
    beat: float = 0.2
    grace: float = 1.0  # seconds from "please end" to the end, at a shutdown
    boot: float = 0.0  # minutes from RunInstances to user-data
    # Environment of all machines, or what makes one machine's from its tags; LATE_CREDENTIALS stays outside.
    extra: dict[str, str] | Callable[[dict[str, str]], dict[str, str]] = field(default_factory=dict)
    machines: dict[str, FakeInstance] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def clock(self) -> float:
        """Minutes since it was started."""
        return (time.monotonic() - self.begun) / self.minute

    def instances(self) -> list[FakeInstance]:
        """All machines there ever were, oldest first."""
        with self._lock:
            return list(self.machines.values())

    def alive(self) -> list[FakeInstance]:
        """Those that cost money now."""
        return [machine for machine in self.instances() if machine.ended is None]

    def kill(self, id: str) -> None:
        """Take a spot machine away without notice: all its processes are gone at once."""
        self._end(self.machines[id], "killed", "Server.SpotInstanceTermination", "kill")

    def spot_notice(self, id: str, minutes: float = 2.0) -> None:
        """Tell a spot machine that it ends in two minutes, and end it then."""
        machine = self.machines[id]
        machine.metadata.notice = datetime.now(UTC) + timedelta(minutes=minutes)
        timer = threading.Timer(minutes * self.minute, lambda: machine.ended is None and self.kill(id))
        timer.daemon = True
        timer.start()

    def wait(self, what, seconds: float = 600.0) -> object:
        """What `what()` returns as soon as it is true; a test fails with the consoles when it takes too long."""
        until = time.monotonic() + seconds
        while not (found := what()):
            if time.monotonic() > until:
                consoles = "\n".join(f"--- {m.id} {m.why}\n{m.console[-3000:]}" for m in self.instances())
                raise AssertionError(f"nothing came in {seconds} s; the machines said:\n{consoles}")
            time.sleep(0.1)
        return found

    def heard(self, event: str, ids: list[str]) -> None:
        """What EC2 was asked for: new machines start, those to terminate end."""
        for id in ids:
            if event == "run":
                self._spawn(self._start, id)
            else:
                self._spawn(self._terminate, id)

    def close(self) -> None:
        """End all machines."""
        self.closing.set()
        for machine in self.alive():
            machine.order("kill")
        for thread in self._threads:
            thread.join()

    def _spawn(self, what, *arguments) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _start(self, id: str) -> None:
        started = self.clock
        self.closing.wait(self.boot * self.minute)
        instance = self.aws.backend.get_instance(id)
        with self._lock:
            if instance._state.name != "pending" or self.closing.is_set():  # terminated before it started
                return
            machine = self._boot(instance, started)
            self.machines[id] = machine
            if instance._state.name == "pending":
                instance._state.name, instance._state.code = "running", 16
        machine.process.wait()
        self._end(machine, "shutdown", "Client.InstanceInitiatedShutdown", None)

    def _boot(self, instance, started: float) -> FakeInstance:
        folder = self.folder / instance.id
        (folder / "bin").mkdir(parents=True)
        user_data = base64.b64decode(str(instance.user_data or ""))
        (folder / "user-data").write_bytes(user_data)
        (folder / "console.log").touch()
        os.mkfifo(folder / "shutdown")
        _program(folder / "bin/shutdown", f'printf "%s\\n" "$*" > {folder}/shutdown')
        fake_apt.install(folder)
        for name in FORBIDDEN:
            _program(folder / "bin" / name, f'echo "{name} $*: not on this machine" >&2; exit 100')
        (folder / "user-data").chmod(0o755)
        home = folder / "opt"
        (home / "environments").mkdir(parents=True)
        for gpu in (True, False):
            (home / "environments" / baked(gpu)).symlink_to(sys.prefix)
        # One GPU where the type has any, whatever the computer that runs the tests has.
        has_gpu = instance_types.has_gpu(instance.instance_type)
        _program(folder / "bin/nvidia-smi", 'echo "NVIDIA stand-in"' if has_gpu else "exit 9")
        spot = instance.lifecycle == "spot"
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        key = (self.s3["AWS_ACCESS_KEY_ID"], self.s3["AWS_SECRET_ACCESS_KEY"])
        facts = {
            "meta-data/instance-id": instance.id,
            "meta-data/instance-type": instance.instance_type,
            "meta-data/ami-id": instance.image_id,
            "meta-data/placement/availability-zone": instance.availability_zone,
            "meta-data/placement/region": self.aws.region,
            "meta-data/instance-life-cycle": "spot" if spot else "on-demand",
        }
        profile = instance.iam_instance_profile or self.aws.backend.iam_instance_profile_associations.get(instance.id)
        extra = dict(self.extra(tags) if callable(self.extra) else self.extra)
        metadata = Metadata(facts, key if profile else None, user_data, float(extra.pop(LATE_CREDENTIALS, 0)))
        environment = {
            "PATH": f"{folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PLANTDOC_HOME": str(home),
            "PLANTDOC_BEAT": str(self.beat),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            "AWS_ENDPOINT_URL_S3": self.s3["AWS_ENDPOINT_URL_S3"],
            # A person's own, on the computer that runs the tests, are not this machine's.
            "AWS_CONFIG_FILE": f"{folder}/none",
            "AWS_SHARED_CREDENTIALS_FILE": f"{folder}/none",
        }
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", INIT, folder, str(self.minute), str(self.grace)],
            env=environment | extra,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return FakeInstance(
            id=instance.id,
            folder=folder,
            type=instance.instance_type,
            zone=instance.availability_zone,
            spot=spot,
            tags=tags,
            started=started,
            born=time.time(),
            behaviour=instance.instance_initiated_shutdown_behavior,
            metadata=metadata,
            process=process,
        )

    def _terminate(self, id: str) -> None:
        with self._lock:
            machine = self.machines.get(id)
        if machine:
            self._end(machine, "terminated", "Client.UserInitiatedShutdown", "-P now")

    def _end(self, machine: FakeInstance, why: str, code: str, order: str | None) -> None:
        with self._lock:
            if machine.ended is not None:
                return
            machine.why = machine.why or why
            instance = self.aws.backend.get_instance(machine.id)
        if order:
            machine.order(order)
            machine.process.wait()
        with self._lock:
            if machine.ended is not None:
                return
            machine.ended = self.clock
            if instance._state.name not in ("terminated", "stopped"):
                stops = machine.behaviour == "stop" and machine.why == "shutdown"
                instance.stop() if stops else instance.terminate()
                instance.state_reason.code, instance.state_reason.message = code, code
        machine.metadata.stop()


def baked(gpu: bool) -> str:
    """The name under which an image has the environment of a training on a GPU, or on none."""
    held = b"".join((small_repo.ROOT / lock).read_bytes() for lock in locks.of_training(gpu))
    return hashlib.sha256(held).hexdigest()


@contextlib.contextmanager
def running(aws: AWS, s3_environment: dict[str, str], folder: Path, **speed) -> Iterator[FakeEc2]:
    """Give every instance of `aws` a machine, with `s3_environment` as the S3 and the role's key; ends them all."""
    hypervisor = FakeEc2(aws, s3_environment, folder, **speed)
    aws.rules.begins = "pending"
    aws.watchers.append(hypervisor.heard)
    try:
        yield hypervisor
    finally:
        aws.watchers.remove(hypervisor.heard)
        hypervisor.close()


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
