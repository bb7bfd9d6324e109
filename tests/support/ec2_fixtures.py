"""Fixtures for training on EC2, for modules that name this one in `pytest_plugins`."""

from __future__ import annotations

import uuid

import ec2_commands
import fake_aws
import fake_ec2_cli
import fake_swift
import pytest


@pytest.fixture(scope="session")
def swift(tmp_path_factory):
    """One S3 server for all modules; each makes buckets of its own."""
    with fake_swift.running(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="module")
def account():
    """AWS for a module; each test resets it."""
    with fake_aws.running(region=fake_ec2_cli.REGION) as aws:
        yield aws


@pytest.fixture
def ec2_cli(account, swift, tmp_path):
    """Commands of scripts/ec2.py, run in this process."""
    with (
        fake_ec2_cli.prepared(tmp_path / "clone", f"cli-{uuid.uuid4().hex}", account, swift) as ec2_cli,
        pytest.MonkeyPatch.context() as patches,
        ec2_commands.in_this_process(
            ec2_cli.folder, ec2_cli.environment | ec2_cli.without_dvc, ec2_cli.started, patches
        ),
    ):
        yield ec2_cli
