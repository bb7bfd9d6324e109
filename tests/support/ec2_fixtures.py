"""Fixtures for training on EC2, for modules that name this one in `pytest_plugins`."""

from __future__ import annotations

import uuid

import aws_server
import ec2_commands
import ec2_desk
import pytest
import swift_server


@pytest.fixture(scope="session")
def swift(tmp_path_factory):
    """One S3 server for all modules; each makes buckets of its own."""
    with swift_server.running(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="module")
def account():
    """AWS for a module; each desk resets it."""
    with aws_server.running(region=ec2_desk.REGION) as aws:
        yield aws


@pytest.fixture
def desk(account, swift, tmp_path):
    """A desk at which commands run in this process."""
    with (
        ec2_desk.ready(tmp_path / "clone", f"desk-{uuid.uuid4().hex}", account, swift) as desk,
        pytest.MonkeyPatch.context() as patches,
        ec2_commands.in_this_process(desk.folder, desk.environment | desk.without_dvc, desk.started, patches),
    ):
        yield desk
