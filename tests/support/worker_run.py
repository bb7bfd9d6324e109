"""A run that trains by fake_learner.py on a machine of the hypervisor's: what lies in S3 before it and after it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import fake_ec2
import fake_learner
import small_repo
from fake_aws import AWS
from fake_swift import Swift
from ruamel.yaml import YAML

from plantdoc.aws import run_store
from plantdoc.core import hashing, identity, params
from plantdoc.ec2 import code_archive, user_data
from plantdoc.train import lineage, train_params

OUTPUTS = {
    "models/detector/config.json",
    "models/detector/detector.weights.h5",
    "results/train/live/plots/metrics/train/box.tsv",
    "results/train/live/plots/metrics/train/class.tsv",
    "results/train/live/plots/metrics/train/lr.tsv",
    "results/train/live/plots/metrics/val/map.tsv",
    "results/train/live/plots/metrics/val/map50.tsv",
    "results/train/metrics.json",
}


def repository(folder: Path, **overrides: object) -> Path:
    """A miniature that trains by fake_learner.py, its data in place, and a dvc.lock that has their hashes."""
    small_repo.make(folder, **({"runner__kind": "ec2", "train__half_size": 0.0} | overrides))
    fake_learner.install(folder)
    data = folder / "data/tfrecords"
    data.mkdir(parents=True)
    for name in ("train-00000.tfrecord", "val-00000.tfrecord", "meta.json"):
        (data / name).write_bytes(name.encode() * 1000)
    md5 = hashlib.md5(listing(data)).hexdigest()
    outs = [{"path": "data/tfrecords", "hash": "md5", "md5": f"{md5}.dir"}]
    YAML().dump({"schema": "2.0", "stages": {"augment": {"outs": outs}}}, folder / "dvc.lock")
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", "a light training")
    return folder


def listing(data: Path) -> bytes:
    """What DVC keeps of a folder."""
    files = [{"md5": hashlib.md5(p.read_bytes()).hexdigest(), "relpath": p.name} for p in sorted(data.iterdir())]
    return json.dumps(files).encode()


@dataclass
class Run:
    """A run of the repository `folder` in a bucket of its own, with the data sent, on machines of `world`."""

    folder: Path
    swift: Swift
    bucket: str
    aws: AWS
    world: fake_ec2.FakeEc2
    weights: Path | None = None
    attempts: int = 0
    id: str = ""
    store: run_store.Store = field(init=False)

    def __post_init__(self) -> None:
        self.swift.make_bucket(self.bucket)
        self.store = run_store.Store(self.bucket)
        self.store.client = self.swift.client()
        here = Path.cwd()
        os.chdir(self.folder)  # as the train stage sees it
        try:
            made_from = lineage.made_from("train", params.load(train_params.Params), self.weights, gpu=True)
        finally:
            os.chdir(here)
        self.id = identity.run_id(made_from)
        data = self.folder / "data/tfrecords"
        for path in data.iterdir():
            self.put_dvc(path.read_bytes())
        self.put_dvc(listing(data), ".dir")
        self.code = code_archive.make(self.folder)
        self.store.put(f"code/{self.code.sha256}.tar.gz", self.code.content)
        if self.weights:
            self.store.upload(self.weights, f"weights/{hashing.of_file(self.weights)}")

    def put_dvc(self, content: bytes, suffix: str = "", body: bytes | None = None) -> None:
        """An object where DVC would keep `content`; with `body` in its place where it is to be damaged."""
        md5 = hashlib.md5(content).hexdigest() + suffix
        key = f"dvc/files/md5/{md5[:2]}/{md5[2:]}"
        self.store.client.put_object(Bucket=self.bucket, Key=key, Body=content if body is None else body)

    def user_data(self, **changes: object) -> str:
        given = {
            "bucket": self.bucket,
            "region": "us-east-1",
            "run_id": self.id,
            "attempt": self.attempts,
            "code": self.code.sha256,
            "minutes": 1000,
            "stall_minutes": 1000.0,
            "dvc_prefix": "dvc",
            "weights": hashing.of_file(self.weights) if self.weights else "",
            "gpu": True,
        }
        return user_data.render(**(given | changes))

    def launch(self, deadline: float = 3600, **changes: object) -> fake_ec2.Machine:
        """The next attempt's machine, as soon as it runs; `deadline` in seconds from now, `changes` of user-data."""
        self.attempts += 1
        claim = {"token": "t", "time": time.time(), "code": self.code.sha256, "deadline": time.time() + deadline}
        assert self.store.put_new(f"{self.id}/attempts/{self.attempts}.json", claim)
        found = self.aws.client("ec2").run_instances(
            ImageId=self.aws.rules.image,
            InstanceType="g5.xlarge",
            MinCount=1,
            MaxCount=1,
            UserData=self.user_data(**changes),
            IamInstanceProfile={"Name": "machine"},
            InstanceInitiatedShutdownBehavior="terminate",
        )
        id = found["Instances"][0]["InstanceId"]
        return self.world.wait(lambda: self.world.machines.get(id))

    def ended(self, machine: fake_ec2.Machine, seconds: float = 300) -> dict | None:
        """What end.json says once the machine is gone."""
        self.world.wait(lambda: machine.ended is not None, seconds)
        return self.store.read(f"{self.id}/{self.attempts}/end.json")

    def status(self) -> dict:
        return self.store.read(f"{self.id}/{self.attempts}/status.json") or {"phase": None, "epoch": 0, "log": 0}

    def until(self, phase: str, epoch: int = 0) -> dict:
        """Wait for a status at least so far."""

        def there() -> bool:
            status = self.status()
            return status["phase"] == phase and status["epoch"] >= epoch

        self.world.wait(there)
        return self.status()

    def log(self, attempt: int | None = None) -> str:
        """All pieces, in order."""
        keys = self.store.keys(f"{self.id}/{attempt or self.attempts}/log/")
        assert [key.rpartition("/")[2] for key in keys] == [f"{k:06}" for k in range(len(keys))]
        return b"".join(map(self.store.get, keys)).decode()

    def outputs(self) -> dict[str, bytes]:
        """The run's outputs by path, checked by their hashes."""
        found = {}
        for path, about in self.store.read(f"{self.id}/result.json")["outputs"].items():
            found[path] = self.store.get(f"{self.id}/outputs/{about['sha256']}")
            assert (hashlib.sha256(found[path]).hexdigest(), len(found[path])) == (about["sha256"], about["size"])
        return found
