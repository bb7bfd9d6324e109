"""A clone with its data, from which trainings on EC2 are started, a bucket in Swift, an account in moto.

No machine does any work here: a test writes into the bucket what a machine would, and sees what the commands do.
Commands run as threads of this process; where the process is the point (signals, a terminal, DVC), as processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import fake_aws
import fake_repo
import fake_swift
import repo_templates
import small_repo
from ec2_commands import AtTerminal, ByThread, Command, Thread, until

from plantdoc.aws import run_store
from plantdoc.core import params
from plantdoc.train import lineage, train_params

REGION = "us-east-1"
OUTPUTS = {
    "models/detector/config.json": b'{"made_from": {}}',
    "models/detector/detector.weights.h5": bytes(range(256)) * 40,
    "results/train/live/plots/metrics/val/map.tsv": b"step\tmap\n0\t0.1\n",
    "results/train/metrics.json": b'{"val_map50": 0.5}\n',
}


class Ec2Cli:
    """A clone, its bucket, its account."""

    def __init__(self, folder: Path, bucket: str, aws: fake_aws.AWS, swift: fake_swift.Swift):
        self.folder, self.bucket, self.aws, self.swift = folder, bucket, aws, swift
        self.store = run_store.Store.__new__(run_store.Store)
        self.store.bucket, self.store.prefix, self.store.client = bucket, "runs/", swift.client()
        self.started: list[Command | Thread] = []

    @property
    def environment(self) -> dict[str, str]:
        quick = {"PLANTDOC_BEAT": "0.2", "AWS_MAX_ATTEMPTS": "1", "USER": "tester"}
        given = small_repo.environment(**self.aws.environment(), **quick) | self.swift.environment()
        given.pop("PYTHONPATH", None)
        return given

    @property
    def without_dvc(self) -> dict[str, str]:
        """A dvc whose commands do nothing, where a test is not about data: they take as long as all the rest.

        What is imported from it is the real one's.
        """
        stub = self.folder.parent / "stub/dvc"
        stub.mkdir(parents=True, exist_ok=True)
        (stub / "__main__.py").touch()
        (stub / "__init__.py").write_text("import pkgutil\n\n__path__ = pkgutil.extend_path(__path__, __name__)\n")
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
        small_repo.set_params(self.folder, **{f"runner__{key}": value for key, value in runner.items()})

    def instances(self, *states: str) -> list[dict]:
        """Instances as EC2 tells, in these states; by default those that may cost something."""
        found = self.aws.client("ec2").describe_instances()["Reservations"]
        states = states or ("pending", "running", "stopping", "stopped")
        return [each for r in found for each in r["Instances"] if each["State"]["Name"] in states]

    def made_from(self) -> dict:
        """What the run of this clone follows from, as the command and a machine work it out."""
        with contextlib.chdir(self.folder):
            return lineage.made_from("train", params.load(train_params.Params), None, gpu=True)

    def puppet(self, n: int = 1, seconds: float = 180) -> Puppet:
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

    def __init__(self, cli: Ec2Cli, run: str, n: int, claim: dict):
        self.cli, self.store, self.run, self.n, self.claim = cli, cli.store, run, n, claim
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
        result = {
            "attempt": self.n,
            "time": time.time(),
            "made_from": self.cli.made_from(),
            "outputs": about,
            "cost": cost,
        }
        self.store.put_new(f"{self.run}/result.json", result)
        self.ends("done")

    def dies(self) -> None:
        """Taken away without a word."""
        self.cli.aws.client("ec2").terminate_instances(InstanceIds=[self.claim["instance"]])


def clone(folder: Path) -> Path:
    """A repository whose train stage is next: its data is made, its lock is committed."""

    def build(new: Path) -> None:
        fake_repo.make(new, runner__kind="ec2", runner__region=REGION, runner__zones=[f"{REGION}a", f"{REGION}b"])
        small_repo.run(new, "dvc", "repro", "augment")
        small_repo.git(new, "add", "-A")
        small_repo.git(new, "commit", "-q", "-m", "data")

    return repo_templates.copy("ec2-cli", build, folder)


@contextlib.contextmanager
def prepared(folder: Path, bucket: str, aws: fake_aws.AWS, swift: fake_swift.Swift) -> Iterator[Ec2Cli]:
    """A clone in `folder`, with a new bucket and the project's stack in an account that has nothing else."""
    clone(folder)
    swift.make_bucket(bucket)
    (folder / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    region = {REGION}\n"
    )
    aws.reset()
    aws.make_stack(bucket)
    aws.calls.clear()
    yield Ec2Cli(folder, bucket, aws, swift)
