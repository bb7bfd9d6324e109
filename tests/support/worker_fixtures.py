"""Fixtures of the tests of the training machine: S3 behind a network that may fail, EC2, and a light training."""

from __future__ import annotations

import uuid

import fake_aws
import fake_ec2
import fake_s3_network
import pytest
import repo_templates
import worker_run


@pytest.fixture(scope="module")
def network(swift):
    with fake_s3_network.running(swift) as network:
        yield network


@pytest.fixture(scope="module")
def aws():
    with fake_aws.running() as aws:
        aws.client("iam").create_instance_profile(InstanceProfileName="machine")
        yield aws


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    def build(folder):
        worker_run.repository(folder, train__epochs=4)

    return repo_templates.copy("machine", build, tmp_path_factory.mktemp("repository"))


@pytest.fixture
def make_run(swift, network, aws, repository, tmp_path, monkeypatch):
    """A function that makes a run on machines with some environment more."""
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    worlds = []

    def make(folder=repository, weights=None, minute=60.0, **extra: str):
        context = fake_ec2.running(
            aws,
            network.environment(),
            tmp_path / f"world-{len(worlds)}",
            minute=minute,
            grace=3.0,
            extra={"AWS_MAX_ATTEMPTS": "3"} | extra,
        )
        worlds.append(context)
        return worker_run.Run(folder, swift, f"b-{uuid.uuid4().hex}", aws, context.__enter__(), weights)

    yield make
    network.up()
    for context in worlds:
        context.__exit__(None, None, None)


@pytest.fixture
def run(make_run):
    return make_run()
