"""What the tests of the training machine stand in: S3 behind a network that may fail, EC2, and a light training."""

from __future__ import annotations

import uuid

import aws_server
import hypervisor
import machine_run
import pytest
import s3_faults
import swift_server


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    with swift_server.running(tmp_path_factory.mktemp("swift")) as swift:
        yield swift


@pytest.fixture(scope="module")
def network(swift):
    with s3_faults.running(swift) as network:
        yield network


@pytest.fixture(scope="module")
def aws():
    with aws_server.running() as aws:
        aws.client("iam").create_instance_profile(InstanceProfileName="machine")
        yield aws


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return machine_run.repository(tmp_path_factory.mktemp("repository"), train__epochs=4)


@pytest.fixture
def make_run(swift, network, aws, repository, tmp_path, monkeypatch):
    """A function that makes a run on machines with some environment more."""
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    worlds = []

    def make(folder=repository, weights=None, minute=60.0, **extra: str):
        context = hypervisor.running(
            aws,
            network.environment(),
            tmp_path / f"world-{len(worlds)}",
            minute=minute,
            grace=3.0,
            extra={"AWS_MAX_ATTEMPTS": "3"} | extra,
        )
        worlds.append(context)
        return machine_run.Run(folder, swift, f"b-{uuid.uuid4().hex}", aws, context.__enter__(), weights)

    yield make
    network.up()
    for context in worlds:
        context.__exit__(None, None, None)


@pytest.fixture
def run(make_run):
    return make_run()
