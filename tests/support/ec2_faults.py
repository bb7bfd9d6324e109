"""One training on EC2 to which things happen, and what must hold at its end whatever they were."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import child_processes
import fake_ec2
import fake_ec2_account
import fake_s3_network
import fake_training
import psutil
from fake_ec2_account import World

FAULTS = {
    "capacity": "InsufficientInstanceCapacity, some times or for the whole spot market",
    "nothing": "InsufficientInstanceCapacity everywhere, at the first start",
    "busy": "EC2 answers 500 or 503, or an answer of RunInstances is lost",
    "kill": "a machine is taken away without notice",
    "notice": "a machine is taken away two minutes after the notice",
    "s3 here": "S3 errs at drawn requests of the person's computer",
    "s3 there": "S3 errs at drawn requests of the machine",
    "conflict": "S3 answers 409 to conditional writes, here and on the machine",
    "forgets": "TerminateInstances does not know an instance, some times, without ending it",
    "late metadata": "the metadata service has no credentials in the machine's first seconds",
    "s3 out": "S3 cannot be reached from anywhere for some seconds",
    "laptop": "the person's computer dies and starts anew",
    "dvc": "DVC alone is killed, and started anew",
    "bootstrap": "the environment on the first machine is broken",
    "crash": "a process on the first machine is killed",
    "hang": "the training hangs once, and is noticed to",
    "deadline": "the training hangs once, and the machine's deadline ends it",
    "fail": "the training fails once",
}
STARTS = 8  # of the command, at most
_ERROR = re.compile(r"^ec2: (?!run |sending|sent|machine i-|setting up|fetching|training$|done in).{20,}", re.M)


@dataclass
class Story:
    """What came of it."""

    name: str
    faults: tuple[str, ...]
    starts: int = 0
    errors: list[str] = field(default_factory=list)
    machines: list = field(default_factory=list)
    s3: int = 0  # requests that went wrong
    resumed: int = 0  # machines that went on from a checkpoint
    outcome: str = "WRONG"
    seconds: float = 0.0

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        ends = ", ".join(machine.why for machine in self.machines)
        longest = max((machine.ended - machine.started for machine in self.machines), default=0.0)
        return (
            self.name, " + ".join(self.faults), str(self.starts), f"{len(self.machines)} ({ends})",
            str(self.resumed), f"{longest:.0f}", str(self.s3), str(len(self.errors)), self.outcome,
            f"{self.seconds:.0f}",
        )  # fmt: skip


# fmt: off
HEAD = (
    "run", "what happened", "starts", "machines (ends)", "resumed", "longest, min", "S3 faults", "errors",
    "outputs", "s",
)
# fmt: on


def table(stories: list[Story]) -> str:
    """All of them, one a line."""
    rows = [HEAD, *(story.row() for story in stories)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


class FaultyRun:
    """A clone, its networks, and its faults, all drawn from `draw`. The run is told from others by `number`."""

    def __init__(self, world: World, origin: Path, folder: Path, number: int, faults: tuple[str, ...], seed: int):
        self.world, self.number, self.faults = world, number, faults
        self.draw = random.Random(seed)
        self.name, self.home = f"ordeal-{number}", folder
        self.signals: list[Path] = []
        given = {"train__patience": number, "runner__kind": "ec2", "runner__tags": {"ordeal": self.name}}
        if "hang" in faults:
            given["runner__stall_minutes"] = 0.5
        if "deadline" in faults:
            given["runner__max_hours"] = 0.75
        folder.mkdir()
        self.clone = fake_training.copy(origin, folder / "clone", **given)
        self.story = Story(self.name, faults)
        self.over = threading.Event()

    def run(self, expected: dict[str, str]) -> Story:
        """Live through it and check what must hold; `expected` are the outputs of a training here."""
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            self.here = stack.enter_context(fake_s3_network.running(self.world.swift))
            self.there = stack.enter_context(fake_s3_network.running(self.world.swift))
            self.world.by_tag[self.name] = self._machine_environment
            threads = [threading.Thread(target=work, daemon=True) for work in self._prepared()]
            for thread in threads:
                thread.start()
            try:
                self._insist()
            finally:
                self.over.set()
                for thread in threads:
                    thread.join()
            self.world.wait(lambda: not any(m.ended is None for m in self._machines()))
            self.story.s3 = len(self.here.harmed) + len(self.there.harmed)
        self.story.machines = self._machines()
        self.story.seconds = time.monotonic() - began
        self._check(expected)
        self.story.outcome = "right"
        return self.story

    def _insist(self) -> None:
        """Start the command until it ends well: after a death of its computer, and after each clear error."""
        deaths = [fault for fault in self.faults if fault in ("laptop", "dvc")]
        words = ("dvc", "repro", "-s", "train") if deaths else ("python", "src/train.py")
        while self.story.starts < STARTS:
            self.story.starts += 1
            command = self.world.start(self.clone, *words, network=self.here)
            if deaths:
                self._die(command, deaths.pop())
                continue
            code = command.ended()
            if not code:
                return
            self._check_error(command.text, code)
            if len(self.story.errors) > 1:  # what went wrong goes wrong no more
                self.here.up()
                self.there.up()
        raise AssertionError(f"{self.name} came to no end in {STARTS} starts: {self.story.errors}")

    def _die(self, command: fake_ec2_account.Command, how: str) -> None:
        """Kill the command at a drawn moment of its stage, unless it is done before.

        Not earlier: DVC itself refuses to run again where it was killed while it wrote `.dvc/tmp/rwlock`.
        """
        while "ec2: run " not in command.text and command.process.poll() is None:
            time.sleep(0.02)
        until = time.monotonic() + self.draw.uniform(0, 8)
        while time.monotonic() < until and command.process.poll() is None:
            time.sleep(0.02)
        if how == "laptop":
            return command.kill()
        children = child_processes.below(command.process.pid)
        about = {child.pid: " ".join(child_processes.command_line(child)) for child in children}
        command.process.send_signal(signal.SIGKILL)
        command.process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        left = [about[child.pid] for child in alive]
        assert not left, f"{self.name}: DVC is gone, and still there are {left}; it had said:\n{command.text}"

    def _check_error(self, text: str, code: int) -> None:
        """An error that a person can do something with."""
        about = f"{self.name} ({' + '.join(self.faults)}) ended with {code}:\n{text}"
        assert code in (1, 255), about
        told = [match[0] for match in _ERROR.finditer(text)]
        assert told, about
        assert "Traceback" not in text or "the training failed on its machine" in text, about
        self.story.errors.append(told[-1])

    def _check(self, expected: dict[str, str]) -> None:
        machines = self.story.machines
        about = f"{self.name} ({' + '.join(self.faults)}): {self.story.errors}"
        config = json.loads((self.clone / "models/detector/config.json").read_text())
        wanted = expected | {"models/detector/config.json": _hash_of_config(config["made_from"], self.number)}
        assert fake_training.outputs(self.clone) == wanted, about
        runs = {machine.tags["run"] for machine in machines}
        assert len(runs) == 1, f"{about}: {runs}"
        (run,) = runs
        result = self.world.store.read(f"{run}/result.json")
        assert {path: found["sha256"] for path, found in result["outputs"].items()} == wanted, about
        assert self.world.results(run) == 1, f"{about}: {self.world.results(run)} results"
        self.story.resumed = sum("continuing after epoch" in self.world.log(run, m.tags["attempt"]) for m in machines)
        for machine in machines:
            lived = machine.ended - machine.started
            assert lived <= fake_ec2_account.allowed(machine), f"{about}: {machine.id} lived {lived:.0f} minutes"
            assert machine.folder.joinpath("shutdown").exists()
        left = [m for m in machines if self.world.aws.backend.get_instance(m.id)._state.name != "terminated"]
        assert not left, f"{about}: {left}"
        for earlier, later in itertools.pairwise(machines):
            assert earlier.ended <= later.started + 10, f"{about}: {earlier.id} and {later.id} both worked"

    def _machines(self) -> list:
        return self.world.of("ordeal", self.name)

    def _machine_environment(self) -> dict[str, str]:
        given = {"AWS_ENDPOINT_URL_S3": self.there.url, "FAKE_STEP": "0.2"}
        for fault in ("hang", "fail"):
            given[f"FAKE_{fault.upper()}"] = str(self.home / fault)
        if "late metadata" in self.faults:
            given[fake_ec2.LATE_CREDENTIALS] = str(self.draw.uniform(0.5, 3))
        if "bootstrap" in self.faults and not self._machines():
            given["PLANTDOC_HOME"] = str(self._broken_home())
        return given

    def _broken_home(self) -> Path:
        for gpu in (True, False):
            program = self.home / f"broken/environments/{fake_ec2.baked(gpu)}/bin/python"
            program.parent.mkdir(parents=True)
            program.write_text("#!/bin/sh\necho 'libcudart.so.12: cannot open shared object file' >&2\nexit 3\n")
            program.chmod(0o755)
        return self.home / "broken"

    def _prepared(self) -> list:
        """Arm the faults; returns what is to go on beside."""
        beside = []
        for fault in self.faults:
            moment = self.draw.uniform(0, 5)
            self._arm(fault)
            if goes_on := self._beside(fault, moment):
                beside.append(goes_on)
        return beside

    def _arm(self, fault: str) -> None:
        """Set what fails by itself from now on."""
        draw, aws = self.draw, self.world.aws
        match fault:
            case "capacity" if draw.random() < 0.5:
                aws.fail("RunInstances", "InsufficientInstanceCapacity", draw.randint(1, 8), self._is_ours)
            case "capacity":
                code = draw.choice(["InsufficientInstanceCapacity", "SpotMaxPriceTooLow"])
                aws.fail("RunInstances", code, None, self._is_ours_on_spot)
            case "busy":
                for _ in range(draw.randint(1, 2)):
                    aws.fail("RunInstances", draw.choice(["Unavailable", "InternalError", "lost"]), 1, self._is_ours)
            case "s3 here" | "s3 there":
                network = self.here if fault == "s3 here" else self.there
                for _ in range(draw.randint(1, 6)):
                    network.fail(draw.choice(fake_s3_network.KINDS), at=draw.randint(1, 40), times=draw.randint(1, 3))
            case "hang" | "fail" | "deadline":
                (self.home / ("fail" if fault == "fail" else "hang")).touch()
        self._arm_what_passes(fault)

    def _arm_what_passes(self, fault: str) -> None:
        """Set what AWS answers for a while and is to be asked again."""
        draw = self.draw
        match fault:
            case "conflict":
                for network in (self.here, self.there):
                    network.fail(fake_s3_network.CONFLICT, at=draw.randint(1, 3), times=draw.randint(1, 4))
            case "forgets":
                self.world.aws.fail(
                    "TerminateInstances", "InvalidInstanceID.NotFound", draw.randint(1, 4), self._ends_ours
                )

    def _beside(self, fault: str, moment: float) -> Callable[[], None] | None:
        """What has to go on beside the commands for this fault."""
        match fault:
            case "nothing":
                return self._nothing_to_be_had
            case "kill":
                return lambda: self._after_start(moment, self.world.machines.kill)
            case "notice":
                return lambda: self._after_start(moment, self._send_spot_notice)
            case "crash":
                return lambda: self._after_start(moment, self._kill_a_process)
            case "s3 out":
                return lambda: self._out(moment * 2, 1 + moment)
        return None

    def _is_ours(self, call) -> bool:
        return self.name in call.given.values()

    def _is_ours_on_spot(self, call) -> bool:
        return self._is_ours(call) and "InstanceMarketOptions.MarketType" in call.given

    def _ends_ours(self, call) -> bool:
        return any(machine.id in call.given.values() for machine in self._machines())

    def _nothing_to_be_had(self) -> None:
        fault = self.world.aws.fail("RunInstances", "InsufficientInstanceCapacity", None, self._is_ours)
        while not self.over.is_set() and not self.story.errors and self.story.starts < 3:
            self.over.wait(0.05)
        fault.left = 0

    def _after_start(self, moment: float, what) -> None:
        """Do something to the first machine, some time after it began, or after an epoch was saved."""
        saved = moment > 2
        while not self.over.is_set() and not self._machines():
            self.over.wait(0.02)
        if self.over.is_set():
            return
        machine = self._machines()[0]
        while (
            saved and machine.ended is None and not self.world.store.has(f"{machine.tags['run']}/checkpoint/last.npz")
        ):
            self.over.wait(0.1)
        self.over.wait(moment - 2 if saved else moment * 2)
        if machine.ended is None:
            what(machine.id)

    def _send_spot_notice(self, id: str) -> None:
        """Processes here start no faster than elsewhere: the two minutes are longer than by the hypervisor's clock."""
        self.world.machines.spot_notice(id, minutes=self.draw.uniform(4, 24))

    def _kill_a_process(self, id: str) -> None:
        """As when memory runs out."""
        machine = self.world.machines.machines[id]
        while machine.ended is None:
            with contextlib.suppress(psutil.Error):
                names = ("worker.py", "train.py", "bootstrap.sh")
                named = [p for name in names for p in child_processes.below(machine.process.pid, name)]
                if named:
                    return self.draw.choice(named).kill()
            time.sleep(0.02)

    def _out(self, moment: float, seconds: float) -> None:
        """S3 is out everywhere for a while."""
        self.over.wait(moment)
        faults = [network.fail("cut", times=None) for network in (self.here, self.there)]
        self.over.wait(seconds)
        for fault in faults:
            fault.left = 0


def _hash_of_config(made_from: dict, number: int) -> str:
    """The config.json that this run should have; all runs of a test differ in one param that changes nothing else."""
    train = made_from["train"] | {"patience": number}
    return hashlib.sha256(json.dumps({"made_from": made_from | {"train": train}}, sort_keys=True).encode()).hexdigest()
