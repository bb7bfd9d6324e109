"""The rights of a person or workflow that trains: enough for what they do, and nothing beyond."""

from __future__ import annotations

import shutil

import fake_s3_network
import iam_requests
import iam_story
import pytest
import small_repo
from iam_evaluator import ACCOUNT, Request
from import_graph import ROOT
from stack_policies import Stack

from plantdoc.doctor import checks_aws

pytest_plugins = ["ec2_fixtures"]
TEMPLATE = ROOT / "infra/base.yaml"
REGION = "us-east-1"


@pytest.fixture
def network(swift, monkeypatch):
    """What the commands' requests to S3 go through, and no test's own."""
    with fake_s3_network.running(swift) as network:
        yield network


@pytest.fixture
def stack(ec2_cli) -> Stack:
    """The account's stack, with the names that it has there."""
    name = f"plant-disease-{ec2_cli.bucket}"
    found = ec2_cli.aws.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found if "LogicalResourceId" in each}
    return Stack(TEMPLATE, name, REGION, ACCOUNT, {"Bucket": ec2_cli.bucket, "Email": "me@example.org"}, physical)


def train(ec2_cli) -> None:
    """A training without spot capacity, one that is stopped and one that ends; every command that looks at them."""
    ec2_cli.aws.no_capacity(market="spot")
    ec2_cli.aws.no_capacity(type="g5.xlarge")
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet()
    machine.says("epoch 1: box 0.5\n")
    ec2_cli.ec2("ls")
    ec2_cli.ec2("logs", machine.run)
    ec2_cli.ec2("stop", machine.run)
    command.ends(1)
    ec2_cli.aws.rules.full.clear()
    command = ec2_cli.start("run")
    machine = ec2_cli.puppet(2)
    machine.finishes()
    command.ends(0)
    ec2_cli.ec2("cost")
    ec2_cli.ec2("reap")


@pytest.mark.slow(12)
def test_who_trains_may_do_all_that_is_done_and_nothing_else(ec2_cli, stack, network, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", network.url)
    train(ec2_cli)
    ec2_cli.aws.fail("GetServiceQuota", "NoSuchResourceException")  # the account has AWS's own number
    checks_aws._default.cache_clear()
    for check in (checks_aws.credentials, checks_aws.storage, checks_aws.instance_types, checks_aws.quota):
        check("ec2")
    requests = iam_requests.of([call for call in ec2_cli.aws.calls if call.by != "test"], ec2_cli.aws)
    for each in network.requests:
        requests += iam_requests.of_s3(each.method, each.key, each.query, each.conditional)
    # An upload in parts that breaks off is ended by S3's own client.
    objects = f"arn:aws:s3:::{ec2_cli.bucket}"
    requests.append(Request.of("s3:AbortMultipartUpload", f"{objects}/dvc/files/md5/ab/cd"))
    assert "s3:AbortMultipartUpload" in iam_story.documented(TEMPLATE, "Runner")
    requests = list(dict.fromkeys(requests))
    assert len(requests) > 40
    story = iam_story.Story(stack.policy("Runner"), requests, stack.resource("StoragePolicy")["PolicyDocument"])
    iam_story.check(story)
    starts = [each for each in requests if each.action == "ec2:RunInstances"]
    instance = next(each for each in starts if ":instance/" in each.arn)
    disk = next(each for each in starts if ":volume/" in each.arn)
    passing = next(each for each in requests if each.action == "iam:PassRole")
    ending = next(each for each in requests if each.action == "ec2:TerminateInstances")
    others = [
        *(instance.changed(**{"ec2:InstanceType": name}) for name in ("p4d.24xlarge", "p5.48xlarge", "x2iezn.metal")),
        instance.changed(**{"aws:RequestTag/deadline": None}),
        instance.changed(**{"aws:RequestTag/project": None}),
        instance.changed(**{"ec2:MetadataHttpTokens": "optional"}),
        ending.changed(**{"aws:ResourceTag/project": None}),
        ending.changed(**{"aws:ResourceTag/project": "another"}),
        passing.changed(**{"iam:PassedToService": "lambda.amazonaws.com"}),
        disk.changed(**{"ec2:VolumeSize": "16000"}),
        Request.of("iam:PassRole", stack.arn("ServingRole"), **dict(passing.context)),
        Request.of("s3:PutObject", f"{objects}/bundles/0/model.tar.gz"),
        Request.of("s3:PutObject", f"{objects}/runs/0123456789abcdef/result.json"),
        Request.of("s3:DeleteObject", f"{objects}/dvc/files/md5/ab/cd"),
        Request.of("ec2:CreateTags", instance.arn, **{"ec2:CreateAction": "CreateTags"}),
    ]
    assert story.denied(others) == others


@pytest.mark.full
def test_pushing_and_pulling_data_is_within_the_policy(ec2_cli, stack, network, monkeypatch):
    """What DVC itself asks S3, which it does in a process of its own."""
    monkeypatch.delenv("PYTHONPATH")  # of a dvc that does nothing
    extra = ec2_cli.environment | {"AWS_ENDPOINT_URL_S3": network.url}
    small_repo.run(ec2_cli.folder, "python", "scripts/remote.py", "push", "augment", **extra)
    shutil.rmtree(ec2_cli.folder / ".dvc/cache")
    shutil.rmtree(ec2_cli.folder / "data/tfrecords")
    small_repo.run(ec2_cli.folder, "python", "scripts/remote.py", "pull", "augment", **extra)
    asked = [iam_requests.of_s3(each.method, each.key, each.query, each.conditional) for each in network.requests]
    requests = list(dict.fromkeys(request for found in asked for request in found))
    assert {each.action for each in requests} >= {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    story = iam_story.Story(stack.policy("Runner"), requests, stack.resource("StoragePolicy")["PolicyDocument"])
    assert story.denied(requests) == []
