"""A real S3 server with its objects on disk: OpenStack Swift behind its s3api, four small processes on loopback.

For what must be shown against real storage: pushing, pulling, refusals, damage, an endpoint that goes away. Where AWS
itself is meant (accounts, roles, quotas), tests use fake_s3.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

# Access keys and their secrets. The owner may do everything; the guest what a public bucket allows: to read.
OWNER, GUEST = "test:tester", "test:guest"
SECRETS = {OWNER: "owner-s3cret-0f51", GUEST: "guest-s3cret-7a22"}
SERVERS = ("object", "container", "account")
PROGRAMS = Path(sys.executable).parent
# fmt: off
FILTERS = (
    "catch_errors", "gatekeeper", "proxy_logging", "listing_formats", "bulk", "s3api", "tempauth", "slo", "dlo",
)
# fmt: on
# swift_cache.py stands for memcached.
PROXY = f"""
[pipeline:main]
pipeline = cache {" ".join(FILTERS)} proxy-server
[filter:cache]
paste.filter_factory = swift_cache:filter_factory
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
""" + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{{{name}}}" for name in FILTERS).format_map(
    defaultdict(
        str,
        s3api="location = us-east-1\n",
        tempauth=f"user_test_tester = {SECRETS[OWNER]} .admin\nuser_test_guest = {SECRETS[GUEST]}\n",
        proxy_logging="log_msg_template = moved {method} {path} {status_int} {bytes_recvd} {bytes_sent} .\n",
    )
)
# In a process of its own: what it imports puts green threads into this one's logging, where they wait forever.
RINGS = """
import sys
from swift.common.ring import RingBuilder

folder, *servers = sys.argv[1:]
for name, port in (server.split("=") for server in servers):
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "disk", "weight": 1})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{name}.ring.gz")
"""
MOVED = re.compile(r"moved (\w+) (\S+) (\d+) (\S+) (\S+) \.")


@dataclass(frozen=True)
class Request:
    """A request that was answered: `received` and `sent` are bytes of the bodies, as the server sees them."""

    method: str
    path: str
    status: int
    received: int
    sent: int


@dataclass
class Swift:
    """The server: its address, its users, what lies in it and what was moved."""

    folder: Path
    ports: dict[str, int]
    processes: list[subprocess.Popen] = field(default_factory=list)
    url: str = ""
    key: str = OWNER
    secret: str = SECRETS[OWNER]

    def start(self) -> None:
        """Start the processes and wait until they answer; what was stored before is still there."""
        for name in (*SERVERS, "proxy"):
            with open(self.folder / f"{name}.log", "ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [PROGRAMS / f"swift-{name}-server", self.folder / f"{name}.conf", "-v"],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).parent)},
                    )
                )
        for name, process in zip((*SERVERS, "proxy"), self.processes, strict=True):
            path = "/info" if name == "proxy" else "/healthcheck"
            self._await(name, process, f"http://127.0.0.1:{self.ports[name]}{path}")

    def _await(self, name: str, process: subprocess.Popen, url: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return urllib.request.urlopen(url, timeout=5).close()
            except OSError as error:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                assert process.poll() is None and time.monotonic() < deadline, f"swift {name}: {error}\n{log[-3000:]}"
                time.sleep(0.05)

    def stop(self) -> None:
        """End the processes; the data stays for the next start."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def environment(self, key: str = OWNER) -> dict[str, str]:
        """What points the AWS tools to this server as the user `key`; no profile or token of the machine's user."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": SECRETS[key],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(self.folder / "no-profiles"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "no-profiles"),
        }

    def client(self, key: str = OWNER):
        """A boto3 client for S3."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=SECRETS[key],
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def make_bucket(self, name: str, public: bool = False) -> str:
        """A new bucket of the owner's, which others may read when it is `public`; returns its name."""
        self.client().create_bucket(Bucket=name, ACL="public-read" if public else "private")
        return name

    def objects(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Key and size in bytes of every object."""
        found: dict[str, int] = {}
        for page in self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            found |= {item["Key"]: item["Size"] for item in page.get("Contents", ())}
        return found

    def requests(self) -> list[Request]:
        """All that was asked through S3 since the first start."""
        log = (self.folder / "proxy.log").read_text(errors="replace")
        return [
            Request(method, path, int(status), *(0 if size == "-" else int(size) for size in sizes))
            for method, path, status, *sizes in MOVED.findall(log)
            if not path.startswith("/v1/")  # what Swift asks itself
        ]

    def files(self) -> list[Path]:
        """The files that hold the objects' bytes, to damage them."""
        return sorted((self.folder / "disks/disk/objects").rglob("*.data"))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Swift]:
    """Lay the server out in `folder` (on a file system with extended attributes), start it, and stop it at the end."""
    if sys.platform != "linux":
        pytest.skip(
            "Swift, the S3 server of the tests, is installed on Linux alone: a part of it has no build elsewhere"
        )
    (folder / "disks/disk").mkdir(parents=True)
    swift = Swift(folder, _free_ports(*SERVERS, "proxy"))
    swift.url = f"http://127.0.0.1:{swift.ports['proxy']}"
    _lay_out(folder, swift.ports)
    try:
        swift.start()
        yield swift
    finally:
        swift.stop()


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as stack:  # all held at once, so that they differ
        sockets = {name: stack.enter_context(socket.socket()) for name in names}
        for each in sockets.values():
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in sockets.items()}


def _lay_out(folder: Path, ports: dict[str, int]) -> None:
    """Rings with the one device, and a settings file per server."""
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n[storage-policy:0]\nname = one\n")
    rings = [sys.executable, "-c", RINGS, str(folder), *(f"{name}={ports[name]}" for name in SERVERS)]
    subprocess.run(rings, check=True, timeout=300)
    common = f"[DEFAULT]\nbind_ip = 127.0.0.1\nworkers = 0\nswift_dir = {folder}\n"
    for name in SERVERS:
        (folder / f"{name}.conf").write_text(
            f"{common}bind_port = {ports[name]}\ndevices = {folder}/disks\nmount_check = false\n"
            f"[pipeline:main]\npipeline = healthcheck {name}-server\n"
            f"[app:{name}-server]\nuse = egg:swift#{name}\n[filter:healthcheck]\nuse = egg:swift#healthcheck\n"
        )
    (folder / "no-profiles").touch()  # AWS's tools refuse /dev/null
    (folder / "proxy.conf").write_text(f"{common}bind_port = {ports['proxy']}\n{PROXY}")
